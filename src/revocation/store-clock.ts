import { MAX_CLOCK_SKEW_SECONDS } from '../token/claims.ts'

/**
 * The store's clock as this node knows it: what the store said last, and the time since then.
 *
 * That time is taken from a clock that nobody sets: this node's own may jump by minutes, and must not make tokens expire.
 */
export class StoreClock {
  readonly #onSetBack: () => void
  #offsetMs = 0

  /**
   * @param onSetBack - Told when the clock was set back by more than entries outlive the tokens that they hit: what was
   * forgotten as expired may be in force again.
   */
  constructor(onSetBack: () => void = () => undefined) {
    this.#onSetBack = onSetBack
  }

  /** Seconds since the epoch. */
  now(): number {
    return (steadyNow() + this.#offsetMs) / 1000
  }

  /** Takes note of an instant that the store has just drawn. */
  observe(storeNow: Date): void {
    const before = this.#offsetMs
    this.#offsetMs = storeNow.getTime() - steadyNow()
    if (this.#offsetMs < before - MAX_CLOCK_SKEW_SECONDS * 1000) this.#onSetBack()
  }
}

/** Milliseconds since the epoch, as this node's clock stood when the process began. */
function steadyNow(): number {
  return performance.timeOrigin + performance.now()
}
