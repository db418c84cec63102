import type { EntityManager } from 'typeorm'
import type { Revocation } from '../revocation/revocation.ts'
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

/** A page of the live sessions of the subject $1, and of $2 whatever its state: $5 of them behind ($3, $4). */
export const listSessions = {
  name: 'portcullis-list-sessions',
  text: `
    select ${sessionColumns} from session
    where subject = $1
      and ((${isLive} and ${isInUse('$6')}) or session.id::text = $2)
      and ($3::timestamptz is null or session.created_at < $3 or (session.created_at = $3 and session.id > $4::uuid))
    order by session.created_at desc, session.id
    limit $5`,
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
