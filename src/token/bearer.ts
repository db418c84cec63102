import { TokenInvalidError } from '../errors.ts'

/** Characters of a token, which has 8,192 at the most, and of what stands around it. */
const MAX_PASTED = 10_000

/** Reads a token that a person pasted: line breaks and blanks around it are no part of it, nor is the scheme. */
export function readPastedToken(text: string): string {
  // Nothing could make a token of it.
  if (text.length > MAX_PASTED) return text
  return text
    .trim()
    .replace(/^authorization\s*:\s*/i, '')
    .replace(/^bearer\s+/i, '')
}

/**
 * Reads the token from an `Authorization` header.
 *
 * @param header - The header's value; a list when the client sent it more than once.
 * @returns The token's text, unverified, or `null` when there is no header, or one with nothing in it: clients send that
 * for want of a token. A scheme without a token is malformed (RFC 6750 §2.1).
 * @throws {@link TokenInvalidError} when the header is anything but one bearer token.
 * @see {@link https://www.rfc-editor.org/rfc/rfc6750#section-2.1 RFC 6750 §2.1}
 * @see {@link https://www.rfc-editor.org/rfc/rfc9110#section-11.1 RFC 9110 §11.1} the scheme's case does not matter
 */
export function readBearerToken(header: string | readonly string[] | undefined): string | null {
  if (header === undefined) return null
  if (typeof header !== 'string') {
    if (header.length === 0) return null
    if (header.length > 1) throw new TokenInvalidError('more than one Authorization header')
    return readBearerToken(header[0])
  }

  if (header.trim() === '') return null
  const text = /^bearer +([\w.~+/=-]+)$/i.exec(header.trim())?.[1]
  if (text === undefined) {
    throw new TokenInvalidError('the Authorization header is not a bearer token')
  }
  return text
}
