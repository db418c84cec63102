import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ADMIN, SECRET, sendGraphQL } from '../../support/service.ts'
import type { Ask, GraphQLAnswer, Served } from '../../support/service.ts'

export type Check = 'database' | 'replica'

export interface NodeOptions {
  readonly databaseUrl: string
  readonly check: Check
  /** More settings of the service, and whatever else its process is to find in its environment. */
  readonly env?: Readonly<Record<string, string>>
  /** The compiled service; another than this build, if a test has put a bug into it. */
  readonly program?: string
}

/** How long a client waits for an answer, in milliseconds: the service promises a mutation's within 8 s. */
export const ANSWER_MS = 10_000

/** How far behind a node with a replica may be in these tests, in milliseconds. */
export const STALENESS_MS = 1000

/** How long a client tries again, in milliseconds: the machine may be busy. */
const PATIENCE_MS = 5000

/** What a node's connection says first over which it follows the journal. */
export const FEED = 'portcullis-replica'

const PROGRAM = fileURLToPath(new URL('../../../dist/src/service/main.js', import.meta.url))

/** How long a start may take on a busy machine, in milliseconds. */
const START_MS = 30_000

/** None outlives a test run, however that ends. */
const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** The built service, as a process of its own. */
export class Node implements Served {
  readonly admin = ADMIN
  readonly url: string
  readonly #child: ChildProcess
  readonly #output: string[]

  /** @throws with what it printed, when it ends instead of listening. */
  static async start(options: NodeOptions): Promise<Node> {
    const child = spawn(process.execPath, [options.program ?? PROGRAM], {
      env: {
        PATH: process.env['PATH'],
        PORT: '0',
        DATABASE_URL: options.databaseUrl,
        REVOCATION_CHECK: options.check,
        REVOCATION_MAX_STALENESS_MS: String(STALENESS_MS),
        JWT_SECRET: SECRET,
        ADMIN_EMAIL: ADMIN.email,
        ADMIN_PASSWORD: ADMIN.password,
        ...options.env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    running.add(child)
    child.once('exit', () => running.delete(child))
    const output: string[] = []
    const listening = new Promise<string>((resolve) => {
      for (const stream of [child.stdout, child.stderr]) {
        createInterface({ input: stream }).on('line', (line) => {
          output.push(line)
          const [, url] = /^Portcullis listens on (\S+)/.exec(line) ?? []
          if (url) resolve(url)
        })
      }
    })

    const outcome = await Promise.race([
      listening,
      once(child, 'exit').then(() => null),
      sleep(START_MS, null, { ref: false }),
    ])
    if (outcome !== null) return new Node(outcome, child, output)
    child.kill('SIGKILL')
    throw new Error(output.join('\n') || 'it printed nothing')
  }

  private constructor(url: string, child: ChildProcess, output: string[]) {
    this.url = url
    this.#child = child
    this.#output = output
  }

  /** As a client asks: when it is told that a token cannot be checked at the moment, it tries again. */
  async graphql(query: string, ask: Ask = {}): Promise<GraphQLAnswer> {
    const deadline = performance.now() + PATIENCE_MS
    for (;;) {
      const answer = await this.once.graphql(query, ask)
      if (answer.status !== 503 || performance.now() > deadline) return answer
      await sleep(100)
    }
  }

  /** For those who want to hear the first answer. */
  get once(): Served {
    const { url, admin } = this
    return {
      url,
      admin,
      graphql: async (query, ask) => sendGraphQL(url, query, { timeoutMs: ANSWER_MS, ...ask }),
    }
  }

  get pid(): number {
    return this.#child.pid as number
  }

  get isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** What it has written since it began. */
  get log(): string {
    return this.#output.join('\n')
  }

  get residentBytes(): Promise<number> {
    return readResidentBytes(this.#child.pid as number)
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  /** Ends it without a word. */
  async kill(): Promise<void> {
    if (!this.isAlive) return
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
  }

  /** Ends it as an operator does. */
  async stop(): Promise<void> {
    if (!this.isAlive) return
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    await ended
  }
}

async function readResidentBytes(pid: number): Promise<number> {
  const [, kilobytes] = /^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kilobytes) * 1024
}
