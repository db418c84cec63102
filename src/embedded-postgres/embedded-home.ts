import { randomBytes } from 'node:crypto'
import { chmod, lstat, mkdir, readdir, realpath, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { StartError } from '../lib/start-error.ts'
import { findJson, unlessMissing, writeJson } from './embedded-files.ts'
import { findHolder } from './embedded-lock.ts'
import { run, type ServerUser } from './embedded-process.ts'
import { findServer, stopServer } from './embedded-server.ts'

/** Where the embedded database lives, and as whom. */
export interface Home {
  /** The folder with the lock, the password and the server's log. */
  readonly dataDir: string
  /** The folder with the cluster: `dataDir`, or the remote folder it points at. */
  readonly folder: string
  /** Whom the server runs as; `null` is the user we are. */
  readonly user: ServerUser | null
  /** Of the superuser. */
  readonly password: string
}

/** The content of `postgres.json`, which only its owner can read. */
interface State {
  readonly password: string
  /** The remote folder; `null` when the cluster is in the data folder itself. */
  readonly remote: string | null
}

/** Existing accounts to run as instead of root, the best first. No account is ever created. */
const SERVER_USERS = ['postgres', '_postgres', 'nobody']

/** Where remote folders are made, the best first. */
const REMOTE_ROOTS = [
  ...new Set(['/var/lib/portcullis', join(tmpdir(), 'portcullis'), '/tmp/portcullis']),
]

const REMOTE_NAME = /^[0-9a-f]{16}$/

/** How long a remote folder outlives the disappearance of the whole clone, in milliseconds (30 days). */
const LOST_CLONE_MS = 30 * 24 * 60 * 60 * 1000

export const LOCK_FILE = 'portcullis.lock'
const STATE_FILE = 'postgres.json'
const OWNER_FILE = 'owner.json'

/**
 * Makes the data folder when it is missing, and gives its real path.
 *
 * When we are root, others may pass through it, though not look around: the server's user must get to the cluster.
 */
export async function openDataDir(dataDir: string): Promise<string> {
  const created = await mkdir(dataDir, { recursive: true })
  if (created !== undefined) await chmod(dataDir, isRoot() ? 0o711 : 0o700)
  return realpath(dataDir)
}

/**
 * Finds, or chooses and writes down, where the cluster lives and who runs it.
 *
 * PostgreSQL refuses to run as root. Then it runs as an unprivileged user, who often cannot reach the data folder (a
 * clone under `/root`): then the cluster lives in a remote folder, and the data folder points at it. Removing the
 * data folder thus still means a new database, and two clones never share one.
 *
 * @param dataDir - A real path; its lock is held by the caller.
 * @throws {@link StartError} when the folder cannot be used, or its database is elsewhere and gone.
 */
export async function openHome(dataDir: string): Promise<Home> {
  const state = (await findState(dataDir)) ?? (await createState(dataDir))
  const folder = state.remote ?? dataDir
  if (!isRoot()) return { dataDir, folder, user: null, password: state.password }

  const user = await findServerUser(folder)
  if (!(await canReach(user, folder))) {
    throw new StartError(
      `The database in ${folder} belongs to the user ${user.name}, who can no longer reach that folder: ` +
        `let the user pass through it and the folders above it (chmod o+x)`,
    )
  }
  await sweepRemotes(dataDir, folder)
  return { dataDir, folder, user, password: state.password }
}

async function findState(dataDir: string): Promise<State | null> {
  const state = await findJson<State>(join(dataDir, STATE_FILE))
  if (state === null || state.remote === null) return state
  if (await isCopied(state.remote, dataDir)) return null

  if (!(await exists(state.remote))) {
    throw new StartError(
      `The database of ${dataDir} was in ${state.remote}, which is gone: ` +
        `restore it, or remove ${dataDir} to start with a new one`,
    )
  }
  // Says whose it is after the clone was moved, and that it was in use now.
  await writeJson(join(state.remote, OWNER_FILE), { dataDir })
  return state
}

/** Whether the data folder is a copy of another, which still owns the remote folder. */
async function isCopied(remote: string, dataDir: string): Promise<boolean> {
  const owner = await findJson<{ dataDir: string }>(join(remote, OWNER_FILE))
  return owner !== null && owner.dataDir !== dataDir && (await isOwnedBy(remote, owner.dataDir))
}

async function isOwnedBy(remote: string, dataDir: string): Promise<boolean> {
  return (await findJson<State>(join(dataDir, STATE_FILE)))?.remote === remote
}

async function createState(dataDir: string): Promise<State> {
  if (await exists(join(dataDir, 'cluster'))) {
    throw new StartError(
      `${dataDir} holds a database but not its password file ${STATE_FILE}: ` +
        `restore that file, or move the folder away to start with a new database`,
    )
  }

  const state = {
    password: randomBytes(24).toString('hex'),
    remote: isRoot() ? await chooseRemote(dataDir) : null,
  }
  await writeJson(join(dataDir, STATE_FILE), state)
  return state
}

async function chooseRemote(dataDir: string): Promise<string | null> {
  const user = await findServerUser(dataDir)
  if (await canReach(user, dataDir)) return null

  for (const root of REMOTE_ROOTS) {
    if (!(await openRemoteRoot(root, user))) continue

    const remote = join(root, randomBytes(8).toString('hex'))
    await mkdir(remote)
    await chmod(remote, 0o711)
    await writeJson(join(remote, OWNER_FILE), { dataDir })
    return remote
  }
  throw new StartError(
    `PostgreSQL does not run as root, and the user ${user.name} can reach neither ${dataDir} nor a folder ` +
      `made in ${REMOTE_ROOTS.join(' or ')}: set DATA_DIR to a folder that user can reach, or set DATABASE_URL`,
  )
}

/** Only root may be able to write there: what it holds is run, and anyone can make a folder in `/tmp` before us. */
async function openRemoteRoot(root: string, user: ServerUser): Promise<boolean> {
  try {
    if ((await mkdir(root, { recursive: true })) !== undefined) await chmod(root, 0o711)
    return (await isSafe(root)) && (await canReach(user, root))
  } catch {
    return false
  }
}

async function isSafe(root: string): Promise<boolean> {
  const found = await unlessMissing(lstat(root))
  return found !== null && found.isDirectory() && found.uid === 0 && (found.mode & 0o022) === 0
}

/**
 * Removes the remote folders whose data folder does not point at them any more, with the servers left behind in them.
 *
 * When even the folder around the data folder is gone, the clone may have been moved, or its disk is not mounted:
 * then the database is kept until it was not used for a month.
 */
async function sweepRemotes(dataDir: string, folder: string): Promise<void> {
  for (const root of REMOTE_ROOTS) {
    if (!(await isSafe(root))) continue
    for (const name of await readdir(root)) {
      const remote = join(root, name)
      if (remote === folder || !REMOTE_NAME.test(name)) continue
      // Housekeeping for others; what goes wrong in it is no reason not to start.
      if (await isAbandoned(remote, dataDir).catch(() => false)) await removeRemote(remote)
    }
  }
}

async function isAbandoned(remote: string, dataDir: string): Promise<boolean> {
  const ownerFile = join(remote, OWNER_FILE)
  const owner = await findJson<{ dataDir: string }>(ownerFile)
  const idleMs = Date.now() - (await stat(owner === null ? remote : ownerFile)).mtimeMs

  if (owner === null) return idleMs > LOST_CLONE_MS
  if (await isOwnedBy(remote, owner.dataDir)) return false
  if (!(await exists(dirname(owner.dataDir)))) return idleMs > LOST_CLONE_MS
  // A start in progress makes its remote folder before it points at it.
  return owner.dataDir === dataDir || (await findHolder(join(owner.dataDir, LOCK_FILE))) === null
}

async function removeRemote(remote: string): Promise<void> {
  try {
    const server = await findServer(join(remote, 'cluster'))
    if (server !== null) await stopServer(server)
    await rm(remote, { recursive: true, force: true, maxRetries: 3 })
  } catch {
    // The next start tries again.
  }
}

/** An existing cluster keeps its owner: so a start as root does not lock that owner out. */
async function findServerUser(folder: string): Promise<ServerUser> {
  const cluster = await unlessMissing(stat(join(folder, 'cluster')))
  if (cluster !== null && cluster.uid !== 0) {
    return { name: `${cluster.uid}`, uid: cluster.uid, gid: cluster.gid }
  }

  for (const name of SERVER_USERS) {
    const uid = Number(await run('id', ['-u', name], { user: null, cwd: '/' }).catch(() => 0))
    const gid = Number(await run('id', ['-g', name], { user: null, cwd: '/' }).catch(() => 0))
    if (uid !== 0 && gid !== 0) return { name, uid, gid }
  }
  throw new StartError(
    `PostgreSQL does not run as root, and there is no user ${SERVER_USERS.join(' or ')} to run it as: ` +
      `start as another user, or set DATABASE_URL`,
  )
}

/** Tries it, rather than reading modes: what counts may be an access list, a mount option or a sandbox. */
async function canReach(user: ServerUser, folder: string): Promise<boolean> {
  try {
    await run('/bin/sh', ['-c', 'cd "$0"', folder], { user, cwd: '/' })
    return true
  } catch {
    return false
  }
}

function isRoot(): boolean {
  return process.getuid?.() === 0
}

async function exists(path: string): Promise<boolean> {
  return (await unlessMissing(lstat(path))) !== null
}
