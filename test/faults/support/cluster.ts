import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { chmod, cp, lchown, mkdtemp, open, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { prepareBinaries } from '../../../src/embedded-postgres/embedded-binaries.ts'
import { openDataDir, openHome } from '../../../src/embedded-postgres/embedded-home.ts'
import type { Home } from '../../../src/embedded-postgres/embedded-home.ts'
import { startEmbeddedPostgres } from '../../../src/embedded-postgres/embedded-postgres.ts'
import { SERVER_ENVIRONMENT, asUser } from '../../../src/embedded-postgres/embedded-process.ts'
import { findFreePort } from '../../../src/embedded-postgres/embedded-server.ts'

export type ServerSettings = Readonly<Record<string, string | number>>

/** A database to share between nodes, and to look into from outside. */
export interface Database {
  readonly url: string
  query<Row extends pg.QueryResultRow>(sql: string, values?: readonly unknown[]): Promise<Row[]>
}

const USER = 'portcullis'

/** How long a server may take to come up or to end, in milliseconds: after a crash it replays its log. */
const PATIENCE_MS = 60_000

/** A PostgreSQL of a test's own, to restart, to crash, to freeze and to copy. It keeps its port. */
export class Cluster {
  readonly url: string
  /** Of the whole cluster; removed at the end. */
  readonly folder: string
  readonly #home: Home
  readonly #program: string
  readonly #port: number
  readonly #settings: ServerSettings
  #postmaster: number | null = null
  #databases = 0

  /** Makes a cluster, and starts it. */
  static async create(settings: ServerSettings = {}): Promise<Cluster> {
    blank ??= makeBlank()
    const { folder: from, ...others } = await blank
    const folder = await makeFolder()
    const data = join(folder, 'cluster')
    await cp(join(from, 'cluster'), data, { recursive: true })
    if (others.user !== null) await giveAway(data, others.user)
    return Cluster.#start(folder, { ...others, folder, dataDir: folder }, settings)
  }

  static async #start(folder: string, home: Home, settings: ServerSettings): Promise<Cluster> {
    const { folder: programs } = await prepareBinaries(home.folder, home.user)
    const cluster = new Cluster(
      folder,
      home,
      join(programs, 'bin', 'postgres'),
      await findFreePort(),
      settings,
    )
    await cluster.start()
    return cluster
  }

  private constructor(
    folder: string,
    home: Home,
    program: string,
    port: number,
    settings: ServerSettings,
  ) {
    this.folder = folder
    this.#home = home
    this.#program = program
    this.#port = port
    this.#settings = settings
    this.url = `postgres://${USER}:${home.password}@127.0.0.1:${port}/${USER}?sslmode=disable`
  }

  /** Starts the server, and waits until it answers. */
  async start(): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS
    // The processes of a server that was killed may still be ending, and then it does not start.
    while (!(await this.#tryStart())) {
      if (performance.now() > deadline) throw new Error(`no server: ${await this.#readLog()}`)
      await sleep(50)
    }
  }

  /** `fast` ends every connection; `immediate` is a crash: the next start replays the log. */
  async stop(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    await this.#end(mode === 'fast' ? 'SIGINT' : 'SIGQUIT')
  }

  /** As when the machine fails: every process at once. */
  async kill(): Promise<void> {
    for (const pid of await this.processes()) signal(pid, 'SIGKILL')
    await this.#end('SIGKILL')
  }

  async restart(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    await this.stop(mode)
    await this.start()
  }

  /** The server and all that it started. */
  async processes(): Promise<readonly number[]> {
    const postmaster = this.#postmaster
    if (postmaster === null) return []
    return [postmaster, ...(await findChildren(postmaster))]
  }

  /** Nothing in it moves any more, and its connections stay open. */
  async freeze(): Promise<void> {
    for (const pid of await this.processes()) signal(pid, 'SIGSTOP')
  }

  async thaw(): Promise<void> {
    for (const pid of await this.processes()) signal(pid, 'SIGCONT')
  }

  /** Runs one statement in the cluster's first database. */
  async query<Row extends pg.QueryResultRow>(
    sql: string,
    values: readonly unknown[] = [],
  ): Promise<Row[]> {
    return query(this.url, sql, values)
  }

  /** An empty database; nodes migrate it. */
  async createDatabase(): Promise<Database> {
    const name = `faults_${++this.#databases}`
    await this.query(`create database ${name}`)
    return this.database(name)
  }

  database(name: string): Database {
    const url = new URL(this.url)
    url.pathname = name
    return { url: url.href, query: async (sql, values) => query(url.href, sql, values) }
  }

  /**
   * A standby that follows this cluster, which must be running: as `pg_basebackup -R` makes it.
   *
   * @param url - Where it finds this cluster.
   */
  async startStandby(url = this.url): Promise<Cluster> {
    const folder = await makeFolder()
    const client = new pg.Client({ connectionString: this.url })
    await client.connect()
    // The files are copied while it works; what is torn, the log from here on mends.
    await client.query(`select pg_backup_start('standby', true)`)
    const data = join(folder, 'cluster')
    await cp(this.data, data, { recursive: true, filter: (path) => !/postmaster\./.test(path) })
    const { rows } = await client.query<{ labelfile: string }>(
      `select labelfile from pg_backup_stop()`,
    )
    await client.end()

    await writeAs(join(data, 'backup_label'), rows[0]?.labelfile ?? '')
    await writeAs(join(data, 'standby.signal'), '')
    const { user } = this.#home
    if (user !== null) await giveAway(data, user)
    const home = { ...this.#home, folder, dataDir: folder }
    const { port } = new URL(url)
    const primary = `host=127.0.0.1 port=${port} user=${USER} password=${this.#home.password} application_name=standby`
    return Cluster.#start(folder, home, {
      primary_conninfo: primary,
      hot_standby: 'on',
    })
  }

  /** A standby becomes a primary. */
  async promote(): Promise<void> {
    await this.query(`select pg_promote(true, 20)`)
  }

  /** Ends it, and removes its files. */
  async remove(): Promise<void> {
    if (this.#postmaster !== null) {
      await this.thaw()
      await this.#end('SIGQUIT')
    }
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }

  get data(): string {
    return join(this.#home.folder, 'cluster')
  }

  /** Whom a folder must belong to that the server writes to; `null`: the user that runs the tests. */
  get user(): Home['user'] {
    return this.#home.user
  }

  async #tryStart(): Promise<boolean> {
    const settings = { ...SETTINGS, port: this.#port, ...this.#settings }
    const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const log = await open(this.#logFile, 'a', 0o666)
    const child = spawn(this.#program, ['-D', this.data, ...args], {
      ...asUser(this.#home.user),
      cwd: this.#home.folder,
      env: SERVER_ENVIRONMENT,
      stdio: ['ignore', log.fd, log.fd],
    })
    await once(child, 'spawn')
    await log.close()
    child.unref()

    this.#postmaster = child.pid as number
    while (child.exitCode === null && child.signalCode === null) {
      if (await answers(this.url)) return true
      await sleep(20)
    }
    this.#postmaster = null
    return false
  }

  async #end(how: NodeJS.Signals): Promise<void> {
    const pids = await this.processes()
    const [postmaster] = pids
    if (postmaster === undefined) return

    signal(postmaster, how)
    const deadline = performance.now() + PATIENCE_MS
    while (pids.some(isAlive)) {
      if (performance.now() > deadline) throw new Error(`the server does not end by ${how}`)
      await sleep(10)
    }
    this.#postmaster = null
  }

  get #logFile(): string {
    return join(this.#home.folder, 'server.log')
  }

  async #readLog(): Promise<string> {
    return (await readFile(this.#logFile, 'utf8')).slice(-2000)
  }
}

/** An empty cluster to copy: to make one takes seconds, and each test has its own. */
let blank: Promise<Home> | null = null

async function makeBlank(): Promise<Home> {
  const folder = await makeFolder()
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  const first = await startEmbeddedPostgres({ dataDir: folder })
  await first.stop()
  return openHome(await openDataDir(folder))
}

const SETTINGS: ServerSettings = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: 100,
  shared_buffers: '32MB',
  max_wal_size: '256MB',
  wal_level: 'replica',
  timezone: 'UTC',
}

async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'portcullis-faults-'))
  // Run by root, the server is another user, who has to get there and to write his log.
  await chmod(folder, 0o755)
  return folder
}

async function writeAs(path: string, text: string): Promise<void> {
  const file = await open(path, 'w', 0o600)
  await file.writeFile(text)
  await file.close()
}

async function giveAway(folder: string, user: { uid: number; gid: number }): Promise<void> {
  const names = await readdir(folder, { recursive: true })
  await Promise.all(['', ...names].map((name) => lchown(join(folder, name), user.uid, user.gid)))
  await chmod(folder, 0o700)
}

async function query<Row extends pg.QueryResultRow>(
  url: string,
  sql: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  // What is promised is the nodes' patience, not that of who looks from outside.
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 30_000 })
  client.on('error', () => undefined)
  await client.connect()
  try {
    return (await client.query<Row>(sql, [...values])).rows
  } finally {
    await client.end()
  }
}

async function answers(url: string): Promise<boolean> {
  return query(url, 'select 1').then(
    () => true,
    () => false,
  )
}

async function findChildren(parent: number): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '')
    const [, ppid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (Number(ppid) === parent) found.push(Number(name))
  }
  return found
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It is gone already.
  }
}
