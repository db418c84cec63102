import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { runTransaction } from '../../src/database/transaction.ts'
import type { RevocationOutcome } from '../../src/revocation/ports.ts'
import * as sql from '../../src/revocation/postgres/postgres-sql.ts'
import { PostgresRevocationStore } from '../../src/revocation/postgres/postgres-store.ts'
import type { CutOffTarget } from '../../src/revocation/postgres/postgres-writer.ts'
import type { RevocationTarget } from '../../src/revocation/revocation.ts'
import { createDataSource } from '../../src/service/database/data-source.ts'
import { createSessionKeeper } from '../../src/service/session/session-keeper.ts'
import { replaceClock } from '../support/database-clock.ts'
import type { DatabaseClock } from '../support/database-clock.ts'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { createGate } from '../support/gate.ts'
import { LAPTOP, PATIENCE_MS, PHONE, grantUser, openDataSource, openNode } from '../support/node.ts'
import type { TestNode } from '../support/node.ts'
import { LIFETIME_SECONDS, RETENTION_DAYS, testRevocationStore } from './store-contract.ts'
import type { StoreUnderTest } from './store-contract.ts'

const SECOND = 1000

describe('PostgresRevocationStore', () => {
  testRevocationStore(openPostgresStore)
})

describe('PostgresRevocationStore beside sessions', () => {
  let database: TestDatabase
  let clock: DatabaseClock
  let node: TestNode
  let other: TestNode

  beforeAll(async () => {
    database = await createDatabase()
    clock = await replaceClock(database)
    ;[node, other] = await Promise.all([openNode(database.url), openNode(database.url)])
  })
  beforeEach(async () => {
    await clock.reset()
    await database.query(
      `delete from revocation; delete from revocation_event; delete from session`,
    )
  })
  afterAll(async () => {
    await Promise.all([node.close(), other.close()])
    await database.drop()
  })

  interface SignIn {
    readonly sessionId: string
    readonly text: string
  }

  async function signIn(subject = 'ada', device = PHONE): Promise<SignIn> {
    const { session, accessToken } = await node.sessions.open(subject, device, grantUser)
    return { sessionId: session.id, text: accessToken.text }
  }

  function revoke(
    target: RevocationTarget,
    reason = 'logout',
    by = 'ada',
  ): Promise<RevocationOutcome> {
    return node.revocations.revoke({ target, reason, by })
  }

  async function isAlive({ text }: SignIn): Promise<boolean> {
    return (await node.check(node.tokens.verify(text))) === null
  }

  async function countLiveSessions(): Promise<number> {
    const [row] = await database.query<{ count: number }>(
      `select count(*)::integer as count from session where ended_at is null`,
    )
    return row!.count
  }

  // Q11, Q15
  it.each<[string, (session: SignIn) => RevocationTarget, number]>([
    ['one session', ({ sessionId }) => ({ scope: 'SESSION', sessionId, subject: 'ada' }), 1],
    ['a person', () => ({ scope: 'SUBJECT', subject: 'ada' }), 2],
    [
      'a person, but for one',
      ({ sessionId }) => ({ scope: 'SUBJECT', subject: 'ada', keptSessionId: sessionId }),
      1,
    ],
    ['everyone', () => ({ scope: 'EVERYONE' }), 3],
    ['nobody', () => ({ scope: 'SUBJECT', subject: 'eve' }), 0],
  ])('ends the sessions of %s', async (_whom, targetOf, ended) => {
    const phone = await signIn('ada', PHONE)
    await signIn('ada', LAPTOP)
    await signIn('bob', PHONE)

    const { endedSessions, revocation } = await revoke(targetOf(phone))
    expect(endedSessions).toBe(ended)
    expect(await countLiveSessions()).toBe(3 - ended)
    const rows = await database.query(`select ended_at from session where ended_at is not null`)
    expect(rows).toEqual(Array.from({ length: ended }, () => ({ ended_at: revocation.revokedAt })))
  })

  it('ends no session with a token', async () => {
    const { text } = await signIn()

    const { endedSessions } = await revoke({ scope: 'TOKEN', token: node.tokens.verify(text) })
    expect(endedSessions).toBe(0)
    expect(await countLiveSessions()).toBe(1)
  })

  // Q57
  it.each<RevocationTarget>([{ scope: 'SUBJECT', subject: 'ada' }, { scope: 'EVERYONE' }])(
    'revokes $scope in the transaction of the caller, or not at all',
    async (target) => {
      const phone = await signIn()
      const failure = new Error('no')
      const failing = runTransaction(node.dataSource, async (manager) => {
        await node.revocations.revokeWithin(manager, { target, reason: 'logout', by: null })
        throw failure
      })

      await expect(failing).rejects.toBe(failure)
      expect(await isAlive(phone)).toBe(true)
      expect(await countLiveSessions()).toBe(1)
      expect([
        await node.revocations.countInForce({}),
        await node.revocations.countEvents({}),
      ]).toEqual([0, 0])
    },
  )

  // Q02
  it('has committed entry, event and session by the time it answers', async () => {
    const { sessionId } = await signIn()
    await revoke({ scope: 'SESSION', sessionId, subject: 'ada' })

    const [seen] = await database.query(
      `select (select count(*) from revocation)::integer as entries,
              (select count(*) from revocation_event)::integer as events,
              (select count(*) from session where ended_at is not null)::integer as ended`,
    )
    expect(seen).toEqual({ entries: 1, events: 1, ended: 1 })
  })

  // Q08
  describe.each<[string, (session: SignIn) => CutOffTarget]>([
    ['a person', () => ({ scope: 'SUBJECT', subject: 'ada' })],
    [
      'a person, but for this session',
      ({ sessionId }) => ({ scope: 'SUBJECT', subject: 'ada', keptSessionId: sessionId }),
    ],
    ['everyone', () => ({ scope: 'EVERYONE' })],
  ])('a cut-off for %s', (_whom, targetOf) => {
    it('again keeps the first when nothing was issued since', async () => {
      const target = targetOf(await signIn())
      await signIn('ada', LAPTOP)
      const first = await revoke(target, 'first', 'ada')
      await clock.jump(SECOND)

      const second = await revoke(target, 'second', 'admin')
      expect(second).toEqual({
        revocation: first.revocation,
        alreadyRevoked: true,
        endedSessions: 0,
      })
      expect([
        await node.revocations.countInForce({}),
        await node.revocations.countEvents({}),
      ]).toEqual([1, 1])
    })

    it('again keeps the first when there never was anything to hit', async () => {
      const phone = await signIn()
      const target = targetOf(phone)
      await revoke({ scope: 'SESSION', sessionId: phone.sessionId, subject: 'ada' })
      await database.query(`delete from session where id <> $1`, [phone.sessionId])
      const first = await revoke(target, 'first', 'ada')
      await clock.jump(SECOND)

      const second = await revoke(target, 'second', 'admin')
      expect(second).toEqual({
        revocation: first.revocation,
        alreadyRevoked: true,
        endedSessions: 0,
      })
    })

    it('50 times at once on two nodes is one entry and one event', async () => {
      const target = targetOf(await signIn())
      await signIn('ada', LAPTOP)

      const outcomes = await Promise.all(
        Array.from({ length: 50 }, (_, index) =>
          (index % 2 ? node : other).revocations.revoke({
            target,
            reason: `reason ${index}`,
            by: null,
          }),
        ),
      )
      expect(outcomes.filter(({ alreadyRevoked }) => !alreadyRevoked)).toHaveLength(1)
      expect(new Set(outcomes.map(({ revocation }) => revocation.id)).size).toBe(1)
      expect([
        await node.revocations.countInForce({}),
        await node.revocations.countEvents({}),
      ]).toEqual([1, 1])
    })

    // Q12
    it('is made anew for what was issued since, in the same millisecond too', async () => {
      await clock.stop(new Date('2025-11-22T12:00:00.250Z'))
      const target = targetOf(await signIn())

      for (let round = 0; round < 5; round += 1) {
        const laptop = await signIn('ada', LAPTOP)
        expect(await isAlive(laptop)).toBe(true)
        const { alreadyRevoked, endedSessions } = await revoke(target)
        expect(alreadyRevoked).toBe(false)
        expect(endedSessions).toBeGreaterThan(0)
        expect(await isAlive(laptop)).toBe(false)
      }
    })

    it('is made anew after the first was restored', async () => {
      const target = targetOf(await signIn())
      const laptop = await signIn('ada', LAPTOP)
      const first = await revoke(target)
      await node.revocations.restore(first.revocation.id, { by: 'admin' })
      expect(await isAlive(laptop)).toBe(true)

      const second = await revoke(target)
      expect(second.alreadyRevoked).toBe(false)
      expect(await isAlive(laptop)).toBe(false)
    })

    // Q12
    it('reaches what was issued before the clock was set back, and no login after it', async () => {
      const phone = await signIn()
      const target = targetOf(phone)
      const before = await signIn('ada', LAPTOP)
      await clock.jump(-30 * SECOND)

      await revoke(target)
      expect(await isAlive(before)).toBe(false)
      const after = await signIn('ada', LAPTOP)
      expect(await isAlive(after)).toBe(true)
      await revoke(target)
      expect(await isAlive(after)).toBe(false)
      expect(await isAlive(await signIn('ada', LAPTOP))).toBe(true)
    })

    it('is an entry of its own when the caller says so', async () => {
      const target = targetOf(await signIn())
      const first = await revoke(target)

      const second = await runTransaction(node.dataSource, (manager) =>
        node.revocations.revokeWithin(
          manager,
          { target, reason: 'suspended', by: null },
          { always: true },
        ),
      )
      expect(second.alreadyRevoked).toBe(false)
      expect(second.revocation.id).not.toBe(first.revocation.id)
      await node.revocations.restore(second.revocation.id, { by: 'admin' })
      expect(await node.revocations.countInForce({})).toBe(1)
    })
  })

  it('does not take a cut-off that spares a session for one that does not', async () => {
    const phone = await signIn('ada', PHONE)
    const laptop = await signIn('ada', LAPTOP)
    await revoke({ scope: 'SUBJECT', subject: 'ada', keptSessionId: phone.sessionId })
    expect([await isAlive(phone), await isAlive(laptop)]).toEqual([true, false])

    const others: RevocationTarget = {
      scope: 'SUBJECT',
      subject: 'ada',
      keptSessionId: laptop.sessionId,
    }
    expect((await revoke(others)).alreadyRevoked).toBe(false)
    expect(await isAlive(phone)).toBe(false)
    expect((await revoke({ scope: 'SUBJECT', subject: 'ada' })).alreadyRevoked).toBe(false)
  })

  // Q57
  it('lets nothing be issued for a subject between the lock and the end of the transaction', async () => {
    const steps: string[] = []
    const locked = runTransaction(node.dataSource, async (manager) => {
      await node.revocations.lockWithin(manager, { scope: 'SUBJECT', subject: 'ada' })
      steps.push('locked')
      await sleep(200)
      steps.push('released')
    })
    while (steps.length === 0) await sleep(5)

    const issuing = other.revocations.issueInstant('ada').then(() => steps.push('issued'))
    await other.revocations.issueInstant('bob')
    steps.push('issued for bob')
    await Promise.all([locked, issuing])
    expect(steps).toEqual(['locked', 'issued for bob', 'released', 'issued'])
  })

  // Q18
  describe('sweeping', () => {
    it('by two nodes at once, while others revoke, removes every old row once and no live one', async () => {
      const live = await signIn()
      await database.query(
        `insert into revocation (id, key, scope, session_id, revoked_at, expires_at, reason)
         select gen_random_uuid(), gen_random_uuid(), 'SESSION', 'old', now() - interval '2 days',
                now() - interval '1 day' - random() * interval '1 hour', 'logout'
         from generate_series(1, 3000)`,
      )
      await database.query(
        `insert into revocation_event
           (kind, occurred_at, revocation_id, scope, revoked_at, expires_at, reason)
         select 'REVOKED', now() - interval '100 days', gen_random_uuid(), 'EVERYONE', now(), now(), 'logout'
         from generate_series(1, 3000)`,
      )
      let isSweeping = true

      async function sweep({ revocations }: TestNode): Promise<void> {
        while ((await revocations.deleteExpired(100)) > 0);
      }
      async function keepRevoking({ revocations }: TestNode): Promise<number> {
        for (let made = 0; ; made += 1) {
          const target = {
            scope: 'SESSION',
            sessionId: crypto.randomUUID(),
            subject: 'ada',
          } as const
          await revocations.revoke({ target, reason: 'logout', by: null })
          if (!isSweeping && made >= 10) return made + 1
        }
      }
      const sweeping = Promise.all([sweep(node), sweep(other)]).finally(() => {
        isSweeping = false
      })
      const [made] = await Promise.all([
        Promise.all([keepRevoking(node), keepRevoking(other)]),
        sweeping,
        revoke({ scope: 'SESSION', sessionId: live.sessionId, subject: 'ada' }),
      ])

      const total = made[0] + made[1] + 1
      const [left] = await database.query(
        `select (select count(*) from revocation)::integer as entries,
                (select count(*) from revocation_event)::integer as events`,
      )
      expect(left).toEqual({ entries: total, events: total })
      expect(await isAlive(live)).toBe(false)
    })

    it('passes over a locked row, and comes back for it', async () => {
      for (const sessionId of ['a', 'b', 'c']) {
        await revoke({ scope: 'SESSION', sessionId, subject: 'ada' })
      }
      await clock.jump(26 * 60 * 60 * SECOND)
      const [held, done] = [createGate(), createGate()]
      const holder = runTransaction(other.dataSource, async (manager) => {
        await manager.query(`select 1 from revocation where session_id = 'a' for update`)
        held.open()
        await done.opened
      })
      await held.opened

      expect(await node.revocations.deleteExpired(10)).toBe(2)
      done.open()
      await holder
      expect(await node.revocations.deleteExpired(10)).toBe(1)
    })

    it.each([
      ['entries', sql.deleteExpired, [10], 'revocation_expires_at'],
      ['the journal', sql.deleteOldEvents, [10, 90], 'revocation_event_occurred_at'],
    ])(
      'of %s finds the old rows by an index, whatever the size of the table',
      async (_what, text, values, index) => {
        const plan = await runTransaction(node.dataSource, async (manager) => {
          await manager.query(`set local enable_seqscan = off`)
          return manager.query<Array<Record<string, string>>>(`explain ${text}`, [...values])
        })

        const lines = plan.map((line) => line['QUERY PLAN']).join('\n')
        expect(lines).toMatch(new RegExp(`Index Scan (on|using) ${index}`))
        expect(lines).not.toContain('Seq Scan')
      },
    )
  })
})

describe('revocations that are asked for at the same time', () => {
  let database: TestDatabase
  let node: TestNode

  beforeAll(async () => {
    database = await createDatabase()
    node = await openNode(database.url)
  })
  afterAll(async () => {
    await node.close()
    await database.drop()
  })

  interface Line {
    readonly subject: string
    readonly reason: string
    readonly transaction: string
  }

  function readJournal(): Promise<Line[]> {
    return database.query<Line & Record<string, unknown>>(
      `select subject, reason, transaction_id::text as transaction from revocation_event order by id`,
    )
  }

  function revokeSession(sessionId: string, reason = 'logout'): Promise<RevocationOutcome> {
    const target = { scope: 'SESSION', sessionId, subject: sessionId } as const
    return node.revocations.revoke({ target, reason, by: null })
  }

  // Q02
  it('share a commit, and each has its own outcome', async () => {
    const signIns = await Promise.all(
      Array.from({ length: 40 }, () => node.sessions.open('ada', PHONE, grantUser)),
    )
    const ids = signIns.map(({ session }) => session.id)

    const outcomes = await Promise.all(ids.map((id) => revokeSession(id)))
    expect(outcomes.map(({ revocation }) => revocation.sessionId)).toEqual(ids)
    expect(outcomes.every((one) => !one.alreadyRevoked && one.endedSessions === 1)).toBe(true)

    const lines = await readJournal()
    expect(lines.map(({ subject }) => subject).toSorted()).toEqual(ids.toSorted())
    expect(new Set(lines.map(({ transaction }) => transaction)).size).toBeLessThanOrEqual(2)
  })

  // Q08
  it('are one when they are the same: the first counts', async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, index) => revokeSession('same', `reason ${index}`)),
    )

    expect(new Set(outcomes.map(({ revocation }) => revocation.id)).size).toBe(1)
    expect(outcomes.filter(({ alreadyRevoked }) => !alreadyRevoked)).toEqual([outcomes[0]])
    expect(outcomes[0]!.revocation.reason).toBe('reason 0')
    const lines = (await readJournal()).filter(({ subject }) => subject === 'same')
    expect(lines).toHaveLength(1)
  })

  // Q47
  it('do not suffer from one that cannot be made', async () => {
    const names = Array.from({ length: 10 }, (_, index) => `neighbour ${index}`)
    const made = await Promise.allSettled([
      ...names.map((name) => revokeSession(name)),
      // PostgreSQL holds no NUL.
      revokeSession('poison', 'a\0b'),
      ...names.map((name) => revokeSession(`${name}, too`)),
    ])

    expect(made.filter(({ status }) => status === 'rejected')).toHaveLength(1)
    expect(made[10]!.status).toBe('rejected')
    const subjects = (await readJournal()).map(({ subject }) => subject)
    expect(subjects).toEqual(expect.arrayContaining(names))
    expect(subjects).not.toContain('poison')
  })

  // Q47
  it('do not suffer from one whose session is locked', async () => {
    const hasty = createDataSource({ url: database.url })
    await hasty.initialize()
    const store = new PostgresRevocationStore(hasty, { sessions: createSessionKeeper() })
    const [held, free] = await Promise.all(
      ['held', 'free'].map((subject) => node.sessions.open(subject, PHONE, grantUser)),
    )
    const runner = node.dataSource.createQueryRunner()
    await runner.startTransaction()
    // As a tool without a time limit may.
    await runner.query(`set local idle_in_transaction_session_timeout = 0`)
    await runner.query(`select 1 from session where id = $1 for update`, [held!.session.id])

    const made = await Promise.allSettled(
      [held!, free!].map(({ session: { id: sessionId, subject } }) =>
        store.revoke({
          target: { scope: 'SESSION', sessionId, subject },
          reason: 'logout',
          by: null,
        }),
      ),
    )
    expect(made.map(({ status }) => status)).toEqual(['rejected', 'fulfilled'])

    await runner.rollbackTransaction()
    await runner.release()
    await hasty.destroy()
  })
})

/** Two stores on two DataSources on one database: two nodes. */
async function openPostgresStore(): Promise<StoreUnderTest> {
  const database = await createDatabase()
  const clock = await replaceClock(database)
  const options = {
    maxTokenLifetimeSeconds: LIFETIME_SECONDS,
    journalRetentionDays: RETENTION_DAYS,
    checkTimeoutMs: PATIENCE_MS,
  }
  const nodes = await Promise.all([1, 2].map(() => openDataSource(database.url, 10)))
  const [store, other] = nodes.map((node) => new PostgresRevocationStore(node, options))

  return {
    clock,
    async empty() {
      await database.query(`delete from revocation; delete from revocation_event`)
      return { store: store!, other: other! }
    },
    async close() {
      await Promise.all(nodes.map((node) => node.destroy()))
      await database.drop()
    },
  }
}
