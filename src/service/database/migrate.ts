import { setTimeout as sleep } from 'node:timers/promises'
import type { DataSource, QueryRunner } from 'typeorm'
import { begin } from '../../database/transaction.ts'
import { StartError } from '../../lib/start-error.ts'
import { describeFailure, describeUrl, reasonOf } from './connect.ts'
import { createDataSource } from './data-source.ts'
import { inspect } from './inspect.ts'

/** Any number that nothing else in the database locks. */
const MIGRATION_LOCK = 7_065_711_629_303

/** The SQLSTATE of what a role may not do. */
const INSUFFICIENT_PRIVILEGE = '42501'

/**
 * Brings the database's schema up to date; nodes that start together take turns.
 *
 * @param options.waitMs - How long to wait for another node's migrations, in milliseconds.
 * @param options.prepares - Whether connections are ours for as long as they last; not so behind a pooler in transaction mode.
 * @returns The names of the migrations that were run.
 * @throws {@link StartError} when the database cannot be reached, or has a newer schema than this release, when it has
 * an older one and the role may not change that, or when a migration fails: of that one nothing is left.
 */
export async function migrate(
  url: string,
  { waitMs = 60_000, prepares = true }: { waitMs?: number; prepares?: boolean } = {},
): Promise<readonly string[]> {
  const { searchPath } = await inspect(url, { prepares })
  const dataSource = createDataSource({
    url,
    poolSize: 2,
    isForMigrations: true,
    prepares,
    searchPath,
  })
  try {
    await dataSource.initialize()
  } catch (error) {
    throw new StartError(describeFailure(url, error))
  }

  const runner = dataSource.createQueryRunner()
  try {
    await lock(runner, waitMs)
    const missing = await findMissing(dataSource, runner)
    // Even with nothing to run TypeORM would ask for rights that the service's own role need not have.
    if (missing.length > 0) await dataSource.runMigrations()
    return missing
  } catch (error) {
    if (error instanceof StartError) throw error
    if ((error as { code?: unknown }).code === INSUFFICIENT_PRIVILEGE) {
      throw new StartError(
        `The role of ${describeUrl(url)} may not bring the schema up to date (${reasonOf(error)}); set MIGRATION_DATABASE_URL to one that owns it`,
      )
    }
    throw new StartError(`Cannot migrate the database at ${describeUrl(url)}: ${reasonOf(error)}`)
  } finally {
    // The lock goes with the transaction, and that with the connection.
    await runner.rollbackTransaction().catch(() => undefined)
    await runner.release()
    await dataSource.destroy()
  }
}

/** In a transaction that does nothing else: a pooler may lend the connection for no longer. */
async function lock(runner: QueryRunner, waitMs: number): Promise<void> {
  const deadline = Date.now() + waitMs
  await begin(runner)
  for (;;) {
    const [row] = (await runner.query(`select pg_try_advisory_xact_lock($1) as locked`, [
      MIGRATION_LOCK,
    ])) as [{ locked: boolean }]
    if (row.locked) return
    if (Date.now() > deadline) {
      throw new StartError(
        `Another node has been migrating the database for ${waitMs / 1000} s; try again later`,
      )
    }
    await sleep(100)
  }
}

/** @returns The names of the migrations that are still to be run, in order. */
async function findMissing(
  dataSource: DataSource,
  runner: QueryRunner,
): Promise<readonly string[]> {
  const all = dataSource.migrations.map(({ name = '' }) => name)
  const [table] = (await runner.query(`select to_regclass('migration') as name`)) as [
    { name: string | null },
  ]
  if (table.name === null) return all

  const applied = (await runner.query(`select name from migration order by id`)) as Array<{
    name: string
  }>
  const unknown = applied.find(({ name }) => !all.includes(name))
  if (unknown) {
    throw new StartError(
      `The database has a schema that this release does not know (migration ${unknown.name}); start the release that made it, or a newer one`,
    )
  }
  return all.filter((name) => !applied.some((one) => one.name === name))
}
