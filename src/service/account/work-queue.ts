import { RateLimitedError } from '../../errors.ts'

/** More people sign in at this moment than passwords can be checked. */
export class TooManySignInsError extends RateLimitedError {
  constructor() {
    super(5, 'sign-ins at the moment')
  }
}

/** The bounds of a {@link WorkQueue}. */
export interface WorkQueueOptions {
  readonly maxRunning: number
  /** How many may wait; the next one is refused at once. */
  readonly maxWaiting: number
  /** Milliseconds; one that has waited longer is refused instead of served, because its client has given up by then. */
  readonly maxWaitMs: number
}

interface Waiting {
  readonly since: number
  start(): void
  refuse(): void
}

/** Runs work in the order in which it came, a few at a time. */
export class WorkQueue {
  readonly #options: WorkQueueOptions
  readonly #waiting: Waiting[] = []
  #running = 0

  constructor(options: WorkQueueOptions) {
    this.#options = options
  }

  /** How much work runs or waits. */
  get size(): number {
    return this.#running + this.#waiting.length
  }

  /** @throws {@link TooManySignInsError} when the line is too long, or moved too slowly. */
  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    await this.#takeTurn()
    try {
      return await work()
    } finally {
      this.#running -= 1
      this.#startNext()
    }
  }

  async #takeTurn(): Promise<void> {
    const { maxRunning, maxWaiting } = this.#options
    if (this.#running < maxRunning) {
      this.#running += 1
      return
    }

    if (this.#waiting.length >= maxWaiting) throw new TooManySignInsError()
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({
        since: performance.now(),
        start: resolve,
        refuse: () => reject(new TooManySignInsError()),
      })
    })
  }

  #startNext(): void {
    for (;;) {
      const next = this.#waiting.shift()
      if (next === undefined) return
      if (performance.now() - next.since <= this.#options.maxWaitMs) {
        this.#running += 1
        next.start()
        return
      }
      next.refuse()
    }
  }
}
