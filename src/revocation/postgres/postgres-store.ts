import type { DataSource, EntityManager } from 'typeorm'
import type { Revocation } from '../../contract.ts'
import type { PreparedStatement } from '../../database/access.ts'
import { ReadOnlyError, assertUsable } from '../../database/pool.ts'
import { read } from '../../database/read.ts'
import { joinTransaction, runTransaction } from '../../database/transaction.ts'
import { RevocationUnavailableError } from '../../errors.ts'
import type { Token } from '../../token/claims.ts'
import { JournalFollower } from '../journal/journal-follower.ts'
import { digestKey, keysOfToken } from '../key.ts'
import type { RevocationKey } from '../key.ts'
import type {
  EventCursor,
  JournalExtract,
  JournalRequest,
  JournalWatcher,
  Page,
  PageRequest,
  RestorationOutcome,
  RestorationTrace,
  RevocationCursor,
  RevocationEvent,
  RevocationFilter,
  RevocationOutcome,
  RevocationRequest,
  RevocationStore,
} from '../ports.ts'
import type { RevocationReplica } from '../replica/replica.ts'
import { DEFAULT_TOKEN_LIFETIME_SECONDS } from '../retention.ts'
import { findRevoking } from '../revocation.ts'
import type { StoreClock } from '../store-clock.ts'
import { assertColumnNames, nameTables } from '../tables/table-names.ts'
import { PostgresLists } from './postgres-lists.ts'
import * as sql from './postgres-sql.ts'
import { PostgresWriter } from './postgres-writer.ts'
import type { CutOffTarget, SessionKeeper } from './postgres-writer.ts'

/** How long a check may take, in milliseconds, the wait for a connection included. */
const DEFAULT_CHECK_TIMEOUT_MS = 400

/** How long entries and journal are kept, and whose sessions end with them. */
export interface PostgresRevocationStoreOptions {
  /**
   * The longest that any node's tokens live, in seconds: entries are kept that long.
   *
   * @defaultValue 900 (15 minutes)
   */
  readonly maxTokenLifetimeSeconds?: number
  /** How long the journal is kept, in days. */
  readonly journalRetentionDays?: number
  /**
   * How long PostgreSQL may take to answer a check, in milliseconds.
   *
   * @defaultValue 400
   */
  readonly checkTimeoutMs?: number
  /**
   * Without one it is not known what was issued: each cut-off is an entry of its own, and one that is made after the
   * database's clock was set back spares what was issued before that.
   */
  readonly sessions?: SessionKeeper
  /** Answers checks from memory, and follows the journal. Start it before, and stop it when you are done. */
  readonly replica?: RevocationReplica
  /**
   * Follows the journal where there is no replica: so live connections end that other nodes' revocations hit. Start it before
   * (`webSocketOptions` and `eventStreamOptions` start it too), and stop it when you are done.
   */
  readonly journal?: JournalFollower
}

/**
 * The blacklist and its journal in PostgreSQL, through a TypeORM `DataSource` that has their entities and migrations. The
 * tables are where its `schema` and `entityPrefix` put them.
 */
export class PostgresRevocationStore implements RevocationStore {
  readonly maxTokenLifetimeSeconds: number
  readonly #dataSource: DataSource
  readonly #options: PostgresRevocationStoreOptions
  readonly #journal: JournalFollower
  readonly #clock: StoreClock
  readonly #writer: PostgresWriter
  readonly #lists: PostgresLists

  /**
   * @throws `TypeError` when the `DataSource` is not PostgreSQL's, was not initialized, or has a naming strategy that renames
   * columns of ours.
   */
  constructor(dataSource: DataSource, options: PostgresRevocationStoreOptions = {}) {
    this.maxTokenLifetimeSeconds = options.maxTokenLifetimeSeconds ?? DEFAULT_TOKEN_LIFETIME_SECONDS
    assertUsable(dataSource)
    assertColumnNames(dataSource)
    this.#dataSource = dataSource
    this.#options = options
    // One that was not started hears of this node's own revocations.
    this.#journal = options.replica?.journal ?? options.journal ?? new JournalFollower(dataSource)
    this.#clock = this.#journal.clock
    this.#lists = new PostgresLists(dataSource)
    this.#writer = new PostgresWriter({
      dataSource,
      clock: this.#clock,
      maxTokenLifetimeSeconds: this.maxTokenLifetimeSeconds,
      sessions: options.sessions,
      journal: this.#journal,
    })
  }

  now(): number {
    return this.#clock.now()
  }

  async ping(): Promise<void> {
    const [row] = await this.#ask<PingRow>(sql.ping, [])
    if (row?.isReadOnly !== false) throw new RevocationUnavailableError(new ReadOnlyError())
  }

  rulesOut(token: Token): boolean {
    return this.#options.replica?.rulesOut(token) ?? false
  }

  async findFor(tokens: readonly Token[]): Promise<ReadonlyArray<Revocation | null>> {
    if (tokens.length === 0) return []

    const keys = tokens.map(keysOfToken)
    const found = await this.#find([...new Set(keys.flat())])
    if (found.length === 0) return tokens.map(() => null)

    const byKey = groupByKey(found)
    return tokens.map((token, index) =>
      findRevoking(token, keys[index]?.flatMap((key) => byKey.get(key) ?? []) ?? []),
    )
  }

  async findByDigest(digest: string): Promise<Revocation | null> {
    const found = await this.#find([digestKey(digest)])
    return found.find(({ entry }) => entry.digest === digest)?.entry ?? null
  }

  async revoke(request: RevocationRequest): Promise<RevocationOutcome> {
    const outcome = await this.#writer.revoke(request)
    this.announce(outcome.revocation)
    return outcome
  }

  /**
   * Tells this node and the others what your transaction committed; they would find out by themselves, a little later. Call it
   * before you answer.
   *
   * @param revocation - `null`: something else than a revocation.
   */
  announce(revocation: Revocation | null): void {
    this.#journal.announce(revocation === null ? [] : [revocation])
    this.#options.sessions?.committed?.()
  }

  /**
   * Revokes as part of a transaction of yours: it holds once you commit, and you answer only then ({@link announce} it
   * first).
   *
   * @param options.always - Make a cut-off of its own even if an earlier one already reaches as far.
   * @throws `TypeError` when your transaction is not READ COMMITTED: it would miss what is committed while it waits for a
   * lock. The same holds for the other methods that take part in a transaction of yours.
   */
  async revokeWithin(
    manager: EntityManager,
    request: RevocationRequest,
    options: { always?: boolean } = {},
  ): Promise<RevocationOutcome> {
    await joinTransaction(manager)
    return this.#writer.revokeWithin(manager, request, { always: options.always ?? false })
  }

  /** Until your transaction ends no token can be issued, and no cut-off made, for the target. */
  async lockWithin(manager: EntityManager, target: CutOffTarget): Promise<void> {
    await joinTransaction(manager)
    await this.#writer.lockWithin(manager, target)
  }

  /** The latest cut-off in force for a target. */
  async latestCutOffWithin(
    manager: EntityManager,
    target: CutOffTarget,
  ): Promise<Revocation | null> {
    await joinTransaction(manager)
    return this.#writer.latestCutOffWithin(manager, target)
  }

  /** Journals, as part of a transaction of yours, that the person whom a revocation suspended was reinstated. */
  async reinstateWithin(
    manager: EntityManager,
    suspensionId: string,
    { by, note = null }: RestorationTrace,
  ): Promise<void> {
    await joinTransaction(manager)
    await manager.query(this.#sql(sql.journalReinstatement), [suspensionId, by, note])
  }

  async findById(id: string): Promise<Revocation | null> {
    return runTransaction(this.#dataSource, async (manager) => {
      const [found] = await manager.query<Revocation[]>(this.#sql(sql.findById), [id])
      return found ?? null
    })
  }

  async restore(
    id: string,
    { by, note = null }: RestorationTrace,
  ): Promise<RestorationOutcome | null> {
    const outcome = await runTransaction(this.#dataSource, async (manager) => {
      const [restored] = await manager.query<Revocation[]>(this.#sql(sql.restore), [id, by, note])
      if (restored) return { revocation: restored, alreadyRestored: false }

      const [before] = await manager.query<Revocation[]>(this.#sql(sql.findRestored), [id])
      return before ? { revocation: before, alreadyRestored: true } : null
    })
    this.announce(null)
    return outcome
  }

  async issueInstant(subject: string): Promise<Date> {
    return runTransaction(this.#dataSource, (manager) => this.issueInstantWithin(manager, subject))
  }

  /** As `issueInstant`, and no cut-off for this subject can be made until your transaction ends. */
  async issueInstantWithin(manager: EntityManager, subject: string): Promise<Date> {
    await joinTransaction(manager)
    return this.#writer.issueInstantWithin(manager, subject)
  }

  async listInForce(page: PageRequest<RevocationCursor>): Promise<Page<Revocation>> {
    return this.#lists.listInForce(page)
  }

  async countInForce(filter: RevocationFilter): Promise<number> {
    return this.#lists.countInForce(filter)
  }

  async listEvents(page: PageRequest<EventCursor>): Promise<Page<RevocationEvent>> {
    return this.#lists.listEvents(page)
  }

  async countEvents(filter: RevocationFilter): Promise<number> {
    return this.#lists.countEvents(filter)
  }

  async readEvents(request: JournalRequest): Promise<JournalExtract> {
    return this.#lists.readEvents(request)
  }

  follow(): void {
    const { replica, journal } = this.#options
    if (replica === undefined && journal === undefined) {
      throw new TypeError(
        'expected PostgresRevocationStore to be given a replica or a journal: live connections end with what other nodes revoke',
      )
    }
    void (replica ?? journal)?.start()
  }

  watch(watcher: JournalWatcher): () => void {
    return this.#journal.watch(watcher)
  }

  async deleteExpired(limit: number): Promise<number> {
    const { journalRetentionDays = 90 } = this.#options
    return runTransaction(this.#dataSource, async (manager) => {
      const [, entries] = await manager.query<[unknown, number]>(this.#sql(sql.deleteExpired), [
        limit,
      ])
      const [, events] = await manager.query<[unknown, number]>(this.#sql(sql.deleteOldEvents), [
        limit,
        journalRetentionDays,
      ])
      return Math.max(entries, events)
    })
  }

  /** The hot path. */
  async #find(keys: readonly RevocationKey[]): Promise<readonly Found[]> {
    const rows = await this.#ask<FoundRow>(sql.findByKeys, [keys])
    const found = rows.flatMap(({ now: _now, key, ...entry }) =>
      key === null ? [] : [{ key, entry }],
    )
    // Another node's may not have been heard of yet, and a logout is answered by what was found.
    for (const { entry } of found) this.#journal.know(entry)
    return found
  }

  /** Whatever goes wrong, it cannot be checked. */
  async #ask<Row extends { readonly now: Date }>(
    { name, text }: PreparedStatement,
    values: readonly unknown[],
  ): Promise<readonly Row[]> {
    const { checkTimeoutMs = DEFAULT_CHECK_TIMEOUT_MS } = this.#options
    const statement = { name, text: this.#sql(text) }
    try {
      const rows = await read<Row>(this.#dataSource, statement, values, checkTimeoutMs)
      const [{ now }] = rows as readonly [Row]
      this.#clock.observe(now)
      return rows
    } catch (error) {
      throw error instanceof RevocationUnavailableError
        ? error
        : new RevocationUnavailableError(error)
    }
  }

  /** A statement with the names that our tables have in this `DataSource`. */
  #sql(text: string): string {
    return nameTables(this.#dataSource, text)
  }
}

interface PingRow {
  readonly now: Date
  readonly isReadOnly: boolean
}

interface Found {
  readonly key: RevocationKey
  readonly entry: Revocation
}

type FoundRow = Revocation & { readonly key: RevocationKey | null; readonly now: Date }

function groupByKey(found: readonly Found[]): ReadonlyMap<RevocationKey, readonly Revocation[]> {
  const groups = new Map<RevocationKey, Revocation[]>()
  for (const { key, entry } of found) {
    const group = groups.get(key)
    if (group) group.push(entry)
    else groups.set(key, [entry])
  }
  return groups
}
