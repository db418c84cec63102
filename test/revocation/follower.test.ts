import { setTimeout as sleep } from 'node:timers/promises'
import { buildSchema } from 'graphql'
import pg from 'pg'
import type { PoolClient } from 'pg'
import { DataSource } from 'typeorm'
import { afterEach, beforeEach, describe, expect, inject, it, onTestFinished, vi } from 'vitest'
import { poolOf } from '../../src/database/pool.ts'
import { createPortcullis } from '../../src/portcullis.ts'
import { formatHints, hintOf } from '../../src/revocation/journal/hint.ts'
import { JournalFollower } from '../../src/revocation/journal/journal-follower.ts'
import { MemoryRevocationStore } from '../../src/revocation/memory/memory-store.ts'
import type { RevocationStore } from '../../src/revocation/ports.ts'
import { PostgresRevocationStore } from '../../src/revocation/postgres/postgres-store.ts'
import type { PostgresRevocationStoreOptions } from '../../src/revocation/postgres/postgres-store.ts'
import { RevocationReplica } from '../../src/revocation/replica/replica.ts'
import { createKeyRing } from '../../src/token/keys.ts'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { openDataSource } from '../support/node.ts'
import { SECRET } from '../support/service.ts'
import { makeToken } from './make-token.ts'

let database: TestDatabase

beforeEach(async () => {
  database = await createDatabase()
})

afterEach(async () => {
  await database.drop()
})

async function open(url = database.url): Promise<DataSource> {
  const dataSource = await openDataSource(url, 6)
  onTestFinished(() => dataSource.destroy())
  return dataSource
}

function stopLater<Following extends JournalFollower | RevocationReplica>(
  following: Following,
): Following {
  onTestFinished(() => following.stop())
  return following
}

/** A login that may do nothing but connect. */
async function createStranger(limit = -1): Promise<string> {
  const name = `stranger_${Math.random().toString(36).slice(2)}`
  await database.query(`create role ${name} login password 'pw' connection limit ${limit}`)
  onTestFinished(async () => {
    const client = new pg.Client(inject('postgres').serverUrl)
    await client.connect()
    // The database, and with it what it was granted there, is gone.
    await client.query(`drop role ${name}`)
    await client.end()
  })
  const url = new URL(database.url)
  url.username = name
  url.password = 'pw'
  return url.href
}

describe.each([
  ['a follower of the journal', JournalFollower],
  ['a replica', RevocationReplica],
])('%s', (_what, Following) => {
  it('does not start before the migrations ran, says so in a sentence, and starts afterwards', async () => {
    await database.query(`alter table revocation_event rename to hidden`)
    const onFault = vi.fn<(error: unknown) => void>()
    const following = stopLater(new Following(await open(), { onFault }))

    await expect(following.start()).rejects.toThrow(
      `The journal's tables are not there (relation "revocation_event" does not exist): run the migrations first`,
    )
    expect(onFault).toHaveBeenCalledTimes(1)
    await database.query(`alter table hidden rename to revocation_event`)
    await following.start()
  })

  it('says that its role may not read the journal', async () => {
    const following = stopLater(new Following(await open(await createStranger())))

    await expect(following.start()).rejects.toThrow('The database role may not read the journal')
  })

  it('warns of a fault without a listener, also of a start that is not awaited', async () => {
    await database.query(`alter table revocation_event rename to hidden`)
    const warned = new Promise<Error>((resolve) => {
      process.once('warning', resolve)
    })
    const unhandled = vi.fn<() => void>()
    process.once('unhandledRejection', unhandled)
    onTestFinished(() => void process.off('unhandledRejection', unhandled))
    const following = stopLater(new Following(await open()))

    void following.start()
    expect(await warned).toMatchObject({
      name: 'PortcullisWarning',
      message: 'Portcullis cannot follow the journal at the moment',
      detail: expect.stringContaining('run the migrations first'),
    })
    await sleep(50)
    expect(unhandled).not.toHaveBeenCalled()
  })

  it('starts once, however often it is told to', async () => {
    const following = stopLater(new Following(await open()))
    await Promise.all([following.start(), following.start()])
    await following.start()

    const feeds = await database.query(
      `select 1 from pg_stat_activity
       where datname = current_database() and application_name = 'portcullis-replica'`,
    )
    expect(feeds).toHaveLength(1)
  })

  it('gets a connection when the pool has taken the last ones, and again after it broke', async () => {
    const dataSource = await open(await createStranger(4))
    await database.query(`grant select on all tables in schema public to public`)
    const pool = poolOf(dataSource)
    const takeAll = async (): Promise<PoolClient[]> =>
      Promise.all(
        Array.from({ length: 4 - pool.totalCount + pool.idleCount }, () => pool.connect()),
      )
    const releaseAll = (clients: readonly PoolClient[]): void => {
      for (const client of clients) client.release()
    }
    releaseAll(await takeAll())
    const onInStep = vi.fn<() => void>()
    const following = stopLater(new Following(dataSource, { onInStep }))

    await following.start()
    expect(onInStep).toHaveBeenCalledTimes(1)

    await database.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and application_name = 'portcullis-replica'`,
    )
    await vi.waitFor(() => expect(onInStep).toHaveBeenCalledTimes(2), 5000)
    expect(pool.totalCount).toBeLessThanOrEqual(4)
  })
})

describe('a DataSource of no use', () => {
  const makers: ReadonlyArray<[string, (dataSource: DataSource) => unknown]> = [
    ['JournalFollower', (dataSource) => new JournalFollower(dataSource)],
    ['RevocationReplica', (dataSource) => new RevocationReplica(dataSource)],
    ['PostgresRevocationStore', (dataSource) => new PostgresRevocationStore(dataSource)],
  ]

  it.each(makers)('is refused by %s at construction', (_name, make) => {
    const mysql = { options: { type: 'mysql' }, isInitialized: true } as unknown as DataSource
    const early = new DataSource({ type: 'postgres', url: database.url })

    expect(() => make(mysql)).toThrow(
      new TypeError('expected a DataSource of type postgres, got mysql'),
    )
    expect(() => make(early)).toThrow(
      new TypeError('expected an initialized DataSource: await its initialize() first'),
    )
    expect(() => make(undefined as unknown as DataSource)).toThrow(
      new TypeError('expected a DataSource of type postgres, got undefined'),
    )
  })
})

describe('live connections', () => {
  const create = (store: RevocationStore): ReturnType<typeof createPortcullis> =>
    createPortcullis({
      keys: createKeyRing({ signWith: SECRET }),
      issuer: 'portcullis',
      audience: 'portcullis',
      store,
    })
  const schema = buildSchema('type Query { ok: Boolean }')

  it.each(['webSocketOptions', 'eventStreamOptions'] as const)(
    'are refused by %s on a store that does not hear of other nodes',
    async (options) => {
      const { live } = create(new PostgresRevocationStore(await open()))
      expect(() => live[options]({ schema })).toThrow(
        new TypeError(
          'expected PostgresRevocationStore to be given a replica or a journal: live connections end with what other nodes revoke',
        ),
      )
    },
  )

  it.each<[string, (dataSource: DataSource) => PostgresRevocationStoreOptions]>([
    ['journal', (dataSource) => ({ journal: stopLater(new JournalFollower(dataSource)) })],
    ['replica', (dataSource) => ({ replica: stopLater(new RevocationReplica(dataSource)) })],
  ])('have the %s of their store followed', async (_what, makeOptions) => {
    const dataSource = await open()
    const options = makeOptions(dataSource)
    const store = new PostgresRevocationStore(dataSource, options)
    create(store).live.eventStreamOptions({ schema })

    const journal = options.replica?.journal ?? options.journal
    await vi.waitFor(() => expect(journal?.isInStep()).toBe(true), 5000)
  })

  it('need nothing to follow in memory', () => {
    expect(() =>
      create(new MemoryRevocationStore()).live.webSocketOptions({ schema }),
    ).not.toThrow()
  })
})

describe('hints', () => {
  it('that are never confirmed cost a replica no memory, and soon nothing at all', async () => {
    const dataSource = await open()
    const replica = stopLater(new RevocationReplica(dataSource, { maxStalenessMs: 1000 }))
    await replica.start()
    const { entries, bytes } = replica.state
    const token = makeToken()
    const forged = hintOf({
      scope: 'TOKEN',
      issuer: token.issuer,
      tokenId: token.tokenId,
      expiresAt: new Date(8e14),
    } as never)
    const stranger = await open(await createStranger())
    const other = Array.from({ length: 100 }, (_, n) => ({ ...forged, high: n, low: n * 7919 }))

    for (let n = 0; n < 500; n++) {
      const hints = other.map((hint) => ({ ...hint, low: hint.low + n * 1e6 }))
      await stranger.query(`select pg_notify('portcullis_revocation', $1)`, [
        formatHints([forged, ...hints]),
      ])
      expect(replica.state).toMatchObject({ entries, bytes })
    }

    await vi.waitFor(() => expect(replica.rulesOut(token)).toBe(true), 3000)
    expect(replica.state).toMatchObject({ state: 'IN_STEP', entries, bytes })
  })

  it('hold a token up until the journal was read', async () => {
    const dataSource = await open()
    const replica = stopLater(new RevocationReplica(dataSource, { maxStalenessMs: 60_000 }))
    await replica.start()
    const [token, other] = [makeToken(), makeToken({ sessionId: 'other', subject: 'other' })]
    const hint = hintOf({
      scope: 'SESSION',
      sessionId: token.sessionId,
      expiresAt: new Date(Date.now() + 60_000),
    } as never)
    expect(replica.rulesOut(token)).toBe(true)

    await database.query(`select pg_notify('portcullis_revocation', $1)`, [formatHints([hint])])
    await vi.waitFor(() => expect(replica.rulesOut(token)).toBe(false), { interval: 1 })
    expect(replica.rulesOut(other)).toBe(true)
    await vi.waitFor(() => expect(replica.rulesOut(token)).toBe(true), 3000)
  })
})
