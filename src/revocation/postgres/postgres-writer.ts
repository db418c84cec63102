import { randomUUID } from 'node:crypto'
import type { DataSource, EntityManager } from 'typeorm'
import type { Revocation } from '../../contract.ts'
import { createLines } from '../../database/lines.ts'
import { isOutage, runTransaction } from '../../database/transaction.ts'
import { createBatched } from '../../lib/batch.ts'
import type { JournalFollower } from '../journal/journal-follower.ts'
import { EVERYONE_KEY, keyOfTarget, subjectKey } from '../key.ts'
import type { RevocationKey } from '../key.ts'
import type { RevocationOutcome, RevocationRequest } from '../ports.ts'
import { forgetAt } from '../retention.ts'
import type { RevocationTarget } from '../revocation.ts'
import type { StoreClock } from '../store-clock.ts'
import { nameTables } from '../tables/table-names.ts'
import * as sql from './postgres-sql.ts'

/** Keeps sessions beside the blacklist: they end in the revocation's own transaction. */
export interface SessionKeeper {
  /**
   * Ends the sessions that revocations hit. Issues of tokens wait meanwhile: what takes long is to be left for later.
   *
   * @returns Same length and order: how many each has ended; `null` when they are too many to count.
   */
  endSessions(
    manager: EntityManager,
    revocations: readonly Revocation[],
  ): Promise<ReadonlyArray<number | null>>

  /** When the last token that the target would hit was issued; `null` when there is none. */
  lastIssuedAt(manager: EntityManager, target: CutOffTarget): Promise<Date | null>

  /** Told when a cut-off was committed: the sessions that it left can be ended now. */
  committed?(): void
}

/** A target that is a cut-off: it hits what was issued until now. */
export type CutOffTarget = Extract<RevocationTarget, { scope: 'SUBJECT' | 'EVERYONE' }>

/** What revocations are made with. */
export interface PostgresWriterOptions {
  readonly dataSource: DataSource
  readonly clock: StoreClock
  readonly maxTokenLifetimeSeconds: number
  readonly sessions: SessionKeeper | undefined
  readonly journal: JournalFollower | undefined
}

/** The most that are revoked in one transaction. */
const MAX_REVOCATIONS = 200

/** How long others wait for a transaction under way, in milliseconds. One that waits for a lock takes seconds. */
const PATIENCE_MS = 500

/** How cut-offs of one target wait: for a few that wait for a lock, 2 s each, and within what a mutation may take. */
const LINE = { maxWaiting: 100, maxWaitMs: 5000 }

/**
 * Makes revocations: locks, instant, entries with their lines in the journal, sessions.
 *
 * Locks are taken in one order: everyone, subject, then rows. An issue of a token shares the first two, a
 * cut-off holds one of them alone; the instant is drawn under the lock. So of an issue and a cut-off that
 * meet, one comes entirely before the other, and their instants tell which.
 */
export class PostgresWriter {
  readonly #options: PostgresWriterOptions
  /** While one transaction is under way the next requests gather: they share round trips and a commit. */
  readonly #revokeTogether = createBatched<RevocationRequest, RevocationOutcome>(
    (requests) => this.#revokeAll(requests),
    { maxBatchSize: MAX_REVOCATIONS, patienceMs: PATIENCE_MS },
  )

  /** Cut-offs of one target wait for each other's lock: here, and not each on a connection of its own. */
  readonly #cutOffInLine = createLines(LINE)

  constructor(options: PostgresWriterOptions) {
    this.#options = options
  }

  async revoke(request: RevocationRequest): Promise<RevocationOutcome> {
    if (!isCutOff(request.target)) return this.#revokeTogether(request)
    return this.#cutOffInLine(keyOfTarget(request.target), () =>
      runTransaction(this.#options.dataSource, (manager) =>
        this.revokeWithin(manager, request, { always: false }),
      ),
    )
  }

  async revokeWithin(
    manager: EntityManager,
    request: RevocationRequest,
    { always }: { always: boolean },
  ): Promise<RevocationOutcome> {
    const { target } = request
    if (isCutOff(target)) return this.#cutOff(manager, request, target, always)

    const [outcome] = await this.#revokeEach(manager, [request])
    return outcome as RevocationOutcome
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
    const [found] = await manager.query<Revocation[]>(this.#sql(sql.findLatestCutOff), [
      keyOfTarget(target),
      kept,
    ])
    if (found) this.#options.journal?.know(found)
    return found ?? null
  }

  /** An instant for a token of this subject; no cut-off can be made for it until the transaction ends. */
  async issueInstantWithin(manager: EntityManager, subject: string): Promise<Date> {
    const keys = [EVERYONE_KEY, subjectKey(subject)]
    await manager.query(sql.lockForIssue, keys)
    return this.#nextInstant(manager, keys)
  }

  /**
   * Revokes what is asked for at the same time in one transaction: one commit for all. When one of them cannot be
   * revoked, the others do not suffer: each is tried alone.
   */
  async #revokeAll(
    requests: readonly RevocationRequest[],
  ): Promise<ReadonlyArray<RevocationOutcome | Error>> {
    const revoke = (some: readonly RevocationRequest[]): Promise<readonly RevocationOutcome[]> =>
      runTransaction(this.#options.dataSource, (manager) => this.#revokeEach(manager, some))
    try {
      return await revoke(requests)
    } catch (error) {
      if (requests.length === 1 || isOutage(error)) throw error
    }

    const each = await Promise.allSettled(requests.map(async (request) => revoke([request])))
    return each.map((one) =>
      one.status === 'fulfilled' ? (one.value[0] as RevocationOutcome) : (one.reason as Error),
    )
  }

  async #revokeEach(
    manager: EntityManager,
    requests: readonly RevocationRequest[],
  ): Promise<readonly RevocationOutcome[]> {
    const firsts = new Map<RevocationKey, RevocationRequest>()
    for (const request of requests) {
      const key = keyOfTarget(request.target)
      if (!firsts.has(key)) firsts.set(key, request)
    }

    const entries = await this.#addMissing(manager, firsts)
    const added = [...entries.values()].filter(({ isNew }) => isNew).map(({ entry }) => entry)
    const ended = await this.#endSessions(manager, added)

    return requests.map((request) => {
      const key = keyOfTarget(request.target)
      const { entry: revocation, isNew } = entries.get(key) as AddedEntry
      if (!isNew || firsts.get(key) !== request) return stood(revocation)
      return { revocation, alreadyRevoked: false, endedSessions: ended.get(revocation) ?? null }
    })
  }

  /** The first one wins. What stands is looked for before the attempt, because those who collide wait for each other. */
  async #addMissing(
    manager: EntityManager,
    requests: ReadonlyMap<RevocationKey, RevocationRequest>,
  ): Promise<ReadonlyMap<RevocationKey, AddedEntry>> {
    const found = new Map<RevocationKey, AddedEntry>()
    // Again for keys that another transaction took between the two statements.
    while (found.size < requests.size) {
      const keys = [...requests.keys()].filter((key) => !found.has(key))
      const rows = await manager.query<[StandingRow, ...StandingRow[]]>(
        this.#sql(sql.findStanding),
        [keys],
      )
      const [{ now }] = rows
      this.#options.clock.observe(now)
      for (const { now: _now, key, ...entry } of rows) {
        if (key !== null) found.set(key, { entry: entry as Revocation, isNew: false })
      }

      const missing = [...requests].filter(([key]) => !found.has(key))
      for (const { key, ...entry } of await this.#add(manager, missing, now)) {
        found.set(key, { entry, isNew: true })
      }
    }
    for (const { entry } of found.values()) this.#options.journal?.know(entry)
    return found
  }

  async #cutOff(
    manager: EntityManager,
    request: RevocationRequest,
    target: CutOffTarget,
    always: boolean,
  ): Promise<RevocationOutcome> {
    await this.lockWithin(manager, target)
    // `undefined` when no session keeper knows.
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
    const added = await this.#add(manager, [[keyOfTarget(target), request]], revokedAt)
    const [{ key: _key, ...revocation }] = added as [FoundEntry]
    this.#options.journal?.know(revocation)
    const endedSessions = (await this.#endSessions(manager, [revocation])).get(revocation) ?? null
    return { revocation, alreadyRevoked: false, endedSessions }
  }

  async #endSessions(
    manager: EntityManager,
    revocations: readonly Revocation[],
  ): Promise<ReadonlyMap<Revocation, number | null>> {
    const { sessions } = this.#options
    const counts =
      sessions && revocations.length > 0 ? await sessions.endSessions(manager, revocations) : []
    return new Map(revocations.map((revocation, index) => [revocation, counts[index] ?? null]))
  }

  /** @param keys - Of the cut-offs to come after; `null` for all. */
  async #nextInstant(manager: EntityManager, keys: readonly RevocationKey[] | null): Promise<Date> {
    const [row] = await (keys === null
      ? manager.query<[Instant]>(this.#sql(sql.nextInstantOfAll))
      : manager.query<[Instant]>(this.#sql(sql.nextInstant), [keys]))
    this.#options.clock.observe(row.now)
    return row.instant
  }

  /** @returns Those that were added; the others collide with what stands. */
  async #add(
    manager: EntityManager,
    requests: ReadonlyArray<readonly [RevocationKey, RevocationRequest]>,
    revokedAt: Date,
  ): Promise<readonly FoundEntry[]> {
    if (requests.length === 0) return []
    const rows = requests.map(([key, { target, reason, note = null, by }]) => {
      const token = target.scope === 'TOKEN' && 'token' in target ? target.token : null
      return [
        randomUUID(),
        key,
        target.scope,
        token?.issuer ?? null,
        token?.subject ?? ('subject' in target ? target.subject : null),
        token?.sessionId ?? ('sessionId' in target ? target.sessionId : null),
        token?.tokenId ?? null,
        'digest' in target ? target.digest : null,
        'keptSessionId' in target ? (target.keptSessionId ?? null) : null,
        revokedAt,
        forgetAt(target, revokedAt, this.#options.maxTokenLifetimeSeconds),
        reason,
        by,
        note,
      ] as const
    })
    const columns = rows[0]?.map((_, column) => rows.map((row) => row[column]))
    return manager.query<FoundEntry[]>(this.#sql(sql.add), columns)
  }

  /** A statement with the names that our tables have in this `DataSource`. */
  #sql(text: string): string {
    return nameTables(this.#options.dataSource, text)
  }
}

interface Instant {
  readonly now: Date
  readonly instant: Date
}

type FoundEntry = Revocation & { readonly key: RevocationKey }

/** All but the clock is `null` when nothing stands. */
type StandingRow = { readonly now: Date } & (FoundEntry | Record<keyof FoundEntry, null>)

interface AddedEntry {
  readonly entry: Revocation
  /** Whether it was made just now. */
  readonly isNew: boolean
}

function isCutOff(target: RevocationTarget): target is CutOffTarget {
  return target.scope === 'SUBJECT' || target.scope === 'EVERYONE'
}

function stood(revocation: Revocation): RevocationOutcome {
  return { revocation, alreadyRevoked: true, endedSessions: 0 }
}

function isAfter(instant: Date | null, other: Date): boolean {
  return instant !== null && instant > other
}
