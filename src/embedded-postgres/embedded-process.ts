import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

const execute = promisify(execFile)

/** The unprivileged account that owns the cluster when Portcullis itself runs as root. */
export interface ServerUser {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

/** One process, told apart from any later one that is given the same number. */
export interface ProcessIdentity {
  readonly pid: number
  /** When it was born, in the system's own form: to compare, not to read. */
  readonly birth: string
}

export interface LivingProcess extends ProcessIdentity {
  /** The command line it was started with. */
  readonly command: string
}

/**
 * What a program of PostgreSQL gets to see of our environment. `PGPORT` and its kin would change what it does, its
 * messages are read by us and so must be English, and on macOS it does not start without `LC_ALL`.
 */
export const SERVER_ENVIRONMENT = {
  PATH: '/usr/bin:/bin:/usr/sbin:/sbin',
  LC_ALL: 'C',
  TZ: 'UTC',
}

const NOT_SEEN = new Set(['ENOENT', 'ESRCH', 'EACCES', 'EPERM'])

/** @returns The process with this number, or `null` when there is none or only its exit status is left. */
export async function findProcess(pid: number): Promise<LivingProcess | null> {
  return process.platform === 'linux' ? findInProc(pid) : findWithPs(pid)
}

export async function isAlive({ pid, birth }: ProcessIdentity): Promise<boolean> {
  return (await findProcess(pid))?.birth === birth
}

/** How a child process is started as the given user; `null` is the user we are. */
export function asUser(user: ServerUser | null): { uid?: number; gid?: number } {
  // `nobody` is 4294967294 on macOS: `chown` takes it as it is, `spawn` only as a signed number.
  return user === null ? {} : { uid: user.uid | 0, gid: user.gid | 0 }
}

/**
 * Runs a program to its end.
 *
 * @param options.cwd - A folder the user can reach: PostgreSQL's programs refuse to work anywhere else.
 * @returns What it wrote to its standard output.
 * @throws Error with the program's `stderr` when it cannot be run or ends with a failure.
 */
export async function run(
  program: string,
  args: readonly string[],
  options: { user: ServerUser | null; cwd: string; input?: string; timeoutMs?: number },
): Promise<string> {
  const running = execute(program, args, {
    ...asUser(options.user),
    cwd: options.cwd,
    env: SERVER_ENVIRONMENT,
    timeout: options.timeoutMs,
  })
  // A program that ended before it read its input is reported by its exit status, not by the broken pipe.
  running.child.stdin?.on('error', () => {})
  running.child.stdin?.end(options.input)

  return (await running).stdout
}

/** What a program said when it failed, in its own words. */
export function describeFailure(error: unknown): string {
  const { stderr, message } = error as Error & { stderr?: string }
  return findTellingLine(stderr ?? '') ?? message
}

/** Finds the line that says what went wrong: the last one of a log may only say goodbye. */
export function findTellingLine(log: string): string | undefined {
  const lines = log.split('\n').filter((line) => line.trim() !== '')
  const line = lines.findLast((candidate) => /FATAL:|PANIC:|error:/.test(candidate)) ?? lines.at(-1)
  // Without the time and the process at its beginning.
  return line?.replace(/^\d{4}-.*? \[\d+\] /, '').trim()
}

async function findInProc(pid: number): Promise<LivingProcess | null> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    // The second field, the program's name, may hold spaces and brackets; the rest is plain.
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (state === 'Z' || state === 'X') return null

    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8')
    // Field 22, in clock ticks since boot; after a reboot the same ticks may come again.
    return {
      pid,
      birth: `${await readBootId()} ${fields[18]}`,
      command: command.replaceAll('\0', ' '),
    }
  } catch (error) {
    // Gone, perhaps while we read; or of another user, where the system hides those.
    if (NOT_SEEN.has((error as NodeJS.ErrnoException).code ?? '')) return null
    throw error
  }
}

async function readBootId(): Promise<string> {
  const id = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')
  return id.trim()
}

async function findWithPs(pid: number): Promise<LivingProcess | null> {
  const columns = ['-ww', '-o', 'state=', '-o', 'lstart=', '-o', 'command=', '-p', String(pid)]
  // `ps` fails when there is no such process.
  const line = await run('ps', columns, { user: null, cwd: '/' }).catch(() => '')
  const [, state, birth, command] = /^(\S+)\s+((?:\S+\s+){5})(.*)$/s.exec(line.trim()) ?? []

  if (state === undefined || birth === undefined || state.startsWith('Z')) return null
  return { pid, birth: birth.trim(), command: command?.trimEnd() ?? '' }
}
