import { randomUUID } from 'node:crypto'
import type { Pool } from 'pg'
import type { DataSource, EntityManager } from 'typeorm'
import { runTransaction } from '../database/transaction.ts'
import { RevocationUnavailableError } from '../errors.ts'
import { within } from '../time-limit.ts'
import type { Token } from '../token/claims.ts'
import { EVERYONE_KEY, digestKey, keyOfTarget, keysOfToken, subjectKey } from './key.ts'
import type { RevocationKey } from './key.ts'
import { DEFAULT_TOKEN_LIFETIME_SECONDS, forgetAt } from './retention.ts'
import type { RevocationReplica } from './replica.ts'
import { findRevoking } from './revocation.ts'
import type { Revocation, RevocationTarget } from './revocation.ts'
import * as sql from './postgres-sql.ts'
import { StoreClock } from './store-clock.ts'
import type {
  EventCursor,
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
} from './store.ts'

/** How long a check may take, in milliseconds, the wait for a connection included. */
const DEFAULT_CHECK_TIMEOUT_MS = 400

/** Whoever keeps sessions beside the blacklist: they end in the revocation's own transaction. */
export interface SessionKeeper {
  /** Ends the sessions that a revocation hits, and says how many. */
  endSessions(manager: EntityManager, revocation: Revocation): Promise<number>

  /** When the last token that the target would hit was issued; `null` when there is none. */
  lastIssuedAt(manager: EntityManager, target: CutOffTarget): Promise<Date | null>
}

/** A target that is a cut-off: it hits what was issued until now. */
export type CutOffTarget = Extract<RevocationTarget, { scope: 'SUBJECT' | 'EVERYONE' }>

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
   * Without one nobody knows what was issued: each cut-off is an entry of its own, and one that is made after the
   * database's clock was set back spares what was issued before that.
   */
  readonly sessions?: SessionKeeper
  /** Answers checks from memory. Start it before, and stop it when you are done. */
  readonly replica?: RevocationReplica
}

/**
 * The blacklist and its journal in PostgreSQL, through a TypeORM `DataSource` that has their entities and migrations.
 *
 * Locks are taken in one order: everyone, subject, then rows. Whoever issues a token shares the first two, whoever
 * makes a cut-off holds one of them alone; the instant is drawn under the lock. So of an issue and a cut-off that
 * meet, one comes entirely before the other, and their instants tell which.
 */
export class PostgresRevocationStore implements RevocationStore {
  readonly maxTokenLifetimeSeconds: number
  readonly #dataSource: DataSource
  readonly #options: PostgresRevocationStoreOptions
  readonly #clock: StoreClock

  constructor(dataSource: DataSource, options: PostgresRevocationStoreOptions = {}) {
    this.maxTokenLifetimeSeconds = options.maxTokenLifetimeSeconds ?? DEFAULT_TOKEN_LIFETIME_SECONDS
    this.#dataSource = dataSource
    this.#options = options
    this.#clock = options.replica?.clock ?? new StoreClock()
  }

  now(): number {
    return this.#clock.now()
  }

  async ping(): Promise<void> {
    await this.#find([])
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
    const outcome = await runTransaction(this.#dataSource, (manager) =>
      this.revokeWithin(manager, request),
    )
    this.announce()
    return outcome
  }

  /** Tells other nodes' replicas that something was committed; they would find out by themselves, a little later. */
  announce(): void {
    this.#options.replica?.announce()
  }

  /**
   * Revokes as part of a transaction of yours: it holds once you commit, and you answer only then ({@link announce}
   * after it spares other nodes' replicas the wait).
   *
   * @param options.always - Make a cut-off of its own even if an earlier one already reaches as far.
   */
  async revokeWithin(
    manager: EntityManager,
    request: RevocationRequest,
    { always = false }: { always?: boolean } = {},
  ): Promise<RevocationOutcome> {
    const { target } = request
    const outcome = await (target.scope === 'SUBJECT' || target.scope === 'EVERYONE'
      ? this.#cutOff(manager, request, target, always)
      : this.#revokeOnce(manager, request))
    // Also one that stood already: another node made it, perhaps a moment ago.
    this.#options.replica?.add(outcome.revocation)
    return outcome
  }

  /** Until your transaction ends no token can be issued, and no cut-off made, for the target. */
  async lockWithin(manager: EntityManager, target: CutOffTarget): Promise<void> {
    if (target.scope === 'EVERYONE') await manager.query(sql.lockEveryone, [EVERYONE_KEY])
    else await manager.query(sql.lockSubject, [EVERYONE_KEY, subjectKey(target.subject)])
  }

  /** The latest cut-off in force for a target. */
  async latestCutOffWithin(
    manager: EntityManager,
    target: CutOffTarget,
  ): Promise<Revocation | null> {
    const kept = target.scope === 'SUBJECT' ? (target.keptSessionId ?? null) : null
    const [found] = await manager.query<Revocation[]>(sql.findLatestCutOff, [
      keyOfTarget(target),
      kept,
    ])
    if (found) this.#options.replica?.add(found)
    return found ?? null
  }

  /** Journals, as part of a transaction of yours, that the person whom a revocation suspended was reinstated. */
  async reinstateWithin(
    manager: EntityManager,
    suspensionId: string,
    { by, note = null }: RestorationTrace,
  ): Promise<void> {
    await manager.query(sql.journalReinstatement, [suspensionId, by, note])
  }

  async findById(id: string): Promise<Revocation | null> {
    return runTransaction(this.#dataSource, async (manager) => {
      const [found] = await manager.query<Revocation[]>(sql.findById, [id])
      return found ?? null
    })
  }

  async restore(
    id: string,
    { by, note = null }: RestorationTrace,
  ): Promise<RestorationOutcome | null> {
    return runTransaction(this.#dataSource, async (manager) => {
      const [restored] = await manager.query<Revocation[]>(sql.restore, [id, by, note])
      if (restored) return { revocation: restored, alreadyRestored: false }

      const [before] = await manager.query<Revocation[]>(sql.findRestored, [id])
      return before ? { revocation: before, alreadyRestored: true } : null
    })
  }

  async issueInstant(subject: string): Promise<Date> {
    return runTransaction(this.#dataSource, (manager) => this.issueInstantWithin(manager, subject))
  }

  /** As `issueInstant`, and no cut-off for this subject can be made until your transaction ends. */
  async issueInstantWithin(manager: EntityManager, subject: string): Promise<Date> {
    const keys = [EVERYONE_KEY, subjectKey(subject)]
    await manager.query(sql.lockForIssue, keys)
    return this.#nextInstant(manager, keys)
  }

  async listInForce(page: PageRequest<RevocationCursor>): Promise<Page<Revocation>> {
    const { first, after } = page
    const position = [after?.revokedAt ?? null, after?.id ?? null]
    return this.#list<Revocation>(sql.listInForce, first, [
      ...filterValues(page.filter),
      ...position,
    ])
  }

  async countInForce(filter: RevocationFilter): Promise<number> {
    return this.#count(sql.countInForce, filter)
  }

  async listEvents(page: PageRequest<EventCursor>): Promise<Page<RevocationEvent>> {
    const values = [...filterValues(page.filter), page.after?.id ?? null]
    const rows = await this.#list<EventRow>(sql.listEvents, page.first, values)
    return { ...rows, items: rows.items.map(toEvent) }
  }

  async countEvents(filter: RevocationFilter): Promise<number> {
    return this.#count(sql.countEvents, filter)
  }

  async deleteExpired(limit: number): Promise<number> {
    const { journalRetentionDays = 90 } = this.#options
    return runTransaction(this.#dataSource, async (manager) => {
      const [, entries] = await manager.query<[unknown, number]>(sql.deleteExpired, [limit])
      const [, events] = await manager.query<[unknown, number]>(sql.deleteOldEvents, [
        limit,
        journalRetentionDays,
      ])
      return Math.max(entries, events)
    })
  }

  /** The hot path: one prepared statement on the DataSource's pool, because TypeORM offers neither that nor a time limit. */
  async #find(keys: readonly RevocationKey[]): Promise<readonly Found[]> {
    const pool = (this.#dataSource.driver as unknown as { master: Pool }).master
    // The driver's own limit comes later, and is there to have a silent connection replaced.
    const { checkTimeoutMs = DEFAULT_CHECK_TIMEOUT_MS } = this.#options
    const query = { ...sql.findByKeys, values: [keys], query_timeout: 2 * checkTimeoutMs }

    try {
      const { rows } = await within(checkTimeoutMs, pool.query<FoundRow>(query))
      const [{ now }] = rows as [FoundRow]
      this.#clock.observe(now)
      return rows.flatMap(({ now: _now, key, ...entry }) => (key === null ? [] : [{ key, entry }]))
    } catch (error) {
      throw new RevocationUnavailableError(error)
    }
  }

  /** The first one wins. What stands is looked for before the attempt, because those who collide wait for each other. */
  async #revokeOnce(
    manager: EntityManager,
    request: RevocationRequest,
  ): Promise<RevocationOutcome> {
    const key = keyOfTarget(request.target)
    const [{ now, ...standing }] = await manager.query<[StandingRow]>(sql.findStanding, [key])
    this.#clock.observe(now)
    if (standing.id !== null) return stood(standing)

    const entry = await this.#add(manager, request, now)
    // Without one somebody else was quicker, between the two statements.
    return entry ? this.#conclude(manager, entry) : this.#revokeOnce(manager, request)
  }

  async #cutOff(
    manager: EntityManager,
    request: RevocationRequest,
    target: CutOffTarget,
    always: boolean,
  ): Promise<RevocationOutcome> {
    await this.lockWithin(manager, target)
    // `undefined` when nobody here knows.
    const lastIssuedAt = await this.#options.sessions?.lastIssuedAt(manager, target)
    const standing = always ? null : await this.latestCutOffWithin(manager, target)
    // An earlier cut-off reaches as far as a new one would, when nothing was issued since.
    if (standing && lastIssuedAt !== undefined && !isAfter(lastIssuedAt, standing.revokedAt)) {
      return stood(standing)
    }

    const keys = target.scope === 'SUBJECT' ? [EVERYONE_KEY, subjectKey(target.subject)] : null
    const instant = await this.#nextInstant(manager, keys)
    // A clock that was set back must not spare what was issued before.
    const revokedAt = lastIssuedAt && isAfter(lastIssuedAt, instant) ? lastIssuedAt : instant
    // Cut-offs do not collide.
    const entry = (await this.#add(manager, request, revokedAt)) as Revocation
    return this.#conclude(manager, entry)
  }

  async #conclude(manager: EntityManager, revocation: Revocation): Promise<RevocationOutcome> {
    const endedSessions = (await this.#options.sessions?.endSessions(manager, revocation)) ?? 0
    return { revocation, alreadyRevoked: false, endedSessions }
  }

  /** @param keys - Of the cut-offs to come after; `null` for all. */
  async #nextInstant(manager: EntityManager, keys: readonly RevocationKey[] | null): Promise<Date> {
    const [row] = await manager.query<[{ now: Date; instant: Date }]>(sql.nextInstant, [keys])
    this.#clock.observe(row.now)
    return row.instant
  }

  async #add(
    manager: EntityManager,
    { target, reason, note = null, by }: RevocationRequest,
    revokedAt: Date,
  ): Promise<Revocation | null> {
    const token = target.scope === 'TOKEN' && 'token' in target ? target.token : null
    const [entry] = await manager.query<Revocation[]>(sql.add, [
      randomUUID(),
      keyOfTarget(target),
      target.scope,
      token?.issuer ?? null,
      token?.subject ?? ('subject' in target ? target.subject : null),
      token?.sessionId ?? ('sessionId' in target ? target.sessionId : null),
      token?.tokenId ?? null,
      'digest' in target ? target.digest : null,
      'keptSessionId' in target ? (target.keptSessionId ?? null) : null,
      revokedAt,
      forgetAt(target, revokedAt, this.maxTokenLifetimeSeconds),
      reason,
      by,
      note,
    ])
    return entry ?? null
  }

  async #list<Item>(text: string, first: number, values: readonly unknown[]): Promise<Page<Item>> {
    return runTransaction(this.#dataSource, async (manager) => {
      const rows = await manager.query<Item[]>(text, [...values, first + 1])
      return { items: rows.slice(0, first), hasNextPage: rows.length > first }
    })
  }

  async #count(text: string, filter: RevocationFilter): Promise<number> {
    return runTransaction(this.#dataSource, async (manager) => {
      const [row] = await manager.query<[{ count: number }]>(text, filterValues(filter))
      return row.count
    })
  }
}

interface Found {
  readonly key: RevocationKey
  readonly entry: Revocation
}

type FoundRow = Revocation & { readonly key: RevocationKey | null; readonly now: Date }

/** All but the clock is `null` when nothing stands. */
type StandingRow = { readonly now: Date } & (Revocation | Record<keyof Revocation, null>)

type EventRow = Omit<RevocationEvent, 'revocation'> &
  Omit<Revocation, 'id' | 'note'> & { revocationId: string; revocationNote: string | null }

function toEvent(row: EventRow): RevocationEvent {
  const { id, kind, occurredAt, actor, note, revocationId, revocationNote, ...revocation } = row
  return {
    id,
    kind,
    occurredAt,
    actor,
    note,
    revocation: { ...revocation, id: revocationId, note: revocationNote },
  }
}

function stood(revocation: Revocation): RevocationOutcome {
  return { revocation, alreadyRevoked: true, endedSessions: 0 }
}

function groupByKey(found: readonly Found[]): ReadonlyMap<RevocationKey, readonly Revocation[]> {
  const groups = new Map<RevocationKey, Revocation[]>()
  for (const { key, entry } of found) {
    const group = groups.get(key)
    if (group) group.push(entry)
    else groups.set(key, [entry])
  }
  return groups
}

function isAfter(instant: Date | null, other: Date): boolean {
  return instant !== null && instant > other
}

function filterValues(filter: RevocationFilter): unknown[] {
  const { scope, subject, sessionId, tokenId, reason, revokedBy, since, until } = filter
  return [scope, subject, sessionId, tokenId, reason, revokedBy, since, until].map((v) => v ?? null)
}
