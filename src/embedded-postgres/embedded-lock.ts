import { randomUUID } from 'node:crypto'
import { link, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { findProcess, isAlive, type ProcessIdentity } from './embedded-process.ts'

interface LockEntry extends ProcessIdentity {
  /** Tells two locks of one process apart. */
  readonly nonce: string
}

/** A living process, maybe this one, holds the lock. */
export class LockHeldError extends Error {
  override readonly name = 'LockHeldError'
  readonly pid: number

  constructor(pid: number) {
    super(`process ${pid} holds the lock`)
    this.pid = pid
  }
}

/** Stands for the holder of a lock that cannot be read: no process has this number. */
const NOBODY: LockEntry = { pid: 0, birth: 'never', nonce: 'none' }

/** A draft or a guard is there for milliseconds; one this old, in milliseconds, was left behind by a dead process. */
const LEFTOVER_AFTER_MS = 60_000

/**
 * Takes a lock that ends with its process, however that ends. Of any number of processes that try at the same time,
 * with or without a dead one's lock in the way, exactly one gets it.
 *
 * A lock file is linked to its name, so it appears with its content or not at all: one that cannot be read was cut
 * off by a crash of the machine: it is free. A dead process's lock is removed only under a guard, which is a
 * lock too: without that, who read the dead lock first could remove the living lock of who was faster.
 *
 * @returns What releases the lock; it leaves a lock alone that others have taken since.
 * @throws {@link LockHeldError} when a living process holds it.
 */
export async function acquireLock(path: string): Promise<() => Promise<void>> {
  const entry = await createEntry()
  const draft = `${path}.${entry.nonce}`

  await writeFile(draft, JSON.stringify(entry), { mode: 0o644 })
  try {
    while (!(await linkUnlessThere(draft, path))) {
      const holder = await findHolder(path)
      if (holder !== null) throw new LockHeldError(holder.pid)
      await removeDeadLock(path)
    }
  } finally {
    await rm(draft, { force: true })
  }

  await removeLeftovers(path)
  return async () => {
    if ((await readEntry(path))?.nonce === entry.nonce) await rm(path, { force: true })
  }
}

/** @returns The living process that holds the lock, or `null` when there is none. */
export async function findHolder(path: string): Promise<ProcessIdentity | null> {
  const entry = await readEntry(path)
  return entry !== null && (await isAlive(entry)) ? entry : null
}

async function createEntry(): Promise<LockEntry> {
  const self = await findProcess(process.pid)
  if (self === null) throw new Error('this process does not find itself among the living')
  return { pid: self.pid, birth: self.birth, nonce: randomUUID() }
}

async function readEntry(path: string): Promise<LockEntry | null> {
  try {
    const entry = JSON.parse(await readFile(path, 'utf8')) as LockEntry
    return Number.isInteger(entry?.pid) ? entry : NOBODY
  } catch (error) {
    if (error instanceof SyntaxError) return NOBODY
    if (isCode(error, 'ENOENT')) return null
    throw error
  }
}

async function linkUnlessThere(draft: string, path: string): Promise<boolean> {
  try {
    await link(draft, path)
    return true
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false
    throw error
  }
}

async function removeDeadLock(path: string): Promise<void> {
  let release: () => Promise<void>
  try {
    release = await acquireLock(`${path}.guard`)
  } catch (error) {
    if (!(error instanceof LockHeldError)) throw error
    // Another start is removing it right now.
    await sleep(5)
    return
  }

  try {
    const dead = await readEntry(path)
    if (dead === null || (await isAlive(dead))) return

    // Its holder may have released it and ended in between. If it is still there now, it stays until we remove it.
    if ((await readEntry(path))?.nonce === dead.nonce) await rm(path, { force: true })
  } finally {
    await release()
  }
}

async function removeLeftovers(path: string): Promise<void> {
  const names = await readdir(dirname(path))
  const isLeftover = (name: string): boolean => name.startsWith(`${basename(path)}.`)

  await Promise.all(
    names.filter(isLeftover).map(async (name) => {
      const leftover = join(dirname(path), name)
      const { mtimeMs } = await stat(leftover)
      if (Date.now() - mtimeMs > LEFTOVER_AFTER_MS) await rm(leftover)
    }),
  ).catch(() => {})
}

function isCode(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException).code === code
}
