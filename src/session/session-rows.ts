import type { EntityManager } from 'typeorm'
import type { Session } from './entities.ts'
import { hashRefreshToken } from './refresh-token.ts'

/** As `Session` has them. */
export const sessionColumns = `
  id, subject, device, user_agent as "userAgent", ip_address as "ipAddress",
  created_at as "createdAt", authenticated_at as "authenticatedAt", last_seen_at as "lastSeenAt", last_issued_at as "lastIssuedAt",
  expires_at as "expiresAt", ended_at as "endedAt"`

/** Those of the subject $1 beyond the newest $2, in use within the last $3 seconds. */
export const findExcessSessions = {
  name: 'portcullis-excess-sessions',
  text: `
    select ${sessionColumns} from session
    where subject = $1 and ended_at is null and expires_at > clock_timestamp() and ${isInUse('$3')}
    order by created_at desc, id
    offset $2`,
}

export async function findSessionOfRefreshToken(
  manager: EntityManager,
  token: Buffer,
): Promise<Session | null> {
  const [session] = await manager.query<Session[]>(
    `select ${sessionColumns} from session
     where id = (select session_id from refresh_token where hash = $1)`,
    [hashRefreshToken(token)],
  )
  return session ?? null
}

export async function lockLiveSession(
  manager: EntityManager,
  id: string,
  idleSeconds: number | null = null,
): Promise<Session | null> {
  const [session] = await manager.query<Session[]>(
    `select ${sessionColumns} from session
     where id = $1 and ended_at is null and expires_at > clock_timestamp() and ${isInUse('$2')}
     for update`,
    [id, idleSeconds],
  )
  return session ?? null
}

/** @param idleSeconds - The place of a parameter that may be `null`. */
export function isInUse(idleSeconds: string): string {
  return `(${idleSeconds}::float8 is null
    or last_seen_at > clock_timestamp() - make_interval(secs => ${idleSeconds}::float8))`
}
