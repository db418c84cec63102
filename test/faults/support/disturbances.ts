import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Random } from '../../support/random.ts'
import type { ProxyMode, TcpProxy } from '../../support/tcp-proxy.ts'
import type { Clients } from './clients.ts'
import type { Cluster } from './cluster.ts'
import { FEED } from './node.ts'
import type { Pair } from './pair.ts'

/** Where something goes wrong while clients go on. */
export interface Stage {
  readonly cluster: Cluster
  readonly pair: Pair
  readonly clients: Clients
  readonly random: Random
}

/** Comes, and goes again: everything works as before when it is fulfilled. */
export type Disturbance = (stage: Stage) => Promise<void>

/** What connections of the pool say first, which a zero ends. */
const POOL = 'portcullis\0'

const BROKEN: readonly ProxyMode[] = ['blackhole', 'deaf', 'cut']

/** One after the other. */
export const LOUD = {
  async cable({ pair, random }) {
    const cable = pickCable(pair, random)
    cable.setMode(random.pick(BROKEN) as ProxyMode)
    await sleep(random.between(300, 4000))
    cable.setMode('pass')
  },

  async bothCables({ pair, random }) {
    for (const cable of pair.cables) cable.setMode(random.pick(BROKEN) as ProxyMode)
    await sleep(random.between(200, 1500))
    for (const cable of pair.cables) cable.setMode('pass')
  },

  async slowCable({ pair, random }) {
    const cable = pickCable(pair, random)
    cable.setDelay(random.between(10, 250))
    await sleep(random.between(1000, 4000))
    cable.setDelay(0)
  },

  /** A cut-off that takes its time, and refreshes that do not. */
  async slowCutOff({ pair, clients, random }) {
    const node = random.below(2)
    const cable = pair.cables[node] as TcpProxy
    cable.setDelay(random.between(20, 50))
    await clients.raceCutOff(node)
    cable.setDelay(0)
  },

  async feed({ pair, random }) {
    const cable = pickCable(pair, random)
    cable.setMode(random.pick(BROKEN) as ProxyMode, FEED)
    await sleep(random.between(300, 4000))
    cable.setMode('pass')
  },

  /** Its memory is kept in step, and nothing else gets through. */
  async pool({ pair, random }) {
    const cable = pickCable(pair, random)
    cable.setMode(random.pick(BROKEN) as ProxyMode, POOL)
    await sleep(random.between(300, 3000))
    cable.setMode('pass')
  },

  /** What this node revokes, the other finds in the journal only. */
  async lostHints({ pair, random }) {
    const cable = pickCable(pair, random)
    cable.setMode('cut', FEED)
    await sleep(random.between(1000, 3000))
    cable.setMode('pass')
  },

  /** What is repeated on the other node before it has read of it. */
  async unheardCutOff({ pair, clients, random }) {
    const node = random.below(2)
    const cable = pair.cables[node] as TcpProxy
    cable.setMode('cut', FEED)
    await clients.cutOff(node)
    await sleep(300)
    cable.setMode('pass')
  },

  /** A line comes to light after lines with later numbers, and without a hint. */
  async lateCommit(stage) {
    const node = stage.random.below(2)
    const cable = stage.pair.cables[node] as TcpProxy
    cable.setMode('cut', FEED)
    await holdUpCommit(stage, node)
    await sleep(50)
    cable.setMode('pass')
  },

  async forgottenConnections({ pair, random }) {
    pickCable(pair, random).abandon()
  },

  async restart({ cluster }) {
    await cluster.restart('fast')
  },

  async crash({ cluster }) {
    await cluster.restart('immediate')
  },

  async killedNode({ pair, random }) {
    const node = random.below(2)
    await pair.kill(node)
    await sleep(random.between(0, 1000))
    await pair.startAgain(node)
  },

  async pausedNode({ pair, random }) {
    const node = random.below(2)
    pair.pause(node)
    await sleep(random.between(500, 4000))
    pair.goOn(node)
  },

  async terminatedBackends({ pair }) {
    await pair.database.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid()`,
    )
  },
} satisfies Readonly<Record<string, Disturbance>>

/** Transactions of others, which a restart may end; beside the others. */
export const QUIET = {
  /** It has a number, and so every snapshot has it under way. */
  async longTransaction({ pair, random }) {
    await within(pair, async (client) => {
      await client.query('select txid_current()')
      await sleep(random.between(1000, 6000))
    })
  },

  async heldUpCommit(stage) {
    await holdUpCommit(stage, stage.random.below(2))
  },
} satisfies Readonly<Record<string, Disturbance>>

/** Has disturbances come at random, one after the other, for a while. */
export async function disturb(
  stage: Stage,
  disturbances: Readonly<Record<string, Disturbance>>,
  { durationMs, calmMs }: { durationMs: number; calmMs: number },
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  const until = performance.now() + durationMs
  const choice = Object.entries(disturbances)
  while (choice.length > 0 && performance.now() < until) {
    const [name, come] = stage.random.pick(choice) as [string, Disturbance]
    counts[name] = (counts[name] ?? 0) + 1
    await come(stage)
    await sleep(stage.random.between(calmMs / 4, calmMs))
  }
  return counts
}

/** A revocation has the number of its line, and waits for its session, while later ones are committed. */
async function holdUpCommit({ pair, clients, random }: Stage, node: number): Promise<void> {
  const held = clients.pickLiving()
  if (!held) return
  let revoking: Promise<unknown> = Promise.resolve()
  await within(pair, async (client) => {
    await client.query('select 1 from session where id = $1 for update', [held.session])
    revoking = clients.revokeSession({ client: 'late client', node }, held)
    await sleep(random.between(300, 1500))
  })
  await revoking
}

/** Whatever becomes of it. */
async function within(pair: Pair, work: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = new pg.Client({
    connectionString: pair.database.url,
    connectionTimeoutMillis: 2000,
  })
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query('begin')
    await work(client)
    await client.query('commit')
  } catch {
    // The server was restarted meanwhile.
  } finally {
    await client.end().catch(() => undefined)
  }
}

function pickCable(pair: Pair, random: Random): TcpProxy {
  return random.pick(pair.cables) as TcpProxy
}
