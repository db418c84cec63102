import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import pg from 'pg'
import { serveCommands } from '../ipc.ts'

/** What the harness asks of a contestant. */
export type ContestantCommand =
  | { readonly kind: 'stats' }
  | { readonly kind: 'revoke'; readonly credential: string }
  | { readonly kind: 'count' }
  | { readonly kind: 'counted' }
  | { readonly kind: 'sweep' }
  | { readonly kind: 'collect' }
  | { readonly kind: 'watchLoop' }

export interface Stats {
  /** CPU microseconds since its start. */
  readonly cpu: number
  readonly rssBytes: number
  readonly heapBytes: number
  /** The longest time that the event loop was held up since its start, or since `watchLoop`, in milliseconds. */
  readonly longestBlockMs: number
}

/** A server, ready to listen. */
export interface Contestant {
  /** Begins to listen on a free port of the loopback. */
  listen(): Promise<number>
  /** Takes a credential out of force, in this contestant's own store. */
  revoke(credential: string): Promise<void>
  /** Removes everything that has expired; says how long that took, in milliseconds. */
  sweep?(): Promise<number>
  /** CPU microseconds since its start, where the server is another process than this one. */
  cpu?(): number
}

/**
 * Runs a contestant until its harness ends it.
 *
 * Source maps, which tsx switches on, make every error slow: no server runs with them.
 */
export async function present(create: () => Promise<Contestant>): Promise<void> {
  process.setSourceMapsEnabled(false)
  const delays = monitorEventLoopDelay({ resolution: 5 })
  if (process.env.MONITOR_EVENT_LOOP === '1') delays.enable()

  const contestant = await create()
  const statements = new StatementCounter()
  serveCommands<ContestantCommand>(async (command) => {
    switch (command.kind) {
      case 'stats':
        return { ...readStats(delays.max / 1e6), ...(contestant.cpu && { cpu: contestant.cpu() }) }
      case 'revoke':
        return contestant.revoke(command.credential)
      case 'count':
        return statements.start()
      case 'counted':
        return statements.stop()
      case 'sweep':
        return contestant.sweep?.()
      case 'collect':
        collectGarbage()
        return readStats(delays.max / 1e6)
      case 'watchLoop':
        return delays.reset()
    }
  })
  const port = await contestant.listen()
  process.stdout.write(`${JSON.stringify({ port })}\n`)
}

/** Listens on a free port. */
export async function listenOn(server: Server): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  return (server.address() as AddressInfo).port
}

export function requireSetting(name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set`)
  return value
}

function readStats(longestBlockMs: number): Stats {
  const { user, system } = process.cpuUsage()
  const { rss: rssBytes, heapUsed: heapBytes } = process.memoryUsage()
  return { cpu: user + system, rssBytes, heapBytes, longestBlockMs }
}

/** Twice: what finalizers let go of goes with the second. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  collect()
}

type Query = (...args: unknown[]) => unknown

/** What was sent to PostgreSQL. */
export interface StatementCount {
  readonly statements: number
  /** The replica's reads of the journal, so many a second whatever is asked. */
  readonly ofFeed: number
}

/** Counts what is sent to PostgreSQL, only while it is asked to. */
class StatementCounter {
  readonly #prototype = pg.Client.prototype as unknown as { query: Query }
  readonly #query = this.#prototype.query
  #statements = 0
  #ofFeed = 0

  async start(): Promise<void> {
    const query = this.#query
    const note = (statement: unknown): void => {
      const { name } = Object(statement) as { name?: unknown }
      if (name === 'portcullis-read-journal') this.#ofFeed += 1
      else this.#statements += 1
    }
    this.#statements = 0
    this.#ofFeed = 0
    this.#prototype.query = function countingQuery(this: unknown, ...args) {
      note(args[0])
      return query.apply(this, args)
    }
  }

  async stop(): Promise<StatementCount> {
    this.#prototype.query = this.#query
    return { statements: this.#statements, ofFeed: this.#ofFeed }
  }
}
