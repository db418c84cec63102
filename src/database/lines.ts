import { RateLimitedError, RevocationUnavailableError } from '../errors.ts'

export interface LinesOptions {
  /** How many of one line may wait; more are refused. */
  readonly maxWaiting: number
  /** How long one may wait, in milliseconds. */
  readonly maxWaitMs: number
}

/**
 * Runs work when it is its turn in the line of a name.
 *
 * @throws {@link RateLimitedError} when too many wait in it; {@link RevocationUnavailableError} after too long a wait.
 */
export type RunInLine = <Result>(name: string, work: () => Promise<Result>) => Promise<Result>

/** Told when it is its turn. */
type Waiting = () => void

/**
 * Makes lines, one a name, of which one at a time is at work: so a person's own requests wait for each other, and not
 * others for them.
 *
 * Transactions about one person wait for each other in the database anyway. There each would hold a connection while it
 * waits, until none is left for others.
 */
export function createLines({ maxWaiting, maxWaitMs }: LinesOptions): RunInLine {
  /** Those behind the one at work. */
  const lines = new Map<string, Waiting[]>()

  async function takeTurn(name: string): Promise<void> {
    const line = lines.get(name)
    if (line === undefined) {
      lines.set(name, [])
      return
    }
    if (line.length >= maxWaiting) throw new RateLimitedError(1, 'requests')
    await waitIn(line, maxWaitMs)
  }

  function leave(name: string): void {
    const next = lines.get(name)?.shift()
    if (next) next()
    else lines.delete(name)
  }

  return async (name, work) => {
    await takeTurn(name)
    try {
      return await work()
    } finally {
      leave(name)
    }
  }
}

async function waitIn(line: Waiting[], maxWaitMs: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const take: Waiting = () => {
      clearTimeout(timer)
      resolve()
    }
    const timer = setTimeout(() => {
      line.splice(line.indexOf(take), 1)
      reject(new RevocationUnavailableError(new Error('waited too long for its turn')))
    }, maxWaitMs)
    line.push(take)
  })
}
