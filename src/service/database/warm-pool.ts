import type { PoolClient } from 'pg'
import type { DataSource } from 'typeorm'
import { poolOf } from '../../database/pool.ts'

/** As many as a busy node uses; a larger pool is for its worst moments. */
const MAX_KEPT = 10

/** How many connections of a pool stay open while idle. */
export function countKept(poolSize: number): number {
  return Math.min(poolSize, MAX_KEPT)
}

/**
 * Opens the connections that are kept, before the first request.
 *
 * Each costs PostgreSQL a process, and both sides a handshake of some milliseconds. Paid by the first requests, when many
 * come at once, that holds up the checks.
 */
export async function warmPool(dataSource: DataSource): Promise<void> {
  const pool = poolOf(dataSource)
  const { min = 0 } = pool.options
  const held: PoolClient[] = []
  try {
    while (pool.totalCount < min) held.push(await pool.connect())
  } catch {
    // The request that needs one is told why there is none.
  } finally {
    for (const client of held) client.release()
  }
}
