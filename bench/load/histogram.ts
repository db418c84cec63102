/** Latencies in microseconds, kept in buckets that are at most 0.8% wide. */
export class Histogram {
  readonly #counts = new Uint32Array(BUCKETS)
  #total = 0
  #max = 0

  get total(): number {
    return this.#total
  }

  record(micros: number): void {
    const value = Math.min(Math.max(Math.round(micros), 0), MAX_MICROS)
    const bucket = bucketOf(value)
    this.#counts[bucket] = (this.#counts[bucket] as number) + 1
    this.#total += 1
    if (value > this.#max) this.#max = value
  }

  /** In milliseconds; 0 when nothing was recorded. */
  percentile(percent: number): number {
    const rank = Math.ceil((percent / 100) * this.#total)
    let seen = 0
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
      seen += this.#counts[bucket] as number
      if (seen >= rank) return upperBoundOf(bucket) / 1000
    }
    return this.max
  }

  /** In milliseconds. */
  get max(): number {
    return this.#max / 1000
  }
}

const MAX_MICROS = 2 ** 30
const BITS = 7
const BUCKETS = (31 - BITS + 2) << BITS

/** Values below 256 have a bucket each; then every doubling has 128. */
function bucketOf(value: number): number {
  if (value < 1 << (BITS + 1)) return value
  const shift = 31 - Math.clz32(value) - BITS
  return (shift << BITS) + (value >>> shift)
}

function upperBoundOf(bucket: number): number {
  if (bucket < 1 << (BITS + 1)) return bucket
  const shift = (bucket >>> BITS) - 1
  return (((bucket & ((1 << BITS) - 1)) + (1 << BITS) + 1) << shift) - 1
}
