/** What an entry is: the one form that library, service and API teams share. */

/** What a revocation hits: one token, one session, one person, or everyone. */
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
