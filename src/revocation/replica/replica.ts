import { setImmediate as nextTurn } from 'node:timers/promises'
import type { DataSource } from 'typeorm'
import type { Token } from '../../token/claims.ts'
import { JournalFollower } from '../journal/journal-follower.ts'
import type { JournalFollowerOptions } from '../journal/journal-follower.ts'
import { keysOfToken, toWords } from '../key.ts'
import { issuedAtMs } from '../revocation.ts'
import { ReplicaTable } from './replica-table.ts'

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

const CLEANING_INTERVAL_MS = 2000

/**
 * The keys of the entries in force, in this node's memory, in step with the journal.
 *
 * It can only rule out: what it does not, the database decides, by the one rule. So a restoration needs no news, and an
 * entry may be added before its transaction commits. It answers only while the journal is followed within its bound.
 */
export class RevocationReplica {
  readonly journal: JournalFollower
  readonly #table = new ReplicaTable()
  #cleaning: NodeJS.Timeout | undefined

  constructor(dataSource: DataSource, options: JournalFollowerOptions = {}) {
    this.journal = new JournalFollower(dataSource, options, (...entry) => this.#table.add(...entry))
  }

  /**
   * Loads what is in force and follows the journal until it is stopped, whatever fails meanwhile. Once it was started a second
   * call is the same one.
   *
   * @returns Fulfilled when it is in step for the first time. Waiting for that is optional.
   * @throws `Error` with a sentence, as {@link JournalFollower.start}.
   */
  // oxlint-disable-next-line typescript/promise-function-async -- as the journal's
  start(): Promise<void> {
    this.#cleaning ??= setInterval(() => void this.#clean(), CLEANING_INTERVAL_MS).unref()
    return this.journal.start()
  }

  async stop(): Promise<void> {
    clearInterval(this.#cleaning)
    await this.journal.stop()
  }

  get state(): ReplicaState {
    const { ageMs } = this.journal
    const { size: entries, bytes } = this.#table
    if (ageMs === null) return { state: 'LOADING', ageMs, entries, bytes }
    return { state: this.journal.isInStep() ? 'IN_STEP' : 'STALE', ageMs, entries, bytes }
  }

  /** Whether it is certain, here and now, that nothing revokes this token. */
  rulesOut(token: Token): boolean {
    if (!this.journal.isInStep()) return false

    const issuedMs = issuedAtMs(token)
    const words = wordsOf(token)
    for (let at = 0; at < words.length; at += 2) {
      const [high, low] = [words[at] as number, words[at + 1] as number]
      if (this.#table.mayReach(high, low, issuedMs)) return false
      if (this.journal.isHinted(high, low, issuedMs)) return false
    }
    return true
  }

  async #clean(): Promise<void> {
    const nowMs = this.journal.clock.now() * 1000
    for (const _ of this.#table.removeExpired(nowMs)) await nextTurn()
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
