import type { QueryResultRow } from 'pg'
import { DataSource } from 'typeorm'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openFeedConnection } from '../../src/database/feed-connection.ts'
import { poolOf } from '../../src/database/pool.ts'
import { runTransaction } from '../../src/database/transaction.ts'
import { PostgresRevocationStore, RevocationReplica, revocationEntities } from '../../src/index.ts'
import { createDataSource } from '../../src/service/database/data-source.ts'
import { inspect } from '../../src/service/database/inspect.ts'
import { migrate } from '../../src/service/database/migrate.ts'
import { makeToken } from '../revocation/make-token.ts'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { login, register } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

/** Settings that change what our SQL means, as a DBA may have set them, and as our connections have them. */
const ALTERED: ReadonlyArray<readonly [name: string, theirs: string, ours: string]> = [
  ['DateStyle', 'German', 'ISO, YMD'],
  ['IntervalStyle', 'sql_standard', 'postgres'],
  ['TimeZone', 'Asia/Kathmandu', 'UTC'],
  ['client_encoding', 'LATIN1', 'UTF8'],
  ['array_nulls', 'off', 'on'],
  ['bytea_output', 'escape', 'hex'],
  ['extra_float_digits', '-10', '1'],
  ['standard_conforming_strings', 'off', 'on'],
  ['backslash_quote', 'on', 'safe_encoding'],
  ['quote_all_identifiers', 'on', 'off'],
  ['transform_null_equals', 'on', 'off'],
  ['row_security', 'off', 'on'],
  ['session_replication_role', 'replica', 'origin'],
  ['exit_on_error', 'on', 'off'],
  ['jit', 'on', 'off'],
  ['synchronous_commit', 'off', 'on'],
  ['default_transaction_isolation', 'serializable', 'read committed'],
  ['default_transaction_read_only', 'on', 'off'],
  ['default_transaction_deferrable', 'on', 'off'],
  ['lock_timeout', '1', '2000'],
  ['statement_timeout', '60000', '4000'],
  ['idle_in_transaction_session_timeout', '60000', '3000'],
  ['idle_session_timeout', '60000', '0'],
  ['transaction_timeout', '60000', '0'],
]

let database: TestDatabase
let service: TestService | undefined
let dataSource: DataSource | undefined

beforeEach(async () => {
  database = await createDatabase()
})

afterEach(async () => {
  await service?.stop()
  await dataSource?.destroy()
  service = undefined
  dataSource = undefined
  await database.drop()
})

const nameOf = (url: string): string => new URL(url).pathname.slice(1)

async function alter(
  settings: ReadonlyArray<readonly [string, string, ...unknown[]]>,
): Promise<void> {
  for (const [name, value] of settings) {
    await database
      // It may be read-only by now.
      .query(
        `begin read write; alter database ${nameOf(database.url)} set ${name} = '${value}'; commit`,
      )
      .catch((error: unknown) => {
        // A setting of a newer PostgreSQL than this one.
        if ((error as { code?: string }).code !== '42704') throw error
      })
  }
}

/** What the sessions of one kind have, of what was altered. */
async function settingsOf(
  query: (text: string) => Promise<{ rows: QueryResultRow[] }>,
): Promise<Record<string, string>> {
  const names = ALTERED.map(([name]) => `'${name.toLowerCase()}'`).join()
  const { rows } = await query(
    `select name, setting from pg_settings where lower(name) in (${names})`,
  )
  return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]))
}

const expected = (over: Record<string, string> = {}) => {
  const all = { ...Object.fromEntries(ALTERED.map(([name, , ours]) => [name, ours])), ...over }
  return (settings: Record<string, string>) =>
    Object.fromEntries(Object.keys(settings).map((name) => [name, all[name]]))
}

const WITHOUT_LIMITS = {
  lock_timeout: '0',
  statement_timeout: '0',
  idle_in_transaction_session_timeout: '0',
}

describe('What our SQL depends on is set by us, whatever a DBA set', () => {
  it('on the connections of the pool and of the journal', async () => {
    await alter(ALTERED)
    dataSource = createDataSource({ url: database.url })
    await dataSource.initialize()
    const pool = await settingsOf((text) => poolOf(dataSource!).query(text))
    const feed = await openFeedConnection(dataSource, 5000)
    const own = await settingsOf((text) => feed.client.query(text))
    feed.close()

    expect(pool).toEqual(expected()(pool))
    expect(own).toEqual(expected(WITHOUT_LIMITS)(own))
  })

  it('on the connections of the migrations', async () => {
    await alter(ALTERED)
    dataSource = createDataSource({ url: database.url, isForMigrations: true })
    await dataSource.initialize()
    const settings = await settingsOf((text) => poolOf(dataSource!).query(text))

    expect(settings).toEqual(expected(WITHOUT_LIMITS)(settings))
    await database.query(
      'begin read write; drop schema public cascade; create schema public; commit',
    )
    expect(await migrate(database.url)).not.toEqual([])
  })

  it('in the transactions of a service whose connections a pooler lends', async () => {
    await alter(ALTERED)
    dataSource = createDataSource({ url: database.url, prepares: false })
    await dataSource.initialize()
    const settings = await runTransaction(dataSource, (manager) =>
      settingsOf(async (text) => ({ rows: await manager.query(text) })),
    )

    const session = ['idle_session_timeout', 'default_transaction_isolation']
    const theirs = [...session, 'default_transaction_read_only', 'default_transaction_deferrable']
    for (const name of theirs) delete settings[name]
    expect(settings).toEqual(expected()(settings))
  })

  it('but a commit that waits for standbys too, and limits that the URL says', async () => {
    await alter([['synchronous_commit', 'remote_apply']])
    const url = `${database.url}${database.url.includes('?') ? '&' : '?'}statement_timeout=1234`
    dataSource = createDataSource({ url })
    await dataSource.initialize()

    expect(await settingsOf((text) => poolOf(dataSource!).query(text))).toMatchObject({
      synchronous_commit: 'remote_apply',
      statement_timeout: '1234',
    })
  })

  it('but a server that is read-only as a whole', async () => {
    dataSource = createDataSource({
      url: `${database.url}${database.url.includes('?') ? '&' : '?'}options=-c%20default_transaction_read_only%3Don`,
    })
    await dataSource.initialize()

    expect(await settingsOf((text) => poolOf(dataSource!).query(text))).toMatchObject({
      default_transaction_read_only: 'on',
    })
  })
})

describe.each([
  ['reads the database', null],
  ['has a replica', 300],
])('A node that %s', (_what, maxStalenessMs) => {
  it.each<[name: string, theirs: string]>([
    ...ALTERED.filter(([name]) => !['idle_session_timeout', 'lock_timeout'].includes(name)).map(
      ([name, theirs]): [string, string] => [name, theirs],
    ),
    ['statement_timeout', '50'],
    ['search_path', 'nowhere, public'],
    ['search_path', 'empty, public'],
  ])('stops a revoked token, and no other, on a database with %s = %s', async (name, theirs) => {
    await database.query('create schema empty')
    const value = name === 'search_path' ? theirs.split(', ').join("', '") : theirs
    await alter([[name, value]])
    service = await startService({ database, maxStalenessMs })
    const phone = await register(service, 'ada')
    const laptop = await login(service, 'ada', 'laptop')

    const all = await service.graphql(
      'mutation { logoutAllDevices(keepCurrent: true) { endedSessions } }',
      {
        token: laptop.accessToken,
      },
    )
    expect(all.errors).toEqual([])
    expect(all.data.logoutAllDevices.endedSessions).toBe(1)
    expect((await me(phone.accessToken)).errors[0]?.extensions.reason).toBe('TOKEN_REVOKED')
    expect((await me(laptop.accessToken)).errors).toEqual([])
    const { errors } = await service.graphql('mutation { logout { alreadyRevoked } }', {
      token: laptop.accessToken,
    })
    expect(errors).toEqual([])
    expect((await me(laptop.accessToken)).errors[0]?.extensions.reason).toBe('TOKEN_REVOKED')
    await service.stop()
    service = undefined
    expect(await database.query(`select reason from public.revocation order by 1`)).toHaveLength(2)
  })
})

const me = (token: string) => service!.graphql('{ me { id } }', { token })

describe('A schema that search_path does not lead to', () => {
  it.each(['elsewhere', 'nowhere', ''])(
    'makes no new blacklist: with "%s" the node does not start, and says why',
    async (path) => {
      await database.query('create schema elsewhere')
      await alter([['search_path', path]])
      const starting = startService({ database })

      await expect(starting).rejects.toThrow(
        /are in the schema public, and search_path \(.*\) leads/,
      )
      const made = await database.query(`select 1 from pg_tables where schemaname = 'elsewhere'`)
      expect(made).toEqual([])
    },
  )

  it('is used when DATABASE_URL says so', async () => {
    await database.query('create schema elsewhere')
    const url = `${database.url}${database.url.includes('?') ? '&' : '?'}options=-c%20search_path%3Delsewhere`
    service = await startService({ database, databaseUrl: url })
    await register(service, 'ada')

    expect(
      await database.query('select 1 from elsewhere.account where email like $1', ['ada%']),
    ).toHaveLength(1)
    expect(await database.query('select 1 from public.account')).toEqual([])
    expect((await inspect(url, { prepares: true })).schema).toBe('elsewhere')
  })

  it('that is changed while a node runs does not lead its new connections elsewhere', async () => {
    service = await startService({ database })
    await database.query('create schema elsewhere')
    await alter([['search_path', 'elsewhere']])
    const [{ count }] = (await database.query(
      `select count(pg_terminate_backend(pid))::integer as count from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid()`,
    )) as [{ count: number }]
    expect(count).toBeGreaterThan(0)
    await service.graphql('{ __typename }')

    const { accessToken } = await register(service, 'ada')
    expect((await me(accessToken)).errors).toEqual([])
  })
})

describe('A library user’s DataSource on a database that a DBA altered', () => {
  async function open(options: object = {}): Promise<DataSource> {
    dataSource = await new DataSource({
      type: 'postgres',
      url: database.url,
      entities: [...revocationEntities],
      installExtensions: false,
      ...options,
    }).initialize()
    return dataSource
  }

  const ofSession = (sessionId: string) =>
    ({ target: { scope: 'SESSION', sessionId, subject: 'ada' }, reason: 'lost', by: null }) as const

  it.each(ALTERED.filter(([name]) => !/timeout|read_only/.test(name)))(
    'has its revocations hold with %s = %s',
    async (name, theirs) => {
      await alter([[name, theirs]])
      const store = new PostgresRevocationStore(await open())
      const replica = new RevocationReplica(dataSource!)
      const following = new PostgresRevocationStore(dataSource!, { replica })
      await store.revoke(ofSession('phone'))
      await replica.start()
      await store.revoke({ target: { scope: 'SUBJECT', subject: 'grace' }, reason: 'x', by: null })

      const phone = makeToken({ sessionId: 'phone' })
      const tokens = [phone, makeToken({ sessionId: 'tablet' })]
      expect((await store.findFor(tokens)).map((entry) => entry?.keptSessionId)).toEqual([
        null,
        undefined,
      ])
      expect((await following.findFor(tokens))[0]).toMatchObject({ issuer: null, note: null })
      expect(following.rulesOut(phone)).toBe(false)
      expect(store.now()).toBeCloseTo(Date.now() / 1000, -1)
      await replica.stop()
    },
  )

  it.each([{ isolationLevel: 'SERIALIZABLE' }, {}])(
    'has our transactions see what was committed meanwhile: %o',
    async (options) => {
      await alter([['default_transaction_isolation', 'repeatable read']])
      const levels = await runTransaction(await open(options), (manager) =>
        manager.query('show transaction_isolation'),
      )
      expect(levels).toEqual([{ transaction_isolation: 'read committed' }])
    },
  )

  it('refuses to take part in a transaction that would miss what others commit', async () => {
    const store = new PostgresRevocationStore(await open())
    const within = (level: 'READ COMMITTED' | 'REPEATABLE READ' | 'SERIALIZABLE') =>
      dataSource!.transaction(level, (manager) => store.revokeWithin(manager, ofSession('phone')))

    for (const level of ['REPEATABLE READ', 'SERIALIZABLE'] as const) {
      await expect(within(level)).rejects.toThrow(
        new TypeError(
          `expected a transaction whose isolation level is READ COMMITTED, got ${level}`,
        ),
      )
    }
    expect(await store.countInForce({})).toBe(0)
    await within('READ COMMITTED')
    expect(await store.countInForce({})).toBe(1)
  })

  it('reads and writes our values as ours in a transaction of the user', async () => {
    await alter([
      ['DateStyle', 'German'],
      ['array_nulls', 'off'],
    ])
    const store = new PostgresRevocationStore(await open())
    const { revocation } = await dataSource!.transaction((manager) =>
      store.revokeWithin(manager, ofSession('phone')),
    )
    expect(revocation).toMatchObject({ issuer: null, keptSessionId: null })
    expect(revocation.revokedAt.getTime()).toBeCloseTo(Date.now(), -5)
  })
})

describe('A database that cannot hold every text', () => {
  it.each(['LATIN1', 'SQL_ASCII', 'EUC_JP'])('is refused at the start: %s', async (encoding) => {
    const name = `${nameOf(database.url)}_${encoding.toLowerCase()}`
    await database.query(
      `create database ${name} encoding '${encoding}' locale 'C' template template0`,
    )
    const url = new URL(database.url)
    url.pathname = name
    try {
      await expect(migrate(url.href)).rejects.toThrow(
        new RegExp(
          `/${name} has the encoding ${encoding}, .*encoding 'UTF8' locale 'C' template template0`,
        ),
      )
    } finally {
      await database.query(`drop database ${name} with (force)`)
    }
  })
})
