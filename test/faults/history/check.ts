import { describeOperation } from './history.ts'
import type { Operation } from './history.ts'
import { Ledger, effectEndOf, isBefore, tokenNeededFor } from './ledger.ts'
import type { Act, Target } from './ledger.ts'

/** What every history must show. */
export type Promised =
  /** No use of a token that began after an acknowledged revocation, and the bound, succeeds. */
  | 'REVOKED_IS_REFUSED'
  /** Nor does any refresh, on any node, without a bound; a restoration does not change that. */
  | 'ENDED_IS_NOT_REFRESHED'
  /** What nothing reaches is not refused. */
  | 'LIVE_IS_ACCEPTED'
  /** The first one is kept: while an entry stands, no other is made for the same. */
  | 'ONE_ENTRY'
  /** Every answer is one of those promised. */
  | 'NO_OTHER_ANSWER'
  /** What was acknowledged is in the tables, and nothing else. */
  | 'KEPT'

export interface Violation {
  readonly promised: Promised
  readonly because: string
  /** That prove it, in their order. */
  readonly operations: readonly Operation[]
}

export interface CheckOptions {
  /** How far behind another node may be, in milliseconds; `null` when each check reads the database. */
  readonly staleMs: number | null
}

/** Holds a history against what is promised. */
export function checkHistory(
  history: readonly Operation[],
  { staleMs }: CheckOptions,
): readonly Violation[] {
  const ledger = new Ledger(history)
  return history.flatMap((operation) =>
    [
      findAcceptedRevoked(ledger, operation, staleMs),
      findRefreshedEnded(ledger, operation),
      findRefusedLive(ledger, operation),
      findRefusedRefresh(ledger, operation),
      findSecondEntry(ledger, operation),
      findOtherAnswer(operation),
    ].filter((violation) => violation !== null),
  )
}

function findAcceptedRevoked(
  ledger: Ledger,
  operation: Operation,
  staleMs: number | null,
): Violation | null {
  const name = tokenNeededFor(operation.deed)
  if (name === null || operation.outcome.kind !== 'OK') return null

  const token = ledger.tokenOf(name)
  const act = ledger.acts.find(
    (one) =>
      one.isAcknowledged &&
      isKnown(one, operation, staleMs) &&
      ledger.surelyReaches(one, token) &&
      !ledger.mayBeRestored(one, operation),
  )
  if (!act) return null
  const since = Math.round(operation.startedAt - act.operation.endedAt)
  return {
    promised: 'REVOKED_IS_REFUSED',
    because: `node ${operation.node} accepted it ${since} ms after node ${act.operation.node} had revoked it`,
    operations: inOrder(token.by, act.operation, operation),
  }
}

/** Whether an act was over before an operation began, by more than its node may be behind. */
function isKnown({ operation: act }: Act, operation: Operation, staleMs: number | null): boolean {
  const boundMs = act.node === operation.node ? 0 : (staleMs ?? 0)
  return act.endedAt + boundMs < operation.startedAt
}

function findRefreshedEnded(ledger: Ledger, operation: Operation): Violation | null {
  const { deed, outcome } = operation
  if (deed.do !== 'refresh' || outcome.kind !== 'OK') return null

  const session = ledger.sessionOf(deed.refreshToken)
  const act = ledger.acts.find(
    (one) =>
      one.isAcknowledged && isBefore(one.operation, operation) && ledger.surelyEnds(one, session),
  )
  return act
    ? {
        promised: 'ENDED_IS_NOT_REFRESHED',
        because: 'its session had ended',
        operations: inOrder(act.operation, operation),
      }
    : null
}

function findRefusedLive(ledger: Ledger, operation: Operation): Violation | null {
  const name = tokenNeededFor(operation.deed)
  if (name === null || !isRefused(operation, 'TOKEN_REVOKED')) return null

  const token = ledger.tokenOf(name)
  const reached = ledger.acts.filter(
    (act) => mayPrecede(act, operation) && ledger.mayReach(act, token),
  )
  const reason = reached.find((act) => !ledger.isRestored(act, operation))
  if (reason) return null
  return {
    promised: 'LIVE_IS_ACCEPTED',
    because: reached.length === 0 ? 'nothing reaches it' : 'all that had reached it was restored',
    operations: inOrder(token.by, ...reached.map((act) => act.operation), operation),
  }
}

function findRefusedRefresh(ledger: Ledger, operation: Operation): Violation | null {
  const { deed } = operation
  if (deed.do !== 'refresh' || !isRefused(operation, 'INVALID_REFRESH_TOKEN')) return null

  const session = ledger.sessionOf(deed.refreshToken)
  const reason = ledger.acts.find(
    (act) => mayPrecede(act, operation) && ledger.mayEnd(act, session),
  )
  if (reason || ledger.mayBeReuse(operation, deed.refreshToken)) return null
  return {
    promised: 'LIVE_IS_ACCEPTED',
    because: 'nothing had ended its session',
    operations: [operation],
  }
}

function findSecondEntry(ledger: Ledger, operation: Operation): Violation | null {
  const mine = ledger.acts.find((act) => act.operation === operation)
  if (!mine || !hasMade(operation)) return null

  const others = ledger.acts.filter((act) => act !== mine && hasMade(act.operation))
  const twin = others.find(({ entry }) => entry === mine.entry)
  // A cut-off is repeated when something was issued since.
  const standing = others.find(
    (act) =>
      mine.target.scope !== 'SUBJECT' &&
      isSameTarget(act.target, mine.target) &&
      isBefore(act.operation, operation) &&
      !ledger.mayBeRestored(act, operation),
  )
  const other = twin ?? standing
  if (!other) return null
  return {
    promised: 'ONE_ENTRY',
    because: twin ? 'two answers say that they made it' : 'one stood already',
    operations: inOrder(other.operation, operation),
  }
}

function findOtherAnswer(operation: Operation): Violation | null {
  const { deed, outcome } = operation
  if (outcome.kind !== 'REFUSED' || REFUSALS[deed.do].includes(outcome.why)) return null
  return { promised: 'NO_OTHER_ANSWER', because: outcome.why, operations: [operation] }
}

const REFUSALS: Readonly<Record<Operation['deed']['do'], readonly string[]>> = {
  login: ['RATE_LIMITED'],
  refresh: ['INVALID_REFRESH_TOKEN'],
  use: ['TOKEN_REVOKED'],
  logout: [],
  logoutAllDevices: ['TOKEN_REVOKED'],
  revokeSession: ['TOKEN_REVOKED'],
  revokeToken: [],
  revokeRefreshToken: [],
  revokeUser: [],
  restore: [],
}

/** What the tables hold at the end. */
export interface Rows {
  readonly inForce: readonly EntryRow[]
  readonly journal: ReadonlyArray<EntryRow & { readonly kind: string }>
}

export interface EntryRow {
  readonly entry: string
  readonly target: Target
}

/** Holds the tables against what was acknowledged. */
export function checkRows(history: readonly Operation[], rows: Rows): readonly Violation[] {
  const ledger = new Ledger(history)
  return [
    ...ledger.acts.flatMap((act) => findLost(ledger, act, rows)),
    ...history.flatMap((operation) => findUnrestored(operation, rows)),
    ...rows.journal.flatMap((line) => findUnasked(ledger, line)),
  ]
}

function findLost(ledger: Ledger, act: Act, { inForce, journal }: Rows): Violation[] {
  const { operation, entry, target } = act
  if (!act.isAcknowledged) return []

  const violation = (because: string): Violation => ({
    promised: 'KEPT',
    because,
    operations: [operation],
  })
  const lines = journal.filter((line) => line.entry === entry && line.kind === 'REVOKED')
  if (lines.length !== 1) return [violation(`the journal has ${lines.length} lines of it`)]
  if (hasMade(operation) && !isSameTarget((lines[0] as EntryRow).target, target)) {
    return [violation('the journal says that it hit something else')]
  }

  const row = inForce.find((one) => one.entry === entry)
  const end = { ...operation, endedAt: Infinity }
  return row || ledger.mayBeRestored(act, end) ? [] : [violation('it is not in force')]
}

function findUnrestored(operation: Operation, { inForce, journal }: Rows): Violation[] {
  const { deed, outcome } = operation
  if (deed.do !== 'restore' || outcome.kind !== 'OK') return []

  const lines = journal.filter(({ entry, kind }) => entry === deed.entry && kind === 'RESTORED')
  const isInForce = inForce.some(({ entry }) => entry === deed.entry)
  if (lines.length === 1 && !isInForce) return []
  const because = isInForce ? 'it is in force' : `the journal has ${lines.length} lines of it`
  return [{ promised: 'KEPT', because, operations: [operation] }]
}

function findUnasked(
  ledger: Ledger,
  { entry, target, kind }: Rows['journal'][number],
): Violation[] {
  if (kind !== 'REVOKED') return []
  const isAsked = ledger.acts.some(
    (act) => act.entry === entry || (!act.isAcknowledged && isSameTarget(act.target, target)),
  )
  const because = `nobody asked for ${entry}, ${JSON.stringify(target)}`
  return isAsked ? [] : [{ promised: 'KEPT', because, operations: [] }]
}

/** For people. */
export function describeViolation({ promised, because, operations }: Violation): string {
  return [`${promised}: ${because}`, ...operations.map(describeOperation)].join('\n  ')
}

function isRefused({ outcome }: Operation, why: string): boolean {
  return outcome.kind === 'REFUSED' && outcome.why === why
}

/** Whether what an act did may have been done before an operation ended. */
function mayPrecede({ operation: act }: Act, operation: Operation): boolean {
  return act !== operation && act.startedAt < effectEndOf(operation)
}

function hasMade({ outcome }: Operation): boolean {
  return outcome.kind === 'OK' && outcome.isNew === true
}

function isSameTarget(one: Target, other: Target): boolean {
  switch (one.scope) {
    case 'TOKEN':
      return other.scope === 'TOKEN' && one.token === other.token
    case 'SESSION':
      return other.scope === 'SESSION' && one.session === other.session
    case 'SUBJECT':
      return other.scope === 'SUBJECT' && one.person === other.person && one.kept === other.kept
  }
}

function inOrder(...operations: readonly Operation[]): readonly Operation[] {
  return operations.toSorted((a, b) => a.number - b.number)
}
