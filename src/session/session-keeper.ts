import type { EntityManager } from 'typeorm'
import type { SessionKeeper } from '../revocation/postgres-writer.ts'
import type { Revocation } from '../revocation/revocation.ts'
import { isSessionId } from './entities.ts'

/**
 * Ends the sessions that revocations hit, in their own transaction; rows are locked in one order, so that two
 * transactions do not wait for each other.
 *
 * A session that has ended never lives again: restoring a revocation gives access tokens back, no refresh token.
 */
export const sessionKeeper: SessionKeeper = {
  async endSessions(manager, revocations) {
    const ended = await endNamed(manager, revocations)
    const counts: number[] = []
    for (const revocation of revocations) {
      const { scope, sessionId } = revocation
      const isCutOff = scope === 'SUBJECT' || scope === 'EVERYONE'
      const isEnded =
        scope === 'SESSION' && sessionId !== null && ended.has(sessionId.toLowerCase())
      counts.push(isCutOff ? await endAll(manager, revocation) : Number(isEnded))
    }
    return counts
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

/** @returns The ids of those that ended. */
async function endNamed(
  manager: EntityManager,
  revocations: readonly Revocation[],
): Promise<ReadonlySet<string>> {
  const named = revocations.filter(
    ({ scope, sessionId }) => scope === 'SESSION' && sessionId !== null && isSessionId(sessionId),
  )
  if (named.length === 0) return new Set()

  const [ended] = await manager.query<[Array<{ id: string }>, number]>(
    `update session set ended_at = hit.revoked_at
     from (
       select id, revoked_at
       from session join unnest($1::uuid[], $2::timestamptz[]) as named (id, revoked_at) using (id)
       where ended_at is null and expires_at > clock_timestamp()
       order by id
       for update of session
     ) as hit
     where session.id = hit.id
     returning session.id`,
    [named.map(({ sessionId }) => sessionId), named.map(({ revokedAt }) => revokedAt)],
  )
  return new Set(ended.map(({ id }) => id))
}

async function endAll(
  manager: EntityManager,
  { scope, subject, keptSessionId, revokedAt }: Revocation,
): Promise<number> {
  const [, ended] = await manager.query<[unknown, number]>(
    `update session set ended_at = $1
     where id = any(array(
       select id from session
       where ended_at is null and expires_at > clock_timestamp()
         and ($2::text is null or subject = $2)
         and ($3::text is null or id::text <> $3)
       order by id
       for update
     ))`,
    [revokedAt, scope === 'SUBJECT' ? subject : null, keptSessionId],
  )
  return ended
}
