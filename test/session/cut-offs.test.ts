import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Revocation } from '../../src/contract.ts'
import { runTransaction } from '../../src/database/transaction.ts'
import { InvalidRefreshTokenError, TokenInvalidError } from '../../src/errors.ts'
import type { RevocationTarget } from '../../src/revocation/revocation.ts'
import { SessionEnder } from '../../src/service/session/session-ender.ts'
import type { IssuedTokens } from '../../src/service/session/sessions.ts'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { LAPTOP, PHONE, grantUser, openNode } from '../support/node.ts'
import type { TestNode } from '../support/node.ts'

/** More than end in a cut-off's own transaction. */
const MANY = 700

let database: TestDatabase
let node: TestNode
let other: TestNode

beforeAll(async () => {
  database = await createDatabase()
  ;[node, other] = await Promise.all([openNode(database.url), openNode(database.url)])
})

beforeEach(async () => {
  await database.query(
    ['revocation', 'revocation_event', 'session', 'session_cut_off']
      .map((table) => `delete from ${table}`)
      .join(';'),
  )
})

afterAll(async () => {
  await Promise.all([node.close(), other.close()])
  await database.drop()
})

function signIn(subject = 'ada'): Promise<IssuedTokens> {
  return node.sessions.open(subject, PHONE, grantUser)
}

async function addSessions(subject: string, count = MANY): Promise<void> {
  await database.query(
    `insert into session (id, subject, created_at, authenticated_at, last_seen_at, last_issued_at, expires_at)
     select gen_random_uuid(), $1, at, at, at, at, at + interval '30 days'
     from generate_series(1, $2::integer) n, lateral (select now() - n * interval '1 minute' as at) as made`,
    [subject, count],
  )
}

async function cutOff(
  target: RevocationTarget,
  reason = 'leak',
): Promise<{ revocation: Revocation; endedSessions: number | null }> {
  return node.revocations.revoke({ target, reason, by: 'admin' })
}

/** Rows that say nothing of an end yet. */
async function countRowsLeft(): Promise<number> {
  const [row] = await database.query<{ count: number }>(
    `select count(*)::integer as count from session where ended_at is null`,
  )
  return row!.count
}

function createEnder(at: TestNode): SessionEnder {
  return new SessionEnder({
    dataSource: at.dataSource,
    onError: (error) => expect(error).toBeNull(),
  })
}

async function endAll(ender: SessionEnder, limit = 1000): Promise<void> {
  while ((await ender.endBatch(limit)) >= limit);
}

const EVERYONE = { scope: 'EVERYONE' } as const
const ADA = { scope: 'SUBJECT', subject: 'ada' } as const

// Q12, Q57
describe.each<[string, RevocationTarget]>([
  ['everyone', EVERYONE],
  ['one person', ADA],
])('a cut-off of %s that reaches many sessions', (_whom, target) => {
  it('ends each of them when it commits, though no row says so yet', async () => {
    const phone = await signIn()
    await addSessions('ada')
    const { revocation, endedSessions } = await cutOff(target)

    expect(endedSessions).toBe(MANY + 1)
    expect(await countRowsLeft()).toBe(MANY + 1)
    const { id } = phone.session
    for (const { sessions } of [node, other]) {
      await expect(sessions.refresh(phone.refreshToken, PHONE)).rejects.toThrow(
        InvalidRefreshTokenError,
      )
      await expect(sessions.reauthenticate(id, 'ada', PHONE, grantUser)).rejects.toThrow(
        TokenInvalidError,
      )
      expect(await sessions.list('ada', 'another')).toEqual([])
      expect((await sessions.find(id))?.endedAt).toEqual(revocation.revokedAt)
      expect((await sessions.findByRefreshToken(phone.refreshToken))?.endedAt).toEqual(
        revocation.revokedAt,
      )
    }
    const renewed = await runTransaction(node.dataSource, (manager) =>
      node.sessions.renewWithin(manager, id, 'ada', PHONE),
    )
    expect(renewed.session.id).not.toBe(id)
  })

  it('spares what is opened after it, and is made anew for that', async () => {
    await addSessions('ada')
    const first = await cutOff(target)
    const laptop = await signIn()

    const { refreshToken } = await other.sessions.refresh(laptop.refreshToken, LAPTOP)
    expect(await node.sessions.list('ada', '')).toMatchObject([{ id: laptop.session.id }])
    const second = await cutOff(target)
    expect(second).toMatchObject({ alreadyRevoked: false, endedSessions: 1 })
    expect(second.revocation.id).not.toBe(first.revocation.id)
    await expect(node.sessions.refresh(refreshToken, LAPTOP)).rejects.toThrow(
      InvalidRefreshTokenError,
    )
    expect(await cutOff(target)).toMatchObject({ alreadyRevoked: true, endedSessions: 0 })
  })

  it.each(['restored', 'forgotten'])('keeps them ended when it is %s', async (what) => {
    const phone = await signIn()
    await addSessions('ada')
    const { revocation } = await cutOff(target)
    if (what === 'restored') await node.revocations.restore(revocation.id, { by: null })
    else await database.query(`delete from revocation`)

    await expect(node.sessions.refresh(phone.refreshToken, PHONE)).rejects.toThrow(
      InvalidRefreshTokenError,
    )
    await endAll(createEnder(node))
    expect(await countRowsLeft()).toBe(0)
  })

  it('leaves a session that is revoked by itself with its own end', async () => {
    const phone = await signIn()
    await addSessions('ada')
    const { revocation } = await cutOff(target)

    const { endedSessions } = await node.revocations.revoke({
      target: { scope: 'SESSION', sessionId: phone.session.id, subject: 'ada' },
      reason: 'logout',
      by: 'ada',
    })
    expect(endedSessions).toBe(0)
    await endAll(createEnder(node))
    expect((await node.sessions.find(phone.session.id))?.endedAt).toEqual(revocation.revokedAt)
  })
})

it('a cut-off that keeps a session ends all others of many, and not that one', async () => {
  const phone = await signIn()
  await addSessions('ada')
  const { endedSessions } = await cutOff({ ...ADA, keptSessionId: phone.session.id })

  expect(endedSessions).toBe(MANY)
  const { refreshToken } = await node.sessions.refresh(phone.refreshToken, PHONE)
  await endAll(createEnder(node))
  expect(await node.sessions.list('ada', '')).toMatchObject([{ id: phone.session.id }])
  await other.sessions.refresh(refreshToken, PHONE)
})

it('a cut-off of one person leaves the sessions of others alone, when many end', async () => {
  const bob = await signIn('bob')
  await addSessions('ada')
  await addSessions('carol')
  await cutOff(ADA)
  await endAll(createEnder(node))

  expect(await countRowsLeft()).toBe(MANY + 1)
  await node.sessions.refresh(bob.refreshToken, PHONE)
})

// Q57
describe('what a cut-off left', () => {
  it(
    'is ended by two nodes at once, each session once, with the instant and reason of the first',
    { timeout: 90_000 },
    async () => {
      await addSessions('ada', 3000)
      const { revocation: first } = await cutOff(ADA, 'first')
      await addSessions('bob', 3000)
      const { revocation: second } = await cutOff(EVERYONE, 'second')

      const enders = [node, other, node, other].map(createEnder)
      await Promise.all(enders.map(async (ender) => endAll(ender, 100)))
      await endAll(enders[0]!, 100)
      const ends = await database.query(
        `select subject, ended_at, end_reason, count(*)::integer as count from session group by 1, 2, 3 order by 1`,
      )
      expect(ends).toEqual([
        { subject: 'ada', ended_at: first.revokedAt, end_reason: 'first', count: 3000 },
        { subject: 'bob', ended_at: second.revokedAt, end_reason: 'second', count: 3000 },
      ])
      expect(await database.query(`select id from session_cut_off`)).toEqual([])
    },
  )

  it('is gone on with by another node, where the first one stopped', async () => {
    await addSessions('ada', 2500)
    await cutOff(ADA)
    expect(await createEnder(node).endBatch(1000)).toBe(1000)
    expect(await countRowsLeft()).toBe(1500)

    await endAll(createEnder(other))
    expect(await countRowsLeft()).toBe(0)
    expect(await createEnder(other).endBatch(1000)).toBe(0)
  })

  it('waits for no lock: a locked session is ended later', async () => {
    const held = await signIn()
    await addSessions('ada')
    await cutOff(ADA)
    const ender = createEnder(other)

    await runTransaction(node.dataSource, async (manager) => {
      await manager.query(`select 1 from session where id = $1 for update`, [held.session.id])
      await endAll(ender)
      expect(await countRowsLeft()).toBe(1)
    })
    await endAll(ender)
    expect(await countRowsLeft()).toBe(0)
    expect(await database.query(`select id from session_cut_off`)).toEqual([])
  })

  it('is ended in the background, once it was told that there is something', async () => {
    await addSessions('ada')
    await cutOff(ADA)
    const ender = createEnder(node)
    ender.start()
    ender.start()

    await expect.poll(countRowsLeft, { timeout: 10_000 }).toBe(0)
    await ender.stop()
  })
})

describe('a cut-off of few sessions', () => {
  it('ends them in its own transaction, and what is locked is left', async () => {
    const held = await signIn()
    await signIn()
    await runTransaction(node.dataSource, async (manager) => {
      await manager.query(`select 1 from session where id = $1 for update`, [held.session.id])
      await other.revocations.revoke({ target: ADA, reason: 'leak', by: null })
      expect(await countRowsLeft()).toBe(1)
      expect(await other.sessions.list('ada', '')).toEqual([])
    })

    await endAll(createEnder(node))
    expect(await countRowsLeft()).toBe(0)
  })
})

// Q54
describe('the number of sessions that a cut-off ended', () => {
  it('is exact up to ten thousand, and not told beyond', async () => {
    await addSessions('ada', 10_000)
    await addSessions('bob', 10_001)
    await database.query('analyze session')

    expect((await cutOff(ADA)).endedSessions).toBe(10_000)
    expect((await cutOff({ scope: 'SUBJECT', subject: 'bob' })).endedSessions).toBeNull()
    expect((await cutOff({ scope: 'SUBJECT', subject: randomUUID() })).endedSessions).toBe(0)
  })

  it.each([3, MANY])('leaves out those that were over, of %i', async (count) => {
    const idle = await openNode(database.url, { idleSeconds: 3600 })
    await addSessions('ada', count)
    await database.query(
      `update session set last_seen_at = now() - interval '2 hours'
       where id = any(array(select id from session limit 2))`,
    )

    const listed = await idle.sessions.list('ada', '')
    const { endedSessions } = await idle.revocations.revoke({ target: ADA, reason: 'x', by: null })
    await idle.close()
    expect(listed.length).toBeGreaterThan(0)
    expect(endedSessions).toBe(listed.length)
  })
})
