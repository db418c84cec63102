/** Deletes at most `limit` rows that can be forgotten, and says how many it found. */
export type Sweep = (limit: number) => Promise<number>

/** What is removed, how often, and who hears of a failure. */
export interface SweeperOptions {
  readonly sweeps: readonly Sweep[]
  readonly intervalMs: number
  /** Told of every failure; the next round tries again. */
  readonly onError: (error: unknown) => void
  readonly batchSize?: number
}

/** A sweeper at work. */
export interface Sweeper {
  /** Ends after the batch under way. */
  stop(): Promise<void>
}

/**
 * Removes what can be forgotten, for ever, in small batches, so that no lock is held long.
 *
 * Nodes need not agree on who does it: each skips the rows that another has locked.
 */
export function startSweeper({
  sweeps,
  intervalMs,
  onError,
  batchSize = 1000,
}: SweeperOptions): Sweeper {
  let isStopping = false
  let timer: NodeJS.Timeout | undefined
  let round: Promise<void> = Promise.resolve()

  async function sweepAll(): Promise<void> {
    for (const sweep of sweeps) {
      try {
        while (!isStopping && (await sweep(batchSize)) >= batchSize);
      } catch (error) {
        onError(error)
      }
    }
  }

  function schedule(): void {
    // Jitter, so that nodes started together do not sweep together for ever.
    const delayMs = intervalMs * (0.75 + Math.random() / 2)
    timer = setTimeout(() => {
      round = sweepAll().finally(() => {
        if (!isStopping) schedule()
      })
    }, delayMs)
    timer.unref()
  }

  schedule()
  return {
    async stop() {
      isStopping = true
      clearTimeout(timer)
      await round
    },
  }
}
