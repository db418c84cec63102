import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { DataSource } from 'typeorm'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { runTransaction } from '../../src/database/transaction.ts'
import { RevocationUnavailableError } from '../../src/errors.ts'
import { createRevocationCheck } from '../../src/revocation/check.ts'
import type { RevocationCheck } from '../../src/revocation/check.ts'
import type { JournalFollowerOptions } from '../../src/revocation/journal/journal-follower.ts'
import * as sql from '../../src/revocation/journal/journal-sql.ts'
import type { RevocationOutcome } from '../../src/revocation/ports.ts'
import { PostgresRevocationStore } from '../../src/revocation/postgres/postgres-store.ts'
import { RevocationReplica } from '../../src/revocation/replica/replica.ts'
import type { RevocationTarget } from '../../src/revocation/revocation.ts'
import type { Token } from '../../src/token/claims.ts'
import { replaceClock } from '../support/database-clock.ts'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { openDataSource } from '../support/node.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { makeToken } from './make-token.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await createDatabase()
})

afterAll(async () => {
  await database.drop()
})

interface Node {
  readonly store: PostgresRevocationStore
  readonly replica: RevocationReplica
  readonly dataSource: DataSource
  readonly check: RevocationCheck
  /** How many statements the checks have sent. */
  lookUps(): number
}

/** @param feedUrl - Where the replica reads, when that is another cable than the store's. */
async function openNode(
  options: JournalFollowerOptions = {},
  { url = database.url, feedUrl }: { url?: string; feedUrl?: string } = {},
): Promise<Node> {
  const urls = [url, feedUrl ?? url]
  const [dataSource, feed] = await Promise.all(urls.map((each) => openDataSource(each, 4)))
  const replica = new RevocationReplica(feed!, options)
  const store = new PostgresRevocationStore(dataSource!, { replica, checkTimeoutMs: 5000 })
  onTestFinished(async () => {
    await replica.stop()
    await Promise.all([dataSource!.destroy(), feed!.destroy()])
  })
  await replica.start()

  const findFor = vi.spyOn(store, 'findFor')
  const check = createRevocationCheck(store, { timeoutMs: 5000 })
  return {
    store,
    replica,
    dataSource: dataSource!,
    check,
    lookUps: () => findFor.mock.calls.length,
  }
}

/** Another node, which has no replica and so sends no hints. */
async function openSilentStore(): Promise<PostgresRevocationStore> {
  const dataSource = await openDataSource(database.url, 4)
  onTestFinished(() => dataSource.destroy())
  return new PostgresRevocationStore(dataSource)
}

function revoke(
  store: PostgresRevocationStore,
  target: RevocationTarget,
): Promise<RevocationOutcome> {
  return store.revoke({ target, reason: 'logout', by: null })
}

const targetOf = (token: Token): RevocationTarget => ({ scope: 'TOKEN', token })

/** A token that no other test can hit. */
function makeLoner(): Token {
  const name = `loner-${Math.random()}`
  return makeToken({ subject: name, sessionId: name, tokenId: name })
}

async function expectToBeKnown({ replica }: Node, token: Token): Promise<void> {
  await vi.waitFor(() => expect(replica.rulesOut(token)).toBe(false), {
    timeout: 3000,
    interval: 1,
  })
  expect(replica.state.state).toBe('IN_STEP')
}

async function expectToBeInStep({ replica }: Node): Promise<void> {
  await vi.waitFor(() => expect(replica.state.state).toBe('IN_STEP'), {
    timeout: 5000,
    interval: 5,
  })
}

/** Measures the turns of the event loop that do something, by the processor's time: others have the machine too. */
function watchTurns(): { stop(): number[] } {
  const turnsMs: number[] = []
  let isWatching = true
  async function watch(): Promise<void> {
    while (isWatching) {
      const before = process.cpuUsage()
      await nextTurn()
      const { user, system } = process.cpuUsage(before)
      if (user + system > 1000) turnsMs.push((user + system) / 1000)
    }
  }

  void watch()
  return {
    stop() {
      isWatching = false
      return turnsMs.toSorted((a, b) => a - b)
    },
  }
}

describe('a replica in step', () => {
  it('answers for tokens that nothing revokes, without a statement', async () => {
    const node = await openNode()
    const tokens = Array.from({ length: 100 }, makeLoner)

    expect(await Promise.all(tokens.map(node.check))).toEqual(tokens.map(() => null))
    expect(tokens.every((token) => node.store.rulesOut(token))).toBe(true)
    expect(node.lookUps()).toBe(0)
  })

  // Q01
  it('knows of every scope what was in force before it started', async () => {
    const silent = await openSilentStore()
    const [phone, laptop, tablet, desk] = Array.from({ length: 4 }, makeLoner)
    const entries = [
      await revoke(silent, targetOf(phone!)),
      await revoke(silent, { scope: 'SESSION', sessionId: laptop!.sessionId, subject: null }),
      await revoke(silent, { scope: 'SUBJECT', subject: tablet!.subject }),
      await revoke(silent, { scope: 'TOKEN', digest: desk!.digest }),
    ].map(({ revocation }) => revocation)

    const node = await openNode()
    expect(await Promise.all([phone!, laptop!, tablet!, desk!].map(node.check))).toEqual(entries)
    expect(node.replica.rulesOut(makeLoner())).toBe(true)
    expect(node.replica.rulesOut({ ...tablet!, issuedAt: Date.now() / 1000 + 5 })).toBe(true)

    const { revocation } = await revoke(silent, { scope: 'EVERYONE' })
    const late = await openNode()
    expect(
      await late.check({ ...makeLoner(), issuedAt: revocation.revokedAt.getTime() / 1000 }),
    ).toEqual(revocation)
    await silent.restore(revocation.id, { by: null })
  })

  // Q01
  it('knows what its own node revokes before the answer, even if it hears nothing', async () => {
    const cable = await startTcpProxy(database.url)
    onTestFinished(() => cable.close())
    const node = await openNode({ maxStalenessMs: 60_000 }, { feedUrl: cable.url })
    cable.setMode('blackhole')

    for (const token of Array.from({ length: 5 }, makeLoner)) {
      expect(node.replica.rulesOut(token)).toBe(true)
      await revoke(node.store, targetOf(token))
      expect(node.replica.rulesOut(token)).toBe(false)
    }
    expect(node.replica.state.state).toBe('IN_STEP')
  })

  it('knows what its own node found revoked by another', async () => {
    const cable = await startTcpProxy(database.url)
    onTestFinished(() => cable.close())
    const node = await openNode({ maxStalenessMs: 60_000 }, { feedUrl: cable.url })
    cable.setMode('blackhole')
    const [token, person] = [makeLoner(), makeLoner()]
    const silent = await openSilentStore()
    await revoke(silent, targetOf(token))
    await revoke(silent, { scope: 'SUBJECT', subject: person.subject })

    expect(await revoke(node.store, targetOf(token))).toMatchObject({ alreadyRevoked: true })
    expect(node.replica.rulesOut(token)).toBe(false)
    await node.store.latestCutOffWithin(node.dataSource.manager, {
      scope: 'SUBJECT',
      subject: person.subject,
    })
    expect(node.replica.rulesOut(person)).toBe(false)
  })

  // Q01
  it('knows what a check found, also for the other tokens that it reaches', async () => {
    const cable = await startTcpProxy(database.url)
    onTestFinished(() => cable.close())
    const node = await openNode({ maxStalenessMs: 60_000 }, { feedUrl: cable.url })
    cable.setMode('blackhole')
    const phone = makeLoner()
    const refreshed = { ...phone, tokenId: 'refreshed' }
    const silent = await openSilentStore()
    const { revocation } = await revoke(silent, { scope: 'SUBJECT', subject: phone.subject })
    // So the check of this one asks the database, and finds that the cut-off came first.
    await revoke(node.store, targetOf(phone))
    expect(node.replica.rulesOut(refreshed)).toBe(true)

    expect(await node.check(phone)).toEqual(revocation)
    expect(node.replica.rulesOut(refreshed)).toBe(false)
  })

  // Q01, Q19
  it('hears at once what another node revokes', async () => {
    // It would read by itself after a quarter of a second only.
    const [node, other] = [await openNode(), await openNode()]
    const delays: number[] = []
    for (const token of Array.from({ length: 15 }, makeLoner)) {
      await revoke(other.store, targetOf(token))
      const answeredAt = performance.now()
      await expectToBeKnown(node, token)
      delays.push(performance.now() - answeredAt)
    }
    expect(delays.toSorted((a, b) => a - b)[7]).toBeLessThan(60)
  })

  it('does not mind what others call on its channel', async () => {
    const node = await openNode({ maxStalenessMs: 60_000 })
    for (const payload of ['', 'garbage', '1 2 3 4', '1 2 3 4,x']) {
      await database.query(`select pg_notify('portcullis_revocation', $1)`, [payload])
    }
    const silent = await openSilentStore()
    const token = makeLoner()
    await revoke(silent, targetOf(token))
    await database.query(`select pg_notify('portcullis_revocation', '')`)
    await expectToBeKnown(node, token)
    expect(node.replica.rulesOut(makeLoner())).toBe(true)
  })

  // Q01
  it('finds out by itself what came without a hint', async () => {
    const node = await openNode({ maxStalenessMs: 300 })
    const silent = await openSilentStore()
    const token = makeLoner()

    await revoke(silent, targetOf(token))
    await expectToBeKnown(node, token)
  })

  it('lets in again what was restored', async () => {
    const [node, other] = [await openNode(), await openNode()]
    const token = makeLoner()
    const { revocation } = await revoke(other.store, targetOf(token))
    await expectToBeKnown(node, token)

    await other.store.restore(revocation.id, { by: null })
    expect(await Promise.all([node, other].map(({ check }) => check(token)))).toEqual([null, null])
  })

  it('answers by itself for logins after a cut-off', async () => {
    const node = await openNode()
    const before = makeLoner()
    await revoke(node.store, { scope: 'SUBJECT', subject: before.subject })
    const issuedAt = (await node.store.issueInstant(before.subject)).getTime() / 1000

    expect(node.replica.rulesOut(before)).toBe(false)
    expect(node.replica.rulesOut({ ...before, issuedAt })).toBe(true)
  })

  it('forgets what has expired', async () => {
    const node = await openNode()
    const { entries } = node.replica.state
    await database.query(
      `insert into revocation_event (kind, occurred_at, revocation_id, scope, subject, revoked_at, expires_at, reason)
       select 'REVOKED', now(), gen_random_uuid(), 'SUBJECT', 's' || n, now(), now() - interval '1 second', 'x'
       from generate_series(1, 50) as n`,
    )
    await vi.waitFor(() => expect(node.replica.state.entries).toBe(entries + 50), 2000)
    await vi.waitFor(() => expect(node.replica.state.entries).toBe(entries), 12_000)
  })
})

describe('the journal that a replica follows', () => {
  // Q01
  it('loses nothing when a transaction commits after one that began later', async () => {
    const node = await openNode({ maxStalenessMs: 200 })
    const silent = await openSilentStore()
    const [early, late] = [makeLoner(), makeLoner()]
    const { dataSource } = node
    const runner = dataSource.createQueryRunner()
    onTestFinished(() => runner.release())
    await runner.startTransaction()
    await silent.revokeWithin(runner.manager, { target: targetOf(early), reason: 'x', by: null })

    await revoke(silent, targetOf(late))
    await expectToBeKnown(node, late)
    await sleep(200)
    expect(node.replica.rulesOut(early)).toBe(true)

    await runner.commitTransaction()
    await expectToBeKnown(node, early)
  })

  // Q01
  it('goes on while a transaction elsewhere is open for long', async () => {
    const node = await openNode({ maxStalenessMs: 200 })
    const silent = await openSilentStore()
    const writer = new pg.Client({ connectionString: database.url })
    await writer.connect()
    onTestFinished(() => writer.end())
    await writer.query(`begin`)
    await writer.query(`select txid_current()`)

    for (const token of Array.from({ length: 3 }, makeLoner)) {
      await revoke(silent, targetOf(token))
      await expectToBeKnown(node, token)
    }
  })

  it('is read on where it was left when the connection breaks', async () => {
    const onFault = vi.fn<(error: unknown) => void>()
    const node = await openNode({ onFault })
    const silent = await openSilentStore()

    for (const token of Array.from({ length: 5 }, makeLoner)) {
      await Promise.all([revoke(silent, targetOf(token)), endFeeds()])
      await expectToBeKnown(node, token)
    }
    expect(onFault).toHaveBeenCalled()
    expect(node.replica.state.state).toBe('IN_STEP')
  })

  it('is read on when it missed thousands of lines', async () => {
    const cable = await startTcpProxy(database.url)
    onTestFinished(() => cable.close())
    const node = await openNode({ maxStalenessMs: 300 }, { feedUrl: cable.url })
    cable.setMode('cut')
    await vi.waitFor(() => expect(node.replica.state.state).toBe('STALE'), 3000)
    await database.query(
      `insert into revocation_event (kind, occurred_at, revocation_id, scope, subject, revoked_at, expires_at, reason)
       select 'REVOKED', now(), gen_random_uuid(), 'SUBJECT', 'missed-' || n, now(), now() + interval '1 hour', 'x'
       from generate_series(1, 5000) as n`,
    )

    cable.setMode('pass')
    await expectToBeInStep(node)
    const rest = Array.from({ length: 5000 }, (_, index) =>
      makeToken({ subject: `missed-${index + 1}`, issuedAt: 1000 }),
    ).filter((token) => node.replica.rulesOut(token))
    expect(rest).toEqual([])
  })

  it('is read on in seconds, without holding up checks, when it missed 400,000 lines', async () => {
    const cable = await startTcpProxy(database.url)
    onTestFinished(() => cable.close())
    const node = await openNode({ maxStalenessMs: 1000 }, { feedUrl: cable.url })
    const told = vi.fn<(count: number) => void>()
    node.store.watch({ grew: ({ length }) => told(length), missed: () => undefined })
    cable.setMode('cut')
    await vi.waitFor(() => expect(node.replica.state.state).toBe('STALE'), 3000)
    await database.query(
      `insert into revocation_event (kind, occurred_at, revocation_id, scope, subject, revoked_at, expires_at, reason)
       select 'REVOKED', now(), gen_random_uuid(), 'SUBJECT', 'missed-' || n, now(), now() + interval '1 hour', 'x'
       from generate_series(1, 400000) as n`,
    )

    const turns = watchTurns()
    cable.setMode('pass')
    await vi.waitFor(() => expect(node.replica.state.state).toBe('IN_STEP'), 150_000)
    const turnsMs = turns.stop()

    const lines = told.mock.calls.reduce((sum, [count]) => sum + count, 0)
    expect(lines).toBeGreaterThanOrEqual(400_000)
    // The rest is the collection of garbage, in threads of its own.
    expect(turnsMs[Math.floor(turnsMs.length * 0.99)]).toBeLessThan(50)
  }, 180_000)

  it('is read by an index, whatever its size', async () => {
    const { dataSource } = await openNode()
    const lines = await runTransaction(dataSource, async (manager) => {
      await manager.query(`set local enable_seqscan = off`)
      const { text } = sql.readJournal
      const plan = await manager.query<Array<Record<string, string>>>(`explain ${text}`, [
        1000,
        [7],
        null,
        0,
        0,
        1000,
      ])
      return plan.map((line) => line['QUERY PLAN']).join('\n')
    })

    expect(lines.match(/Index Scan (on|using) revocation_event_transaction/g)).toHaveLength(2)
    expect(lines).not.toContain('Seq Scan')
  })

  it('is left for what is in force when the database’s clock is set back', async () => {
    const own = await createDatabase()
    const clock = await replaceClock(own)
    onTestFinished(() => own.drop())
    const node = await openNode({ maxStalenessMs: 500 }, { url: own.url })
    const token = makeLoner()
    const { revocation } = await revoke(node.store, targetOf(token))

    // What the journal does not say is found only by loading again.
    await own.query(`update revocation set key = gen_random_uuid()`)
    const { entries } = node.replica.state
    await clock.jump(-120_000)
    await node.store.ping()
    expect(node.replica.rulesOut(makeLoner())).toBe(false)
    expect(node.replica.state.state).toBe('STALE')
    await vi.waitFor(() => expect(node.replica.state.entries).toBe(entries + 1), 3000)
    await expectToBeInStep(node)
    expect(revocation.tokenId).toBe(token.tokenId)
  })

  async function endFeeds(): Promise<void> {
    await database.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and application_name = 'portcullis-replica'`,
    )
  }
})

describe('a replica out of step', () => {
  // Q01, Q04, Q19, Q62
  it.each(['blackhole', 'deaf', 'cut'] as const)(
    'asks the database as soon as it is older than the bound, and heals (%s)',
    async (mode) => {
      const cable = await startTcpProxy(database.url)
      onTestFinished(() => cable.close())
      const onFault = vi.fn<(error: unknown) => void>()
      const onInStep = vi.fn<() => void>()
      const options = { maxStalenessMs: 400, onFault, onInStep }
      const node = await openNode(options, { feedUrl: cable.url })
      const [token, good] = [makeLoner(), makeLoner()]
      cable.setMode(mode)
      const silent = await openSilentStore()
      const { revocation } = await revoke(silent, targetOf(token))

      // The bound, from the answer on.
      await sleep(400)
      expect(node.replica.state).toMatchObject({ state: 'STALE' })
      expect(await node.check(token)).toEqual(revocation)
      expect(await node.check(good)).toBeNull()
      expect(node.lookUps()).toBe(2)

      cable.setMode('pass')
      await expectToBeInStep(node)
      expect(node.replica.rulesOut(token)).toBe(false)
      expect(node.replica.rulesOut(good)).toBe(true)
      expect(onInStep.mock.calls.length).toBe(onFault.mock.calls.length + 1)
    },
  )

  // Q04
  it('refuses when the database does not answer either', async () => {
    const cable = await startTcpProxy(database.url)
    onTestFinished(() => cable.close())
    const node = await openNode({ maxStalenessMs: 200 }, { url: cable.url })
    const check = createRevocationCheck(node.store)
    cable.setMode('blackhole')

    await sleep(250)
    await expect(check(makeLoner())).rejects.toThrow(RevocationUnavailableError)
    cable.setMode('pass')
    await expectToBeInStep(node)
    expect(await check(makeLoner())).toBeNull()
  })

  // Q01
  it('does not answer from before a pause of its process', async () => {
    const node = await openNode({ maxStalenessMs: 300 })
    const token = makeLoner()
    expect(node.replica.rulesOut(token)).toBe(true)

    // Nothing of this process runs meanwhile.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400)
    expect(node.replica.rulesOut(token)).toBe(false)
    await expectToBeInStep(node)
    expect(node.replica.rulesOut(token)).toBe(true)
  })

  it('says that it is loading before it was ever in step, and rules out nothing', async () => {
    const dataSource = await openDataSource(database.url, 1)
    onTestFinished(() => dataSource.destroy())
    const replica = new RevocationReplica(dataSource)

    expect(replica.state).toMatchObject({ state: 'LOADING', ageMs: null, entries: 0 })
    expect(replica.rulesOut(makeLoner())).toBe(false)
  })

  it('tries until it gets in when there is nothing to connect to', async () => {
    const cable = await startTcpProxy(database.url)
    onTestFinished(() => cable.close())
    const feed = await openDataSource(cable.url, 1)
    cable.setMode('cut')
    const onFault = vi.fn<(error: unknown) => void>()
    const replica = new RevocationReplica(feed, { onFault })
    onTestFinished(async () => {
      await replica.stop()
      await feed.destroy()
    })

    const started = replica.start()
    await vi.waitFor(() => expect(onFault).toHaveBeenCalledTimes(1), 3000)
    await sleep(600)
    expect(onFault).toHaveBeenCalledTimes(1)
    cable.setMode('pass')
    await started
    expect(replica.state.state).toBe('IN_STEP')
  })
})

it('stops at once, whatever it is doing, and leaves no connection behind', async () => {
  const own = await createDatabase()
  const dataSource = await openDataSource(own.url, 1)
  for (const delayMs of [0, 1, 3, 10, 30, 100]) {
    const replica = new RevocationReplica(dataSource)
    void replica.start()
    await sleep(delayMs)
    await replica.stop()
  }
  await dataSource.destroy()
  await vi.waitFor(async () => {
    const rows = await own.query(
      `select 1 from pg_stat_activity
       where datname = current_database() and application_name = 'portcullis-replica'`,
    )
    expect(rows).toEqual([])
  }, 2000)
  await own.drop()
})
