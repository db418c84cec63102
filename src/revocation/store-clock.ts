import { MAX_CLOCK_SKEW_SECONDS } from '../token/claims.ts'

/** The store's clock as this node knows it: its own clock, corrected by what the store said last. */
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
    return (Date.now() + this.#offsetMs) / 1000
  }

  /** Takes note of an instant that the store has just drawn. */
  observe(storeNow: Date): void {
    const before = this.#offsetMs
    this.#offsetMs = storeNow.getTime() - Date.now()
    if (this.#offsetMs < before - MAX_CLOCK_SKEW_SECONDS * 1000) this.#onSetBack()
  }
}
