import DataLoader from 'dataloader'

/** The bounds of a batch. */
export interface BatchOptions {
  /** The most that is asked in one call. */
  readonly maxBatchSize?: number
  /**
   * How long the next call waits for the one under way, in milliseconds: for those that have no such limit of their own.
   *
   * @defaultValue as long as it takes
   */
  readonly patienceMs?: number
}

/** Calls that were made at the same time. */
interface Wave {
  left: number
  readonly patience: NodeJS.Timeout | undefined
}

/**
 * Makes a function of one out of a function of many: whatever is asked at the same time, by any field of any request,
 * goes in one call.
 *
 * While a call is under way, new questions gather for the next one; that bounds both the calls per second and the wait.
 * Nothing is remembered between calls.
 *
 * @param callWith - Answers for each in order: a value, or an `Error` for that one alone. When it throws, all have failed.
 */
export function createBatched<Question, Answer>(
  callWith: (questions: readonly Question[]) => Promise<ReadonlyArray<Answer | Error>>,
  { maxBatchSize = 1000, patienceMs }: BatchOptions = {},
): (question: Question) => Promise<Answer> {
  const gathered: Array<() => void> = []
  /** The one that new questions wait for. */
  let awaited: Wave | null = null

  const loader = new DataLoader<Question, Answer>(
    async (questions) => {
      // It is called as soon as it is dispatched.
      const wave = awaited as Wave
      try {
        return await callWith(questions)
      } finally {
        wave.left -= 1
        if (wave.left === 0) goOn(wave)
      }
    },
    { cache: false, maxBatchSize, batchScheduleFn: gather },
  )

  function gather(dispatch: () => void): void {
    gathered.push(dispatch)
    // After this turn's sockets were read, so that their requests go together.
    if (gathered.length === 1) setImmediate(dispatchGathered)
  }

  /** All at once, even what one batch does not hold: else the last would wait for more than two calls. */
  function dispatchGathered(): void {
    if (awaited !== null || gathered.length === 0) return
    const batches = gathered.splice(0)
    const wave: Wave = {
      left: batches.length,
      patience: patienceMs === undefined ? undefined : setTimeout(() => goOn(wave), patienceMs),
    }
    awaited = wave
    for (const dispatch of batches) dispatch()
  }

  function goOn(wave: Wave): void {
    clearTimeout(wave.patience)
    if (awaited !== wave) return
    awaited = null
    dispatchGathered()
  }

  return (question) => loader.load(question)
}
