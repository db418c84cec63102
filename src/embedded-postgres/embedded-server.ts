import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile, rm, stat } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { unlessMissing } from './embedded-files.ts'
import {
  asUser,
  findProcess,
  isAlive,
  SERVER_ENVIRONMENT,
  type LivingProcess,
  type ProcessIdentity,
  type ServerUser,
} from './embedded-process.ts'

/** A living PostgreSQL server of one cluster. */
export interface Server extends LivingProcess {
  readonly port: number
  readonly isReady: boolean
}

export interface LaunchOptions {
  /** The program. */
  readonly postgres: string
  /** A real path. */
  readonly cluster: string
  readonly user: ServerUser | null
  /** What the server writes is added to this file. */
  readonly logFile: string
}

/** A server ended before it was ready, or did not get ready in time. */
export class LaunchError extends Error {
  override readonly name = 'LaunchError'
  /** All that this server wrote. */
  readonly log: string

  constructor(log: string) {
    super('the server did not get ready')
    this.log = log
  }
}

/** Given on the command line, so that each start has those of this release and not those of the first start. */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  password_encryption: 'scram-sha-256',
  max_connections: '100',
  shared_buffers: '32MB',
  max_wal_size: '256MB',
  fsync: 'on',
  timezone: 'UTC',
  log_timezone: 'UTC',
  logging_collector: 'off',
  log_checkpoints: 'off',
  // A failed statement and the row it failed on can hold what must not reach a log.
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
}

/** How long a server has until it answers, in milliseconds; after a crash it first replays its log. */
const READY_MS = 60_000

/** How long each signal has to end a server, in milliseconds: fast, then immediate, then by force. */
const STOP_STEPS = [
  ['SIGINT', 10_000],
  ['SIGQUIT', 5_000],
  ['SIGKILL', 2_000],
] as const

/**
 * Finds the server of a cluster by its `postmaster.pid`.
 *
 * The process in that file may have died with the machine and its number may be another's by now, which PostgreSQL
 * itself would take for a running server; so the process must also be one that was started for this cluster.
 *
 * @returns `null` when no server of this cluster lives, whatever the file says.
 */
export async function findServer(cluster: string): Promise<Server | null> {
  const file = await unlessMissing(readFile(pidFileOf(cluster), 'utf8'))
  const [pid, , , port, , , , status] = file?.split('\n') ?? []
  const found = await findProcess(Number(pid))

  if (found === null || !found.command.includes(` -D ${cluster} `)) return null
  return { ...found, port: Number(port), isReady: status?.trim() === 'ready' }
}

/**
 * Starts the server of a cluster, on a free port, and waits until it is ready.
 *
 * It gets a session of its own: Ctrl-C in a terminal ends every process of the foreground group, and the server must
 * outlive the requests that are still in progress then.
 *
 * @throws {@link LaunchError} when it does not get ready; nothing is left running then.
 */
export async function launchServer(options: LaunchOptions): Promise<Server> {
  const logStart = (await unlessMissing(stat(options.logFile)))?.size ?? 0
  const child = await spawnServer(options, await findFreePort())
  let server: Server | null = null

  try {
    server = await waitUntilReady(child, options.cluster)
  } finally {
    if (server === null) await endChild(child)
  }
  if (server !== null) return server

  const log = await readFile(options.logFile)
  throw new LaunchError(log.subarray(logStart).toString())
}

/** Ends a server, waits until it is gone, and does nothing when it is gone already. */
export async function stopServer(server: ProcessIdentity): Promise<void> {
  for (const [signal, waitMs] of STOP_STEPS) {
    const deadline = performance.now() + waitMs
    if (!(await isAlive(server))) return

    sendSignal(server.pid, signal)
    while (performance.now() < deadline) {
      if (!(await isAlive(server))) return
      await sleep(10)
    }
  }
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    // It ended by itself just now.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Removes what a server that was killed, or died with the machine, left behind. */
export async function removeStalePidFile(cluster: string): Promise<void> {
  if ((await findServer(cluster)) === null) await rm(pidFileOf(cluster), { force: true })
}

async function spawnServer(options: LaunchOptions, port: number): Promise<ChildProcess> {
  const settings = Object.entries({ ...SETTINGS, port })
  const args = settings.flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const log = await open(options.logFile, 'a', 0o600)

  try {
    // Whose cluster it is may start as himself the next time, and not as root.
    if (options.user !== null) await log.chown(options.user.uid, options.user.gid)
    const child = spawn(options.postgres, ['-D', options.cluster, ...args], {
      ...asUser(options.user),
      cwd: dirname(options.cluster),
      env: SERVER_ENVIRONMENT,
      stdio: ['ignore', log.fd, log.fd],
      detached: true,
    })
    await once(child, 'spawn')
    // It is stopped by `stopServer`, and is no reason for this process to live on.
    child.unref()
    return child
  } finally {
    await log.close()
  }
}

async function waitUntilReady(child: ChildProcess, cluster: string): Promise<Server | null> {
  const deadline = performance.now() + READY_MS

  while (!hasEnded(child) && performance.now() < deadline) {
    const server = await findServer(cluster)
    if (server?.pid === child.pid && server?.isReady) return server
    await sleep(5)
  }
  return null
}

async function endChild(child: ChildProcess): Promise<void> {
  const found = hasEnded(child) || child.pid === undefined ? null : await findProcess(child.pid)
  if (found !== null) await stopServer(found)
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}

function pidFileOf(cluster: string): string {
  return join(cluster, 'postmaster.pid')
}

/** Another process may take the port before PostgreSQL does; then the launch fails and is tried again. */
export async function findFreePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo

  probe.close()
  await once(probe, 'close')
  return port
}
