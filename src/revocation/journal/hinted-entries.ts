/** The most that is kept of what was hinted at; the journal is read at once then, and tells the rest. */
const MAX_ENTRIES = 10_000

/**
 * What other nodes have hinted at, until the journal was read: that confirms it, or it is dropped.
 *
 * Hints are sent after the commit, so the first read that begins later finds what is true of them. Who may notify may write
 * anything into one: so its expiry is not believed, and their number is bounded.
 */
export class HintedEntries {
  /** Since the read under way began, and before that: the reach by key. */
  #young = new Map<number, number>()
  #old = new Map<number, number>()

  get size(): number {
    return this.#young.size + this.#old.size
  }

  /** @returns Whether there was room. */
  add(high: number, low: number, reachMs: number): boolean {
    const key = toKey(high, low)
    const known = this.#young.get(key)
    if (known === undefined && this.size >= MAX_ENTRIES) return false
    this.#young.set(key, Math.max(known ?? 0, reachMs))
    return true
  }

  /** Whether a hint under this key may reach a token issued then. */
  mayReach(high: number, low: number, issuedAtMs: number): boolean {
    if (this.size === 0) return false
    const key = toKey(high, low)
    return issuedAtMs <= Math.max(this.#young.get(key) ?? -1, this.#old.get(key) ?? -1)
  }

  /** A read of the journal begins. */
  beginRead(): void {
    for (const [key, reachMs] of this.#young) {
      this.#old.set(key, Math.max(this.#old.get(key) ?? 0, reachMs))
    }
    this.#young = new Map()
  }

  /** That read has told all that was committed before it. */
  endRead(): void {
    if (this.#old.size > 0) this.#old = new Map()
  }
}

/** 53 bits of a key: as many as a number holds, and enough to tell apart what is there for a moment. */
function toKey(high: number, low: number): number {
  return high * 2 ** 21 + (low >>> 11)
}
