import type { EntityManager } from 'typeorm'
import type { Revocation } from '../../contract.ts'
import type { SessionKeeper } from '../../revocation/postgres/postgres-writer.ts'
import { addCutOff, endAtOnce, findPendingCutOff, measureReach } from './cut-off-rows.ts'
import { isSessionId } from './entities.ts'
import { isLive } from './session-rows.ts'

export interface SessionKeeperOptions {
  /** After how long without a refresh a session is over, in seconds; not given, none is. Such ones are not counted. */
  readonly idleSeconds?: number | null
  /** Told when a cut-off was committed that left sessions to end. */
  readonly onLeft?: () => void
}

/** The most sessions that end in a cut-off's own transaction; more are left to {@link SessionEnder}. */
export const END_AT_ONCE = 500

/** The most sessions that are counted for an answer. */
const MAX_COUNT = 10_000

/**
 * Makes what ends the sessions that revocations hit, in their own transaction.
 *
 * A cut-off that reaches many is written down instead, as one row: from its commit on every statement that asks for live
 * sessions compares with it, until each has been ended.
 *
 * A session that has ended never lives again: restoring a revocation gives access tokens back, no refresh token.
 */
export function createSessionKeeper({
  idleSeconds = null,
  onLeft = () => undefined,
}: SessionKeeperOptions = {}): SessionKeeper {
  let hasLeft = false

  async function cutOff(manager: EntityManager, revocation: Revocation): Promise<number | null> {
    const before = await findPendingCutOff(manager, revocation)
    const reach = await measureReach(manager, revocation, { idleSeconds, before, max: MAX_COUNT })
    if (reach === null || reach.sessions > END_AT_ONCE) {
      await leave(manager, revocation)
      return reach === null || reach.sessions > MAX_COUNT ? null : reach.inUse
    }

    const ended = await endAtOnce(manager, revocation, { idleSeconds, before })
    if (ended.sessions < reach.sessions) await leave(manager, revocation)
    return ended.inUse
  }

  async function leave(manager: EntityManager, revocation: Revocation): Promise<void> {
    await addCutOff(manager, revocation)
    hasLeft = true
  }

  return {
    async endSessions(manager, revocations) {
      const ended = await endNamed(manager, revocations)
      const counts: Array<number | null> = []
      for (const revocation of revocations) {
        const { scope, sessionId } = revocation
        const isCutOff = scope === 'SUBJECT' || scope === 'EVERYONE'
        const isEnded =
          scope === 'SESSION' && sessionId !== null && ended.has(sessionId.toLowerCase())
        counts.push(isCutOff ? await cutOff(manager, revocation) : Number(isEnded))
      }
      return counts
    },

    async lastIssuedAt(manager, target) {
      const isSubject = target.scope === 'SUBJECT'
      const [row] = isSubject
        ? await manager.query<[{ last: Date | null }]>(lastIssuedTo, [
            target.subject,
            target.keptSessionId ?? null,
          ])
        : await manager.query<[{ last: Date | null }]>(
            `select max(last_issued_at) as last from session`,
          )
      return row.last
    },

    committed() {
      if (!hasLeft) return
      hasLeft = false
      onLeft()
    },
  }
}

/**
 * When the last session of a person was made. Older ones give no tokens once a cut-off has reached them, so this tells
 * whether anything was issued since one, without a look at each session.
 *
 * After the clock was set back the last token lies ahead of it; then a cut-off has to lie as far ahead.
 */
const lastIssuedTo = `
  select greatest(
    (select created_at from session
     where subject = $1 and id::text is distinct from $2
     order by created_at desc limit 1),
    (select max(last_issued_at)
     from (
       select subject, id, last_issued_at from session
       where last_issued_at > (select clock_timestamp()) offset 0
     ) as ahead
     where subject = $1 and id::text is distinct from $2)
  ) as last`

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
    `update session set ended_at = hit.revoked_at, end_reason = hit.reason
     from (
       select session.id, named.revoked_at, named.reason
       from session
       join unnest($1::uuid[], $2::timestamptz[], $3::text[]) as named (id, revoked_at, reason) using (id)
       where ${isLive}
       order by session.id
       for update of session
     ) as hit
     where session.id = hit.id
     returning session.id`,
    [
      named.map(({ sessionId }) => sessionId),
      named.map(({ revokedAt }) => revokedAt),
      named.map(({ reason }) => reason),
    ],
  )
  return new Set(ended.map(({ id }) => id))
}
