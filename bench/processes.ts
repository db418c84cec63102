import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createDeferred } from './deferred.ts'
import type { Deferred } from './deferred.ts'
import type { Reply } from './ipc.ts'

const START_LIMIT_MS = 180_000
const ANSWER_LIMIT_MS = 120_000
const STOP_LIMIT_MS = 5000
const KEPT_ERROR_OUTPUT = 4000

export type Environment = Readonly<Record<string, string | undefined>>

const children = new Set<Child>()
let isStopping = false

/** Ends every process, so that whoever waits for one hears of it, and starts no more. */
export async function stopAllChildren(): Promise<void> {
  isStopping = true
  await Promise.all([...children].map((child) => child.stop()))
}

/** A process of the benchmark, which answers commands until it is stopped. */
export class Child {
  readonly #process: ChildProcess
  readonly #waiting = new Map<number, Deferred<unknown>>()
  readonly #name: string
  #nextId = 0
  #errorOutput = ''
  /** Its first line on standard output. */
  readonly #firstLine = createDeferred<string>()

  /** @param file - TypeScript, from this folder. */
  constructor(name: string, file: string, env: Environment = {}) {
    if (isStopping) throw new Error('the benchmark is stopping')
    this.#name = name
    this.#process = fork(new URL(file, import.meta.url), {
      execArgv: ['--import', import.meta.resolve('tsx'), ...profileArgs(name)],
      env: { ...process.env, NODE_ENV: 'production', ...env },
      serialization: 'advanced',
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    this.#firstLine.promise.catch(() => undefined)
    this.#listen()
    children.add(this)
    this.#process.once('exit', () => children.delete(this))
  }

  get hasEnded(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null
  }

  /** Waits until it says where it listens. */
  async port(limitMs = START_LIMIT_MS): Promise<number> {
    const line = await this.#within(limitMs, this.#firstLine.promise, 'did not start')
    return (JSON.parse(line) as { port: number }).port
  }

  async ask<Answer>(command: unknown, limitMs = ANSWER_LIMIT_MS): Promise<Answer> {
    if (this.hasEnded) throw this.#failure('has ended')
    const id = this.#nextId++
    const waiting = createDeferred<unknown>()
    this.#waiting.set(id, waiting)
    try {
      this.#process.send({ id, command })
      return (await this.#within(limitMs, waiting.promise, 'did not answer')) as Answer
    } finally {
      this.#waiting.delete(id)
    }
  }

  async stop(): Promise<void> {
    if (this.hasEnded) return
    const ended = once(this.#process, 'exit')
    this.#process.kill('SIGTERM')
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), STOP_LIMIT_MS)
    await ended
    clearTimeout(timer)
  }

  #listen(): void {
    let output = ''
    this.#process.stdout?.on('data', (data: Buffer) => {
      if (output.includes('\n')) return
      output += data.toString()
      if (output.includes('\n')) this.#firstLine.resolve(output)
    })
    this.#process.stderr?.on('data', (data: Buffer) => {
      this.#errorOutput = (this.#errorOutput + data.toString()).slice(-KEPT_ERROR_OUTPUT)
    })
    this.#process.on('message', ({ id, answer, error }: Reply) => {
      if (error === undefined) this.#waiting.get(id)?.resolve(answer)
      else this.#waiting.get(id)?.reject(new Error(`${this.#name}: ${error}`))
    })
    this.#process.on('error', () => this.#failAll())
    this.#process.on('close', () => this.#failAll())
  }

  #failAll(): void {
    const failure = this.#failure('ended')
    this.#firstLine.reject(failure)
    for (const { reject } of this.#waiting.values()) reject(failure)
  }

  async #within<Value>(limitMs: number, value: Promise<Value>, what: string): Promise<Value> {
    const late = createDeferred<Value>()
    const timer = setTimeout(() => late.reject(this.#failure(`${what} in ${limitMs} ms`)), limitMs)
    try {
      return await Promise.race([value, late.promise])
    } finally {
      clearTimeout(timer)
    }
  }

  #failure(what: string): Error {
    const said = this.#errorOutput.trim().split('\n').slice(-12).join('\n')
    return new Error(`${this.#name} ${what}${said && `: ${said}`}`)
  }
}

/** BENCH_PROFILE=folder has every process leave a CPU profile there, in a folder of its name. */
function profileArgs(name: string): readonly string[] {
  const folder = process.env.BENCH_PROFILE
  if (!folder) return []
  return ['--cpu-prof', '--cpu-prof-dir', join(folder, name)]
}
