/** Characters of an error's message on the wire. */
const MAX_CHARACTERS = 1000

const INVALID_VALUE = ' got invalid value '
const NOT_A_STRING = 'String cannot represent a non string value'

/**
 * Takes from a message of graphql-js what it must not hold, and what is too much.
 *
 * GraphQL quotes the values that it refuses, however long, and what stands in a wrong place may be a token or a password:
 * neither is to end up in a client's error report.
 *
 * Messages have no form that can be relied on: what is quoted in them may look like any other part. So this reads each once,
 * forwards or backwards, and looks for patterns only in what is left when the rest is cut off.
 */
export function shorten(message: string): string {
  return cut(maskStrings(message)).replaceAll(/[\w-]{40,}(\.[\w-]*)*/g, '…')
}

/** Takes the names of the schema from the end of a message. */
export function withoutSuggestions(message: string): string {
  const at = message.lastIndexOf('Did you mean ')
  return at === -1 || !message.endsWith('?') ? message : message.slice(0, at).trimEnd()
}

/** What was given instead of a string. */
function maskStrings(message: string): string {
  const start = message.indexOf(INVALID_VALUE)
  const end = message.lastIndexOf(`; ${NOT_A_STRING}: `)
  const masked =
    start === -1 || end < start
      ? message
      : `${message.slice(0, start + INVALID_VALUE.length)}…${message.slice(end)}`

  const quoted = masked.indexOf(`${NOT_A_STRING}: `)
  return quoted === -1 ? masked : masked.slice(0, quoted + NOT_A_STRING.length)
}

/** At a space, so that no part of a secret is left that could not be told for one. */
function cut(message: string): string {
  if (message.length <= MAX_CHARACTERS) return message
  // Half a suggestion could not be told for one.
  const whole = withoutSuggestions(message)
  const end = whole.lastIndexOf(' ', MAX_CHARACTERS)
  return `${whole.slice(0, Math.max(end, 0))} …`
}
