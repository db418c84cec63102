import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { replaceClock } from '../support/database-clock.ts'
import type { DatabaseClock } from '../support/database-clock.ts'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { breakFeeds } from '../support/feed-faults.ts'
import { openNode } from '../support/node.ts'
import type { TestNode } from '../support/node.ts'
import { claimsOf, login, refresh, register, whoAmI } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

/**
 * Two nodes on one database, and a model of who may come in that knows the order of the acts and nothing of instants.
 *
 * The database's clock stands still between jumps, so that everything else happens in one millisecond.
 */

type Person = 'ada' | 'bob' | 'admin'

interface Model {
  nowMs: number
  setBackMs: number
  readonly sessions: Session[]
  readonly tokens: IssuedToken[]
  readonly acts: Act[]
  readonly suspended: Set<Person>
}

interface Session {
  readonly id: string
  readonly person: Person
  /** The last one is good; the others were used. */
  readonly refreshTokens: string[]
  refreshedAtMs: number
  hasEnded: boolean
}

interface IssuedToken {
  readonly text: string
  readonly session: Session
  readonly step: number
}

/** Something that was revoked, and the entry that was named in the answer. */
interface Act {
  readonly revocationId: string | null
  readonly madeAtMs: number
  /** Whom a restoration of a cut-off must not bring back while they are suspended. */
  readonly subject: Person | null
  reaches(token: IssuedToken): boolean
  isRestored: boolean
}

interface Real {
  /** The nodes in turns: what one does the other must know. */
  next(): TestService
  readonly ids: ReadonlyMap<Person, string>
  readonly sweeper: TestNode
  setClock(ms: number): Promise<void>
}

type Command = fc.AsyncCommand<Model, Real>

const NOON_MS = Date.UTC(2025, 10, 22, 12)
const GRACE_MS = 5000
const TOKEN_MS = 900_000
/** What a node's idea of the database's time may be wrong by: nothing is asked of tokens this near to their end. */
const DOUBT_MS = 10_000

/** The model's time: acts come one after the other. */
let steps = 0

function act(name: string, run: (model: Model, real: Real) => Promise<void>): Command {
  return {
    check: () => true,
    toString: () => name,
    async run(model, real) {
      steps += 1
      await run(model, real)
      await expectAccess(model, real, model.tokens.slice(-4))
    },
  }
}

const signIn = (person: Person): Command =>
  act(`signIn(${person})`, async (model, real) => {
    if (!model.suspended.has(person)) await openSession(model, real, person)
    else await expect(login(real.next(), person, 'phone')).rejects.toThrow()
  })

const refreshLast = (at: number): Command =>
  act(`refresh(${at})`, async (model, real) => {
    const session = pick(model.sessions, at)
    if (session) await exchange(model, real, session, session.refreshTokens.length - 1)
  })

const refreshAgain = (at: number, back: number): Command =>
  act(`refreshAgain(${at}, ${back})`, async (model, real) => {
    const session = pick(model.sessions, at)
    const index = (session?.refreshTokens.length ?? 0) - 1 - back
    if (session && index >= 0) await exchange(model, real, session, index)
  })

const logout = (at: number): Command =>
  act(`logout(${at})`, async (model, real) => {
    const token = pick(model.tokens, at)
    if (!token) return

    const { logout: answer } = await succeed(
      real,
      'mutation { logout { revocation { id scope } } }',
      token.text,
    )
    token.session.hasEnded = true
    // What a cut-off has ended already names that cut-off; its own entry, of which the answer says nothing, stays.
    const own = answer.revocation.scope === 'SESSION' ? answer : null
    record(model, own, ({ session }) => session === token.session)
  })

const logoutAllDevices = (at: number, keepCurrent: boolean): Command =>
  act(`logoutAllDevices(${at}, ${keepCurrent})`, async (model, real) => {
    const token = pick(model.tokens, at)
    if (!token || isDoubtful(model, token)) return
    const query = `mutation { logoutAllDevices(keepCurrent: ${keepCurrent}) { revocation { id } } }`
    const { data, errors } = await real.next().graphql(query, { token: token.text })
    if (!isAlive(model, token)) {
      expect(errors[0]?.extensions.code).toBe('UNAUTHENTICATED')
      return
    }

    const { person } = token.session
    const kept = keepCurrent ? token.session : null
    for (const session of model.sessions) {
      if (session.person === person && session !== kept) session.hasEnded = true
    }
    const step = steps
    record(
      model,
      data.logoutAllDevices,
      (each) => each.session.person === person && each.session !== kept && each.step < step,
      person,
    )
  })

const revokeToken = (at: number): Command =>
  act(`revokeToken(${at})`, async (model, real) => {
    const token = pick(model.tokens, at)
    if (!token || isDoubtful(model, token)) return

    const query =
      'mutation ($token: String!) { revokeToken(token: $token) { verified revocation { id } } }'
    const { revokeToken: answer } = await asAdmin(model, real, query, { token: token.text })
    expect(answer.verified).toBe(true)
    record(model, answer, (each) => each === token)
  })

const revokeSession = (at: number): Command =>
  act(`revokeSession(${at})`, async (model, real) => {
    const session = pick(model.sessions, at)
    if (!session) return

    const query = 'mutation ($id: ID!) { revokeSession(id: $id) { revocation { id } } }'
    const { revokeSession: answer } = await asAdmin(model, real, query, { id: session.id })
    session.hasEnded = true
    record(model, answer, (each) => each.session === session)
  })

const revokeUser = (person: Person): Command =>
  act(`revokeUser(${person})`, async (model, real) => {
    const query = 'mutation ($id: ID!) { revokeUser(userId: $id) { revocation { id } } }'
    const { revokeUser: answer } = await asAdmin(model, real, query, { id: real.ids.get(person) })
    endAllOf(model, person, answer)
  })

const revokeEveryone = (): Command =>
  act('revokeEveryone()', async (model, real) => {
    const query = 'mutation { revokeEveryone(reason: "leak") { revocation { id } } }'
    const { revokeEveryone: answer } = await asAdmin(model, real, query)
    for (const session of model.sessions) session.hasEnded = true
    const step = steps
    record(model, answer, (each) => each.step <= step)
  })

const suspend = (person: Person): Command =>
  act(`suspend(${person})`, async (model, real) => {
    const query =
      'mutation ($id: ID!) { suspendUser(userId: $id) { alreadySuspended revocation { id } } }'
    const { suspendUser: answer } = await asAdmin(model, real, query, { id: real.ids.get(person) })
    expect(answer.alreadySuspended).toBe(model.suspended.has(person))
    if (answer.alreadySuspended) return
    model.suspended.add(person)
    endAllOf(model, person, answer)
  })

const reinstate = (person: Person): Command =>
  act(`reinstate(${person})`, async (model, real) => {
    const query = 'mutation ($id: ID!) { reinstateUser(userId: $id) { alreadyReinstated } }'
    const { reinstateUser: answer } = await asAdmin(model, real, query, {
      id: real.ids.get(person),
    })
    expect(answer.alreadyReinstated).toBe(!model.suspended.has(person))
    model.suspended.delete(person)
  })

const restore = (at: number): Command =>
  act(`restore(${at})`, async (model, real) => {
    const isKnown = ({ revocationId, madeAtMs }: Act): boolean =>
      revocationId !== null && Math.abs(model.nowMs - madeAtMs) < TOKEN_MS - DOUBT_MS
    const chosen = pick(model.acts.filter(isKnown), at)
    if (!chosen) return

    const query = 'mutation ($id: ID!) { restore(revocationId: $id) { revocation { id } } }'
    const variables = { id: chosen.revocationId }
    const same = model.acts.filter(({ revocationId }) => revocationId === chosen.revocationId)
    if (same.some(({ subject }) => subject && model.suspended.has(subject))) {
      const { errors } = await real
        .next()
        .graphql(query, { token: await findAdmin(model, real), variables })
      expect(errors[0]?.extensions.reason).toBe('ACCOUNT_SUSPENDED')
      return
    }

    await asAdmin(model, real, query, variables)
    for (const one of model.acts) {
      if (one.revocationId === chosen.revocationId) one.isRestored = true
    }
  })

const jump = (ms: number): Command =>
  act(`jump(${ms})`, async (model, real) => {
    const setBackMs = model.setBackMs + Math.max(-ms, 0)
    if (setBackMs > 50_000) return
    model.setBackMs = setBackMs
    model.nowMs += ms
    await real.setClock(model.nowMs)
  })

const sweep = (): Command =>
  act('sweep()', async (_model, { sweeper }) => {
    await sweeper.revocations.deleteExpired(10)
    await sweeper.sessions.deleteEnded(10)
  })

async function openSession(model: Model, real: Real, person: Person): Promise<IssuedToken> {
  const { accessToken, refreshToken, sessionId } = await login(real.next(), person, 'phone')
  const session: Session = {
    id: sessionId,
    person,
    refreshTokens: [refreshToken],
    refreshedAtMs: model.nowMs,
    hasEnded: false,
  }
  model.sessions.push(session)
  return addToken(model, session, accessToken)
}

/** Presents one of a session's refresh tokens: the last, which is good, or one that was used. */
async function exchange(model: Model, real: Real, session: Session, index: number): Promise<void> {
  const { refreshTokens } = session
  const text = refreshTokens[index]!
  const { data, errors } = await refresh(real.next(), text)
  if (model.suspended.has(session.person) || session.hasEnded) {
    expect(['ACCOUNT_SUSPENDED', 'INVALID_REFRESH_TOKEN']).toContain(errors[0]?.extensions.reason)
    return
  }

  const isLast = index === refreshTokens.length - 1
  const isGrace =
    index === refreshTokens.length - 2 && model.nowMs - session.refreshedAtMs < GRACE_MS
  if (!isLast && !isGrace) {
    expect(errors[0]?.extensions.reason).toBe('INVALID_REFRESH_TOKEN')
    session.hasEnded = true
    record(model, null, (each) => each.session === session)
    return
  }

  const { accessToken, refreshToken } = data.refresh as SignIn
  if (isGrace) {
    expect(refreshToken).toBe(refreshTokens.at(-1))
  } else {
    refreshTokens.push(refreshToken)
    session.refreshedAtMs = model.nowMs
  }
  addToken(model, session, accessToken)
}

function addToken(model: Model, session: Session, text: string): IssuedToken {
  const token = { text, session, step: steps }
  model.tokens.push(token)
  return token
}

function record(
  model: Model,
  answer: { revocation: { id: string } } | null,
  reaches: Act['reaches'],
  subject: Person | null = null,
): void {
  const revocationId = answer?.revocation.id ?? null
  model.acts.push({ revocationId, madeAtMs: model.nowMs, subject, reaches, isRestored: false })
}

function endAllOf(model: Model, person: Person, answer: { revocation: { id: string } }): void {
  for (const session of model.sessions) {
    if (session.person === person) session.hasEnded = true
  }
  const step = steps
  record(model, answer, (each) => each.session.person === person && each.step < step, person)
}

async function asAdmin(
  model: Model,
  real: Real,
  query: string,
  variables: object = {},
): Promise<any> {
  return succeed(real, query, await findAdmin(model, real), variables)
}

async function succeed(
  real: Real,
  query: string,
  token: string,
  variables: object = {},
): Promise<any> {
  const { data, errors } = await real.next().graphql(query, { token, variables })
  expect(errors).toEqual([])
  return data
}

/** A token of the admin's that is good; the admin signs in again when there is none. */
async function findAdmin(model: Model, real: Real): Promise<string> {
  const found = model.tokens.find(
    (token) =>
      token.session.person === 'admin' && isAlive(model, token) && !isDoubtful(model, token),
  )
  return (found ?? (await openSession(model, real, 'admin'))).text
}

function isAlive(model: Model, token: IssuedToken): boolean {
  return !model.acts.some((one) => !one.isRestored && one.reaches(token))
}

/** Whether it has expired, or soon will have. */
function isDoubtful({ nowMs }: Model, { text }: IssuedToken): boolean {
  return claimsOf(text)['exp'] * 1000 - nowMs < DOUBT_MS
}

/** No revoked token is ever accepted, no live one refused, on any node. */
async function expectAccess(
  model: Model,
  real: Real,
  tokens: readonly IssuedToken[],
): Promise<void> {
  for (const token of tokens.filter((each) => !isDoubtful(model, each))) {
    expect(await whoAmI(real.next(), token.text)).toBe(
      isAlive(model, token) ? `${token.session.person}@example.com` : 'TOKEN_REVOKED',
    )
  }
}

function pick<Item>(items: readonly Item[], at: number): Item | undefined {
  return items.at(-1 - (at % Math.max(Math.min(items.length, 6), 1)))
}

const at = fc.nat(20)
const person = fc.constantFrom<Person>('ada', 'bob')

const commands = fc.commands(
  [
    person.map(signIn),
    person.map(signIn),
    at.map(refreshLast),
    at.map(refreshLast),
    fc.tuple(at, fc.constantFrom(1, 1, 2)).map(([session, back]) => refreshAgain(session, back)),
    at.map(logout),
    fc.tuple(at, fc.boolean()).map(([token, keepCurrent]) => logoutAllDevices(token, keepCurrent)),
    at.map(revokeToken),
    at.map(revokeSession),
    person.map(revokeUser),
    fc.constant(revokeEveryone()),
    at.map(restore),
    person.map(suspend),
    person.map(reinstate),
    person.map(reinstate),
    fc.oneof(fc.constantFrom(1, 4000, 6000), fc.nat(400_000)).map(jump),
    fc.integer({ min: -15_000, max: -1 }).map(jump),
    fc.constant(sweep()),
  ],
  { maxCommands: 40, size: 'max' },
)

describe('two nodes', () => {
  let database: TestDatabase
  let clock: DatabaseClock
  let nodes: readonly TestService[]
  let sweeper: TestNode
  const ids = new Map<Person, string>()

  beforeAll(async () => {
    database = await createDatabase()
    clock = await replaceClock(database)
    const options = { database, refreshGraceSeconds: GRACE_MS / 1000 }
    const first = await startService(options)
    nodes = [first, await startService(options)].map(askAgain)
    sweeper = await openNode(database.url, { poolSize: 1 })

    for (const each of ['ada', 'bob'] as const) ids.set(each, (await register(first, each)).userId)
    ids.set('admin', (await login(first, 'admin', 'desk')).userId)
  })

  afterAll(async () => {
    await sweeper.close()
    for (const node of nodes) await node.stop()
    await database.drop()
  })

  /** No sign-in, nothing revoked. */
  async function begin(): Promise<{ model: Model; real: Real }> {
    let turn = 0
    const real: Real = {
      ids,
      sweeper,
      next: () => nodes[(turn += 1) % 2]!,
      async setClock(ms) {
        await clock.stop(new Date(ms))
        // A node learns the time from every answer of the database.
        for (const node of nodes) expect((await fetch(`${node.url}/readyz`)).status).toBe(200)
      },
    }

    await database.query(
      `delete from revocation; delete from revocation_event; delete from session;
       update account set suspended_at = null`,
    )
    await real.setClock(NOON_MS)
    const model = {
      nowMs: NOON_MS,
      setBackMs: 0,
      sessions: [],
      tokens: [],
      acts: [],
      suspended: new Set<Person>(),
    }
    return { model, real }
  }

  // Q01, Q12, Q20
  it('let in whom they may and refuse all others, whatever is done in whatever order', async () => {
    const faults = breakFeeds(database, { everyMs: 500 })
    onTestFinished(() => faults.stop())
    await fc.assert(
      fc.asyncProperty(commands, async (sequence) => {
        const { model, real } = await begin()
        await fc.asyncModelRun(() => ({ model, real }), sequence)
        await expectAccess(model, real, model.tokens)
      }),
      { numRuns: 6, endOnFailure: true },
    )
  }, 60_000)
})

/** As a client does when a busy machine takes too long over a check: the acts can be repeated. */
function askAgain(service: TestService): TestService {
  return {
    ...service,
    async graphql(query, ask) {
      for (let time = 1; ; time += 1) {
        const answer = await service.graphql(query, ask)
        const isUnavailable = answer.errors[0]?.extensions.code === 'REVOCATION_UNAVAILABLE'
        if (!isUnavailable || time === 20) return answer
      }
    },
  }
}
