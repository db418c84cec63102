/** A UUID, or a digest in hexadecimal. */
const FORM = /^([\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}|[\da-f]{64})$/i

/**
 * The spellings under which an id is looked for.
 *
 * A UUID or a digest means the same in capitals and in small letters. Any other id means itself only: the `sub` of a
 * token may be any text.
 */
export function spellingsOf(id: string): readonly string[] {
  return FORM.test(id) ? [...new Set([id, id.toLowerCase(), id.toUpperCase()])] : [id]
}
