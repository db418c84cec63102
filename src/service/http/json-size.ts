import { RequestError } from './http-errors.ts'

/**
 * Values that one body may hold: members of objects and items of lists. Reading and quoting JSON takes a time that goes by
 * their number rather than by its length.
 */
const MAX_VALUES = 10_000

/**
 * Refuses JSON that is made to take long, before it is parsed.
 *
 * Every value but the first has a comma or an opening bracket before it, so counting those outside of texts is enough.
 *
 * @param json - In UTF-8, where no byte of a longer character looks like one of these.
 * @throws {@link RequestError}
 */
export function refuseIntricateJson(json: Buffer): void {
  // Too short for so many: nearly every request.
  if (json.length <= MAX_VALUES) return

  let values = 0
  for (let at = 0; at < json.length; at += 1) {
    const byte = json[at]
    if (byte === QUOTE) at = endOfText(json, at)
    else if (byte === COMMA || byte === OPENING_BRACKET || byte === OPENING_BRACE) values += 1
    if (values > MAX_VALUES)
      throw new RequestError(`Send at most ${MAX_VALUES} values in the JSON of one request`)
  }
}

const QUOTE = 0x22
const COMMA = 0x2c
const OPENING_BRACKET = 0x5b
const BACKSLASH = 0x5c
const OPENING_BRACE = 0x7b

/** @returns Where its closing quote stands; the end, if it has none. */
function endOfText(json: Buffer, start: number): number {
  let at = start + 1
  while (at < json.length && json[at] !== QUOTE) at += json[at] === BACKSLASH ? 2 : 1
  return at
}
