import type { Token } from '../../src/token/claims.ts'

let made = 0

/** A verified token of Ada's phone, each with an id of its own; issued now, good for a quarter of an hour. */
export function makeToken(claims: Partial<Token> = {}): Token {
  made += 1
  const { issuedAt = Date.now() / 1000 } = claims
  return {
    issuer: 'portcullis',
    subject: 'ada',
    tokenId: `token-${made}`,
    sessionId: 'phone',
    expiresAt: issuedAt + 900,
    roles: ['USER'],
    digest: made.toString(16).padStart(64, '0'),
    ...claims,
    issuedAt,
  }
}
