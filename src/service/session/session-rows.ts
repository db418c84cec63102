import type { EntityManager } from 'typeorm'
import type { Revocation } from '../../contract.ts'
import type { Session } from './entities.ts'

/** What ended a session, as its holder is told. */
export type Ending = Pick<Revocation, 'reason' | 'revokedAt'>

/** The reason of a session that ended because an old refresh token came back. */
export const REUSE = 'refresh_token_reuse'

/** The cut-offs that reach a row of `session` and may not have ended it yet; none, but for a while after a large one. */
const cutOffs = `
  from session_cut_off as cut
  where (cut.subject is null or cut.subject = session.subject)
    and cut.revoked_at >= session.created_at
    and cut.kept_session_id is distinct from session.id::text`

/**
 * Whether a row of `session` has not ended.
 *
 * A cut-off ends what it reaches the moment it commits; the rows are updated afterwards when they are many.
 */
export const isLive = `(
  session.ended_at is null and session.expires_at > clock_timestamp() and not exists (select 1 ${cutOffs}))`

/** As `Session` has them. */
export const sessionColumns = `
  session.id, session.subject, device, user_agent as "userAgent", ip_address as "ipAddress",
  session.created_at as "createdAt", authenticated_at as "authenticatedAt", last_seen_at as "lastSeenAt",
  last_issued_at as "lastIssuedAt", expires_at as "expiresAt", coalesce(ended_at, (select min(cut.revoked_at) ${cutOffs})) as "endedAt"`

/** The most sessions that one sign-in ends because they are too many: the next one goes on. */
const MAX_EXCESS = 100

/** Those of the subject $1 beyond the newest $2, in use within the last $3 seconds. */
export const findExcessSessions = {
  name: 'portcullis-excess-sessions',
  text: `
    select ${sessionColumns} from session
    where subject = $1 and ${isLive} and ${isInUse('$3')}
    order by created_at desc, id
    offset $2 limit ${MAX_EXCESS}`,
}

/**
 * Pages of live sessions, a column of what is asked an array: the subject, a session of theirs that is listed whatever its
 * state, the one to start behind, how many. $5: the idle limit. One row at least for each that is asked.
 */
export const listSessions = {
  name: 'portcullis-list-sessions',
  text: `
    select asked.place::integer as place, asked.after is null or start.id is not null as "isKnown", page.*
    from unnest($1::text[], $2::text[], $3::uuid[], $4::integer[])
      with ordinality as asked (subject, current, after, first, place)
    left join session as start on start.id = asked.after and start.subject = asked.subject
    left join lateral (
      select ${sessionColumns} from session
      where session.subject = asked.subject
        and ((${isLive} and ${isInUse('$5')}) or session.id::text = asked.current)
        and (asked.after is null or session.created_at < start.created_at
          or (session.created_at = start.created_at and session.id > start.id))
      order by session.created_at desc, session.id
      limit asked.first
    ) as page on true
    order by asked.place, page."createdAt" desc, page.id`,
}

export const findSessionById = {
  name: 'portcullis-find-session',
  text: `select ${sessionColumns} from session where id = $1`,
}

/** Whose refresh tokens have the hashes $1, used or not. */
export const findSessionsOfRefreshTokens = {
  name: 'portcullis-sessions-of-refresh-tokens',
  text: `
    select hash, ${sessionColumns}
    from refresh_token join session on session.id = session_id
    where hash = any($1::bytea[])`,
}

/** When a session ended because two clients used its tokens; `null`: it did not. */
export async function findReuse(manager: EntityManager, id: string): Promise<Ending | null> {
  const [reuse] = await manager.query<Ending[]>(
    `select end_reason as reason, ended_at as "revokedAt"
     from session where id = $1 and end_reason = $2`,
    [id, REUSE],
  )
  return reuse ?? null
}

export async function lockLiveSession(
  manager: EntityManager,
  id: string,
  idleSeconds: number | null = null,
): Promise<Session | null> {
  const [session] = await manager.query<Session[]>(
    `select ${sessionColumns} from session
     where id = $1 and ${isLive} and ${isInUse('$2')}
     for update`,
    [id, idleSeconds],
  )
  return session ?? null
}

/** @param idleSeconds - The place of a parameter that may be `null`. */
export function isInUse(idleSeconds: string): string {
  return `(${idleSeconds}::float8 is null
    or session.last_seen_at > clock_timestamp() - make_interval(secs => ${idleSeconds}::float8))`
}
