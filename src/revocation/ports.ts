import type { Revocation, RevocationScope } from '../contract.ts'
import type { Token } from '../token/claims.ts'
import type { RevocationTarget } from './revocation.ts'

/** A request to revoke. */
export interface RevocationRequest {
  readonly target: RevocationTarget
  /** 1 to 200 characters, shown to the holder of the token. */
  readonly reason: string
  /** To 2,000 characters, for admins only. */
  readonly note?: string | null
  /** The subject who asks; `null` for the service itself. */
  readonly by: string | null
}

/** The result of a request to revoke. */
export interface RevocationOutcome {
  readonly revocation: Revocation
  /** Whether it stood already: then nothing was written, and the first reason, time and actor are kept. */
  readonly alreadyRevoked: boolean
  /** How many sessions it ended; `null` when they are too many to count, or this store keeps none. */
  readonly endedSessions: number | null
}

/** The result of a request to restore. */
export interface RestorationOutcome {
  readonly revocation: Revocation
  /** Whether it had been restored before: then nothing was written. */
  readonly alreadyRestored: boolean
}

/** What happened. `REINSTATED`: the person whom it suspended may sign in again; what it revoked stays so. */
export type RevocationEventKind = 'REVOKED' | 'RESTORED' | 'REINSTATED'

/**
 * A place in the journal: all that was committed before it is known, and nothing that comes after it. A short text without
 * spaces; {@link RevocationStore.readEvents} goes on from there.
 */
export type JournalPlace = string

/** A line of the journal: append-only, and what operators are shown. */
export interface RevocationEvent {
  readonly id: string
  /** Behind this line. */
  readonly place: JournalPlace
  readonly kind: RevocationEventKind
  readonly occurredAt: Date
  readonly actor: string | null
  readonly note: string | null
  readonly revocation: Revocation
}

/** All given members must hold. An id that is a UUID or a digest is found in capitals and in small letters. */
export interface RevocationFilter {
  readonly scope?: RevocationScope | null
  readonly subject?: string | null
  readonly sessionId?: string | null
  /** `tokenId` of an entry, or its `digest`. */
  readonly tokenId?: string | null
  readonly reason?: string | null
  readonly revokedBy?: string | null
  /** Revoked (or, in the journal, happened) at or after. */
  readonly since?: Date | null
  /** Revoked (or, in the journal, happened) before. */
  readonly until?: Date | null
}

/** Which part of a list is wanted. */
export interface PageRequest<Cursor> {
  readonly first: number
  /** Start behind this one. */
  readonly after: Cursor | null
  readonly filter: RevocationFilter
}

/** A part of a list, in the list's order. */
export interface Page<Item> {
  readonly items: readonly Item[]
  readonly hasNextPage: boolean
}

/** Position in a list of revocations, which runs from the newest to the oldest. */
export type RevocationCursor = Pick<Revocation, 'id' | 'revokedAt'>

/** Position in the journal, which runs from the newest to the oldest. */
export type EventCursor = Pick<RevocationEvent, 'id' | 'place'>

/**
 * Where revocations are kept. Every method may be called concurrently.
 *
 * All methods throw {@link RevocationUnavailableError} when the store cannot do its work within its time limit.
 */
export interface RevocationStore {
  /** The longest that any node's tokens live, in seconds: an entry is kept until the last one that it hits expired. */
  readonly maxTokenLifetimeSeconds: number

  /** Seconds since the epoch by the store's clock, which also draws cut-offs and issue times. */
  now(): number

  /** Fulfilled when the store can answer for revocation right now, and take revocations. */
  ping(): Promise<void>

  /**
   * Finds what revokes each token, in one round trip.
   *
   * @param tokens - Any number of tokens, repeats allowed.
   * @returns Same length and order: the entry in force that revokes the token, or `null`.
   */
  findFor(tokens: readonly Token[]): Promise<ReadonlyArray<Revocation | null>>

  /**
   * Whether it is certain from memory alone, because that is in step, that nothing revokes this token.
   *
   * `false` when that is not known: then {@link RevocationStore.findFor} tells. A store without such a memory leaves
   * the method out.
   */
  rulesOut?(token: Token): boolean

  /** Finds the entry in force for a token that could not be verified. */
  findByDigest(digest: string): Promise<Revocation | null>

  /** Revokes, durably, before it answers; idempotent. */
  revoke(request: RevocationRequest): Promise<RevocationOutcome>

  /** Looks up an entry by its id, in force or not; `null` when the journal does not know it either. */
  findById(id: string): Promise<Revocation | null>

  /**
   * Takes an entry out of force, with a trace in the journal; idempotent.
   *
   * @returns `null` when no such entry was ever made, or it was forgotten.
   */
  restore(id: string, trace: RestorationTrace): Promise<RestorationOutcome | null>

  /**
   * An instant, by the store's clock, for the `iat` of a new token of this subject.
   *
   * It lies after every cut-off that the subject has had so far, so that no revocation made before reaches it.
   */
  issueInstant(subject: string): Promise<Date>

  /** What is in force now, newest first. */
  listInForce(page: PageRequest<RevocationCursor>): Promise<Page<Revocation>>
  countInForce(filter: RevocationFilter): Promise<number>

  /** The journal, newest first. */
  listEvents(page: PageRequest<EventCursor>): Promise<Page<RevocationEvent>>
  countEvents(filter: RevocationFilter): Promise<number>

  /**
   * Reads the journal as it grows: what was committed behind a place, in an order of its own. A reader that goes on from the last
   * line's place skips none and reads none twice, in whatever order they are committed.
   *
   * @returns Nothing, when nothing was added, and the place from which to go on.
   */
  readEvents(request: JournalRequest): Promise<JournalExtract>

  /**
   * Has {@link RevocationStore.watch} tell also what other nodes do, if that is not under way. A store that only one process
   * uses leaves the method out.
   *
   * @throws `TypeError` when the store was given nothing to follow the journal with.
   */
  follow?(): void

  /**
   * Tells a watcher what is added to the journal.
   *
   * @returns How to stop.
   */
  watch(watcher: JournalWatcher): () => void

  /**
   * Removes entries that can be forgotten, and journal lines older than their retention.
   *
   * @param limit - The most rows removed of each.
   * @returns How many were removed; less than `limit` means that none is left.
   */
  deleteExpired(limit: number): Promise<number>
}

/** Which lines of the journal are wanted, and how many at the most. */
export interface JournalRequest {
  /** `null`: what is added from now on. */
  readonly after: JournalPlace | null
  readonly filter: RevocationFilter
  readonly limit: number
}

/** What was read of the journal. */
export interface JournalExtract {
  readonly events: readonly RevocationEvent[]
  /** Behind all that was read. */
  readonly place: JournalPlace
}

/** Wants to know what the journal gets. Its methods must not throw. */
export interface JournalWatcher {
  /**
   * The journal has more lines: those of this node before it answers, those of others within the store's bound.
   *
   * @param revocations - Those among them that revoke; one may be told twice.
   */
  grew(revocations: readonly Revocation[]): void
  /** Lines may have been missed: a watcher that needs them all reads the journal. */
  missed(): void
}

/** Who restores, and why. */
export interface RestorationTrace {
  readonly by: string | null
  readonly note?: string | null
}
