import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import pg from 'pg'
import type { DataSource } from 'typeorm'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { StartError } from '../../src/lib/start-error.ts'
import { createDataSource } from '../../src/service/database/data-source.ts'
import { migrate } from '../../src/service/database/migrate.ts'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'

let database: TestDatabase
/** The names of all migrations, in order. */
let all: string[]

beforeEach(async () => {
  database = await createDatabase()
  all = await listApplied()
})

afterEach(async () => {
  await database.drop()
})

describe('all migrations', () => {
  it('make the schema that the entities describe', async () => {
    const statements = await withDataSource(async (dataSource) => {
      const { upQueries } = await dataSource.driver.createSchemaBuilder().log()
      return upQueries.map(({ query }) => query)
    })

    expect(statements).toEqual([])
  })

  it('go down to nothing, and up to the same again', async () => {
    const before = await describeSchema()
    await withDataSource(async (dataSource) => {
      for (const _each of dataSource.migrations) await dataSource.undoLastMigration()
    })
    expect((await describeSchema()).filter(({ table }) => table !== 'migration')).toEqual([])

    expect(await migrate(database.url)).toEqual(all)
    expect(await describeSchema()).toEqual(before)
  })

  it('are run once by nodes that start together', async () => {
    await empty()

    const applied = await Promise.all([1, 2, 3, 4].map(() => migrate(database.url)))
    expect(applied.filter((names) => names.length > 0)).toEqual([all])
    expect(await migrate(database.url)).toEqual([])
    expect(await listApplied()).toEqual(all)
  })

  it('keep what stands in the tables when they are run again', async () => {
    await database.query(
      `insert into account (id, email, password_hash, roles, created_at)
       values (gen_random_uuid(), 'ada@example.com', '', '{USER}', now())`,
    )
    await migrate(database.url)

    expect(await database.query(`select email from account`)).toEqual([
      { email: 'ada@example.com' },
    ])
  })

  it('leave nothing of one that fails', async () => {
    await empty()
    await database.query(`create table session (id text)`)

    const error = await failureOf(migrate(database.url))
    expect(error).toBeInstanceOf(StartError)
    expect(error.message).toMatch(
      /^Cannot migrate the database at .*: relation "session" already exists$/,
    )
    const tables = (await describeSchema()).map(({ table }) => table)
    expect(tables).toContain('revocation')
    expect(tables).not.toContain('account')
    await database.query(`drop table session`)
    expect(await migrate(database.url)).toEqual(all.slice(1))
  })
})

describe('the start is refused in one sentence', () => {
  it('when the schema is newer than this release', async () => {
    await database.query(
      `insert into migration (timestamp, name) values (9999999999999, 'Future9999999999999')`,
    )

    const error = await failureOf(migrate(database.url))
    expect(error).toBeInstanceOf(StartError)
    expect(error.message).toBe(
      'The database has a schema that this release does not know (migration Future9999999999999); start the release that made it, or a newer one',
    )
    expect(await listApplied()).toEqual([...all, 'Future9999999999999'])
  })

  it('when nothing listens', async () => {
    const listener = createServer()
    listener.listen(0, '127.0.0.1')
    await once(listener, 'listening')
    const { port } = listener.address() as AddressInfo
    listener.close()
    await once(listener, 'close')

    const error = await failureOf(migrate(`postgresql://ada:hunter2@127.0.0.1:${port}/there`))
    expect(error).toBeInstanceOf(StartError)
    expect(error.message).toContain(`Cannot use the database at 127.0.0.1:${port}/there: `)
    expect(error.message).toContain('ECONNREFUSED')
  })

  it('when no answer comes', async () => {
    const proxy = await startTcpProxy(database.url)
    proxy.setMode('blackhole')

    const error = await failureOf(migrate(proxy.url))
    expect(error).toBeInstanceOf(StartError)
    expect(error.message).toContain('timeout')
    await proxy.close()
  })

  it('when the database does not exist', async () => {
    const url = new URL(database.url)
    url.pathname = 'nowhere'

    const error = await failureOf(migrate(url.href))
    expect(error).toBeInstanceOf(StartError)
    expect(error.message).toContain('database "nowhere" does not exist')
  })

  // Q36
  it.each([
    ['the host has no address', 'postgresql://ada:hunter2@nowhere.invalid/there'],
    ['nothing listens', 'postgresql://ada:hunter2@127.0.0.1:1/there'],
  ])('without the password, when %s', async (_what, url) => {
    const error = await failureOf(migrate(url))

    expect(error).toBeInstanceOf(StartError)
    expect(`${error.message}${error.stack}`).not.toContain('hunter2')
  })

  it('when another node has held the lock for too long', async () => {
    const holder = new pg.Client(database.url)
    await holder.connect()
    await holder.query(`select pg_advisory_lock(7065711629303)`)

    const error = await failureOf(migrate(database.url, { waitMs: 300 }))
    expect(error).toBeInstanceOf(StartError)
    expect(error.message).toBe(
      'Another node has been migrating the database for 0.3 s; try again later',
    )
    await holder.end()
    expect(await migrate(database.url)).toEqual([])
  })
})

async function withDataSource<Result>(
  work: (dataSource: DataSource) => Promise<Result>,
): Promise<Result> {
  const dataSource = await createDataSource({
    url: database.url,
    isForMigrations: true,
  }).initialize()
  try {
    return await work(dataSource)
  } finally {
    await dataSource.destroy()
  }
}

async function listApplied(): Promise<string[]> {
  const rows = await database.query<{ name: string }>(`select name from migration order by id`)
  return rows.map(({ name }) => name)
}

/** As it is before the very first start. */
async function empty(): Promise<void> {
  await database.query(`drop schema public cascade`)
  await database.query(`create schema public`)
}

/** Tables, their columns, indexes and constraints. */
function describeSchema(): Promise<Array<{ table: string; what: string }>> {
  return database.query(
    `select table_name as table,
            concat_ws(' ', column_name, data_type, datetime_precision, is_nullable, column_default) as what
     from information_schema.columns where table_schema = 'public'
     union all
     select tablename, indexdef from pg_indexes where schemaname = 'public'
     union all
     select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint
     where connamespace = 'public'::regnamespace
     order by 1, 2`,
  )
}

async function failureOf(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise
  } catch (error) {
    return error as Error
  }
  throw new Error('It did not fail')
}
