import DataLoader from 'dataloader'

/** The bounds of a batch. */
export interface BatchOptions {
  /** The most that is asked in one call. */
  readonly maxBatchSize?: number
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
  { maxBatchSize = 1000 }: BatchOptions = {},
): (question: Question) => Promise<Answer> {
  const gathered: Array<() => void> = []
  let underWay = 0

  const loader = new DataLoader<Question, Answer>(
    async (questions) => {
      try {
        return await callWith(questions)
      } finally {
        underWay -= 1
        dispatchGathered()
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
    if (underWay > 0) return
    const batches = gathered.splice(0)
    underWay = batches.length
    for (const dispatch of batches) dispatch()
  }

  return (question) => loader.load(question)
}
