/** The columns of our tables, as statements name them. */

export const whatItHits = `
  scope, issuer, subject, session_id as "sessionId", token_id as "tokenId", digest,
  kept_session_id as "keptSessionId", revoked_at as "revokedAt", expires_at as "expiresAt",
  reason, revoked_by as "revokedBy"`

export const columns = `id, note, ${whatItHits}`

export const revocationOfEvent = `revocation_id as id, revocation_note as note, ${whatItHits}`

export const eventColumns = `
  id, kind, occurred_at as "occurredAt", actor, note,
  revocation_id as "revocationId", revocation_note as "revocationNote", ${whatItHits}`

/**
 * Whether this server's count of transactions knows a line's: false for one that was restored from a server whose count was
 * further. Such a line is history: its number would mean nothing here, or a transaction that is still to come.
 *
 * A row's `xmin` is the transaction that wrote it here, a restore too; the line says which one wrote it first. Both are
 * compared by their last 32 bits, which is all that `xmin` has. A savepoint's `xmin` comes after its transaction's number.
 */
export const isOfThisCount = `((xmin::text::bigint - transaction_id) & 4294967295) < 1073741824`
