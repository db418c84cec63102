import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import type { DataSource } from 'typeorm'
import type { Token } from '../token/claims.ts'
import { JournalFeed } from './journal-feed.ts'
import type { JournalEntry, JournalPosition } from './journal-feed.ts'
import { HintSender, takeHints } from './hint.ts'
import type { Hint } from './hint.ts'
import { keyOfEntry, keysOfToken } from './key.ts'
import type { RevocationKey } from './key.ts'
import { msSince, takeMoment } from './moment.ts'
import type { Moment } from './moment.ts'
import { ReplicaTable } from './replica-table.ts'
import { issuedAtMs, reachOf } from './revocation.ts'
import { StoreClock } from './store-clock.ts'

/** How far behind a replica may be, and who hears of its faults. */
export interface RevocationReplicaOptions {
  /**
   * How far behind the database the replica may ever be, in milliseconds, for an answer from it to count.
   *
   * @defaultValue 1000
   */
  readonly maxStalenessMs?: number
  /** Told once when the replica falls out of step; it goes on trying. */
  readonly onFault?: (error: unknown) => void
  /** Told when it is in step, for the first time and after a fault. */
  readonly onInStep?: () => void
}

/** What a replica says of itself. */
export interface ReplicaState {
  /** `LOADING`: not in step yet. `STALE`: too far behind, so the database is asked. */
  readonly state: 'LOADING' | 'IN_STEP' | 'STALE'
  /** How old, in milliseconds, what it knows may be; `null` before it knows anything. */
  readonly ageMs: number | null
  /** How many keys have an entry in force. */
  readonly entries: number
  /** The memory that they take. */
  readonly bytes: number
}

const DEFAULT_MAX_STALENESS_MS = 1000

/** Reads so often within the bound that one may fail. */
const READS_PER_BOUND = 4
const MAX_READ_INTERVAL_MS = 250

/** The least and most that the database is given to answer, in milliseconds. */
const MIN_TIME_LIMIT_MS = 500
const MAX_TIME_LIMIT_MS = 5000

/** Milliseconds before a lost connection is made anew; a part is chance, so that nodes do not come together. */
const RECONNECT_MS = 200

/** A replica that was cut off for longer starts over. Milliseconds. */
const MAX_GAP_MS = 5 * 60_000

const CLEANING_INTERVAL_MS = 2000

/** Lines of the journal that are read in one go: what others wait for meanwhile is a few milliseconds. */
const LINES_A_TURN = 500

/**
 * The keys of the entries in force, in this node's memory, in step with the journal.
 *
 * It can only rule out: what it does not, the database decides, by the one rule. So a restoration needs no news, and an
 * entry may be added before its transaction commits. It answers only while it knows that it is in step: it compares the
 * time since it last asked the database with a bound, by two clocks, so that neither a pause of the process nor one of
 * the machine goes unnoticed.
 */
export class RevocationReplica {
  /** The database's clock; whoever hears of it shall tell this one. */
  readonly clock = new StoreClock(() => {
    this.#mustReload = true
    this.#isWhole = false
  })
  readonly #dataSource: DataSource
  readonly #options: RevocationReplicaOptions
  readonly #maxStalenessMs: number
  readonly #table = new ReplicaTable()
  // A connection that fails here fails the next read too, and that one is heard of.
  readonly #hints = new HintSender(async (text) =>
    this.#feed?.announce(text).catch(() => undefined),
  )

  #feed: JournalFeed | null = null
  #position: JournalPosition | null = null
  #asOf: Moment | null = null
  #mustReload = false
  /** Whether nothing is missing of what was in force at `asOf`. */
  #isWhole = false

  #isStopping = false
  #running: Promise<void> = Promise.resolve()
  #isHinted = false
  #wake: () => void = () => undefined
  #said: 'NOTHING' | 'FAULT' | 'IN_STEP' = 'NOTHING'
  #cleaning: NodeJS.Timeout | undefined

  constructor(dataSource: DataSource, options: RevocationReplicaOptions = {}) {
    this.#dataSource = dataSource
    this.#options = options
    this.#maxStalenessMs = options.maxStalenessMs ?? DEFAULT_MAX_STALENESS_MS
  }

  /**
   * Loads what is in force and follows the journal until it is stopped, whatever fails meanwhile.
   *
   * @returns Fulfilled when it is in step for the first time. Nobody has to wait for that.
   */
  async start(): Promise<void> {
    this.#cleaning = setInterval(() => void this.#clean(), CLEANING_INTERVAL_MS)
    this.#cleaning.unref()

    await new Promise<void>((resolve) => {
      this.#running = this.#run(resolve)
    })
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    clearInterval(this.#cleaning)
    this.#wake()
    this.#feed?.close()
    await this.#running
  }

  get state(): ReplicaState {
    const { size: entries, bytes } = this.#table
    if (this.#asOf === null) return { state: 'LOADING', ageMs: null, entries, bytes }
    return {
      state: this.#isInStep() ? 'IN_STEP' : 'STALE',
      ageMs: Math.round(msSince(this.#asOf)),
      entries,
      bytes,
    }
  }

  /** Whether it is certain, here and now, that nothing revokes this token. */
  rulesOut(token: Token): boolean {
    if (!this.#isInStep()) return false

    const issuedMs = issuedAtMs(token)
    const words = wordsOf(token)
    for (let at = 0; at < words.length; at += 2) {
      if (this.#table.mayReach(words[at] as number, words[at + 1] as number, issuedMs)) return false
    }
    return true
  }

  /** Takes note of an entry that is being made, before anybody is told that it was. */
  add(entry: JournalEntry): void {
    const hint = toHint(entry)
    this.#take(hint)
    this.#hints.add(hint)
  }

  /** Tells the other nodes what was committed. A lost hint costs them the time to their next read. */
  announce(): void {
    this.#hints.send()
  }

  #take({ high, low, reachMs, expiresAtMs }: Hint): void {
    this.#table.add(high, low, reachMs, expiresAtMs)
  }

  async #run(onFirst: () => void): Promise<void> {
    while (!this.#isStopping) {
      try {
        await this.#follow(onFirst)
      } catch (error) {
        this.#reportFault(error)
      }
      if (!this.#isStopping) await sleep(RECONNECT_MS * (0.5 + Math.random()))
    }
    onFirst()
  }

  async #follow(onFirst: () => void): Promise<void> {
    const { timeLimitMs, intervalMs } = readPace(this.#maxStalenessMs)
    const feed = await JournalFeed.open(this.#dataSource, {
      timeLimitMs,
      onHint: (text) => {
        if (takeHints(text, (...hint) => this.#table.add(...hint))) return
        this.#isHinted = true
        this.#wake()
      },
    })
    this.#feed = feed

    try {
      if (!this.#isStopping) await this.#load(feed)
      while (!this.#isStopping) {
        await this.#catchUp(feed)
        onFirst()
        this.#reportInStep()
        await this.#pause(intervalMs)
      }
    } finally {
      this.#feed = null
      feed.close()
    }
  }

  /**
   * Reads what is in force, after the position from which the journal is followed was taken.
   *
   * After a short gap that position is still the one from before, so nothing is skipped; what is read beside it is for
   * a server that lost its last moments, as it does in a failover.
   */
  async #load(feed: JournalFeed): Promise<void> {
    if (this.#asOf === null || msSince(this.#asOf) > MAX_GAP_MS) this.#position = null
    const { position, now } = await feed.read(null)
    this.clock.observe(now)
    if (this.#mustReload || isBehind(position, this.#position)) this.#position = null

    this.#mustReload = false
    const since = this.#position && new Date(now.getTime() - 2 * MAX_GAP_MS)
    await feed.copyInForce(since, (high, low, reachMs, expiresAtMs) => {
      this.#table.add(high, low, reachMs, expiresAtMs)
    })
    this.#position ??= position
  }

  async #catchUp(feed: JournalFeed): Promise<void> {
    const askedAt = takeMoment()
    const { entries, position, now } = await feed.read(this.#position)
    this.clock.observe(now)
    if (this.#mustReload || isBehind(position, this.#position)) {
      this.#isWhole = false
      await this.#load(feed)
      return this.#catchUp(feed)
    }

    for (const [index, entry] of entries.entries()) {
      this.#take(toHint(entry))
      if (index % LINES_A_TURN === LINES_A_TURN - 1) await nextTurn()
    }
    this.#position = position
    this.#asOf = askedAt
    this.#isWhole = !this.#mustReload
  }

  async #pause(ms: number): Promise<void> {
    if (!this.#isHinted && !this.#isStopping) {
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        timer = setTimeout(resolve, ms)
      })
      clearTimeout(timer)
    }
    this.#isHinted = false
  }

  #isInStep(): boolean {
    if (this.#asOf === null || !this.#isWhole) return false
    return msSince(this.#asOf) <= this.#maxStalenessMs
  }

  async #clean(): Promise<void> {
    for (const _ of this.#table.removeExpired(this.clock.now() * 1000)) await nextTurn()
  }

  /** Once an outage, however often it is tried. */
  #reportFault(error: unknown): void {
    if (this.#said === 'FAULT' || this.#isStopping) return
    this.#said = 'FAULT'
    this.#options.onFault?.(error)
  }

  #reportInStep(): void {
    if (this.#said === 'IN_STEP') return
    this.#said = 'IN_STEP'
    this.#options.onInStep?.()
  }
}

/** Whether a journal ends before a position that was read: it is another server's. */
function isBehind({ xmax }: JournalPosition, position: JournalPosition | null): boolean {
  return position !== null && xmax < position.xmax
}

function readPace(maxStalenessMs: number): { timeLimitMs: number; intervalMs: number } {
  return {
    timeLimitMs: Math.min(Math.max(maxStalenessMs, MIN_TIME_LIMIT_MS), MAX_TIME_LIMIT_MS),
    intervalMs: Math.min(maxStalenessMs / READS_PER_BOUND, MAX_READ_INTERVAL_MS),
  }
}

const wordsOfTokens = new WeakMap<Token, Uint32Array>()

/** The first 64 bits of each of a token's keys; kept as long as the token is. */
function wordsOf(token: Token): Uint32Array {
  let words = wordsOfTokens.get(token)
  if (words === undefined) {
    words = Uint32Array.from(keysOfToken(token).flatMap(toWords))
    wordsOfTokens.set(token, words)
  }
  return words
}

function toHint(entry: JournalEntry): Hint {
  const [high, low] = toWords(keyOfEntry(entry))
  return { high, low, reachMs: reachOf(entry).getTime(), expiresAtMs: entry.expiresAt.getTime() }
}

function toWords(key: RevocationKey): [high: number, low: number] {
  return [parseInt(key.slice(0, 8), 16), parseInt(key.slice(9, 18).replace('-', ''), 16)]
}
