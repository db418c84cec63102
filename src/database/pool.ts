import type { Client, ClientBase, Pool, QueryResult, QueryResultRow } from 'pg'
import type { DataSource } from 'typeorm'

/** How long a new connection may take to say what it leads to, in milliseconds. */
const VERIFY_MS = 2000

/**
 * Refuses a `DataSource` that is of no use, at the start and not at the first request.
 *
 * @throws `TypeError` when it is not PostgreSQL's, or was not initialized.
 */
export function assertUsable(dataSource: DataSource): void {
  const { options, isInitialized } = (dataSource ?? {}) as Partial<DataSource>
  if (options?.type !== 'postgres') {
    throw new TypeError(
      `expected a DataSource of type postgres, got ${options?.type ?? typeof dataSource}`,
    )
  }
  if (!isInitialized) {
    throw new TypeError('expected an initialized DataSource: await its initialize() first')
  }
}

/** The driver's own pool, for what TypeORM does not offer. */
export function poolOf(dataSource: DataSource): Pool {
  return (dataSource.driver as unknown as { master: Pool }).master
}

/** Whether a connection gave no answer in its time, and no error said that it is broken. */
export function isSilence(error: unknown): boolean {
  return error instanceof Error && /Query read timeout/.test(error.message)
}

/**
 * Closes idle connections.
 *
 * One that fell silent is seldom the only one, when the path between the machines is what failed: otherwise each of the
 * others would make one request fail.
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
 *
 * @param setUp - Statements that set up the connection, in the same round trip; `null`: none.
 */
export function refuseStandby(
  client: Client,
  done: (error?: Error) => void,
  setUp: string | null = null,
): void {
  // While it is asked neither the pool nor its next user listens. What breaks it fails the next statement.
  client.on('error', () => undefined)
  assertPrimary(client, VERIFY_MS, setUp).then(
    () => done(),
    (error: unknown) => done(error as Error),
  )
}

/**
 * @param setUp - Statements that set up the connection, in the same round trip; `null`: none.
 * @throws when a connection leads to a standby, or gives no answer in time.
 */
export async function assertPrimary(
  client: ClientBase,
  timeLimitMs: number,
  setUp: string | null = null,
): Promise<void> {
  const text = `${setUp === null ? '' : `${setUp}; `}select pg_is_in_recovery() as standby`
  const answer = await askAll<{ standby: boolean }>(client, text, timeLimitMs)
  if (answer?.standby !== false) throw new StandbyError()
}

/**
 * Asks several statements in one round trip.
 *
 * @returns What the last one answers, which is one row.
 */
export async function askAll<Row extends QueryResultRow>(
  client: ClientBase,
  text: string,
  timeoutMs: number,
): Promise<Row | undefined> {
  const question = { text, query_timeout: timeoutMs }
  const results: QueryResult<Row> | ReadonlyArray<QueryResult<Row>> = await client.query(question)
  return [results].flat().at(-1)?.rows[0]
}

/** What is asked of it is to write. */
export class ReadOnlyError extends Error {
  /** `read_only_sql_transaction` */
  readonly code = '25006'

  constructor() {
    super('This PostgreSQL is read-only: what is asked of it now would be refused')
  }
}

class StandbyError extends Error {
  /** `read_only_sql_transaction`, which is what it would come to. */
  readonly code = '25006'

  constructor() {
    super('This PostgreSQL is a standby, which may not have heard of every revocation')
  }
}
