import { setTimeout as sleep } from 'node:timers/promises'
import type { DataSource, QueryRunner } from 'typeorm'
import { StartError } from '../start-error.ts'
import { createDataSource } from './data-source.ts'

/** Any number that nothing else in the database locks. */
const MIGRATION_LOCK = 7_065_711_629_303

/**
 * Brings the database's schema up to date; nodes that start together take turns.
 *
 * @param options.waitMs - How long to wait for another node's migrations, in milliseconds.
 * @returns The names of the migrations that were run.
 * @throws {@link StartError} when the database cannot be reached, or has a newer schema than this release, or when a
 * migration fails: of that one nothing is left.
 */
export async function migrate(
  url: string,
  { waitMs = 60_000 }: { waitMs?: number } = {},
): Promise<readonly string[]> {
  const dataSource = createDataSource({ url, poolSize: 2, isForMigrations: true })
  try {
    await dataSource.initialize()
  } catch (error) {
    throw new StartError(`Cannot use the database at ${describe(url)}: ${reasonOf(error)}`)
  }

  const runner = dataSource.createQueryRunner()
  try {
    await lock(runner, waitMs)
    await refuseNewerSchema(dataSource, runner)
    const migrations = await dataSource.runMigrations()
    return migrations.map(({ name }) => name)
  } catch (error) {
    if (error instanceof StartError) throw error
    throw new StartError(`Cannot migrate the database at ${describe(url)}: ${reasonOf(error)}`)
  } finally {
    // The lock goes with the connection.
    await runner.release()
    await dataSource.destroy()
  }
}

async function lock(runner: QueryRunner, waitMs: number): Promise<void> {
  const deadline = Date.now() + waitMs
  for (;;) {
    const [row] = (await runner.query(`select pg_try_advisory_lock($1) as locked`, [
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

async function refuseNewerSchema(dataSource: DataSource, runner: QueryRunner): Promise<void> {
  const [table] = (await runner.query(`select to_regclass('migration') as name`)) as [
    { name: string | null },
  ]
  if (table.name === null) return

  const known = new Set(dataSource.migrations.map(({ name }) => name))
  const applied = (await runner.query(`select name from migration order by id`)) as Array<{
    name: string
  }>
  const unknown = applied.find(({ name }) => !known.has(name))
  if (unknown) {
    throw new StartError(
      `The database has a schema that this release does not know (migration ${unknown.name}); start the release that made it, or a newer one`,
    )
  }
}

/** Host, port and database of a URL: what may be shown of it. */
function describe(url: string): string {
  try {
    const { host, pathname } = new URL(url)
    return `${host || 'the local socket'}${pathname}`
  } catch {
    return 'DATABASE_URL'
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0])
  return error instanceof Error ? error.message || error.name : String(error)
}
