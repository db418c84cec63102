import { performance } from 'node:perf_hooks'

export interface LoadGateOptions {
  /**
   * How many requests may be under way while the event loop has no rest.
   *
   * By Little's law that many take `maxUnderWay / requests a second` seconds each: 0.1 at 5,000 a second.
   *
   * @defaultValue 500
   */
  readonly maxUnderWay?: number | undefined
  /** How many of the requests under way wait for something that has a bound of its own. */
  readonly countAside?: (() => number) | undefined
  /** Told when it begins to refuse, and when that is over. */
  readonly onChange?: (isShedding: boolean) => void
}

/** How often it looks, in milliseconds. */
const LOOK_MS = 50

/** A process that does nothing for more than a tenth of the time is not what its requests wait for. */
const BUSY = 0.9

/** Requests that wait for the same statement are answered together: then there are few for a moment. */
const FULL = 0.8

/** For how long it must have been otherwise until it changes its mind, in milliseconds: a pause is over sooner. */
const PATIENCE_MS = 500

/**
 * Refuses what a node cannot serve in time, so that it serves the rest.
 *
 * There is too much when many requests are under way and the event loop has hardly a moment's rest, for half a second: so
 * neither a pause, nor a database that is slow or away, has anything refused.
 */
export class LoadGate {
  readonly #maxUnderWay: number
  readonly #countAside: () => number
  readonly #onChange: (isShedding: boolean) => void
  readonly #timer = setInterval(() => this.#look(), LOOK_MS).unref()
  #underWay = 0
  /** The most that were under way since it looked last. */
  #peak = 0
  #utilization = performance.eventLoopUtilization()
  #isShedding = false
  #otherwiseSince: number | null = null

  constructor({
    maxUnderWay = 500,
    countAside = () => 0,
    onChange = () => undefined,
  }: LoadGateOptions) {
    this.#maxUnderWay = maxUnderWay
    this.#countAside = countAside
    this.#onChange = onChange
  }

  /** Whether there is room for one more request. */
  hasRoom(): boolean {
    return !this.#isShedding || this.#counted < this.#maxUnderWay
  }

  begin(): void {
    this.#underWay += 1
    this.#peak = Math.max(this.#peak, this.#counted)
  }

  end(): void {
    this.#underWay -= 1
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  get #counted(): number {
    return this.#underWay - this.#countAside()
  }

  #look(): void {
    const before = this.#utilization
    this.#utilization = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(this.#utilization, before)
    const isOverloaded = utilization > BUSY && this.#peak >= FULL * this.#maxUnderWay
    this.#peak = this.#counted
    this.#judge(isOverloaded, performance.now())
  }

  #judge(isOverloaded: boolean, now: number): void {
    if (isOverloaded === this.#isShedding) {
      this.#otherwiseSince = null
      return
    }
    this.#otherwiseSince ??= now
    if (now - this.#otherwiseSince < PATIENCE_MS) return
    this.#isShedding = isOverloaded
    this.#otherwiseSince = null
    this.#onChange(isOverloaded)
  }
}
