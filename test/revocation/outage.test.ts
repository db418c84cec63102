import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { DataSource } from 'typeorm'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { TestContext } from 'vitest'
import { runTransaction } from '../../src/database/transaction.ts'
import { RevocationUnavailableError } from '../../src/errors.ts'
import { createRevocationCheck } from '../../src/revocation/check.ts'
import type { RevocationCheck } from '../../src/revocation/check.ts'
import { PostgresRevocationStore } from '../../src/revocation/postgres/postgres-store.ts'
import { createDataSource } from '../../src/service/database/data-source.ts'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { createGate } from '../support/gate.ts'
import { PATIENCE_MS } from '../support/node.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import type { ProxyMode, TcpProxy } from '../support/tcp-proxy.ts'
import { makeToken } from './make-token.ts'

/** A second, and what a busy machine adds; without limits it would be five seconds, or for ever. */
const IN_TIME_MS = 3000

let database: TestDatabase

beforeAll(async () => {
  database = await createDatabase()
})

afterAll(async () => {
  await database.drop()
})

// Q03, Q04, Q58
describe.concurrent('while PostgreSQL cannot be reached', () => {
  it.for<[string, ProxyMode]>([
    ['nothing gets through', 'blackhole'],
    ['no answer comes back', 'deaf'],
    ['every connection is reset', 'cut'],
  ])(
    'and %s, checks and revocations fail in time, and work again afterwards',
    async ([, mode], test) => {
      const { check, store, proxy } = await startNode(test)
      const token = makeToken()
      await expectToRecover(check)
      proxy.setMode(mode)

      const refusing = refuseForAWhile(check)
      const started = performance.now()
      await expect(revoke(store, token)).rejects.toThrow(RevocationUnavailableError)
      expect(performance.now() - started).toBeLessThan(6000)
      expect(Math.max(...(await refusing))).toBeLessThan(IN_TIME_MS)
      await expect(store.ping()).rejects.toThrow(RevocationUnavailableError)

      proxy.setMode('pass')
      await expectToRecover(check)
      const { revocation } = await revoke(store, token)
      expect((await check(token))?.id).toBe(revocation.id)
    },
  )

  it('and its connections are dead without an error, the first two that show it cost a check each', async (test) => {
    const { check, node, proxy } = await startNode(test, { poolSize: 10 })
    await Promise.all(Array.from({ length: 10 }, () => runTransaction(node, async () => sleep(50))))
    proxy.abandon()

    let refused = 0
    while ((await check(makeToken()).catch(() => 'refused')) !== null) refused += 1
    // The next check comes after half the time in which a connection is found to be silent.
    expect(refused).toBeLessThanOrEqual(3)
  })

  // Q08
  it('a revocation whose answer was lost is made once, however often it is tried', async (test) => {
    const { store, node, proxy } = await startNode(test)
    const token = makeToken()
    const target = { scope: 'TOKEN', token } as const
    const lost = runTransaction(node, async (manager) => {
      await store.revokeWithin(manager, { target, reason: 'lost', by: 'ada' })
      proxy.setMode('deaf')
    })

    await expect(lost).rejects.toThrow(RevocationUnavailableError)
    proxy.setMode('pass')
    const retried = await store.revoke({ target, reason: 'lost, again', by: 'ada' })
    expect(retried).toMatchObject({ alreadyRevoked: true, revocation: { reason: 'lost' } })
    const filter = { tokenId: token.tokenId }
    expect([await store.countInForce(filter), await store.countEvents(filter)]).toEqual([1, 1])
  })
})

// Q04, Q58
describe.concurrent('while PostgreSQL is there and cannot answer', () => {
  it('because every connection of the node is taken, checks are refused in time', async (test) => {
    const { check, node } = await startNode(test)
    const done = createGate()
    const holding = [1, 2, 3].map(() => runTransaction(node, () => done.opened))
    await sleep(100)

    expect(Math.max(...(await refuseForAWhile(check)))).toBeLessThan(IN_TIME_MS)
    done.open()
    await Promise.all(holding)
    await expectToRecover(check)
  })

  it('because a migration holds the table, checks are refused in time', async (test) => {
    const { check, url } = await startNode(test, { own: await createDatabase() })
    const stranger = await lockTable(url)

    expect(Math.max(...(await refuseForAWhile(check)))).toBeLessThan(IN_TIME_MS)
    await stranger.end()
    await expectToRecover(check)
  })
})

// Q59
describe.concurrent('when PostgreSQL ends connections', () => {
  it('that are idle, the next check works', async (test) => {
    const own = await createDatabase()
    const { node } = await startNode(test, { own })
    const store = new PostgresRevocationStore(node, { checkTimeoutMs: PATIENCE_MS })
    const check = createRevocationCheck(store, { timeoutMs: PATIENCE_MS })
    await Promise.all([1, 2, 3].map(() => runTransaction(node, async () => sleep(20))))

    for (let round = 0; round < 5; round += 1) {
      await terminateBackends(own)
      await sleep(50)
      expect(await check(makeToken())).toBeNull()
    }
  })

  it('that are busy, what they did is refused, and the next check works', async (test) => {
    const own = await createDatabase()
    const { check, store, url } = await startNode(test, { own })
    const stranger = await lockTable(url)

    const busy = Promise.allSettled([check(makeToken()), revoke(store)])
    await sleep(150)
    await terminateBackends(own)
    const refusal = { status: 'rejected', reason: expect.any(RevocationUnavailableError) }
    expect(await busy).toEqual([refusal, refusal])
    await stranger.end()
    await expectToRecover(check)
    await revoke(store, makeToken())
  })
})

interface Node {
  readonly node: DataSource
  readonly store: PostgresRevocationStore
  readonly check: RevocationCheck
  readonly proxy: TcpProxy
  /** Past the proxy. */
  readonly url: string
}

/** A node of few connections, all of them through a proxy of its own. */
async function startNode(
  { onTestFinished }: TestContext,
  { own, poolSize = 3 }: { own?: TestDatabase; poolSize?: number } = {},
): Promise<Node> {
  const { url } = own ?? database
  const proxy = await startTcpProxy(url)
  const node = await createDataSource({ url: proxy.url, poolSize }).initialize()
  onTestFinished(async () => {
    await node.destroy()
    await proxy.close()
    await own?.drop()
  })

  const store = new PostgresRevocationStore(node)
  return { node, store, check: createRevocationCheck(store), proxy, url }
}

function revoke(
  store: PostgresRevocationStore,
  token = makeToken(),
): ReturnType<PostgresRevocationStore['revoke']> {
  return store.revoke({ target: { scope: 'TOKEN', token }, reason: 'logout', by: null })
}

/** Checks in a steady stream, all of which must be refused; gives how long each took, in milliseconds. */
async function refuseForAWhile(check: RevocationCheck, ms = 1500): Promise<number[]> {
  const waits: Array<Promise<number>> = []
  for (const end = performance.now() + ms; performance.now() < end;) {
    waits.push(timeRefusal(check))
    await sleep(20)
  }
  return Promise.all(waits)
}

async function timeRefusal(check: RevocationCheck): Promise<number> {
  const started = performance.now()
  await expect(check(makeToken())).rejects.toThrow(RevocationUnavailableError)
  return performance.now() - started
}

/** Without a restart: some checks may find a broken connection, then one after the other passes. */
async function expectToRecover(check: RevocationCheck): Promise<void> {
  let passed = 0
  for (const end = performance.now() + 10_000; performance.now() < end && passed < 5;) {
    const answer = await check(makeToken()).catch((error: unknown) => error)
    passed = answer === null ? passed + 1 : 0
    await sleep(20)
  }
  expect(passed).toBe(5)
}

/** As a migration does, until it hangs up. */
async function lockTable(url: string): Promise<pg.Client> {
  const stranger = new pg.Client(url)
  await stranger.connect()
  await stranger.query('begin')
  await stranger.query('lock table revocation in access exclusive mode')
  return stranger
}

/** Ends every connection of the node, as a restart does. */
async function terminateBackends(own: TestDatabase): Promise<void> {
  await own.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and application_name = 'portcullis'`,
  )
}
