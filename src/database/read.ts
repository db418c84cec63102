import type { Pool, QueryConfig, QueryResult, QueryResultRow } from 'pg'
import type { DataSource } from 'typeorm'
import { RevocationUnavailableError } from '../errors.ts'
import { within } from '../lib/time-limit.ts'
import { accessOf, queryOf } from './access.ts'
import type { PreparedStatement } from './access.ts'
import { closeIdle, isSilence, poolOf } from './pool.ts'
import { isDatabaseUnavailable } from './transaction.ts'

/**
 * Runs one prepared statement that reads, outside any transaction: one round trip.
 *
 * On the `DataSource`'s pool directly, because TypeORM offers neither prepared statements nor a time limit.
 *
 * @param timeoutMs - How long the answer may take, in milliseconds, the wait for a connection included.
 * @throws {@link RevocationUnavailableError} when the database gives none in time.
 */
export async function read<Row extends QueryResultRow>(
  dataSource: DataSource,
  statement: PreparedStatement,
  values: readonly unknown[],
  timeoutMs: number,
): Promise<readonly Row[]> {
  try {
    const pool = poolOf(dataSource)
    const asked = queryOf(accessOf(dataSource), statement)
    // The driver's own limit comes later, and is there to have a silent connection replaced.
    const query = { ...asked, values: [...values], query_timeout: 2 * timeoutMs }
    return (await within(timeoutMs, ask<Row>(pool, query))).rows
  } catch (error) {
    throw isDatabaseUnavailable(error) ? new RevocationUnavailableError(error) : error
  }
}

async function ask<Row extends QueryResultRow>(
  pool: Pool,
  query: QueryConfig,
): Promise<QueryResult<Row>> {
  try {
    return await pool.query<Row>(query)
  } catch (error) {
    if (isSilence(error)) closeIdle(pool)
    throw error
  }
}
