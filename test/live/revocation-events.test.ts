import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { stopSubscribers, subscribe, until } from '../support/live.ts'
import type { Subscriber } from '../support/live.ts'
import { openNode } from '../support/node.ts'
import type { TestNode } from '../support/node.ts'
import { login, register } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

let database: TestDatabase
let here: TestService
let there: TestService
let node: TestNode
let admin: SignIn

beforeAll(async () => {
  database = await createDatabase()
  here = await startService({ database })
  there = await startService({ database })
  node = await openNode(database.url, { poolSize: 10 })
})

beforeEach(async () => {
  admin = await login(here, 'admin', 'desk')
})

afterEach(stopSubscribers)

afterAll(async () => {
  await Promise.all([here.stop(), there.stop(), node.close()])
  await database.drop()
})

const EVENTS = `subscription ($after: String, $filter: RevocationFilter) {
  revocationEvents(after: $after, filter: $filter) {
    id cursor kind occurredAt actor note
    revocation { id scope subject sessionId reason note }
  }
}`

async function follow(
  service: TestService,
  variables: { after?: string; filter?: object } = {},
): Promise<Subscriber> {
  return subscribe(service, EVENTS, { token: admin.accessToken, variables })
}

const eventsOf = ({ results }: Subscriber): any[] =>
  results.map(({ data, errors }) => data?.revocationEvents ?? errors)

/** The newest line's cursor, from the list. */
async function newestCursor(): Promise<string> {
  const { data } = await here.graphql(
    '{ revocationEvents(first: 1) { edges { cursor node { cursor } } } }',
    { token: admin.accessToken },
  )
  const [edge] = data.revocationEvents.edges
  expect(edge.node.cursor).toBe(edge.cursor)
  return edge.cursor
}

async function revokeSession(reason = 'x'): Promise<string> {
  const sessionId = randomUUID()
  const target = { scope: 'SESSION', sessionId, subject: 'ada' } as const
  await node.revocations.revoke({ target, reason, note: 'a note', by: 'the boss' })
  return sessionId
}

describe('revocationEvents, live', () => {
  it('tells what happens from now on, on every node', async () => {
    const subscribers = [await follow(here), await follow(there)]
    const ada = await register(here, `ada${randomUUID()}`)
    // Until both have begun for sure.
    for (const subscriber of subscribers) {
      await until(async () => {
        await revokeSession('wake')
        return subscriber.results.length > 0
      }, 'a first event')
    }
    const seen = subscribers.map(({ results }) => results.length)

    const { data } = await here.graphql('mutation { logout { revocation { id } } }', {
      token: ada.accessToken,
    })
    const { id } = data.logout.revocation
    await here.graphql(
      `mutation { restore(revocationId: "${id}", note: "sorry") { alreadyRestored } }`,
      {
        token: admin.accessToken,
      },
    )

    for (const [index, subscriber] of subscribers.entries()) {
      const ofIt = (): any[] =>
        eventsOf(subscriber).filter(({ revocation }) => revocation.id === id)
      await until(() => ofIt().length === 2, 'both events')
      expect(ofIt()).toMatchObject([
        { kind: 'REVOKED', actor: ada.userId, note: null, revocation: { scope: 'SESSION' } },
        { kind: 'RESTORED', actor: admin.userId, note: 'sorry' },
      ])
      expect(subscriber.results.length).toBeGreaterThanOrEqual((seen[index] as number) + 2)
    }
  })

  it('goes on behind a cursor: of the list, and of each event', async () => {
    const after = await newestCursor()
    const sessions = [await revokeSession(), await revokeSession(), await revokeSession()]

    const first = await follow(there, { after })
    await first.result(2)
    const events = eventsOf(first)
    expect(events.map(({ revocation }) => revocation.sessionId)).toEqual(sessions)
    first.stop()

    for (const [index, { cursor }] of events.entries()) {
      const rest = await follow(here, { after: cursor })
      const missed = await revokeSession('later')
      await until(() => eventsOf(rest).at(-1)?.revocation.sessionId === missed, 'the last event')
      expect(eventsOf(rest).slice(0, 2 - index)).toEqual(events.slice(index + 1))
      rest.stop()
    }
  })

  it('tells what the filter lets through', async () => {
    const after = await newestCursor()
    await revokeSession('coffee')
    const sessionId = await revokeSession('tea')
    await revokeSession('coffee')

    const subscriber = await follow(here, { after, filter: { reason: 'tea' } })

    expect((await subscriber.result()).data.revocationEvents).toMatchObject({
      note: 'a note',
      actor: 'the boss',
      revocation: { sessionId, reason: 'tea', note: 'a note' },
    })
    await revokeSession('coffee')
    const last = await revokeSession('tea')
    await until(() => subscriber.results.length === 2, 'the second')
    expect(eventsOf(subscriber)[1].revocation.sessionId).toBe(last)
  })

  // Q57
  it('skips nothing and tells nothing twice, in whatever order lines are committed', async () => {
    const after = await newestCursor()
    const late = await openRevocation()
    const early = await revokeSession()
    const subscriber = await follow(here, { after })
    expect((await subscriber.result()).data.revocationEvents.revocation.sessionId).toBe(early)
    const { cursor } = eventsOf(subscriber)[0]

    await late.commit()
    await until(() => subscriber.results.length === 2, 'the late line')
    expect(eventsOf(subscriber)[1].revocation.sessionId).toBe(late.sessionId)
    // Its number is lower than that of the line before.
    expect(Number(eventsOf(subscriber)[1].id)).toBeLessThan(Number(eventsOf(subscriber)[0].id))

    const last = await revokeSession()
    const resumed = await follow(there, { after: cursor })
    await resumed.result(1)
    expect(eventsOf(resumed).map((event) => event.revocation.sessionId)).toEqual([
      late.sessionId,
      last,
    ])
    const resumedLater = await follow(there, { after: eventsOf(subscriber)[1].cursor })
    await resumedLater.result()
    expect(eventsOf(resumedLater).map((event) => event.revocation.sessionId)).toEqual([last])
  })

  it('is read by hundreds that come and go, while hundreds of lines are committed out of order', async () => {
    const after = await newestCursor()
    const made: string[] = []
    const committed: string[] = []
    let isDone = false

    async function commitSome(): Promise<void> {
      for (let round = 0; round < 12; round++) {
        const open = await openRevocation()
        made.push(open.sessionId)
        for (let other = 0; other < 3; other++) committed.push(await revokeSession())
        await open.commit()
        committed.push(open.sessionId)
      }
    }
    async function readByFits(): Promise<string[]> {
      const seen: string[] = []
      let from = after
      while (!isDone || seen.length < committed.length) {
        const subscriber = await follow(seen.length % 2 ? here : there, { after: from })
        const wanted = 1 + Math.floor(Math.random() * 5)
        await until(
          () =>
            subscriber.results.length >= wanted ||
            (isDone && seen.length + subscriber.results.length >= committed.length),
          'some events',
          { withinMs: 10_000 },
        )
        const events = eventsOf(subscriber).slice(0, wanted)
        subscriber.stop()
        seen.push(...events.map(({ revocation }) => revocation.sessionId))
        from = events.at(-1)?.cursor ?? from
      }
      return seen
    }

    const readers = [readByFits(), readByFits(), readByFits()]
    await Promise.all([commitSome(), commitSome(), commitSome()])
    isDone = true

    for (const seen of await Promise.all(readers)) {
      expect(seen.toSorted()).toEqual(committed.toSorted())
    }
    expect(made).toHaveLength(36)
  })

  it('is for admins', async () => {
    const ada = await register(here, `ada${randomUUID()}`)

    const subscriber = await subscribe(here, EVENTS, { token: ada.accessToken })

    expect((await subscriber.result()).errors).toMatchObject([
      { extensions: { code: 'FORBIDDEN', reason: 'ROLE_REQUIRED' } },
    ])
    expect(subscriber.closing).toBe(null)
  })

  const encode = (text: string): string => Buffer.from(text).toString('base64url')

  it.each([
    ['nothing', ''],
    ['garbage', 'garbage'],
    ["another list's cursor", encode('connection.1')],
    ['a number too large', encode('event.9999999999999999999')],
    ['SQL', encode("event.1.1:1:');--")],
    ['a snapshot in disorder', encode('event.1.5:3:')],
    ['a list in disorder', encode('event.1.1:9:5,4')],
    ['a list beyond its end', encode('event.1.1:9:10')],
    ['too many snapshots', encode('event.1.1:1:.1:1:.1:1:')],
    ['a long one', encode(`event.1.1:1:${'1,'.repeat(5000)}`)],
  ])('refuses a cursor that is none: %s', async (_what, after) => {
    const subscriber = await follow(here, { after })

    expect((await subscriber.result()).errors).toMatchObject([
      { extensions: { code: 'BAD_USER_INPUT', reason: 'MALFORMED_CURSOR', argument: 'after' } },
    ])
  })

  it('takes a cursor of a server that was further on for its number alone', async () => {
    const after = await newestCursor()
    const id = Buffer.from(after, 'base64url').toString().split('.')[1] as string
    const sessionId = await revokeSession()

    const subscriber = await follow(here, { after: encode(`event.${id}.9:999999999999:`) })

    const event = await subscriber.result()
    expect(event.data.revocationEvents.revocation.sessionId).toBe(sessionId)
  })
})

/** A revocation whose transaction waits. */
async function openRevocation(): Promise<{ sessionId: string; commit(): Promise<void> }> {
  const sessionId = randomUUID()
  const runner = node.dataSource.createQueryRunner()
  await runner.connect()
  await runner.startTransaction()
  const target = { scope: 'SESSION', sessionId, subject: 'ada' } as const
  await node.revocations.revokeWithin(runner.manager, { target, reason: 'late', by: null })
  return {
    sessionId,
    async commit() {
      await runner.commitTransaction()
      await runner.release()
    },
  }
}
