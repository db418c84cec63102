import { spawn } from 'node:child_process'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
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
  readonly #child: ChildProcessWithoutNullStreams
  /** All that it printed. */
  output = ''

  constructor(env: Record<string, string> = {}) {
    this.#child = spawn(process.execPath, ['--import', 'tsx', 'src/main.ts'], {
      cwd: root,
      env: { PATH: process.env['PATH'], DATABASE_URL: database.url, DATA_DIR: dataDir, ...env },
    })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.on('data', (chunk: Buffer) => (this.output += chunk.toString()))
    }
    onTestFinished(() => void this.#child.kill('SIGKILL'))
  }

  /** @returns Where it listens. */
  async isReady(): Promise<string> {
    await vi.waitFor(() => expect(this.output).toContain('Portcullis listens on'), 10_000)
    return /listens on (\S+)/.exec(this.output)?.[1] ?? ''
  }

  async end(signal?: NodeJS.Signals): Promise<number | null> {
    if (signal) this.#child.kill(signal)
    if (this.#child.exitCode === null) await once(this.#child, 'exit')
    return this.#child.exitCode
  }
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
    }, 10_000)
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

  it.each(['', 'cut'])('says so when its signing key is not whole: "%s"', async (key) => {
    await writeFile(join(dataDir, 'jwt-secret'), key)

    const node = new Process({ PORT: '0' })
    expect(await node.end()).toBe(1)
    expect(node.output.trim()).toMatch(/^The signing key in \S+jwt-secret is not whole; .*$/)
  })
})
