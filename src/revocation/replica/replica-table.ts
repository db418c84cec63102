/**
 * What a replica knows of the entries in force: which keys have one, and up to which issue time it may reach.
 *
 * Sixteen bytes a slot, in hash tables with open addressing. A slot keeps half of its entry's key and nothing of what
 * the rule decides by, so it can only rule out; and all that a slot can become is wider. That is why entries may
 * arrive in any order, repeatedly and early, and none ever has to be taken out before it expires.
 */
export class ReplicaTable {
  readonly #shards: readonly Shard[] = Array.from(
    { length: SHARDS },
    // As keys are spread evenly, shards of one size would all grow at the same time.
    (_, index) => new Shard(Math.ceil(MIN_CAPACITY * GROWTH ** (index / SHARDS))),
  )

  /** How many keys have an entry. */
  get size(): number {
    return this.#shards.reduce((sum, { size }) => sum + size, 0)
  }

  /** Bytes of memory. */
  get bytes(): number {
    return this.#shards.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /**
   * Takes note of an entry.
   *
   * @param high - The first 32 bits of its key.
   * @param low - The next 32 bits.
   * @param cutOffMs - It reaches tokens issued until then; when it reaches all, its expiry.
   * @param expiresAtMs - When it can be forgotten.
   */
  add(high: number, low: number, cutOffMs: number, expiresAtMs: number): void {
    const expiresAt = Math.min(Math.ceil(expiresAtMs / 1000), MAX_WORD)
    this.#shardOf(high).add(high, low, cutOffMs, expiresAt)
  }

  /** Whether an entry under this key may reach a token issued then. `false` is certain. */
  mayReach(high: number, low: number, issuedAtMs: number): boolean {
    return this.#shardOf(high).mayReach(high, low, issuedAtMs)
  }

  /** Forgets what has expired and gives its memory back; a piece of the work at each step, so that others get on. */
  *removeExpired(nowMs: number): Generator<void> {
    const now = Math.floor(nowMs / 1000)
    for (const shard of this.#shards) {
      shard.removeExpired(now)
      yield
    }
  }

  #shardOf(high: number): Shard {
    return this.#shards[high >>> SHARD_SHIFT] as Shard
  }
}

/** Small enough that growing or cleaning one takes a few milliseconds with ten million entries in all. */
const SHARDS = 256
const SHARD_SHIFT = 24

/** Between these fills a slot's sixteen bytes are 21 to 27 an entry, and a search looks at few of them. */
const MAX_FILL = 0.75
const GROWTH = 1.25
const MIN_CAPACITY = 64

/** The words of a slot. `EXPIRES_AT` is in seconds; 0 there marks an empty slot. */
const WORDS = 4
const HIGH = 0
const LOW = 1
const EXPIRES_AT = 2
/** How many milliseconds before `EXPIRES_AT` the cut-off lies: an instant would not fit in 32 bits. */
const LEAD = 3

const MAX_WORD = 0xffff_ffff

class Shard {
  readonly #minCapacity: number
  #slots: Uint32Array
  #capacity: number
  #size = 0
  #firstExpiry = Infinity

  constructor(minCapacity: number) {
    this.#minCapacity = minCapacity
    this.#capacity = minCapacity
    this.#slots = new Uint32Array(minCapacity * WORDS)
  }

  get size(): number {
    return this.#size
  }

  get bytes(): number {
    return this.#slots.byteLength
  }

  add(high: number, low: number, cutOffMs: number, expiresAt: number): void {
    if (this.#size + 1 > this.#capacity * MAX_FILL) this.#rebuild(this.#capacity * GROWTH, 0)

    const slots = this.#slots
    const at = this.#find(high, low)
    const isNew = slots[at + EXPIRES_AT] === 0
    const latest = isNew ? expiresAt : Math.max(expiresAt, slots[at + EXPIRES_AT] as number)
    const reach = isNew ? cutOffMs : Math.max(cutOffMs, readCutOff(slots, at))

    slots[at + HIGH] = high
    slots[at + LOW] = low
    slots[at + EXPIRES_AT] = latest
    slots[at + LEAD] = Math.min(Math.max(latest * 1000 - reach, 0), MAX_WORD)
    if (isNew) this.#size += 1
    this.#firstExpiry = Math.min(this.#firstExpiry, latest)
  }

  mayReach(high: number, low: number, issuedAtMs: number): boolean {
    const at = this.#find(high, low)
    return this.#slots[at + EXPIRES_AT] !== 0 && issuedAtMs <= readCutOff(this.#slots, at)
  }

  removeExpired(now: number): void {
    if (this.#firstExpiry > now) return

    let live = 0
    for (let at = EXPIRES_AT; at < this.#slots.length; at += WORDS) {
      if ((this.#slots[at] as number) > now) live += 1
    }
    this.#rebuild(live / MAX_FILL + 1, now)
  }

  /** Where a key's slot is, or the empty one where it would be. */
  #find(high: number, low: number): number {
    const slots = this.#slots
    const end = slots.length
    let at = Math.floor((low * this.#capacity) / 2 ** 32) * WORDS
    while (slots[at + EXPIRES_AT] !== 0 && (slots[at + LOW] !== low || slots[at + HIGH] !== high)) {
      at += WORDS
      if (at === end) at = 0
    }
    return at
  }

  /** Moves what expires after `now` to a table of another size. */
  #rebuild(capacity: number, now: number): void {
    const old = this.#slots
    this.#capacity = Math.max(this.#minCapacity, Math.ceil(capacity))
    this.#slots = new Uint32Array(this.#capacity * WORDS)
    this.#size = 0
    this.#firstExpiry = Infinity

    for (let at = 0; at < old.length; at += WORDS) {
      const expiresAt = old[at + EXPIRES_AT] as number
      if (expiresAt <= now) continue

      const to = this.#find(old[at + HIGH] as number, old[at + LOW] as number)
      for (let word = 0; word < WORDS; word++) this.#slots[to + word] = old[at + word] as number
      this.#size += 1
      this.#firstExpiry = Math.min(this.#firstExpiry, expiresAt)
    }
  }
}

function readCutOff(slots: Uint32Array, at: number): number {
  return (slots[at + EXPIRES_AT] as number) * 1000 - (slots[at + LEAD] as number)
}
