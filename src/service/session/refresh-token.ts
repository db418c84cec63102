import { createHash, createHmac, randomBytes } from 'node:crypto'

/** 256 random bits; the text is base64url without padding. */
const TOKEN_BYTES = 32

export function createRefreshToken(): Buffer {
  return randomBytes(TOKEN_BYTES)
}

/** What is stored of a token: it has full entropy, so one round of SHA-256 is enough. */
export function hashRefreshToken(token: Buffer): Buffer {
  return createHash('sha256').update(token).digest()
}

/**
 * Derives a token's successor from the token and the salt that is stored when it is replaced.
 *
 * A repeated request can so be given the same successor while the table holds nothing but hashes: neither the
 * old token nor the table alone tells it.
 */
export function deriveSuccessor(token: Buffer, salt: Buffer): Buffer {
  return createHmac('sha256', token).update(salt).digest()
}

/** @returns `null` when the text has not the form of a refresh token. */
export function parseRefreshToken(text: string): Buffer | null {
  if (!/^[A-Za-z0-9_-]{43}$/.test(text)) return null
  const token = Buffer.from(text, 'base64url')
  return token.toString('base64url') === text ? token : null
}

export function formatRefreshToken(token: Buffer): string {
  return token.toString('base64url')
}
