import type { ClientBase } from 'pg'

/** Which server a connection leads to, as far as its history goes. */
export interface ServerIdentity {
  /** Made by `initdb`: a dump goes into another system, a base backup or a standby is the same one. */
  readonly system: string
  /** Another one begins with each failover and each restore to a point in time. */
  readonly timeline: string
}

/**
 * Asks a primary who it is.
 *
 * @returns `null` where a hosted server does not tell.
 */
export async function readServerIdentity(
  client: Pick<ClientBase, 'query'>,
  timeLimitMs: number,
): Promise<ServerIdentity | null> {
  const text = `
    select (pg_control_system()).system_identifier::text as system,
           left(pg_walfile_name(pg_current_wal_lsn()), 8) as timeline`
  const question = { text, query_timeout: timeLimitMs }
  try {
    const { rows } = await client.query<ServerIdentity>(question)
    return rows[0] ?? null
  } catch {
    return null
  }
}
