/** The part of (k) with clients that are no good. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Stats } from '../contestants/serve.ts'
import type { Misbehaviour, NodeName, Party } from '../load/live-plan.ts'
import {
  FOLLOW_JOURNAL,
  TELL_END,
  countProtected,
  createParties,
  logOut,
  readLevel,
  waitForProtected,
  writeLogout,
} from './live-arena.ts'
import type { Arena } from './live-arena.ts'

const CLIENTS = 5
const KINDS = ['stops reading', 'pings and never reads', 'half-open'] as const

/** More than the product takes to notice, in milliseconds. */
const LIMIT_MS = 40_000
const POLL_MS = 100

/** Revocations for so long at full speed. */
const NOISE_REQUESTS = 150_000
const QUICK_NOISE_REQUESTS = 60_000

export interface StuckFigures {
  readonly found: ReadonlyArray<{ readonly how: Misbehaviour; readonly goneMs: number }>
  /** Of the node's memory, from before them to the most that was seen. */
  readonly rssGrowthBytes: number
  readonly heapGrowthBytes: number
  readonly cut: StuckCut
}

/** A session with clients that read and clients that do not, revoked. */
export interface StuckCut {
  readonly delaysMs: Readonly<Record<NodeName, readonly number[]>>
  /** Until the node has let go of those that do not read. */
  readonly goneMs: number
  readonly wrong: readonly string[]
}

export async function measureStuck(arena: Arena): Promise<StuckFigures> {
  const { bench, database, nodes, load } = arena
  const node = nodes['same node']
  const before = await readLevel(node)
  const requests = await writeNoise(
    arena,
    bench.options.isQuick ? QUICK_NOISE_REQUESTS : NOISE_REQUESTS,
  )
  await load.ask({ kind: 'makeNoise', port: node.port, requests })

  const parties = await createParties(database, KINDS.length, {
    query: FOLLOW_JOURNAL,
    sockets: CLIENTS,
    isAdmin: true,
  })
  const memory = watchMemory(arena)
  const found = await Promise.all(
    KINDS.map(async (how, index) => ({ how, goneMs: await awaitEnd(arena, how, parties[index]!) })),
  )
  const most = await memory.stop()
  await load.ask({ kind: 'stopNoise' })
  return {
    found,
    rssGrowthBytes: most.rssBytes - before.rssBytes,
    heapGrowthBytes: (await readLevel(node)).heapBytes - before.heapBytes,
    cut: await cutStuck(arena),
  }
}

/** Logouts of sessions that nobody has sockets of. */
export async function writeNoise(arena: Arena, count: number): Promise<readonly Buffer[]> {
  return (await createParties(arena.database, count)).map(writeLogout)
}

async function awaitEnd({ nodes, load }: Arena, how: Misbehaviour, party: Party): Promise<number> {
  const { port } = nodes['same node']
  await load.ask({ kind: 'stick', party: { ...party, how, port } })
  const startedAt = performance.now()
  while ((await countProtected(port, party.session)) > 0) {
    if (performance.now() - startedAt > LIMIT_MS) return Infinity
    await sleep(POLL_MS)
  }
  return performance.now() - startedAt
}

async function cutStuck(arena: Arena): Promise<StuckCut> {
  const { database, nodes, load } = arena
  const { port } = nodes['same node']
  const [party] = (await createParties(database, 1)) as [Party]
  await load.open('same node', port, [party])
  const stuck = { ...party, query: TELL_END, sockets: CLIENTS, port }
  await load.ask({ kind: 'stick', party: { ...stuck, how: 'stops reading' } })
  await load.ask({ kind: 'stick', party: { ...stuck, how: 'half-open' } })
  await waitForProtected(port, party.sockets + 2 * CLIENTS, party.session)

  const { delaysMs, wrong } = await logOut(arena, party)
  const answeredAt = performance.now()
  await waitForProtected(port, 0, party.session)
  return { delaysMs, wrong, goneMs: performance.now() - answeredAt }
}

interface MemoryWatch {
  stop(): Promise<Pick<Stats, 'rssBytes'>>
}

function watchMemory({ nodes }: Arena): MemoryWatch {
  const { service } = nodes['same node']
  let isOver = false
  let rssBytes = 0
  const watching = (async () => {
    while (!isOver) {
      rssBytes = Math.max(rssBytes, (await service.ask<Stats>({ kind: 'stats' })).rssBytes)
      await sleep(POLL_MS)
    }
  })()
  return {
    async stop() {
      isOver = true
      await watching
      return { rssBytes }
    },
  }
}
