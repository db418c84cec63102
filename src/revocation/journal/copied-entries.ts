/** Takes what a replica keeps of an entry: the first 64 bits of its key, its reach and its expiry. */
export type TakeEntry = (high: number, low: number, reachMs: number, expiresAtMs: number) => void

/** The signature, flags and extension of the header, and the field count that ends it all. */
const HEADER_BYTES = 19
const TRAILER_BYTES = 2
const SIGNATURE = 'PGCOPY\n\xff\r\n\0'

/** A field count, and three fields of a length and a value each: 16, 8 and 8 bytes. */
const ROW_BYTES = 2 + 3 * 4 + 16 + 8 + 8
const KEY_AT = 6
const REACH_AT = 26
const EXPIRY_AT = 38

/** PostgreSQL counts microseconds from the year 2000. */
const YEAR_2000_MS = 946_684_800_000

/**
 * Reads what PostgreSQL's binary `COPY` sends for `copyInForce`: rows of one size, in chunks of any.
 *
 * @see {@link https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4 COPY, Binary Format}
 */
export class CopiedEntries {
  readonly #take: TakeEntry
  #rest: Buffer = Buffer.alloc(0)
  #isStarted = false

  constructor(take: TakeEntry) {
    this.#take = take
  }

  push(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let at = this.#isStarted ? 0 : this.#readHeader(bytes)
    if (this.#isStarted) {
      for (; at + ROW_BYTES <= bytes.length; at += ROW_BYTES) this.#readRow(bytes, at)
    }
    this.#rest = bytes.subarray(at)
  }

  /** @throws when what came is not whole. */
  end(): void {
    if (!this.#isStarted || this.#rest.length !== TRAILER_BYTES || this.#rest.readInt16BE() !== -1)
      throw new Error('The entries in force did not arrive whole')
  }

  /** @returns Where the rows begin; 0 while the header is not there. */
  #readHeader(bytes: Buffer): number {
    if (bytes.length < HEADER_BYTES) return 0
    if (bytes.toString('latin1', 0, SIGNATURE.length) !== SIGNATURE)
      throw new Error('The entries in force came in an unknown form')

    this.#isStarted = true
    return HEADER_BYTES
  }

  #readRow(bytes: Buffer, at: number): void {
    if (bytes.readInt16BE(at) !== 3) throw new Error('An entry in force came in an unknown form')
    this.#take(
      bytes.readUInt32BE(at + KEY_AT),
      bytes.readUInt32BE(at + KEY_AT + 4),
      readMs(bytes, at + REACH_AT),
      readMs(bytes, at + EXPIRY_AT),
    )
  }
}

function readMs(bytes: Buffer, at: number): number {
  const micros = bytes.readInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4)
  return YEAR_2000_MS + Math.ceil(micros / 1000)
}
