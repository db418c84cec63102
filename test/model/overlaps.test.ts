import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { InvalidRefreshTokenError } from '../../src/errors.ts'
import type { RevocationTarget } from '../../src/revocation/revocation.ts'
import type { IssuedTokens } from '../../src/service/session/sessions.ts'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { breakFeeds } from '../support/feed-faults.ts'
import { PHONE, grantUser, openNode } from '../support/node.ts'
import type { TestNode } from '../support/node.ts'
import { createRandom } from '../support/random.ts'
import type { Random } from '../support/random.ts'

/**
 * Acts that overlap on two nodes. Of two that do the order is unknown, so only this is asked: what was over
 * before another began has its full effect on it, and what began after another was over has none.
 */

/** From when to when, in ticks of one counter, who ticks earlier did so earlier; and in milliseconds. */
interface Span {
  readonly start: number
  readonly end: number
  readonly startMs: number
  readonly endMs: number
}

interface Session {
  readonly id: string
  readonly subject: string
  readonly opened: Span
  refreshToken: string
  /** One at a time: a second use of a refresh token would be taken for theft. */
  isRefreshing: boolean
}

interface Issue {
  readonly text: string
  readonly tokenId: string
  readonly session: Session
  readonly issued: Span
}

interface Act {
  readonly name: string
  readonly by: TestNode
  readonly target: RevocationTarget
  readonly made: Span
}

/** Something that came in or was refused. */
interface Attempt {
  readonly name: string
  readonly made: Span
  /** The node whose memory was asked; `null` when it was the database. */
  readonly asked: TestNode | null
  readonly isAccepted: boolean
  /** Whether an act that was over before must have it refused. */
  isReached(act: Act): boolean
  /** Whether an act that overlaps may. */
  mayBeReached(act: Act): boolean
}

class History {
  readonly sessions: Session[] = []
  readonly issues: Issue[] = []
  readonly acts: Act[] = []
  readonly attempts: Attempt[] = []
  readonly #lines: string[] = []
  #ticks = 0

  /** Does something, and takes note of when. */
  async during<Result>(name: string, work: () => Promise<Result>): Promise<[Result, Span]> {
    const start = (this.#ticks += 1)
    const startMs = performance.now()
    const result = await work()
    const endMs = performance.now()
    const end = (this.#ticks += 1)
    this.#lines.push(`${start}-${end} ${name}`)
    return [result, { start, end, startMs, endMs }]
  }

  toString(): string {
    return this.#lines.join('\n')
  }
}

type Deed = keyof typeof FREQUENCIES

const FREQUENCIES = {
  signIn: 6,
  use: 18,
  refresh: 12,
  revokeToken: 3,
  revokeSession: 6,
  revokeUser: 3,
  revokeOthers: 6,
  revokeEveryone: 1,
}
const DEEDS = Object.entries(FREQUENCIES).flatMap(([deed, times]) =>
  Array<Deed>(times).fill(deed as Deed),
)

const SUBJECTS = ['ada', 'bob', 'eve']
const WORKERS = 8
const ACTS_EACH = 25

describe('two nodes', () => {
  let database: TestDatabase
  let nodes: readonly TestNode[]

  beforeAll(async () => {
    database = await createDatabase()
    nodes = await Promise.all([openNode(database.url), openNode(database.url)])
  })

  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.close()))
    await database.drop()
  })

  // Q01, Q12, Q57
  it('refuse what an answered revocation reaches and nothing else, however many act at once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const history = new History()
        const faults = breakFeeds(database, { everyMs: 50 })
        onTestFinished(() => faults.stop())
        await Promise.all(
          Array.from({ length: WORKERS }, (_, index) =>
            actAtRandom(nodes[index % 2]!, history, createRandom(seed + index)),
          ),
        )
        await faults.stop()
        await sleep(Math.max(...nodes.map((node) => node.maxStalenessMs)))
        for (const node of nodes) {
          await Promise.all(history.issues.map((issue) => use(node, history, issue)))
        }

        expectConsistent(history)
      }),
      { numRuns: 5, endOnFailure: true },
    )
  }, 60_000)
})

async function actAtRandom(node: TestNode, history: History, random: Random): Promise<void> {
  for (let count = 0; count < ACTS_EACH; count += 1) {
    const issue = random.pick(history.issues.slice(-30))
    if (!issue) {
      await signIn(node, history, random)
      continue
    }

    const { session } = issue
    const { id: sessionId, subject } = session
    switch (random.pick(DEEDS) ?? 'use') {
      case 'signIn':
        await signIn(node, history, random)
        break
      case 'use':
        await use(node, history, issue)
        break
      case 'refresh':
        await refresh(node, history, session)
        break
      case 'revokeToken':
        await revoke(node, history, { scope: 'TOKEN', token: node.tokens.verify(issue.text) })
        break
      case 'revokeSession':
        await revoke(node, history, { scope: 'SESSION', sessionId, subject })
        break
      case 'revokeUser':
        await revoke(node, history, { scope: 'SUBJECT', subject })
        break
      case 'revokeOthers':
        await revoke(node, history, { scope: 'SUBJECT', subject, keptSessionId: sessionId })
        break
      case 'revokeEveryone':
        await revoke(node, history, { scope: 'EVERYONE' })
    }
  }
}

async function signIn(node: TestNode, history: History, random: Random): Promise<void> {
  const subject = random.pick(SUBJECTS)!
  const [tokens, opened] = await history.during(`signIn ${subject}`, () =>
    node.sessions.open(subject, PHONE, grantUser),
  )
  const { id } = tokens.session
  const session = { id, subject, opened, refreshToken: tokens.refreshToken, isRefreshing: false }
  history.sessions.push(session)
  addIssue(history, session, tokens, opened)
}

async function use(node: TestNode, history: History, issue: Issue): Promise<void> {
  const token = node.tokens.verify(issue.text)
  const name = `use ${issue.tokenId} of ${issue.session.id} of ${issue.session.subject}`
  const [revocation, made] = await history.during(name, () => node.check(token))

  const { session, issued, tokenId } = issue
  history.attempts.push({
    name,
    made,
    asked: node,
    isAccepted: revocation === null,
    isReached: ({ target, made: { start } }) =>
      isTargeted(target, session, tokenId) && (!isCutOff(target) || session.opened.end < start),
    mayBeReached: ({ target, made: { end } }) =>
      isTargeted(target, session, tokenId) && (!isCutOff(target) || issued.start < end),
  })
}

async function refresh(node: TestNode, history: History, session: Session): Promise<void> {
  if (session.isRefreshing) return
  session.isRefreshing = true
  const name = `refresh ${session.id} of ${session.subject}`
  const [tokens, made] = await history.during(name, () =>
    node.sessions.refresh(session.refreshToken, PHONE).catch((error: unknown) => {
      expect(error).toBeInstanceOf(InvalidRefreshTokenError)
      return null
    }),
  )

  history.attempts.push({
    name,
    made,
    asked: null,
    isAccepted: tokens !== null,
    isReached: ({ target, made: { start } }) =>
      isTargeted(target, session, null) && (!isCutOff(target) || session.opened.end < start),
    mayBeReached: ({ target, made: { end } }) =>
      isTargeted(target, session, null) && (!isCutOff(target) || session.opened.start < end),
  })
  if (tokens) {
    session.refreshToken = tokens.refreshToken
    addIssue(history, session, tokens, made)
  }
  session.isRefreshing = false
}

async function revoke(node: TestNode, history: History, target: RevocationTarget): Promise<void> {
  const name = `revoke ${JSON.stringify({ ...target, token: 'token' in target ? target.token.tokenId : undefined })}`
  const [, made] = await history.during(name, () =>
    node.revocations.revoke({ target, reason: 'logout', by: null }),
  )
  history.acts.push({ name, by: node, target, made })
}

function addIssue(
  history: History,
  session: Session,
  { accessToken }: IssuedTokens,
  issued: Span,
): void {
  const { text, tokenId } = accessToken
  history.issues.push({ text, tokenId, session, issued })
}

function isCutOff({ scope }: RevocationTarget): boolean {
  return scope === 'SUBJECT' || scope === 'EVERYONE'
}

/** @param tokenId - `null` for a refresh token, which lives as long as its session. */
function isTargeted(target: RevocationTarget, session: Session, tokenId: string | null): boolean {
  switch (target.scope) {
    case 'TOKEN':
      return 'token' in target && target.token.tokenId === tokenId
    case 'SESSION':
      return target.sessionId === session.id
    case 'SUBJECT':
      return target.subject === session.subject && target.keptSessionId !== session.id
    case 'EVERYONE':
      return true
  }
}

function expectConsistent(history: History): void {
  const faults = history.attempts.flatMap((attempt) => {
    const { name, made, isAccepted, isReached, mayBeReached } = attempt
    const before = history.acts.find((act) => isKnown(act, attempt) && isReached(act))
    if (before && isAccepted) {
      return [
        `${made.start}-${made.end} ${name}: accepted, in spite of ${before.name} at ${before.made.end}`,
      ]
    }
    const possible = history.acts.find((act) => act.made.start < made.end && mayBeReached(act))
    return !possible && !isAccepted
      ? [`${made.start}-${made.end} ${name}: refused, and nothing reaches it`]
      : []
  })
  if (faults.length > 0) throw new Error([...faults, 'History:', history].join('\n'))
}

/** Whether an act was over before an attempt began, so that the node asked had to know of it. */
function isKnown({ made: { end, endMs }, by }: Act, { made, asked }: Attempt): boolean {
  if (end >= made.start) return false
  return asked === null || asked === by || endMs + asked.maxStalenessMs <= made.startMs
}
