import type { SessionKeeper } from '../revocation/postgres-store.ts'
import { isSessionId } from './entities.ts'

/**
 * Ends the sessions that a revocation hits, in the revocation's own transaction.
 *
 * A session that has ended never lives again: restoring a revocation gives access tokens back, no refresh token.
 */
export const sessionKeeper: SessionKeeper = {
  async endSessions(manager, { scope, sessionId, subject, keptSessionId, revokedAt }) {
    if (scope === 'TOKEN' || (sessionId !== null && !isSessionId(sessionId))) return 0
    const [, ended] = await manager.query<[unknown, number]>(
      `update session set ended_at = $1
       where ended_at is null and expires_at > clock_timestamp()
         and ($2::uuid is null or id = $2)
         and ($3::text is null or subject = $3)
         and ($4::text is null or id::text <> $4)`,
      [revokedAt, sessionId, scope === 'SUBJECT' ? subject : null, keptSessionId],
    )
    return ended
  },

  async lastIssuedAt(manager, target) {
    const isSubject = target.scope === 'SUBJECT'
    const [row] = await manager.query<[{ last: Date | null }]>(
      `select max(last_issued_at) as last from session
       where ($1::text is null or subject = $1) and ($2::text is null or id::text <> $2)`,
      [isSubject ? target.subject : null, isSubject ? (target.keptSessionId ?? null) : null],
    )
    return row.last
  },
}
