/**
 * Restarts PostgreSQL and both nodes at once under 500 clients that keep their connections, and says how soon each of
 * them is served again (`npm run build` first).
 *
 *     npx tsx scripts/herd.ts [database | replica, the former if not given] [rounds, 3]
 *
 * Ends with 1 when one of them is not served within 5 s of the return of PostgreSQL and the nodes.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Node } from '../test/faults/support/node.ts'
import type { Check } from '../test/faults/support/node.ts'
import { Client } from './load/client.ts'
import { startPair } from './load/pair.ts'

const [check = 'database', rounds = '3'] = process.argv.slice(2)
const CLIENTS = 500
const RECOVERY_MS = 5000
const WATCH_MS = 10_000

/** How long a client waits before it tries again, at the least and at the most, in milliseconds. */
const RETRY_MS = [50, 250] as const

/** What clients see from the moment at which everything is back. */
interface Return {
  readonly servedMs: readonly number[]
  readonly latencyMs: readonly number[]
  readonly statuses: Readonly<Record<number, number>>
}

let isFine = true
for (let round = 1; round <= Number(rounds); round++) isFine = (await runRound()) && isFine
process.exit(isFine ? 0 : 1)

async function runRound(): Promise<boolean> {
  const env = { NODE_ENV: 'production', LOG_LEVEL: 'warn' }
  const pair = await startPair(check as Check, env)
  const { cluster, databaseUrl, nodes, clients } = pair
  const started: Node[] = []
  try {
    const token = await signIn(clients[0])
    const herd = new Herd(clients, token)
    await sleep(3000)

    const beganAt = performance.now()
    const ports = nodes.map(({ url }) => new URL(url).port)
    await Promise.all([cluster.stop('immediate'), ...nodes.map((node) => node.kill())])
    await cluster.start()
    started.push(
      ...(await Promise.all(
        ports.map(async (PORT) =>
          Node.start({ databaseUrl, check: check as Check, env: { ...env, PORT } }),
        ),
      )),
    )
    const backAt = performance.now()
    const seen = await herd.watch(backAt, WATCH_MS)
    const crashed = started.filter(({ isAlive }) => !isAlive).length
    const refused = await countRefusedConnections(cluster.data)

    const unserved = CLIENTS - seen.servedMs.length
    const last = seen.servedMs.at(-1) ?? NaN
    console.log(
      [
        `${check}: away for ${(backAt - beganAt).toFixed(0)} ms`,
        `then every client served again after ${last.toFixed(0)} ms (half of them ${at(seen.servedMs, 0.5)})`,
        `never: ${unserved}`,
        `p99 of the first ${WATCH_MS / 1000} s ${at(seen.latencyMs, 0.99)} ms, n = ${seen.latencyMs.length}`,
        `statuses ${JSON.stringify(seen.statuses)}`,
        `53300: ${refused}, crashed: ${crashed}`,
      ].join('; '),
    )
    return unserved === 0 && last <= RECOVERY_MS && crashed === 0
  } finally {
    await Promise.all(started.map((node) => node.stop()))
    await pair.stop()
  }
}

/** Clients that ask who they are once a second, and soon again when they get no answer. */
class Herd {
  readonly #token: string
  #isOver = false
  #since = Infinity
  readonly #servedAt = new Map<number, number>()
  readonly #latencyMs: number[] = []
  readonly #statuses: Record<number, number> = {}
  readonly #all: Promise<unknown>

  constructor(nodes: readonly Client[], token: string) {
    this.#token = token
    this.#all = Promise.all(
      Array.from({ length: CLIENTS }, async (_, n) => {
        await sleep(Math.random() * 1000)
        const { port } = nodes[n % nodes.length] as Client
        await this.#live(n, new Client(`http://127.0.0.1:${port}`))
      }),
    )
  }

  async watch(since: number, forMs: number): Promise<Return> {
    this.#since = since
    await sleep(forMs)
    this.#isOver = true
    await this.#all
    const inOrder = (all: Iterable<number>): number[] => [...all].toSorted((one, two) => one - two)
    return {
      servedMs: inOrder([...this.#servedAt.values()].map((instant) => instant - since)),
      latencyMs: inOrder(this.#latencyMs),
      statuses: this.#statuses,
    }
  }

  async #live(n: number, client: Client): Promise<void> {
    while (!this.#isOver) {
      const { status, beganAt, endedAt } = await client.ask('{ me { email } }', this.#token)
      if (beganAt >= this.#since) {
        this.#statuses[status] = (this.#statuses[status] ?? 0) + 1
        this.#latencyMs.push(endedAt - beganAt)
        if (status === 200 && !this.#servedAt.has(n)) this.#servedAt.set(n, endedAt)
      }
      const [least, most] = RETRY_MS
      await sleep(status === 200 ? 1000 : least + Math.random() * (most - least))
    }
    client.close()
  }
}

async function signIn(client: Client): Promise<string> {
  const query = `mutation { register(email: "ada@example.com", password: "correct horse battery") { accessToken } }`
  const { data } = await client.ask(query)
  return data?.register?.accessToken ?? ''
}

/** How often PostgreSQL said that it has no connection left (SQLSTATE 53300). */
async function countRefusedConnections(data: string): Promise<number> {
  const log = await readFile(join(data, '..', 'server.log'), 'utf8')
  return log.match(/too many clients|remaining connection slots/g)?.length ?? 0
}

function at(inOrder: readonly number[], part: number): string {
  return (inOrder[Math.floor(part * inOrder.length)] ?? NaN).toFixed(0)
}
