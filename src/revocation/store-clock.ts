import { MAX_CLOCK_SKEW_SECONDS } from '../token/claims.ts'
import type { Sweep } from './sweeper.ts'

/**
 * The store's clock as this node knows it: what the store said last, and the time since then.
 *
 * That time is taken from a clock that cannot be set: this node's own may jump by minutes, and must not make tokens expire.
 */
export class StoreClock {
  readonly #onSetBack: () => void
  #offsetMs = 0
  /** The latest instant that it has had, unless it was noticed that it was set back. */
  #latestMs = -Infinity

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
    const nowMs = storeNow.getTime()
    // Several small steps back add up.
    const expectedMs = Math.max(this.now() * 1000, this.#latestMs)
    const isSetBack = nowMs < expectedMs - MAX_CLOCK_SKEW_SECONDS * 1000

    this.#offsetMs = nowMs - steadyNow()
    this.#latestMs = isSetBack ? nowMs : Math.max(this.#latestMs, nowMs)
    if (isSetBack) this.#onSetBack()
  }
}

/**
 * Runs a sweep unless the store's clock is half a day or more ahead of the one of this process, which is never set: what such a
 * clock says has expired may be needed. It is tried again in the next round.
 */
export function unlessAhead(store: { now(): number }, sweep: Sweep): Sweep {
  return async (limit) => (store.now() * 1000 - steadyNow() > MAX_AHEAD_MS ? 0 : sweep(limit))
}

const MAX_AHEAD_MS = 12 * 60 * 60 * 1000

/** Milliseconds since the epoch, as this node's clock stood when the process began. */
function steadyNow(): number {
  return performance.timeOrigin + performance.now()
}
