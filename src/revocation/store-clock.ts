/** The store's clock as this node knows it: its own clock, corrected by what the store said last. */
export class StoreClock {
  #offsetMs = 0

  /** Seconds since the epoch. */
  now(): number {
    return (Date.now() + this.#offsetMs) / 1000
  }

  /** Takes note of an instant that the store has just drawn. */
  observe(storeNow: Date): void {
    this.#offsetMs = storeNow.getTime() - Date.now()
  }
}
