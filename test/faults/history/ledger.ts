import type { Deed, Issued, Operation } from './history.ts'

/** Something that revoked, or may have. */
export interface Act {
  readonly operation: Operation
  readonly target: Target
  /** Whether its success was answered; otherwise it may or may not have happened. */
  readonly isAcknowledged: boolean
  /** The entry that the answer named; `null` when there was none. */
  readonly entry: string | null
}

export type Target =
  | { readonly scope: 'TOKEN'; readonly token: string }
  | { readonly scope: 'SESSION'; readonly session: string }
  | { readonly scope: 'SUBJECT'; readonly person: string; readonly kept: string | null }

/** A session, and the login that opened it. */
interface Session {
  readonly person: string
  readonly opened: Operation
}

/** A token, and the operation that gave it out. */
interface Token extends Issued {
  readonly by: Operation
}

/**
 * A history, to look things up in.
 *
 * Of two operations that overlap the order is unknown. So there are two questions about every act: what it
 * reaches for certain, and what it may reach.
 */
export class Ledger {
  readonly acts: readonly Act[]
  readonly #tokens = new Map<string, Token>()
  readonly #sessions = new Map<string, Session>()
  readonly #sessionOfRefreshToken = new Map<string, string>()
  readonly #refreshes = new Map<string, Operation[]>()
  readonly #restorations = new Map<string, Operation[]>()
  /** The entries that cut-offs made or named. */
  readonly #cutOffs: ReadonlySet<string>

  constructor(history: readonly Operation[]) {
    for (const operation of history) this.#note(operation)
    this.#cutOffs = new Set(history.flatMap(findCutOff))
    this.acts = history.flatMap((operation) => this.#readAct(operation) ?? [])
  }

  tokenOf(name: string): Token {
    return demand(this.#tokens.get(name), name)
  }

  sessionOf(refreshToken: string): string {
    return demand(this.#sessionOfRefreshToken.get(refreshToken), refreshToken)
  }

  /** Also everything that a refresh gives out that meets the act, or comes after it: its session has ended. */
  surelyReaches(act: Act, { token, session }: Issued): boolean {
    const { target } = act
    return target.scope === 'TOKEN' ? target.token === token : this.surelyEnds(act, session)
  }

  surelyEnds({ target, operation }: Act, id: string): boolean {
    const { person, opened } = demand(this.#sessions.get(id), id)
    return (
      isAimedAt(target, id, person) && (target.scope === 'SESSION' || isBefore(opened, operation))
    )
  }

  mayReach({ target, operation }: Act, { token, session, person, by }: Token): boolean {
    if (target.scope === 'TOKEN') return target.token === token
    return (
      isAimedAt(target, session, person) &&
      (target.scope === 'SESSION' || by.startedAt < effectEndOf(operation))
    )
  }

  mayEnd({ target, operation }: Act, id: string): boolean {
    const { person, opened } = demand(this.#sessions.get(id), id)
    return (
      isAimedAt(target, id, person) &&
      (target.scope === 'SESSION' || opened.startedAt < effectEndOf(operation))
    )
  }

  /** Whether an admin may have taken back, before an operation ended, what an act had done. */
  mayBeRestored({ entry, operation: act }: Act, { endedAt }: Operation): boolean {
    return this.#findRestorations(entry).some(
      (restoration) => restoration.startedAt < endedAt && effectEndOf(restoration) > act.startedAt,
    )
  }

  /** Whether it was taken back before an operation began: an entry never comes back. */
  isRestored({ entry }: Act, operation: Operation): boolean {
    return this.#findRestorations(entry).some(
      (restoration) => restoration.outcome.kind === 'OK' && isBefore(restoration, operation),
    )
  }

  /** Whether a refresh token may have been presented before, so that this looks like theft. */
  mayBeReuse(operation: Operation, refreshToken: string): boolean {
    return (this.#refreshes.get(refreshToken) ?? []).some(
      (other) => other !== operation && other.startedAt < effectEndOf(operation),
    )
  }

  #findRestorations(entry: string | null): readonly Operation[] {
    return entry === null ? [] : (this.#restorations.get(entry) ?? [])
  }

  #note(operation: Operation): void {
    const { deed, outcome } = operation
    if (deed.do === 'refresh') push(this.#refreshes, deed.refreshToken, operation)
    if (deed.do === 'restore' && outcome.kind !== 'REFUSED') {
      push(this.#restorations, deed.entry, operation)
    }
    if (outcome.kind !== 'OK' || !outcome.issued) return

    const { token, refreshToken, session, person } = outcome.issued
    this.#tokens.set(token, { ...outcome.issued, by: operation })
    this.#sessionOfRefreshToken.set(refreshToken, session)
    if (deed.do === 'login') this.#sessions.set(session, { person, opened: operation })
  }

  #readAct(operation: Operation): Act | null {
    const { deed, outcome } = operation
    const target = this.#readTarget(operation)
    if (target === null) return null
    // What is refused, and ends a session all the same, is a refresh token that comes a second time.
    if (outcome.kind === 'REFUSED' && deed.do !== 'refresh') return null

    const entry = outcome.kind === 'OK' ? (outcome.entry ?? null) : null
    // A logout of what a cut-off ended makes an entry of its own, and the answer names the cut-off.
    if (deed.do === 'logout' && entry !== null && this.#cutOffs.has(entry)) {
      return { operation, target, isAcknowledged: false, entry: null }
    }
    return { operation, target, isAcknowledged: outcome.kind === 'OK', entry }
  }

  #readTarget(operation: Operation): Target | null {
    const { deed, outcome } = operation
    switch (deed.do) {
      case 'login':
      case 'use':
      case 'restore':
        return null
      case 'refresh':
        return outcome.kind !== 'OK' && this.mayBeReuse(operation, deed.refreshToken)
          ? { scope: 'SESSION', session: this.sessionOf(deed.refreshToken) }
          : null
      case 'logout':
        return { scope: 'SESSION', session: this.tokenOf(deed.token).session }
      case 'logoutAllDevices': {
        const { person, session } = this.tokenOf(deed.token)
        return { scope: 'SUBJECT', person, kept: deed.keepCurrent ? session : null }
      }
      case 'revokeSession':
        return { scope: 'SESSION', session: deed.session }
      case 'revokeToken':
        return { scope: 'TOKEN', token: deed.token }
      case 'revokeRefreshToken':
        return { scope: 'SESSION', session: this.sessionOf(deed.refreshToken) }
      case 'revokeUser':
        return { scope: 'SUBJECT', person: deed.person, kept: null }
    }
  }
}

/** The token that an operation needed accepted; `null` when it needed none. */
export function tokenNeededFor(deed: Deed): string | null {
  switch (deed.do) {
    case 'use':
    case 'logoutAllDevices':
    case 'revokeSession':
      return deed.token
    // A revoked token may sign out, and the others belong to another person.
    case 'logout':
    case 'login':
    case 'refresh':
    case 'revokeToken':
    case 'revokeRefreshToken':
    case 'revokeUser':
    case 'restore':
      return null
  }
}

export function isBefore(first: Operation, second: Operation): boolean {
  return first.endedAt < second.startedAt
}

/** Until when an operation may take effect. */
export function effectEndOf({ outcome, endedAt }: Operation): number {
  return outcome.kind === 'UNKNOWN' ? Infinity : endedAt
}

function findCutOff({ deed, outcome }: Operation): readonly string[] {
  const isCutOff = deed.do === 'logoutAllDevices' || deed.do === 'revokeUser'
  return isCutOff && outcome.kind === 'OK' && outcome.entry ? [outcome.entry] : []
}

function isAimedAt(target: Target, session: string, person: string): boolean {
  switch (target.scope) {
    case 'TOKEN':
      return false
    case 'SESSION':
      return target.session === session
    case 'SUBJECT':
      return target.person === person && target.kept !== session
  }
}

function push<Key, Item>(lists: Map<Key, Item[]>, key: Key, item: Item): void {
  const list = lists.get(key)
  if (list) list.push(item)
  else lists.set(key, [item])
}

function demand<Item>(item: Item | undefined, name: string): Item {
  if (item === undefined) throw new TypeError(`Nobody was given ${name} in this history`)
  return item
}
