import type { EntityManager } from 'typeorm'
import type { Revocation } from '../../contract.ts'
import type { SessionCutOff } from './entities.ts'
import { isInUse, isLive } from './session-rows.ts'

/** How many live sessions a cut-off reaches. */
export interface Reach {
  readonly sessions: number
  /** Without those that have been idle for too long. */
  readonly inUse: number
}

type CutOff = Pick<Revocation, 'id' | 'subject' | 'keptSessionId' | 'revokedAt' | 'reason'>

/** How long counting may take, in milliseconds: others wait for the cut-off's lock meanwhile. */
const COUNT_MS = 500

/**
 * Plans that go along an index in its order, a few rows at a time, whatever the statistics say: those of a table that has
 * just grown say that it is small, and then each batch would sort all that is left.
 */
const ALONG_INDEXES = `
  set local enable_seqscan = off; set local enable_bitmapscan = off; set local enable_sort = off`

/** $1: the instant of the cut-off; $2: the subject, null for everyone; $3: the session that it spares. */
const isReached = `
  ${isLive} and session.created_at <= $1
  and ($2::text is null or session.subject = $2)
  and session.id::text is distinct from $3`

/** @returns The latest cut-off before this one that reaches all that it does, and has sessions to end; `null`: none. */
export async function findPendingCutOff(
  manager: EntityManager,
  { subject }: Pick<CutOff, 'subject'>,
): Promise<Date | null> {
  const [row] = await manager.query<[{ latest: Date | null }]>(
    `select max(revoked_at) as latest from session_cut_off
     where kept_session_id is null and (subject is null or subject = $1)`,
    [subject],
  )
  return row.latest
}

/**
 * Counts the live sessions that a cut-off reaches.
 *
 * @param options.before - The instant of an earlier cut-off that has ended all that was made until then.
 * @param options.max - Where counting ends: one more tells that there are more.
 * @returns `null` when that takes too long.
 */
export async function measureReach(
  manager: EntityManager,
  { revokedAt, subject, keptSessionId }: CutOff,
  { idleSeconds, before, max }: { idleSeconds: number | null; before: Date | null; max: number },
): Promise<Reach | null> {
  const values = [revokedAt, subject, keptSessionId, idleSeconds, max + 1]
  return tryWithin(manager, COUNT_MS, async () => {
    await manager.query(ALONG_INDEXES)
    const [reach] = await manager.query<[Reach]>(
      `select count(*)::integer as sessions, (count(*) filter (where "isInUse"))::integer as "inUse"
       from (
         select ${isInUse('$4')} as "isInUse" from ${issuedAfter(before, '$6')} where ${isReached} limit $5
       ) as reached`,
      before === null ? values : [...values, before],
    )
    return reach
  })
}

/** Sessions without those of an earlier cut-off: millions that were not updated yet are not even looked at. */
function issuedAfter(before: Date | null, place: string): string {
  if (before === null) return 'session'
  return `(select * from session where last_issued_at > ${place} offset 0) as session`
}

/** Ends the live sessions that a cut-off reaches, as counted; those that are locked are left. @returns How many ended. */
export async function endAtOnce(
  manager: EntityManager,
  { revokedAt, subject, keptSessionId, reason }: CutOff,
  { idleSeconds, before }: { idleSeconds: number | null; before: Date | null },
): Promise<Reach> {
  const values = [revokedAt, subject, keptSessionId, idleSeconds, reason]
  await manager.query(ALONG_INDEXES)
  const [ended] = await manager.query<[Array<{ isInUse: boolean }>, number]>(
    `update session set ended_at = $1, end_reason = $5
     where id = any(array(
       select id from session where ended_at is null and id in (
         select session.id from ${issuedAfter(before, '$6')} where ${isReached}
       )
       for update skip locked
     ))
     returning ${isInUse('$4')} as "isInUse"`,
    before === null ? values : [...values, before],
  )
  return { sessions: ended.length, inUse: ended.filter((one) => one.isInUse).length }
}

/** Has every statement that asks for live sessions compare with a cut-off. */
export async function addCutOff(manager: EntityManager, cutOff: CutOff): Promise<void> {
  const { id, subject, keptSessionId, revokedAt, reason } = cutOff
  await manager.query(
    `insert into session_cut_off (id, subject, kept_session_id, revoked_at, reason)
     values ($1, $2, $3, $4, $5)`,
    [id, subject, keptSessionId, revokedAt, reason],
  )
}

/** The oldest cut-off with sessions to end that no other node is at work on; its row is locked. */
export async function lockCutOff(manager: EntityManager): Promise<SessionCutOff | null> {
  const [cutOff] = await manager.query<SessionCutOff[]>(
    `select id, subject, kept_session_id as "keptSessionId", revoked_at as "revokedAt", reason,
            ended_to_subject as "endedToSubject", ended_to_id as "endedToId"
     from session_cut_off order by revoked_at, id limit 1 for update skip locked`,
  )
  return cutOff ?? null
}

/** What became of a batch. */
export interface EndedBatch {
  /** How many were to be ended. */
  readonly found: number
  /** How many of them were: fewer, when some were locked. */
  readonly ended: number
  /** The last of them in the order of the index `session_live`. */
  readonly lastSubject: string | null
  readonly lastId: string | null
}

/**
 * Ends the next sessions that a cut-off reaches, each with the instant and the reason of the first one that does.
 *
 * It goes along the index and waits for no lock. Where it was is kept: what has ended leaves dead entries in the index,
 * which a batch that began anew would read again.
 */
export async function endNext(
  manager: EntityManager,
  { revokedAt, subject, keptSessionId, endedToSubject, endedToId }: SessionCutOff,
  limit: number,
): Promise<EndedBatch> {
  await manager.query(ALONG_INDEXES)
  const [batch] = await manager.query<[EndedBatch]>(
    `with reached as (
       select session.id, session.subject from session
       where ended_at is null and expires_at > clock_timestamp()
         and created_at <= $1 and ($2::text is null or session.subject = $2)
         and session.id::text is distinct from $3
         and ($4::text is null or (session.subject, session.id) > ($4::text, $5::uuid))
       order by session.subject, session.id
       limit $6
     ), locked as (
       select session.id, session.subject, session.created_at
       from session join reached using (id)
       where session.ended_at is null
       for update of session skip locked
     ), ended as (
       update session set ended_at = first.revoked_at, end_reason = first.reason
       from (
         select distinct on (locked.id) locked.id, cut.revoked_at, cut.reason
         from locked join session_cut_off as cut
           on (cut.subject is null or cut.subject = locked.subject)
             and cut.revoked_at >= locked.created_at
             and cut.kept_session_id is distinct from locked.id::text
         order by locked.id, cut.revoked_at, cut.id
       ) as first
       where session.id = first.id
       returning 1
     ), last as (
       select subject, id from reached order by subject desc, id desc limit 1
     )
     select (select count(*)::integer from reached) as found, (select count(*)::integer from ended) as ended,
            (select subject from last) as "lastSubject", (select id from last) as "lastId"`,
    [revokedAt, subject, keptSessionId, endedToSubject, endedToId, limit],
  )
  return batch
}

/** Keeps up to where the sessions of a cut-off have been ended. */
export async function keepPlace(
  manager: EntityManager,
  { id }: SessionCutOff,
  { lastSubject, lastId }: EndedBatch,
): Promise<void> {
  await manager.query(
    `update session_cut_off set ended_to_subject = $2, ended_to_id = $3 where id = $1`,
    [id, lastSubject, lastId],
  )
}

export async function removeCutOff(
  manager: EntityManager,
  { id }: Pick<SessionCutOff, 'id'>,
): Promise<void> {
  await manager.query(`delete from session_cut_off where id = $1`, [id])
}

/** Reads within a time limit of its own, and leaves the transaction as it was. @returns `null` when it was too short. */
async function tryWithin<Result>(
  manager: EntityManager,
  limitMs: number,
  readRows: () => Promise<Result>,
): Promise<Result | null> {
  await manager.query(`savepoint patience; set local statement_timeout = ${limitMs}`)
  try {
    const result = await readRows()
    await manager.query(`rollback to savepoint patience; release savepoint patience`)
    return result
  } catch (error) {
    if ((error as { code?: unknown }).code !== QUERY_CANCELED) throw error
    await manager.query(`rollback to savepoint patience; release savepoint patience`)
    return null
  }
}

/** SQLSTATE of a statement that took too long. */
const QUERY_CANCELED = '57014'
