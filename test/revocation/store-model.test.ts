import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Revocation } from '../../src/contract.ts'
import { MemoryRevocationStore } from '../../src/revocation/memory/memory-store.ts'
import type { RevocationStore } from '../../src/revocation/ports.ts'
import { PostgresRevocationStore } from '../../src/revocation/postgres/postgres-store.ts'
import type { RevocationTarget } from '../../src/revocation/revocation.ts'
import type { Token } from '../../src/token/claims.ts'
import { replaceClock } from '../support/database-clock.ts'
import { createDatabase } from '../support/database.ts'
import { PATIENCE_MS, openDataSource } from '../support/node.ts'
import { makeToken } from './make-token.ts'

const LIFETIME_SECONDS = 900
const NOON_MS = Date.UTC(2025, 10, 22, 12)

/** The sessions there are, and whose. */
const SESSIONS = { phone: 'ada', laptop: 'ada', tablet: 'bob' } as const
type SessionName = keyof typeof SESSIONS

/** Who was issued what, and what was revoked, by the order of the acts: the model knows no instants but expiry. */
interface Model {
  nowMs: number
  /** How far the clock was set back in all. */
  setBackMs: number
  readonly issued: Issued[]
  readonly acts: Act[]
}

interface Issued {
  readonly step: number
  /** As each store issued it. */
  readonly tokens: readonly Token[]
}

interface Act {
  readonly step: number
  readonly target: ModelTarget
  /** The entry that each store made of it. */
  readonly entries: readonly Revocation[]
  isRestored: boolean
}

type ModelTarget =
  | { readonly scope: 'TOKEN' | 'DIGEST'; readonly issued: Issued }
  | { readonly scope: 'SESSION'; readonly sessionId: SessionName }
  | { readonly scope: 'SUBJECT'; readonly subject: string; readonly kept?: SessionName }
  | { readonly scope: 'EVERYONE' }

/** The stores under test, which are told the same and must say the same. */
interface Real {
  readonly stores: readonly RevocationStore[]
  setClock(ms: number): Promise<void>
}

type Command = fc.AsyncCommand<Model, Real>

let steps = 0

function act(name: string, run: (model: Model, real: Real) => Promise<void>): Command {
  return {
    check: () => true,
    toString: () => name,
    async run(model, real) {
      steps += 1
      await run(model, real)
      await expectAgreement(model, real)
    },
  }
}

function issue(sessionId: SessionName): Command {
  return act(`issue(${sessionId})`, async ({ issued, acts }, { stores }) => {
    // An ended session gets no tokens: its entry is forgotten when its last token has expired.
    if (acts.some(({ target }) => target.scope === 'SESSION' && target.sessionId === sessionId))
      return

    const subject = SESSIONS[sessionId]
    const names = makeToken({ subject, sessionId })
    const tokens: Token[] = []
    for (const store of stores) {
      const issuedAt = (await store.issueInstant(subject)).getTime() / 1000
      tokens.push({ ...names, issuedAt, expiresAt: issuedAt + LIFETIME_SECONDS })
    }
    issued.push({ step: steps, tokens })
  })
}

function revoke(name: string, choose: (model: Model) => ModelTarget | undefined): Command {
  return act(name, async (model, { stores }) => {
    const target = choose(model)
    if (!target) return
    const standing = findStanding(model, target)

    const entries: Revocation[] = []
    for (const [index, store] of stores.entries()) {
      const request = { target: toTarget(target, index), reason: name, by: 'admin' }
      const { revocation, alreadyRevoked } = await store.revoke(request)
      expect(alreadyRevoked).toBe(standing !== undefined)
      if (standing) expect(revocation).toEqual(standing.entries[index])
      entries.push(revocation)
    }
    if (!standing) model.acts.push({ step: steps, target, entries, isRestored: false })
  })
}

function restore(at: number): Command {
  return act(`restore(${at})`, async (model, { stores, setClock }) => {
    const { acts, nowMs } = model
    const chosen = acts[at % Math.max(acts.length, 1)]
    // What is forgotten cannot be restored, and one store may forget sooner than the other.
    if (!chosen || isExpired(chosen, nowMs)) return

    for (const [index, store] of stores.entries()) {
      const outcome = await store.restore(chosen.entries[index]!.id, { by: 'admin' })
      expect(outcome).toEqual({
        revocation: chosen.entries[index],
        alreadyRestored: chosen.isRestored,
      })
    }
    chosen.isRestored = true
    // What is restored no longer tells PostgreSQL how far issues have been moved ahead of a clock that stands still.
    model.nowMs += 1000
    await setClock(model.nowMs)
  })
}

function jump(ms: number): Command {
  return act(`jump(${ms})`, async (model, { setClock }) => {
    const setBackMs = model.setBackMs + Math.max(-ms, 0)
    // Whether an entry that has expired counts again depends on whether it was swept.
    const isRevived = model.acts.some(
      (one) => isExpired(one, model.nowMs) && !isExpired(one, model.nowMs + ms),
    )
    if (setBackMs > 60_000 || isRevived) return
    model.setBackMs = setBackMs
    model.nowMs += ms
    await setClock(model.nowMs)
  })
}

function sweep(limit: number): Command {
  return act(`sweep(${limit})`, async (_model, { stores }) => {
    for (const store of stores) expect(await store.deleteExpired(limit)).toBeLessThanOrEqual(limit)
  })
}

/** Every store says of every token what the model says, and counts what it counts. */
async function expectAgreement({ issued, acts, nowMs }: Model, { stores }: Real): Promise<void> {
  const standing = acts.filter((one) => !one.isRestored)
  const inForce = standing.filter((one) => !isExpired(one, nowMs))
  const events = acts.length + acts.filter(({ isRestored }) => isRestored).length

  for (const [index, store] of stores.entries()) {
    const live = issued.filter(({ tokens }) => tokens[index]!.expiresAt * 1000 > nowMs)
    const found = await store.findFor(live.map(({ tokens }) => tokens[index]!))
    expect(found.map((entry) => entry !== null)).toEqual(
      live.map((one) => standing.some((each) => reaches(each, one))),
    )
    expect(await store.countInForce({})).toBe(inForce.length)
    expect(await store.countEvents({})).toBe(events)
  }
}

function reaches({ target, step }: Act, { tokens: [token], step: issuedAt }: Issued): boolean {
  switch (target.scope) {
    case 'TOKEN':
    case 'DIGEST':
      return target.issued.tokens[0] === token
    case 'SESSION':
      return token!.sessionId === target.sessionId
    case 'SUBJECT':
      return (
        token!.subject === target.subject && token!.sessionId !== target.kept && issuedAt < step
      )
    case 'EVERYONE':
      return issuedAt < step
  }
}

/** Of a token, a digest and a session one entry is in force at most; each cut-off is an entry of its own. */
function findStanding({ acts, nowMs }: Model, target: ModelTarget): Act | undefined {
  if (target.scope === 'SUBJECT' || target.scope === 'EVERYONE') return undefined
  return acts.find(
    (one) =>
      !one.isRestored &&
      !isExpired(one, nowMs) &&
      JSON.stringify(one.target) === JSON.stringify(target),
  )
}

function isExpired({ entries: [entry] }: Act, nowMs: number): boolean {
  return entry!.expiresAt.getTime() <= nowMs
}

function toTarget(target: ModelTarget, store: number): RevocationTarget {
  switch (target.scope) {
    case 'TOKEN':
      return { scope: 'TOKEN', token: target.issued.tokens[store]! }
    case 'DIGEST':
      return { scope: 'TOKEN', digest: target.issued.tokens[store]!.digest }
    case 'SESSION':
      return { scope: 'SESSION', sessionId: target.sessionId, subject: SESSIONS[target.sessionId] }
    case 'SUBJECT':
      return {
        scope: 'SUBJECT',
        subject: target.subject,
        ...(target.kept && { keptSessionId: target.kept }),
      }
    case 'EVERYONE':
      return { scope: 'EVERYONE' }
  }
}

const session = fc.constantFrom<SessionName>('phone', 'laptop', 'tablet')
const subject = fc.constantFrom('ada', 'bob')
const forwards = jumps(fc.oneof(fc.constantFrom(0, 1, 1000), fc.nat(400_000)))
const backwards = jumps(fc.integer({ min: -20_000, max: -1 }))

function jumps(ms: fc.Arbitrary<number>): fc.Arbitrary<Command> {
  return ms.map(jump)
}

const acts: Array<fc.Arbitrary<Command>> = [
  session.map(issue),
  session.map(issue),
  session.map(issue),
  fc
    .nat(100)
    .map((at) =>
      revoke(`revokeToken(${at})`, ({ issued }) =>
        onOne(issued, at, (one) => ({ scope: 'TOKEN', issued: one })),
      ),
    ),
  fc
    .nat(100)
    .map((at) =>
      revoke(`revokeDigest(${at})`, ({ issued }) =>
        onOne(issued, at, (one) => ({ scope: 'DIGEST', issued: one })),
      ),
    ),
  session.map((sessionId) =>
    revoke(`revokeSession(${sessionId})`, () => ({ scope: 'SESSION', sessionId })),
  ),
  subject.map((whom) => revoke(`revokeUser(${whom})`, () => ({ scope: 'SUBJECT', subject: whom }))),
  session.map((kept) =>
    revoke(`revokeOthers(${kept})`, () => ({ scope: 'SUBJECT', subject: SESSIONS[kept], kept })),
  ),
  fc.constant(revoke('revokeEveryone()', () => ({ scope: 'EVERYONE' }))),
  fc.nat(100).map(restore),
  forwards,
  fc.integer({ min: 1, max: 5 }).map(sweep),
]

/** A token that has not expired; of one that has nothing is promised. */
function onOne(
  issued: readonly Issued[],
  at: number,
  toModelTarget: (one: Issued) => ModelTarget,
): ModelTarget | undefined {
  const chosen = issued.at(-1 - (at % Math.max(Math.min(issued.length, 5), 1)))
  return chosen && toModelTarget(chosen)
}

function createModel(): Model {
  return { nowMs: NOON_MS, setBackMs: 0, issued: [], acts: [] }
}

describe('whatever is done in whatever order, a token is refused exactly when an act reaches it:', () => {
  it('in memory, even if the clock is set back', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.commands([...acts, backwards], { maxCommands: 60, size: 'max' }),
        async (commands) => {
          let nowMs = NOON_MS
          const clock = (): number => nowMs
          const store = new MemoryRevocationStore({
            maxTokenLifetimeSeconds: LIFETIME_SECONDS,
            clock,
          })
          const real: Real = {
            stores: [store],
            async setClock(ms) {
              nowMs = ms
            },
          }
          await fc.asyncModelRun(() => ({ model: createModel(), real }), commands)
        },
      ),
      { numRuns: 100 },
    )
  })

  describe('in PostgreSQL', () => {
    let database: Awaited<ReturnType<typeof createDatabase>>
    let databaseClock: Awaited<ReturnType<typeof replaceClock>>
    const close: Array<() => Promise<void>> = []

    beforeAll(async () => {
      database = await createDatabase()
      databaseClock = await replaceClock(database)
    })

    afterAll(async () => {
      for (const each of close) await each()
      await database.drop()
    })

    it('as in memory', async () => {
      const dataSource = await openDataSource(database.url, 2)
      close.push(() => dataSource.destroy())
      const postgres = new PostgresRevocationStore(dataSource, {
        maxTokenLifetimeSeconds: LIFETIME_SECONDS,
        checkTimeoutMs: PATIENCE_MS,
      })

      await fc.assert(
        fc.asyncProperty(fc.commands(acts, { maxCommands: 40, size: 'max' }), async (commands) => {
          let nowMs = NOON_MS
          const clock = (): number => nowMs
          const memory = new MemoryRevocationStore({
            maxTokenLifetimeSeconds: LIFETIME_SECONDS,
            clock,
          })
          const real: Real = {
            stores: [memory, postgres],
            async setClock(ms) {
              nowMs = ms
              await databaseClock.stop(new Date(ms))
            },
          }

          await dataSource.query(`delete from revocation`)
          await dataSource.query(`delete from revocation_event`)
          await real.setClock(NOON_MS)
          await fc.asyncModelRun(() => ({ model: createModel(), real }), commands)
        }),
        { numRuns: 10 },
      )
    })
  })
})
