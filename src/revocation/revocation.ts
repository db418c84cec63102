import type { Token } from '../token/claims.ts'

/** What a revocation hits: one token, one session, one person, or everybody. */
export type RevocationScope = 'TOKEN' | 'SESSION' | 'SUBJECT' | 'EVERYONE'

/** An entry of the blacklist. Columns that do not belong to its scope are `null`. */
export interface Revocation {
  readonly id: string
  readonly scope: RevocationScope
  readonly issuer: string | null
  readonly subject: string | null
  readonly sessionId: string | null
  readonly tokenId: string | null
  /** `TOKEN` only: SHA-256 of the signing input of a token that could not be verified, in hexadecimal. */
  readonly digest: string | null
  /** `SUBJECT` only: the one session of that person that lives on. */
  readonly keptSessionId: string | null
  /** By the store's clock, in whole milliseconds. For `SUBJECT` and `EVERYONE` it is the cut-off. */
  readonly revokedAt: Date
  /** From here on every token it hits has expired, and it can be forgotten. */
  readonly expiresAt: Date
  /** Shown to the holder of the token. */
  readonly reason: string
  /** For admins only. */
  readonly note: string | null
  /** The subject who asked for it; `null` when the service itself did. */
  readonly revokedBy: string | null
}

/** What shall be revoked. */
export type RevocationTarget =
  | { readonly scope: 'TOKEN'; readonly token: Token }
  | { readonly scope: 'TOKEN'; readonly digest: string }
  | { readonly scope: 'SESSION'; readonly sessionId: string; readonly subject: string | null }
  | { readonly scope: 'SUBJECT'; readonly subject: string; readonly keptSessionId?: string }
  | { readonly scope: 'EVERYONE' }

/**
 * The one rule: does this entry revoke this token?
 *
 * The only place where it is decided. Whether the entry is still in force is the store's question.
 */
export function isRevokedBy(token: Token, entry: Revocation): boolean {
  switch (entry.scope) {
    case 'TOKEN':
      return entry.digest === null
        ? entry.issuer === token.issuer && entry.tokenId === token.tokenId
        : entry.digest === token.digest
    case 'SESSION':
      return entry.sessionId === token.sessionId
    case 'SUBJECT':
      return (
        entry.subject === token.subject &&
        entry.keptSessionId !== token.sessionId &&
        wasIssuedAtOrBefore(token, entry.revokedAt)
      )
    case 'EVERYONE':
      return wasIssuedAtOrBefore(token, entry.revokedAt)
  }
}

/**
 * Picks the entry that revokes a token: the oldest, because that is the one that ended it.
 *
 * @returns `null` when none does.
 */
export function findRevoking(token: Token, entries: Iterable<Revocation>): Revocation | null {
  let found: Revocation | null = null
  for (const entry of entries) {
    if (!isRevokedBy(token, entry)) continue
    if (found === null || entry.revokedAt < found.revokedAt) found = entry
  }
  return found
}

function wasIssuedAtOrBefore(token: Token, cutOff: Date): boolean {
  return issuedAtMs(token) <= cutOff.getTime()
}

/** The latest issue time of a token that an entry may reach: its cut-off, or its end when it hits whatever the time. */
export function reachOf({ scope, revokedAt, expiresAt }: RevocationReach): Date {
  return scope === 'SUBJECT' || scope === 'EVERYONE' ? revokedAt : expiresAt
}

type RevocationReach = Pick<Revocation, 'scope' | 'revokedAt' | 'expiresAt'>

/** When a token was issued, in a cut-off's whole milliseconds; a part of one counts as before, so that doubt revokes. */
export function issuedAtMs({ issuedAt }: Token): number {
  const micros = Math.round(issuedAt * 1e6)
  return Math.floor(micros / 1000)
}
