import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import type { Revocation } from '../../src/contract.ts'
import type { JournalPlace } from '../../src/revocation/ports.ts'
import { PostgresRevocationStore } from '../../src/revocation/postgres/postgres-store.ts'
import { RevocationReplica } from '../../src/revocation/replica/replica.ts'
import type { Token } from '../../src/token/claims.ts'
import { stopSubscribers, subscribe, until } from '../support/live.ts'
import { openDataSource } from '../support/node.ts'
import { login } from '../support/people.ts'
import { createFreshDatabase, dump } from '../support/restore.ts'
import type { FreshDatabase } from '../support/restore.ts'
import { startService } from '../support/service.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { makeToken } from './make-token.ts'

/** How far the count of the old server is ahead; so much that no test counts to there by itself. */
const AHEAD = 20_000n

let old: FreshDatabase

beforeAll(async () => {
  old = await createFreshDatabase()
  await old.countTo((await old.count()) + AHEAD)
}, 60_000)

afterAll(async () => {
  await old.drop()
})

interface Node {
  readonly store: PostgresRevocationStore
  readonly replica: RevocationReplica
  /** What it was told of the journal's lines, in order. */
  readonly told: Revocation[]
}

async function openNode(url: string): Promise<Node> {
  const dataSource = await openDataSource(url, 4)
  const replica = new RevocationReplica(dataSource, { maxStalenessMs: 200 })
  const store = new PostgresRevocationStore(dataSource, { replica, checkTimeoutMs: 5000 })
  const told: Revocation[] = []
  store.watch({ grew: (entries) => told.push(...entries), missed: () => undefined })
  onTestFinished(async () => {
    await replica.stop()
    await dataSource.destroy()
  })
  await replica.start()
  return { store, replica, told }
}

function makeLoner(): Token {
  const name = `loner-${Math.random()}`
  return makeToken({ subject: name, sessionId: name, tokenId: name })
}

async function revoke({ store }: Pick<Node, 'store'>, token: Token): Promise<string> {
  const target = { scope: 'TOKEN', token } as const
  return (await store.revoke({ target, reason: 'logout', by: null })).revocation.id
}

async function revokeSome(node: Node, count: number): Promise<string[]> {
  const ids: string[] = []
  for (let n = 0; n < count; n++) ids.push(await revoke(node, makeLoner()))
  return ids
}

/** The ids of what the journal tells behind a place, page by page, until there is no more. */
async function readOn(
  { store }: Node,
  after: JournalPlace,
): Promise<{ ids: string[]; place: JournalPlace }> {
  const ids: string[] = []
  for (let place = after; ;) {
    const extract = await store.readEvents({ after: place, filter: {}, limit: 2 })
    ids.push(...extract.events.map(({ revocation }) => revocation.id))
    place = extract.place
    if (extract.events.length < 2) return { ids, place }
  }
}

async function createRestored({ count }: { count?: bigint } = {}): Promise<FreshDatabase> {
  const fresh = await createFreshDatabase()
  onTestFinished(() => fresh.drop())
  if (count !== undefined) await fresh.countTo(count)
  await (await dump(old)).restoreTo(fresh)
  return fresh
}

describe.each([
  ['lower', undefined],
  ['higher', 3n * AHEAD],
] as const)('a journal that was restored into a server with a %s count', (_which, count) => {
  it('is history: replicas are in step, and are told only of new lines', async () => {
    const before = await openNode(old.url)
    const known = makeLoner()
    await revoke(before, known)
    await revokeSome(before, 5)
    const { url } = await createRestored(count === undefined ? {} : { count })

    const [here, there] = [await openNode(url), await openNode(url)]
    await sleep(600)
    expect(here.replica.state.state).toBe('IN_STEP')
    expect(here.told).toEqual([])
    expect(here.replica.rulesOut(known)).toBe(false)
    expect(await here.store.findFor([known])).toMatchObject([{ tokenId: known.tokenId }])

    const token = makeLoner()
    const id = await revoke(there, token)
    await vi.waitFor(() => expect(here.told.map((entry) => entry.id)).toContain(id), 3000)
    expect(here.replica.rulesOut(token)).toBe(false)
    expect(new Set(here.told.map((entry) => entry.id))).toEqual(new Set([id]))
  }, 60_000)

  it('goes on behind a place of the old server, each line once', async () => {
    const before = await openNode(old.url)
    const seen = await revokeSome(before, 3)
    const list = await before.store.listEvents({ first: 3, after: null, filter: {} })
    const ofList = list.items[0]!.place
    const { place: start } = await before.store.readEvents({ after: null, filter: {}, limit: 0 })
    const unseen = await revokeSome(before, 3)
    const [first] = (await before.store.readEvents({ after: start, filter: {}, limit: 1 })).events
    const { url } = await createRestored(count === undefined ? {} : { count })

    const here = await openNode(url)
    const fresh = await revokeSome(here, 3)
    expect(list.items.map(({ revocation }) => revocation.id)).toEqual(seen.toReversed())
    expect((await readOn(here, ofList)).ids).toEqual([...unseen, ...fresh])
    expect((await readOn(here, first!.place)).ids).toEqual([...unseen.slice(1), ...fresh])

    const { place } = await readOn(here, ofList)
    const last = await revoke(here, makeLoner())
    expect((await readOn(here, place)).ids).toEqual([last])
  }, 60_000)
})

describe('a restored journal', () => {
  it('tells what is new behind a place that the backup does not reach', async () => {
    const before = await openNode(old.url)
    await revokeSome(before, 1)
    const backup = await dump(old)
    await revokeSome(before, 4)
    const { items } = await before.store.listEvents({ first: 1, after: null, filter: {} })
    const fresh = await createFreshDatabase()
    onTestFinished(() => fresh.drop())
    await backup.restoreTo(fresh)

    const here = await openNode(fresh.url)
    const ids = await revokeSome(here, 3)
    expect((await readOn(here, items[0]!.place)).ids).toEqual(ids)
  }, 60_000)

  it('stays history when the new server counts past its lines', async () => {
    const before = await openNode(old.url)
    await revokeSome(before, 3)
    const after = (await before.store.listEvents({ first: 3, after: null, filter: {} })).items[2]!
    const [line] = await old.query<{ last: string }>(
      `select max(transaction_id) as last from revocation_event`,
    )
    const fresh = await createRestored()
    const here = await openNode(fresh.url)
    const { place } = await here.store.readEvents({ after: null, filter: {}, limit: 0 })

    await fresh.countTo(BigInt(line!.last) - 1n)
    for (let n = 0; n < 20; n++) {
      await fresh.query(`select txid_current()`)
      await sleep(20)
    }
    const token = makeLoner()
    const id = await revoke(here, token)
    await sleep(300)
    expect(here.told.map((entry) => entry.id)).toEqual(here.told.map(() => id))
    expect((await readOn(here, place)).ids).toEqual([id])
    // Two lines behind that of the old server, which this one could take for its own by its numbers.
    expect((await readOn(here, after.place)).ids).toHaveLength(3)
  }, 60_000)

  it('hides nothing that a savepoint wrote', async () => {
    const here = await openNode(old.url)
    const dataSource = await openDataSource(old.url, 1)
    onTestFinished(() => dataSource.destroy())
    const other = new PostgresRevocationStore(dataSource)
    const token = makeLoner()
    const { place } = await here.store.readEvents({ after: null, filter: {}, limit: 0 })

    const id = await dataSource.transaction(async (outer) => {
      await outer.query(`select txid_current()`)
      return outer.transaction(async (manager) => {
        const request = { target: { scope: 'TOKEN', token }, reason: 'x', by: null } as const
        return (await other.revokeWithin(manager, request)).revocation.id
      })
    })
    await vi.waitFor(() => expect(here.told.map((entry) => entry.id)).toContain(id), 3000)
    expect((await readOn(here, place)).ids).toEqual([id])
  })

  it('is loaded whole by a replica whose connection leads to another server of a sudden', async () => {
    const cable = await startTcpProxy(old.url)
    const fresh = await createRestored({ count: 3n * AHEAD })
    const password = new URL(old.url).password
    await fresh.query(`create role stranger superuser login password '${password}'`)
    await old.query(`create role stranger superuser login password '${password}'`)
    onTestFinished(() => cable.close())
    const here = await openNode(cable.url.replace('//portcullis:', '//stranger:'))
    const told = vi.fn<() => void>()
    here.store.watch({ grew: () => undefined, missed: told })

    // An hour ago, while this node still was on the old server.
    const token = makeLoner()
    const there = await openNode(fresh.url)
    await revoke(there, token)
    await fresh.query(`update revocation set revoked_at = revoked_at - interval '1 hour'`)
    await fresh.query(`delete from revocation_event where token_id = $1`, [token.tokenId])
    expect(here.replica.rulesOut(token)).toBe(true)

    cable.setMode('cut')
    cable.leadTo(fresh.url)
    cable.setMode('pass')
    await vi.waitFor(() => expect(here.replica.rulesOut(token)).toBe(false), 5000)
    await vi.waitFor(() => expect(here.replica.state.state).toBe('IN_STEP'), 5000)
    expect(here.replica.rulesOut(token)).toBe(false)
    expect(told).toHaveBeenCalled()
  }, 60_000)

  it.each([[null], [200]])(
    'is served by nodes that are ready at once (bound %s)',
    async (maxStalenessMs) => {
      const service = await startService({ database: old, maxStalenessMs })
      const admin = await login(service, 'admin', 'desk')
      await login(service, 'admin', 'phone')
      await service.stop()
      const fresh = await createRestored()

      const here = await startService({ database: fresh, maxStalenessMs })
      const there = await startService({ database: fresh, maxStalenessMs })
      onTestFinished(async () => {
        stopSubscribers()
        await Promise.all([here.stop(), there.stop()])
      })
      await until(async () => (await fetch(`${here.url}/readyz`)).status === 200, 'ready')
      const ask = { token: admin.accessToken }
      const subscriber = await subscribe(there, 'subscription { sessionEnded { reason } }', ask)

      const { data } = await here.graphql('mutation { logout { alreadyRevoked } }', ask)
      expect(data.logout).toEqual({ alreadyRevoked: false })
      expect((await subscriber.closed()).code).toBe(4403)
      await until(async () => {
        const { errors } = await there.graphql('{ me { id } }', ask)
        return errors[0]?.extensions.reason === 'TOKEN_REVOKED'
      }, 'the refusal')
    },
    60_000,
  )
})
