import { execFileSync, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { createDatabase } from './support/database.ts'
import type { TestDatabase } from './support/database.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

// Each test starts processes that compile themselves, and the machine may be busy.
vi.setConfig({ testTimeout: 90_000 })

let database: TestDatabase
let dataDir: string

beforeEach(async () => {
  database = await createDatabase()
  dataDir = await mkdtemp(join(tmpdir(), 'portcullis-process-'))
})

afterEach(async () => {
  await database.drop()
  await rm(dataDir, { recursive: true })
})

/** The process as `npm start` runs it, but for being compiled. */
class Process {
  readonly #child: ChildProcess
  /** All that it printed, to what is read. */
  output = ''

  constructor(env: Record<string, string> = {}, { stdout, stderr }: Outputs = {}) {
    this.#child = spawn(process.execPath, ['--import', 'tsx', 'src/service/main.ts'], {
      cwd: root,
      env: { PATH: process.env['PATH'], DATABASE_URL: database.url, DATA_DIR: dataDir, ...env },
      stdio: ['ignore', stdout ?? 'pipe', stderr ?? 'pipe'],
    })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.output += chunk.toString()))
    }
    onTestFinished(() => void this.#child.kill('SIGKILL'))
  }

  /** @returns Where it listens. */
  async isReady(): Promise<string> {
    await vi.waitFor(() => expect(this.output).toContain('Portcullis listens on'), 40_000)
    return /listens on (\S+)/.exec(this.output)?.[1] ?? ''
  }

  /** As a reader that goes away. */
  closeOutputs(): void {
    this.#child.stdout?.destroy()
    this.#child.stderr?.destroy()
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  async end(signal?: NodeJS.Signals): Promise<number | null> {
    if (signal) this.#child.kill(signal)
    if (this.#child.exitCode === null) await once(this.#child, 'exit')
    return this.#child.exitCode
  }
}

/** Files in the place of what is read. */
interface Outputs {
  readonly stdout?: number
  readonly stderr?: number
}

describe('the process', () => {
  it('shows the first admin’s password although an earlier start found its port in use', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo

    const early = new Process({ PORT: String(port) })
    expect(await early.end()).toBe(1)
    expect(early.output).toContain(`Port ${port} on 127.0.0.1 is in use`)
    expect(early.output).not.toMatch(/\n\s+at /)
    other.close()

    const late = new Process({ PORT: String(port) })
    const url = await late.isReady()
    const [, email, password] = /First admin: (\S+)\nPassword: +(\S+)/.exec(late.output) ?? []
    const answer = await fetch(`${url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        query: `mutation { login(email: "${email}", password: "${password}") { tokenType } }`,
      }),
    })
    expect(await answer.json()).toEqual({ data: { login: { tokenType: 'Bearer' } } })
    expect(await late.end('SIGTERM')).toBe(0)

    const again = new Process({ PORT: '0' })
    await again.isReady()
    expect(again.output).not.toContain('Password')
    expect(await again.end('SIGINT')).toBe(0)
  })

  it('waits at its start for a database that is too busy to answer at once', async () => {
    const first = new Process({ PORT: '0' })
    await first.isReady()
    await first.end('SIGTERM')
    const holder = new pg.Client({ connectionString: database.url })
    await holder.connect()
    await holder.query('begin; lock table revocation in access exclusive mode')

    const node = new Process({ PORT: '0' })
    await vi.waitFor(async () => {
      const waiting = await database.query(`select 1 from pg_locks where not granted`)
      expect(waiting).not.toEqual([])
    }, 40_000)
    await sleep(1000)
    await holder.query('rollback')
    await holder.end()
    await node.isReady()
    expect(await node.end('SIGTERM')).toBe(0)
  })

  it('ends as soon as the last request is answered, whose client would have kept the connection', async () => {
    const node = new Process({ PORT: '0', ADMIN_EMAIL: 'a@b.example', ADMIN_PASSWORD: 'a b c d e' })
    const url = await node.isReady()
    const holder = new pg.Client({ connectionString: database.url })
    await holder.connect()
    await holder.query('begin; lock table account in access exclusive mode')
    const answering = fetch(`${url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        query: 'mutation { login(email: "a@b.example", password: "a b c d e") { tokenType } }',
      }),
    })
    await vi.waitFor(async () => {
      const waiting = await database.query(`select 1 from pg_locks where not granted`)
      expect(waiting).not.toEqual([])
    }, 5000)

    const ending = node.end('SIGTERM')
    await vi.waitFor(() => expect(node.output).toContain('stopping'), 5000)
    await holder.query('rollback')
    await holder.end()
    const answer = await answering
    const answeredAt = performance.now()
    expect(await answer.json()).toEqual({ data: { login: { tokenType: 'Bearer' } } })
    expect(answer.headers.get('connection')).toBe('close')
    expect(await ending).toBe(0)
    // Connections that are kept alive are cut after ten seconds.
    expect(performance.now() - answeredAt).toBeLessThan(7000)
  })

  it.each([30, 60, 99])('says in a sentence that it may open %i files only', async (limit) => {
    const script = `ulimit -n ${limit}; exec "$0" --import tsx src/service/main.ts`
    const child = spawn('sh', ['-c', script, process.execPath], {
      cwd: root,
      env: { PATH: process.env['PATH'], DATABASE_URL: database.url, DATA_DIR: dataDir },
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
    }
    const [code] = await once(child, 'close')

    expect(output).toBe(
      `This process may open ${limit} files only; let it open at least 100, better thousands (ulimit -n)\n`,
    )
    expect(code).toBe(1)
  })

  it.each(['', 'cut'])('says so when its signing key is not whole: "%s"', async (key) => {
    await writeFile(join(dataDir, 'jwt-secret'), key)

    const node = new Process({ PORT: '0' })
    expect(await node.end()).toBe(1)
    expect(node.output.trim()).toMatch(/^The signing key in \S+jwt-secret is not whole; .*$/)
  })
})

const ADMIN = { ADMIN_EMAIL: 'ada@example.com', ADMIN_PASSWORD: 'the gate of ada' }
const LOGIN = `mutation { login(email: "ada@example.com", password: "the gate of ada") { accessToken } }`

async function ask(url: string, query: string, token = ''): Promise<any> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(token && { authorization: token }) },
    body: query.startsWith('[') ? query : JSON.stringify({ query }),
  })
  return response.json()
}

async function answers(url: string): Promise<boolean> {
  return fetch(`${url}/healthz`).then(
    ({ ok }) => ok,
    () => false,
  )
}

async function countDropped(url: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  return Number(/^portcullis_log_lines_dropped_total (\d+)$/m.exec(text)?.[1])
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Has a node write thousands of lines to its log: a refusal of a revoked token is one. */
async function writeLines(url: string): Promise<void> {
  const { data } = await ask(url, LOGIN)
  const token = `Bearer ${data.login.accessToken}`
  await ask(url, 'mutation { logout { alreadyRevoked } }', token)
  const batch = JSON.stringify(Array.from({ length: 10 }, () => ({ query: '{ me { id } }' })))
  for (let round = 0; round < 40; round++) {
    await Promise.all(Array.from({ length: 10 }, () => ask(url, batch, token)))
  }
}

describe('a log that cannot be written changes no answer', () => {
  let port: number
  let url: string
  beforeEach(async () => {
    port = await findFreePort()
    url = `http://127.0.0.1:${port}`
  })

  /** It listens before its admin is made. */
  async function isUp(): Promise<void> {
    await vi.waitFor(async () => expect(await answers(url)).toBe(true), 40_000)
    await vi.waitFor(async () => {
      expect(await database.query('select 1 from account')).toHaveLength(1)
    }, 20_000)
  }

  it('on a full disk: lines are dropped and counted', async () => {
    const full = openSync('/dev/full', 'w')
    const node = new Process({ PORT: `${port}`, ...ADMIN }, { stdout: full, stderr: full })
    closeSync(full)
    await isUp()

    const register = `mutation { register(email: "grace@example.com", password: "the gate of grace") { tokenType } }`
    expect(await ask(url, register)).toEqual({ data: { register: { tokenType: 'Bearer' } } })
    expect((await ask(url, LOGIN)).errors).toBeUndefined()
    expect(await countDropped(url)).toBeGreaterThan(1)
    expect(await node.end('SIGTERM')).toBe(0)
  })

  it('on a pipe without a reader: the node goes on, also when one comes', async () => {
    const pipe = join(dataDir, 'pipe')
    execFileSync('mkfifo', [pipe])
    const held = openSync(pipe, 'r+')
    const node = new Process({ PORT: `${port}`, ...ADMIN }, { stdout: held, stderr: held })
    await isUp()

    await writeLines(url)
    expect(await answers(url)).toBe(true)
    expect(await countDropped(url)).toBeGreaterThan(100)

    const reader = spawn('cat', [pipe])
    onTestFinished(() => void reader.kill())
    let text = ''
    reader.stdout.on('data', (piece: Buffer) => (text += piece.toString()))
    await vi.waitFor(() => expect(text).toContain('revoked_token_refused'), 10_000)
    await sleep(500)
    const before = await countDropped(url)
    text = ''
    expect((await ask(url, LOGIN)).errors).toBeUndefined()
    await vi.waitFor(() => expect(text).toContain('"event":"login"'), 10_000)
    expect(await countDropped(url)).toBe(before)
    expect(await node.end('SIGTERM')).toBe(0)
    closeSync(held)
  })

  it('when the reader has gone away', async () => {
    const node = new Process({ PORT: `${port}`, ...ADMIN })
    await node.isReady()
    node.closeOutputs()

    for (let round = 0; round < 3; round++) {
      expect((await ask(url, LOGIN)).errors).toBeUndefined()
    }
    expect(await countDropped(url)).toBeGreaterThan(0)
    expect(await node.end('SIGTERM')).toBe(0)
  })

  it('and the first admin’s password goes where it can be read: to standard error, else to a file', async () => {
    const full = openSync('/dev/full', 'w')
    const first = new Process({ PORT: `${port}` }, { stdout: full })
    await vi.waitFor(() => expect(first.output).toContain('Password: '), 40_000)
    await first.end('SIGTERM')
    await database.query('truncate account cascade')

    const second = new Process({ PORT: `${port}` }, { stdout: full, stderr: full })
    closeSync(full)
    await isUp()
    const file = join(dataDir, 'first-admin.txt')
    await vi.waitFor(async () => expect(await readFile(file, 'utf8')).toContain('Password: '), 5000)
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    const [, password] = /Password: +(\S+)/.exec(await readFile(file, 'utf8')) ?? []
    const login = `mutation { login(email: "admin@portcullis.local", password: "${password}") { tokenType } }`
    expect((await ask(url, login)).errors).toBeUndefined()
    expect(await second.end('SIGTERM')).toBe(0)
  })

  it('nor the status of a start that fails', async () => {
    const full = openSync('/dev/full', 'w')
    const node = new Process({ PORT: 'http' }, { stdout: full, stderr: full })
    closeSync(full)

    expect(await node.end()).toBe(1)
  })
})

describe('a signal to stop', () => {
  it('is followed by SHUTDOWN_DELAY seconds in which the node serves, and is not ready', async () => {
    const node = new Process({ PORT: '0', SHUTDOWN_DELAY: '3', ...ADMIN })
    const url = await node.isReady()
    expect((await fetch(`${url}/readyz`)).status).toBe(200)

    const signalledAt = performance.now()
    node.signal('SIGTERM')
    await vi.waitFor(async () => {
      const ready = await fetch(`${url}/readyz`)
      expect([ready.status, await ready.json()]).toEqual([503, { status: 'stopping' }])
    }, 2000)
    expect(await answers(url)).toBe(true)
    expect((await ask(url, LOGIN)).errors).toBeUndefined()
    expect(await node.end()).toBe(0)
    expect(performance.now() - signalledAt).toBeGreaterThan(2900)
    expect(node.output).toContain('stopping')
  })

  it('that comes again ends the process at once', async () => {
    const node = new Process({ PORT: '0', SHUTDOWN_DELAY: '60', ...ADMIN })
    await node.isReady()

    node.signal('SIGTERM')
    await sleep(500)
    expect(node.isRunning).toBe(true)
    const againAt = performance.now()
    expect(await node.end('SIGTERM')).toBe(1)
    expect(performance.now() - againAt).toBeLessThan(2000)
  })

  it('that npm sends on beside the terminal is one signal', async () => {
    const node = new Process({ PORT: '0', SHUTDOWN_DELAY: '1', ...ADMIN })
    await node.isReady()

    node.signal('SIGINT')
    node.signal('SIGINT')
    expect(await node.end()).toBe(0)
  })
})

describe('a start', () => {
  it.each([
    ['an exception', 'throw new Error("out of the blue")'],
    ['a rejection', 'void Promise.reject(new Error("out of the blue"))'],
  ])('that meets %s which nothing handles ends the process', async (_what, fault) => {
    // Once it listens for signals it has begun.
    const late = `if (event === 'SIGTERM') setTimeout(() => { ${fault} }, 50)`
    const source = encodeURIComponent(`process.on('newListener', (event) => { ${late} })`)
    const node = new Process({
      PORT: '0',
      NODE_OPTIONS: `--import data:text/javascript,${source}`,
      // It never answers, so that the start is still under way.
      DATABASE_URL: await silentDatabase(),
    })

    expect(await node.end()).toBe(1)
    expect(node.output).toContain('Could not start: Error: out of the blue')
  })

  async function silentDatabase(): Promise<string> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    return `postgresql://ada@127.0.0.1:${(server.address() as AddressInfo).port}/ada`
  }
})
