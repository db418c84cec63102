import type { Revocation } from '../contract.ts'
import type { Token } from '../token/claims.ts'

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
