import { setTimeout as sleep } from 'node:timers/promises'
import type { DataSource } from 'typeorm'
import type { Revocation } from '../../contract.ts'
import { assertUsable } from '../../database/pool.ts'
import type { ServerIdentity } from '../../database/server-identity.ts'
import { Signal } from '../../lib/signal.ts'
import type { JournalWatcher } from '../ports.ts'
import { StoreClock } from '../store-clock.ts'
import type { TakeEntry } from './copied-entries.ts'
import { HintSender, hintOf, takeHints } from './hint.ts'
import { HintedEntries } from './hinted-entries.ts'
import { findHopeless } from './journal-fault.ts'
import { JournalFeed } from './journal-feed.ts'
import type { JournalLine, JournalPosition } from './journal-feed.ts'
import { msSince, takeMoment } from './moment.ts'
import type { Moment } from './moment.ts'

/** How far behind a node may be, and who hears of its faults. */
export interface JournalFollowerOptions {
  /**
   * How far behind the database this node may ever be, in milliseconds, for what it knows to count.
   *
   * @defaultValue 1000
   */
  readonly maxStalenessMs?: number
  /**
   * Told once when it falls out of step; it goes on trying.
   *
   * @defaultValue a warning of the process (`PortcullisWarning`)
   */
  readonly onFault?: (error: unknown) => void
  /**
   * Told that the journal which it followed is gone, and that it follows another: a backup was restored, or a standby took
   * over. What was revoked last may be lost; docs/operations.md says what to do.
   *
   * @defaultValue a warning of the process (`PortcullisWarning`)
   */
  readonly onReplaced?: () => void
  /** Told when it is in step, for the first time and after a fault. */
  readonly onInStep?: () => void
}

const DEFAULT_MAX_STALENESS_MS = 1000

/** Reads so often within the bound that one may fail. */
const READS_PER_BOUND = 4
const MAX_READ_INTERVAL_MS = 250

/** However many hints there are: the database has others to answer. */
const MIN_READ_INTERVAL_MS = 5

/** The least and most that the database is given to answer, in milliseconds. */
const MIN_TIME_LIMIT_MS = 500
const MAX_TIME_LIMIT_MS = 5000

/** Milliseconds before a lost connection is made anew; a part is chance, so that nodes do not come together. */
const RECONNECT_MS = 200

/** A follower that was cut off for longer starts over. Milliseconds. */
const MAX_GAP_MS = 5 * 60_000

/**
 * Follows the journal for one node: for its replica, if it keeps one, and for its live connections.
 *
 * It reads regularly, and at once when another node hints that there is something new. It knows how far behind it may be:
 * it compares the time since it last asked the database with a bound, by two clocks, so that neither a pause of the
 * process nor one of the machine goes unnoticed.
 */
export class JournalFollower {
  /** The database's clock; each answer with the time in it is shown to this one. */
  readonly clock = new StoreClock(() => {
    this.#mustReload = true
    this.#isWhole = false
  })
  readonly #dataSource: DataSource
  readonly #options: JournalFollowerOptions
  readonly #keep: TakeEntry | null
  readonly #maxStalenessMs: number
  readonly #watchers = new Set<JournalWatcher>()
  /** Rung when there is a reason to read at once. */
  readonly #news = new Signal()
  // A connection that fails here fails the next read too, and that one is heard of.
  readonly #hints = new HintSender(async (text) =>
    this.#feed?.announce(text).catch(() => undefined),
  )

  #feed: JournalFeed | null = null
  #position: JournalPosition | null = null
  /** Where it was read last. */
  #server: ServerIdentity | null = null
  #asOf: Moment | null = null
  #mustReload = false
  /** Whether nothing is missing of what was in force at `asOf`. */
  #isWhole = false

  readonly #hinted = new HintedEntries()

  #isStopping = false
  #started: Promise<void> | null = null
  #running: Promise<void> = Promise.resolve()
  #said: 'NOTHING' | 'FAULT' | 'IN_STEP' = 'NOTHING'

  /** @param keep - Told all that is in force: entries come repeatedly, in any order, and before they are committed. */
  constructor(
    dataSource: DataSource,
    options: JournalFollowerOptions = {},
    keep: TakeEntry | null = null,
  ) {
    assertUsable(dataSource)
    this.#dataSource = dataSource
    this.#options = options
    this.#keep = keep
    this.#maxStalenessMs = options.maxStalenessMs ?? DEFAULT_MAX_STALENESS_MS
  }

  /**
   * Follows the journal until it is stopped, whatever fails meanwhile. Once it was started a second call is the same one.
   *
   * @returns Fulfilled when it is in step for the first time. Waiting for that is optional.
   * @throws `Error` with a sentence, when the start cannot come to anything: tables that are not there, a role that may not
   * read them or is refused. Then it follows nothing, and may be started again.
   */
  // oxlint-disable-next-line typescript/promise-function-async -- a rejection that is not awaited must not end the process
  start(): Promise<void> {
    this.#started ??= new Promise<void>((resolve, reject) => {
      this.#running = this.#run(resolve, reject)
    })
    // Code that does not wait hears of it by `onFault`.
    this.#started.catch(() => undefined)
    return this.#started
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    this.#news.send()
    this.#feed?.close()
    await this.#running
  }

  /** How old what it knows may be, in milliseconds; `null` before it knows anything. */
  get ageMs(): number | null {
    return this.#asOf === null ? null : Math.round(msSince(this.#asOf))
  }

  /** Whether it is certain that it knows all that was committed before the bound. */
  isInStep(): boolean {
    if (this.#asOf === null || !this.#isWhole) return false
    return msSince(this.#asOf) <= this.#maxStalenessMs
  }

  /** @returns How to stop watching. */
  watch(watcher: JournalWatcher): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  /** Whether another node has hinted at an entry that may reach a token issued then, and that was not read yet. */
  isHinted(high: number, low: number, issuedAtMs: number): boolean {
    return this.#hinted.mayReach(high, low, issuedAtMs)
  }

  /**
   * Takes note of an entry that was found, or that is being made: a watcher that is told of it by this node, after the commit, counts
   * on it here.
   */
  know(entry: Revocation): void {
    if (this.#keep === null) return
    const { high, low, reachMs, expiresAtMs } = hintOf(entry)
    this.#keep(high, low, reachMs, expiresAtMs)
  }

  /** Tells this node, and then the others, what was committed. A lost hint costs them the time to their next read. */
  announce(committed: readonly Revocation[]): void {
    this.#tell(committed)
    for (const entry of committed) this.#hints.add(hintOf(entry))
    this.#hints.send()
  }

  async #run(onFirst: () => void, onHopeless: (error: Error) => void): Promise<void> {
    while (!this.#isStopping) {
      try {
        await this.#follow(onFirst)
      } catch (error) {
        const hopeless = this.#asOf === null ? findHopeless(error) : null
        this.#reportFault(hopeless ?? error)
        if (hopeless !== null) {
          this.#started = null
          return onHopeless(hopeless)
        }
      }
      if (!this.#isStopping) await sleep(RECONNECT_MS * (0.5 + Math.random()))
    }
    onFirst()
  }

  async #follow(onFirst: () => void): Promise<void> {
    const { timeLimitMs, intervalMs } = readPace(this.#maxStalenessMs)
    const feed = await JournalFeed.open(this.#dataSource, {
      timeLimitMs,
      onHint: (text) => this.#takeHint(text),
    })
    this.#feed = feed

    try {
      if (!this.#isStopping) await this.#load(feed)
      while (!this.#isStopping) {
        await this.#catchUp(feed)
        onFirst()
        this.#reportInStep()
        await Promise.all([this.#news.wait(intervalMs), sleep(MIN_READ_INTERVAL_MS)])
      }
    } finally {
      this.#feed = null
      feed.close()
    }
  }

  /** A hint holds what a replica keeps. Watchers need more: for them, and for a hint that is not understood, the journal is read. */
  #takeHint(text: string): void {
    let isRoom = true
    const isUnderstood = takeHints(text, (high, low, reachMs) => {
      if (this.#keep !== null && !this.#hinted.add(high, low, reachMs)) isRoom = false
    })
    if (isUnderstood && isRoom && this.#watchers.size === 0) return
    this.#news.send()
  }

  /**
   * Finds out from where to follow the journal, and after that reads what is in force.
   *
   * After a short gap that place is still the one from before, so nothing is skipped; what is read beside it is for
   * a server that lost its last moments, as it does in a failover.
   */
  async #load(feed: JournalFeed): Promise<void> {
    if (this.#asOf === null || msSince(this.#asOf) > MAX_GAP_MS) this.#position = null
    const { position, now } = await feed.read(null)
    this.clock.observe(now)
    const isReplaced = isBehind(position, this.#position) || isAnother(feed.server, this.#server)
    if (isReplaced) (this.#options.onReplaced ?? warnOfReplacement)()
    if (this.#mustReload || isReplaced) this.#position = null

    this.#mustReload = false
    const since = this.#position && new Date(now.getTime() - 2 * MAX_GAP_MS)
    if (this.#keep) await feed.copyInForce(since, this.#keep)
    this.#position ??= position
    this.#server = feed.server ?? this.#server
    // A line that a server lost and another node made anew has a number from before this one's place.
    for (const watcher of this.#watchers) watcher.missed()
  }

  async #catchUp(feed: JournalFeed): Promise<void> {
    const askedAt = takeMoment()
    this.#hinted.beginRead()
    const { position, now } = await feed.read(this.#position, (lines) => this.#take(lines))
    this.clock.observe(now)
    if (this.#mustReload || isBehind(position, this.#position)) {
      this.#isWhole = false
      await this.#load(feed)
      return this.#catchUp(feed)
    }

    this.#position = position
    this.#asOf = askedAt
    this.#isWhole = !this.#mustReload
    this.#hinted.endRead()
  }

  #take(lines: readonly JournalLine[]): void {
    if (lines.length === 0) return
    const entries = lines.filter(({ kind }) => kind === 'REVOKED').map((line) => line.revocation)
    for (const entry of entries) this.know(entry)
    this.#tell(entries)
  }

  #tell(entries: readonly Revocation[]): void {
    for (const watcher of this.#watchers) watcher.grew(entries)
  }

  /** Once an outage, however often it is tried. */
  #reportFault(error: unknown): void {
    if (this.#said === 'FAULT' || this.#isStopping) return
    this.#said = 'FAULT'
    const { onFault = warnOfFault } = this.#options
    onFault(error)
  }

  #reportInStep(): void {
    if (this.#said === 'IN_STEP') return
    this.#said = 'IN_STEP'
    this.#options.onInStep?.()
  }
}

function warnOfFault(error: unknown): void {
  const detail = error instanceof Error ? error.message : String(error)
  process.emitWarning('Portcullis cannot follow the journal at the moment', {
    type: 'PortcullisWarning',
    detail,
  })
}

function warnOfReplacement(): void {
  process.emitWarning('The journal that Portcullis followed is gone, and it follows another', {
    type: 'PortcullisWarning',
    detail:
      'What was revoked last may be lost. After a backup was restored, revoke what was issued before',
  })
}

/** Whether a journal ends before a position that was read: it is another server's. */
function isBehind({ xmax }: JournalPosition, position: JournalPosition | null): boolean {
  return position !== null && xmax < position.xmax
}

/** Whether a server has another history than the one before. */
function isAnother(server: ServerIdentity | null, before: ServerIdentity | null): boolean {
  if (server === null || before === null) return false
  return server.system !== before.system || server.timeline !== before.timeline
}

function readPace(maxStalenessMs: number): { timeLimitMs: number; intervalMs: number } {
  return {
    timeLimitMs: Math.min(Math.max(maxStalenessMs, MIN_TIME_LIMIT_MS), MAX_TIME_LIMIT_MS),
    intervalMs: Math.min(maxStalenessMs / READS_PER_BOUND, MAX_READ_INTERVAL_MS),
  }
}
