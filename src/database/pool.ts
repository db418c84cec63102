import type { Client, ClientBase, Pool } from 'pg'
import type { DataSource } from 'typeorm'

/** How long a new connection may take to say what it leads to, in milliseconds. */
const VERIFY_MS = 2000

/** The driver's own pool, for what TypeORM does not offer. */
export function poolOf(dataSource: DataSource): Pool {
  return (dataSource.driver as unknown as { master: Pool }).master
}

/** Whether a connection gave no answer in its time, and nobody said that it is broken. */
export function isSilence(error: unknown): boolean {
  return error instanceof Error && /Query read timeout/.test(error.message)
}

/**
 * Closes the connections that nobody uses.
 *
 * One that fell silent is seldom the only one, when the path between the machines is what failed: otherwise each of the
 * others would cost somebody a refusal.
 */
export function closeIdle(pool: Pool): void {
  for (let left = pool.idleCount; left > 0; left -= 1) {
    pool.connect((_error, client, release) => {
      if (client) release(true)
    })
  }
}

/**
 * Refuses a new connection that leads to a standby, for a pool's `verify`.
 *
 * It may not have heard of a revocation yet: to check there is as good as not to check.
 */
export function refuseStandby(client: Client, done: (error?: Error) => void): void {
  // While it is asked neither the pool nor anybody who wants it listens. What breaks it fails the next statement.
  client.on('error', () => undefined)
  assertPrimary(client, VERIFY_MS).then(
    () => done(),
    (error: unknown) => done(error as Error),
  )
}

/** @throws when a connection leads to a standby, or gives no answer in time. */
export async function assertPrimary(client: ClientBase, timeLimitMs: number): Promise<void> {
  const question = {
    text: 'select pg_is_in_recovery() as standby',
    query_timeout: timeLimitMs,
  }
  const { rows } = await client.query<{ standby: boolean }>(question)
  if (rows[0]?.standby !== false) throw new StandbyError()
}

class StandbyError extends Error {
  /** `read_only_sql_transaction`, which is what it would come to. */
  readonly code = '25006'

  constructor() {
    super('This PostgreSQL is a standby, which may not have heard of every revocation')
  }
}
