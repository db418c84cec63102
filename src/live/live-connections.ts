import { setTimeout as sleep } from 'node:timers/promises'
import type { Revocation } from '../contract.ts'
import { TokenExpiredError, TokenRevokedError } from '../errors.ts'
import type { PortcullisError } from '../errors.ts'
import { callOut } from '../lib/call-out.ts'
import { EVERYONE_KEY, keyOfEntry, keysOfToken } from '../revocation/key.ts'
import type { RevocationKey } from '../revocation/key.ts'
import type { RevocationStore } from '../revocation/ports.ts'
import { isRevokedBy } from '../revocation/revocation.ts'
import { spellingsOf } from '../revocation/spelling.ts'
import { describeRevocation } from '../security-event.ts'
import type { SecurityLog } from '../security-event.ts'
import type { Token } from '../token/claims.ts'
import { CloseQueue } from './close-queue.ts'
import { LiveConnection } from './live-connection.ts'
import type { LiveConnectionKind, LiveConnectionOptions } from './live-connection.ts'

/** Who tells live connections of revocations, and who hears of their ends. */
export interface LiveConnectionsOptions {
  readonly store: Pick<RevocationStore, 'findFor' | 'now' | 'watch'>
  /** Told of each connection that ends because of its token. */
  readonly onCut?: ((why: PortcullisError) => void) | undefined
  readonly log?: SecurityLog | undefined
}

/** All given members must hold. */
export interface LiveConnectionFilter {
  readonly kind?: LiveConnectionKind | null
  readonly subject?: string | null
  readonly sessionId?: string | null
  readonly tokenId?: string | null
  readonly ipAddress?: string | null
}

/** How many there are of a kind, and how many of them end with their token. */
export interface LiveConnectionCount {
  readonly kind: LiveConnectionKind
  readonly connections: number
  readonly protected: number
}

/** How long before its token expires a client is told, in milliseconds: at most, and as a part of what is left. */
const MAX_NOTICE_MS = 30_000
const NOTICE_SHARE = 1 / 3

/** Tokens that are looked up in one statement, and milliseconds before it is tried again. */
const TOKENS_A_LOOK_UP = 1000
const RETRY_MS = 500

/** `setTimeout` takes no more. */
const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * The connections that stay open on this node, and the cut: what a token admitted ends when that is revoked or expires.
 *
 * From the moment at which this node knows of a revocation nothing more is delivered; the connections are closed one after
 * the other then. What only uses public fields stays.
 */
export class LiveConnections {
  readonly #options: LiveConnectionsOptions
  /** In the order in which they were opened. */
  readonly #connections = new Set<LiveConnection>()
  readonly #byKey = new Map<RevocationKey, Set<LiveConnection>>()
  /** Those under which it is found: hashing them again would be a tenth of what it costs to end it. */
  readonly #keys = new Map<LiveConnection, readonly RevocationKey[]>()
  readonly #timers = new Map<LiveConnection, NodeJS.Timeout>()
  readonly #closing = new CloseQueue()
  #unwatch: (() => void) | null = null
  #opened = 0
  #missed = 0

  constructor(options: LiveConnectionsOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#connections.size
  }

  /** Newest first. */
  list(filter: LiveConnectionFilter = {}): readonly LiveConnection[] {
    return [...this.#connections].toReversed().filter((connection) => matches(filter, connection))
  }

  open(options: LiveConnectionOptions): LiveConnection {
    this.#opened += 1
    const connection = new LiveConnection(this.#opened, options)
    this.#connections.add(connection)
    this.#unwatch ??= this.#options.store.watch({
      grew: (revocations) => {
        for (const revocation of revocations) this.#cutWhatItHits(revocation)
      },
      missed: () => void this.#lookForMissed(),
    })
    return connection
  }

  /** Has a connection depend on a token, instead of the one before. Ask whether it is revoked after that, not before. */
  admit(connection: LiveConnection, token: Token): void {
    if (!this.#connections.has(connection)) return
    this.#removeKeys(connection)
    connection.token = token
    const keys = selectingKeysOf(token)
    this.#keys.set(connection, keys)
    for (const key of keys) {
      const others = this.#byKey.get(key)
      if (others) others.add(connection)
      else this.#byKey.set(key, new Set([connection]))
    }
    this.#schedule(connection)
  }

  /** Ends a connection, in its turn. From now on nothing is delivered. */
  cut(connection: LiveConnection, why: PortcullisError): void {
    if (connection.ending || !this.#connections.has(connection)) return
    connection.ending = why
    this.#closing.add(connection)
    callOut(() => this.#options.onCut?.(why))
  }

  /** Forgets a connection that was closed. */
  remove(connection: LiveConnection): void {
    if (!this.#connections.delete(connection)) return
    this.#closing.remove(connection)
    this.#removeKeys(connection)
    clearTimeout(this.#timers.get(connection))
    this.#timers.delete(connection)
    for (const operation of connection.operations) operation.tell(null)

    if (this.#connections.size > 0) return
    const unwatch = this.#unwatch
    this.#unwatch = null
    callOut(() => unwatch?.())
  }

  #cutWhatItHits(revocation: Revocation): void {
    const why = new TokenRevokedError(revocation)
    let count = 0
    for (const connection of this.#findCandidates(revocation)) {
      if (connection.ending || !connection.token || !connection.isProtected) continue
      if (!isRevokedBy(connection.token, revocation)) continue
      this.cut(connection, why)
      count += 1
    }

    if (count === 0) return
    const hit = describeRevocation(revocation)
    callOut(() => this.#options.log?.({ event: 'connections_cut', ...hit, connections: count }))
  }

  #findCandidates(revocation: Revocation): Iterable<LiveConnection> {
    const key = keyOfEntry(revocation)
    return key === EVERYONE_KEY ? this.#connections : (this.#byKey.get(key) ?? [])
  }

  /** After a gap in the journal: asks of every token whether it is revoked, until the store can say. */
  async #lookForMissed(): Promise<void> {
    this.#missed += 1
    const gap = this.#missed
    const connections = [...this.#connections].filter(({ token }) => token !== null)
    for (let at = 0; at < connections.length; at += TOKENS_A_LOOK_UP) {
      const some = connections.slice(at, at + TOKENS_A_LOOK_UP)
      while (!(await this.#lookUp(some))) {
        await sleep(RETRY_MS, undefined, { ref: false })
        // The look-up after a later gap asks for all.
        if (gap !== this.#missed) return
      }
    }
  }

  async #lookUp(connections: readonly LiveConnection[]): Promise<boolean> {
    const tokens = connections.map(({ token }) => token as Token)
    try {
      for (const revocation of await this.#options.store.findFor(tokens)) {
        if (revocation !== null) this.#cutWhatItHits(revocation)
      }
      return true
    } catch {
      return false
    }
  }

  #schedule(connection: LiveConnection): void {
    const { token } = connection
    if (token === null) return
    const leftMs = this.#msLeft(token)
    const noticeMs = Math.min(MAX_NOTICE_MS, leftMs * NOTICE_SHARE)

    this.#setTimer(connection, leftMs - noticeMs, () => {
      connection.transport.announceExpiry(new Date(token.expiresAt * 1000))
      this.#expire(connection, token)
    })
  }

  #expire(connection: LiveConnection, token: Token): void {
    const leftMs = this.#msLeft(token)
    if (leftMs > 0) this.#setTimer(connection, leftMs, () => this.#expire(connection, token))
    else if (connection.isProtected) this.cut(connection, new TokenExpiredError())
  }

  #msLeft({ expiresAt }: Token): number {
    return (expiresAt - this.#options.store.now()) * 1000
  }

  #setTimer(connection: LiveConnection, ms: number, act: () => void): void {
    clearTimeout(this.#timers.get(connection))
    const timer = setTimeout(act, Math.min(Math.max(Math.ceil(ms), 0), MAX_TIMER_MS))
    timer.unref()
    this.#timers.set(connection, timer)
  }

  #removeKeys(connection: LiveConnection): void {
    for (const key of this.#keys.get(connection) ?? []) {
      const others = this.#byKey.get(key)
      others?.delete(connection)
      if (others?.size === 0) this.#byKey.delete(key)
    }
    this.#keys.delete(connection)
  }
}

/** @returns One for each kind, also when there is none of it. */
export function countByKind(connections: Iterable<LiveConnection>): readonly LiveConnectionCount[] {
  const all = [...connections]
  return (['WEBSOCKET', 'EVENT_STREAM'] as const).map((kind) => {
    const ofKind = all.filter((connection) => connection.kind === kind)
    return {
      kind,
      connections: ofKind.length,
      protected: ofKind.filter(({ isProtected }) => isProtected).length,
    }
  })
}

/** All keys but that of `EVERYONE`, which selects nothing. */
function selectingKeysOf(token: Token): readonly RevocationKey[] {
  return keysOfToken(token).filter((key) => key !== EVERYONE_KEY)
}

function matches(
  filter: LiveConnectionFilter,
  { kind, token, ipAddress }: LiveConnection,
): boolean {
  return (
    (filter.kind == null || filter.kind === kind) &&
    isMeant(filter.subject, token?.subject) &&
    isMeant(filter.sessionId, token?.sessionId) &&
    isMeant(filter.tokenId, token?.tokenId) &&
    (filter.ipAddress == null || filter.ipAddress === ipAddress)
  )
}

function isMeant(wanted: string | null | undefined, id: string | undefined): boolean {
  return wanted == null || (id !== undefined && spellingsOf(wanted).includes(id))
}
