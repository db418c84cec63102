import { randomUUID } from 'node:crypto'
import type { Revocation } from '../../contract.ts'
import type { Token } from '../../token/claims.ts'
import { EVERYONE_KEY, digestKey, keyOfTarget, keysOfToken, subjectKey } from '../key.ts'
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
import { DEFAULT_TOKEN_LIFETIME_SECONDS, FORGET_AFTER_SECONDS, forgetAt } from '../retention.ts'
import { findRevoking } from '../revocation.ts'
import { spellingsOf } from '../spelling.ts'

/** How long entries and journal are kept, and by which clock. */
export interface MemoryRevocationStoreOptions {
  /**
   * The longest that tokens live, in seconds: entries are kept that long.
   *
   * @defaultValue 900 (15 minutes)
   */
  readonly maxTokenLifetimeSeconds?: number
  /** How long the journal is kept, in days. */
  readonly journalRetentionDays?: number
  /** Milliseconds since the epoch. */
  readonly clock?: () => number
}

const DAY_MS = 24 * 60 * 60 * 1000

/** The blacklist in this process's memory, for tests and examples: it is lost with the process and known to no other. */
export class MemoryRevocationStore implements RevocationStore {
  readonly maxTokenLifetimeSeconds: number
  readonly #options: MemoryRevocationStoreOptions
  readonly #clock: () => number
  readonly #entries = new Map<RevocationKey, Revocation[]>()
  readonly #events: RevocationEvent[] = []
  readonly #watchers = new Set<JournalWatcher>()
  #lastEventId = 0
  #lastIssuedMs = 0

  constructor(options: MemoryRevocationStoreOptions = {}) {
    this.maxTokenLifetimeSeconds = options.maxTokenLifetimeSeconds ?? DEFAULT_TOKEN_LIFETIME_SECONDS
    this.#options = options
    this.#clock = options.clock ?? Date.now
  }

  now(): number {
    return this.#clock() / 1000
  }

  async ping(): Promise<void> {}

  async findFor(tokens: readonly Token[]): Promise<ReadonlyArray<Revocation | null>> {
    return tokens.map((token) =>
      findRevoking(
        token,
        keysOfToken(token).flatMap((key) => this.#inForce(key)),
      ),
    )
  }

  async findByDigest(digest: string): Promise<Revocation | null> {
    return this.#inForce(digestKey(digest)).find((entry) => entry.digest === digest) ?? null
  }

  async revoke({ target, reason, note = null, by }: RevocationRequest): Promise<RevocationOutcome> {
    const key = keyOfTarget(target)
    const isCutOff = target.scope === 'SUBJECT' || target.scope === 'EVERYONE'
    const [standing] = isCutOff ? [] : this.#inForce(key)
    if (standing) return { revocation: standing, alreadyRevoked: true, endedSessions: 0 }

    // A clock that stands still or was set back must not spare what was issued before.
    const revokedAt = new Date(
      isCutOff ? Math.max(this.#clock(), this.#lastIssuedMs) : this.#clock(),
    )
    const token = target.scope === 'TOKEN' && 'token' in target ? target.token : null
    const revocation: Revocation = {
      id: randomUUID(),
      scope: target.scope,
      issuer: token?.issuer ?? null,
      subject: token?.subject ?? ('subject' in target ? target.subject : null),
      sessionId: token?.sessionId ?? ('sessionId' in target ? target.sessionId : null),
      tokenId: token?.tokenId ?? null,
      digest: 'digest' in target ? target.digest : null,
      keptSessionId: 'keptSessionId' in target ? (target.keptSessionId ?? null) : null,
      revokedAt,
      expiresAt: forgetAt(target, revokedAt, this.maxTokenLifetimeSeconds),
      reason,
      note,
      revokedBy: by,
    }

    this.#entries.set(
      key,
      isCutOff ? [...(this.#entries.get(key) ?? []), revocation] : [revocation],
    )
    this.#record('REVOKED', revocation, { by, note })
    return { revocation, alreadyRevoked: false, endedSessions: null }
  }

  async findById(id: string): Promise<Revocation | null> {
    return this.#events.find((event) => event.revocation.id === id)?.revocation ?? null
  }

  async restore(id: string, trace: RestorationTrace): Promise<RestorationOutcome | null> {
    for (const [key, entries] of this.#entries) {
      const revocation = entries.find((entry) => entry.id === id)
      if (!revocation) continue

      this.#entries.set(
        key,
        entries.filter((entry) => entry !== revocation),
      )
      this.#record('RESTORED', revocation, trace)
      return { revocation, alreadyRestored: false }
    }

    const before = this.#events.find((e) => e.revocation.id === id && e.kind === 'RESTORED')
    return before ? { revocation: before.revocation, alreadyRestored: true } : null
  }

  async issueInstant(subject: string): Promise<Date> {
    const cutOffs = [EVERYONE_KEY, subjectKey(subject)]
      .flatMap((key) => this.#entries.get(key) ?? [])
      .map((entry) => entry.revokedAt.getTime() + 1)
    const issuedMs = Math.max(this.#clock(), ...cutOffs)
    this.#lastIssuedMs = Math.max(this.#lastIssuedMs, issuedMs)
    return new Date(issuedMs)
  }

  async listInForce({
    first,
    after,
    filter,
  }: PageRequest<RevocationCursor>): Promise<Page<Revocation>> {
    const entries = this.#allInForce()
      .filter((entry) => matches(filter, entry, entry.revokedAt, entry.revokedBy))
      .toSorted(newestFirst)
      .filter((entry) => after === null || newestFirst(after, entry) < 0)
    return { items: entries.slice(0, first), hasNextPage: entries.length > first }
  }

  async countInForce(filter: RevocationFilter): Promise<number> {
    return this.#allInForce().filter((e) => matches(filter, e, e.revokedAt, e.revokedBy)).length
  }

  async listEvents({
    first,
    after,
    filter,
  }: PageRequest<EventCursor>): Promise<Page<RevocationEvent>> {
    const events = this.#events
      .filter((event) => matches(filter, event.revocation, event.occurredAt, event.actor))
      .filter((event) => after === null || BigInt(event.id) < BigInt(after.id))
      .toReversed()
    return { items: events.slice(0, first), hasNextPage: events.length > first }
  }

  async countEvents(filter: RevocationFilter): Promise<number> {
    return this.#events.filter((e) => matches(filter, e.revocation, e.occurredAt, e.actor)).length
  }

  async readEvents({ after, filter, limit }: JournalRequest): Promise<JournalExtract> {
    const end = { events: [], place: String(this.#lastEventId) }
    if (after === null) return end

    const [from = ''] = after.split('.')
    const events = this.#events
      .filter((event) => BigInt(event.id) > BigInt(from))
      .filter((event) => matches(filter, event.revocation, event.occurredAt, event.actor))
      .slice(0, limit)
    return events.length < limit
      ? { ...end, events }
      : { events, place: events.at(-1)?.place ?? from }
  }

  watch(watcher: JournalWatcher): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  async deleteExpired(limit: number): Promise<number> {
    let entries = 0
    for (const [key, all] of this.#entries) {
      const kept = all.filter((entry) => !this.#canBeForgotten(entry) || ++entries > limit)
      if (kept.length > 0) this.#entries.set(key, kept)
      else this.#entries.delete(key)
    }

    const oldest = this.#clock() - (this.#options.journalRetentionDays ?? 90) * DAY_MS
    const fresh = this.#events.findIndex((event) => event.occurredAt.getTime() >= oldest)
    const events = Math.min(limit, fresh === -1 ? this.#events.length : fresh)
    this.#events.splice(0, events)

    return Math.max(Math.min(entries, limit), events)
  }

  #record(kind: RevocationEvent['kind'], revocation: Revocation, trace: RestorationTrace): void {
    const id = String(++this.#lastEventId)
    this.#events.push({
      id,
      place: id,
      kind,
      occurredAt: new Date(this.#clock()),
      actor: trace.by,
      note: trace.note ?? null,
      revocation,
    })
    for (const watcher of this.#watchers) watcher.grew(kind === 'REVOKED' ? [revocation] : [])
  }

  #inForce(key: RevocationKey): Revocation[] {
    return (this.#entries.get(key) ?? []).filter((entry) => this.#isInForce(entry))
  }

  #allInForce(): Revocation[] {
    return [...this.#entries.values()].flat().filter((entry) => this.#isInForce(entry))
  }

  #canBeForgotten({ expiresAt }: Revocation): boolean {
    return expiresAt.getTime() + FORGET_AFTER_SECONDS * 1000 <= this.#clock()
  }

  #isInForce(entry: Revocation): boolean {
    return entry.expiresAt.getTime() > this.#clock()
  }
}

function newestFirst(a: RevocationCursor, b: RevocationCursor): number {
  return b.revokedAt.getTime() - a.revokedAt.getTime() || Number(a.id < b.id) - Number(a.id > b.id)
}

function isMeant(wanted: string | null | undefined, id: string | null): boolean {
  return wanted == null || (id !== null && spellingsOf(wanted).includes(id))
}

function matches(
  filter: RevocationFilter,
  entry: Revocation,
  at: Date,
  actor: string | null,
): boolean {
  const { scope, subject, sessionId, tokenId, reason, revokedBy, since, until } = filter
  return (
    (scope == null || entry.scope === scope) &&
    isMeant(subject, entry.subject) &&
    isMeant(sessionId, entry.sessionId) &&
    isMeant(tokenId, entry.tokenId ?? entry.digest) &&
    (reason == null || entry.reason === reason) &&
    isMeant(revokedBy, actor) &&
    (since == null || at >= since) &&
    (until == null || at < until)
  )
}
