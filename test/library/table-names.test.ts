import { DataSource, DefaultNamingStrategy } from 'typeorm'
import type { DataSourceOptions, NamingStrategyInterface } from 'typeorm'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  PostgresRevocationStore,
  RevocationReplica,
  revocationEntities,
  revocationMigrations,
} from '../../src/index.ts'
import { makeToken } from '../revocation/make-token.ts'
import {
  LIFETIME_SECONDS,
  RETENTION_DAYS,
  testRevocationStore,
} from '../revocation/store-contract.ts'
import type { StoreUnderTest } from '../revocation/store-contract.ts'
import { replaceClock } from '../support/database-clock.ts'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { PATIENCE_MS } from '../support/node.ts'

type Place = Pick<DataSourceOptions & { schema?: string }, 'schema' | 'entityPrefix'>

/** A team's DataSource that puts its tables into a place of its own. */
async function open(
  url: string,
  options: Partial<DataSourceOptions> & Place = {},
): Promise<DataSource> {
  return new DataSource({
    type: 'postgres',
    url,
    entities: [...revocationEntities],
    migrations: [...revocationMigrations],
    poolSize: 5,
    installExtensions: false,
    ...options,
  } as DataSourceOptions).initialize()
}

let database: TestDatabase
let dataSource: DataSource | undefined

/** A team that has a table named as one of ours, and nothing of Portcullis. */
async function createTeamDatabase(): Promise<TestDatabase> {
  const team = await createDatabase()
  await team.query(`drop schema public cascade; create schema public; create schema auth;
    create schema "Auth Data";
    create table revocation (licence text not null); insert into revocation values ('0815')`)
  return team
}

beforeEach(async () => {
  database = await createTeamDatabase()
})

afterEach(async () => {
  await dataSource?.destroy()
  dataSource = undefined
  await database.drop()
})

const tablesIn = async (schema: string): Promise<string[]> => {
  const rows = await database.query<{ name: string }>(
    `select tablename as name from pg_tables where schemaname = $1 order by 1`,
    [schema],
  )
  return rows.map(({ name }) => name)
}

const places: ReadonlyArray<readonly [string, Place, string, string[]]> = [
  ['schema', { schema: 'auth' }, 'auth', ['revocation', 'revocation_event']],
  ['entityPrefix', { entityPrefix: 'pc_' }, 'public', ['pc_revocation', 'pc_revocation_event']],
  [
    'both',
    { schema: 'auth', entityPrefix: 'pc_' },
    'auth',
    ['pc_revocation', 'pc_revocation_event'],
  ],
  [
    'names that need quotes',
    { schema: 'Auth Data', entityPrefix: 'Order ' },
    'Auth Data',
    ['Order revocation', 'Order revocation_event'],
  ],
]

describe.each(places)('A DataSource with %s', (_what, place, schema, tables) => {
  it('finds the tables of revocationMigrations where it looks for them, and no other', async () => {
    dataSource = await open(database.url, place)
    const ran = await dataSource.runMigrations()

    expect(await tablesIn(schema)).toEqual(expect.arrayContaining(tables))
    const { upQueries } = await dataSource.driver.createSchemaBuilder().log()
    expect(upQueries.map(({ query }) => query)).toEqual([])
    for (const _ of ran) await dataSource.undoLastMigration()
    expect(await tablesIn(schema)).not.toEqual(expect.arrayContaining(tables))
    expect(await database.query(`select * from public.revocation`)).toEqual([{ licence: '0815' }])
  })

  it('has its revocations hold on a node that reads the tables and on one with a replica', async () => {
    dataSource = await open(database.url, place)
    await dataSource.runMigrations()
    await expectRevocationsToHold(dataSource)
  })

  it('has its revocations hold when TypeORM made the tables by synchronize', async () => {
    dataSource = await open(database.url, { ...place, synchronize: true })
    await expectRevocationsToHold(dataSource)
  })
})

async function expectRevocationsToHold(source: DataSource): Promise<void> {
  const store = new PostgresRevocationStore(source)
  const replica = new RevocationReplica(source, { maxStalenessMs: 60_000 })
  const following = new PostgresRevocationStore(source, { replica })
  const [loaded, followed] = [makeToken({ sessionId: 'phone' }), makeToken({ sessionId: 'laptop' })]

  await store.revoke(ofSession('phone'))
  await replica.start()
  try {
    expect(following.rulesOut(makeToken({ sessionId: 'tablet' }))).toBe(true)
    expect(following.rulesOut(loaded)).toBe(false)
    await store.revoke(ofSession('laptop'))
    while (following.rulesOut(followed)) await new Promise(setImmediate)
  } finally {
    await replica.stop()
  }
  const found = await store.findFor([loaded, followed, makeToken({ sessionId: 'tablet' })])
  expect(found.map((entry) => entry?.sessionId)).toEqual(['phone', 'laptop', undefined])
}

const ofSession = (sessionId: string) =>
  ({ target: { scope: 'SESSION', sessionId, subject: 'ada' }, reason: 'lost', by: 'ada' }) as const

describe('A naming strategy', () => {
  it('that names tables otherwise is followed', async () => {
    const namingStrategy = strategy({ tableName: (_target, name) => `t_${name}` })
    dataSource = await open(database.url, { namingStrategy })
    await dataSource.runMigrations()

    expect(await tablesIn('public')).toEqual(
      expect.arrayContaining(['t_revocation', 't_revocation_event']),
    )
    await expectRevocationsToHold(dataSource)
  })

  it('that renames our columns is refused at construction, with the way out', async () => {
    const namingStrategy = strategy({ columnName: (name) => name.toUpperCase() })
    const source = await open(database.url, { namingStrategy })
    dataSource = source

    expect(() => new PostgresRevocationStore(source)).toThrow(
      new TypeError(
        'expected the column id of Revocation, got ID: have the naming strategy of the DataSource leave ' +
          'the columns of revocationEntities alone',
      ),
    )
  })
})

function strategy(own: Partial<NamingStrategyInterface>): NamingStrategyInterface {
  return Object.assign(new DefaultNamingStrategy(), own)
}

describe('A store in a schema and with a prefix that need quotes', () => {
  testRevocationStore(openElsewhere)
})

async function openElsewhere(): Promise<StoreUnderTest> {
  const team = await createTeamDatabase()
  const clock = await replaceClock(team)
  const place = { schema: 'Auth Data', entityPrefix: 'Order ' }
  const nodes = await Promise.all([1, 2].map(async () => open(team.url, place)))
  await nodes[0]!.runMigrations()
  const options = {
    maxTokenLifetimeSeconds: LIFETIME_SECONDS,
    journalRetentionDays: RETENTION_DAYS,
    checkTimeoutMs: PATIENCE_MS,
  }
  const [store, other] = nodes.map((node) => new PostgresRevocationStore(node, options))

  return {
    clock,
    async empty() {
      await team.query(`delete from "Auth Data"."Order revocation";
        delete from "Auth Data"."Order revocation_event"`)
      return { store: store!, other: other! }
    },
    async close() {
      await Promise.all(nodes.map((node) => node.destroy()))
      await team.drop()
    },
  }
}
