import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Revocation } from '../../src/contract.ts'
import type {
  EventCursor,
  JournalExtract,
  JournalPlace,
  JournalRequest,
  Page,
  RevocationEvent,
  RevocationFilter,
  RevocationOutcome,
  RevocationRequest,
  RevocationStore,
} from '../../src/revocation/ports.ts'
import type { RevocationTarget } from '../../src/revocation/revocation.ts'
import type { Token } from '../../src/token/claims.ts'
import { makeToken } from './make-token.ts'

/** A store that the contract is run against. */
export interface StoreUnderTest {
  /** One that is empty, as two nodes see it. */
  empty(): Promise<{ readonly store: RevocationStore; readonly other: RevocationStore }>
  readonly clock: {
    /** Stands still from now on. */
    stop(at: Date): Promise<void>
    jump(ms: number): Promise<void>
    /** Goes right. */
    reset(): Promise<void>
  }
  close(): Promise<void>
}

/** What the contract expects a store to be made with. */
export const LIFETIME_SECONDS = 900
export const RETENTION_DAYS = 2

const SECOND = 1000
const HOUR = 60 * 60 * SECOND
const DAY = 24 * HOUR

/** Where the clock stands in tests that stop it: a fraction of a second is part of the matter. */
const NOON = new Date('2025-11-22T12:00:00.250Z')

/** Every promise of `RevocationStore`, for any store. */
export function testRevocationStore(open: () => Promise<StoreUnderTest>): void {
  let under: StoreUnderTest
  let store: RevocationStore
  let other: RevocationStore
  let clock: StoreUnderTest['clock']

  beforeAll(async () => {
    under = await open()
    clock = under.clock
  })
  beforeEach(async () => {
    await clock.reset()
    ;({ store, other } = await under.empty())
  })
  afterAll(async () => {
    await under.close()
  })

  /** A token as the service issues one: at an instant that the store drew. */
  async function issue(subject = 'ada', sessionId = 'phone', from = store): Promise<Token> {
    const issuedAt = (await from.issueInstant(subject)).getTime() / 1000
    return makeToken({ subject, sessionId, issuedAt, expiresAt: issuedAt + LIFETIME_SECONDS })
  }

  function revoke(
    target: RevocationTarget,
    request: Partial<RevocationRequest> = {},
  ): Promise<RevocationOutcome> {
    return store.revoke({ target, reason: 'logout', by: null, ...request })
  }

  async function isRevoked(token: Token): Promise<boolean> {
    const [found] = await store.findFor([token])
    return found !== null
  }

  describe('findFor', () => {
    it('answers nothing for no token', async () => {
      expect(await store.findFor([])).toEqual([])
    })

    it('answers in the order asked, each time a token is asked about', async () => {
      const [lost, stolen, good] = [await issue(), await issue(), await issue()]
      await revoke({ scope: 'TOKEN', token: lost }, { reason: 'lost' })
      await revoke({ scope: 'TOKEN', token: stolen }, { reason: 'stolen' })

      const found = await store.findFor([good, stolen, lost, good, lost, stolen])
      expect(found.map((entry) => entry?.reason ?? null)).toEqual([
        null,
        'stolen',
        'lost',
        null,
        'lost',
        'stolen',
      ])
    })

    it.each<[string, (token: Token) => RevocationTarget]>([
      ['the token', (token) => ({ scope: 'TOKEN', token })],
      ['its digest', ({ digest }) => ({ scope: 'TOKEN', digest })],
      ['its session', ({ sessionId, subject }) => ({ scope: 'SESSION', sessionId, subject })],
      ['its subject', ({ subject }) => ({ scope: 'SUBJECT', subject })],
    ])('finds what was revoked by %s, and for no other token', async (_what, targetOf) => {
      const token = await issue('ada', 'phone')
      const elsewhere = { sessionId: 'laptop', subject: 'bob', digest: 'f'.repeat(64) }
      const others = [
        await issue('bob', 'tablet'),
        { ...token, ...elsewhere, tokenId: 'another' },
        { ...token, ...elsewhere, issuer: 'another' },
      ]
      const { revocation } = await revoke(targetOf(token))

      expect(await store.findFor([token, ...others])).toEqual([revocation, null, null, null])
    })

    it('is seen by the other nodes as soon as a revocation is answered', async () => {
      const token = await issue()
      const { revocation } = await other.revoke({
        target: { scope: 'TOKEN', token },
        reason: 'lost',
        note: 'on a train',
        by: 'admin',
      })

      expect(await store.findFor([token])).toEqual([revocation])
      expect(revocation).toMatchObject({
        scope: 'TOKEN',
        issuer: 'portcullis',
        subject: 'ada',
        sessionId: 'phone',
        tokenId: token.tokenId,
        digest: null,
        keptSessionId: null,
        reason: 'lost',
        note: 'on a train',
        revokedBy: 'admin',
      })
    })

    // Q47
    it('answers for its neighbours when a token carries a poisonous name', async () => {
      const good = await issue()
      const bad = await issue()
      await revoke({ scope: 'TOKEN', token: bad })
      const poison = ['a\0b', 'x'.repeat(6144), 'a\ud800', '{not-a-uuid}', ''].map((tokenId) => ({
        ...good,
        tokenId,
      }))

      const found = await store.findFor([...poison, good, bad])
      expect(found.map((entry) => entry !== null)).toEqual([
        ...poison.map(() => false),
        false,
        true,
      ])
    })

    it('answers for 10,000 tokens at once', async () => {
      const tokens = Array.from({ length: 10_000 }, () => makeToken())
      const revoked = [0, 1234, 9999]
      for (const index of revoked) await revoke({ scope: 'TOKEN', token: tokens[index]! })

      const found = await store.findFor(tokens)
      expect(found).toHaveLength(10_000)
      expect(found.flatMap((entry, index) => (entry ? [index] : []))).toEqual(revoked)
    })
  })

  describe('findByDigest', () => {
    it('finds what revokes a token that could not be verified', async () => {
      const digest = 'e'.repeat(64)
      const { revocation } = await revoke({ scope: 'TOKEN', digest })

      expect(await other.findByDigest(digest)).toEqual(revocation)
      expect(await other.findByDigest('f'.repeat(64))).toBeNull()
    })
  })

  // Q08
  describe.each<[string, (token: Token) => RevocationTarget]>([
    ['a token', (token) => ({ scope: 'TOKEN', token })],
    ['the digest of a token', ({ digest }) => ({ scope: 'TOKEN', digest })],
    ['a session', ({ sessionId, subject }) => ({ scope: 'SESSION', sessionId, subject })],
  ])('revoking %s', (_what, targetOf) => {
    it('again keeps the first reason, note, time and actor, in one entry and one event', async () => {
      const target = targetOf(await issue())
      const first = await revoke(target, { reason: 'lost', note: 'on a train', by: 'ada' })
      await clock.jump(5 * SECOND)

      const second = await other.revoke({
        target,
        reason: 'stolen',
        note: 'after all',
        by: 'admin',
      })
      expect(first.alreadyRevoked).toBe(false)
      expect(second).toEqual({ ...first, alreadyRevoked: true, endedSessions: 0 })
      expect(first.revocation).toMatchObject({
        reason: 'lost',
        note: 'on a train',
        revokedBy: 'ada',
      })
      expect(await store.countInForce({})).toBe(1)
      expect(await store.countEvents({})).toBe(1)
    })

    it('50 times at once on two nodes succeeds 50 times, in one entry and one event', async () => {
      const target = targetOf(await issue())

      const outcomes = await Promise.all(
        Array.from({ length: 50 }, (_, index) =>
          (index % 2 ? store : other).revoke({ target, reason: `reason ${index}`, by: null }),
        ),
      )
      expect(outcomes.filter(({ alreadyRevoked }) => !alreadyRevoked)).toHaveLength(1)
      for (const { revocation } of outcomes) expect(revocation).toEqual(outcomes[0]!.revocation)
      expect(await store.countInForce({})).toBe(1)
      expect(await store.countEvents({})).toBe(1)
    })

    // Q18
    it('again after the entry has expired makes a new one', async () => {
      const token = await issue()
      const first = await revoke(targetOf(token), { reason: 'lost' })
      await clock.jump(25 * HOUR)
      const target = targetOf({ ...token, expiresAt: token.expiresAt + 26 * 3600 })

      const outcomes = await Promise.all(
        Array.from({ length: 10 }, (_, index) =>
          (index % 2 ? store : other).revoke({ target, reason: 'stolen', by: null }),
        ),
      )
      const second = outcomes.find(({ alreadyRevoked }) => !alreadyRevoked)
      expect(second?.revocation).toMatchObject({ reason: 'stolen' })
      expect(second?.revocation.id).not.toBe(first.revocation.id)
      expect(outcomes.filter(({ alreadyRevoked }) => !alreadyRevoked)).toHaveLength(1)
      expect(await store.countEvents({})).toBe(2)
      expect(await store.findById(first.revocation.id)).toEqual(first.revocation)
    })
  })

  // Q17
  describe('an entry stays in force', () => {
    it('for a token until it has expired, and a margin more', async () => {
      const issuedAt = Date.now() / 1000
      const token = makeToken({ issuedAt, expiresAt: issuedAt + 100.0004 })
      const { revocation } = await revoke({ scope: 'TOKEN', token })

      expect(revocation.expiresAt.getTime()).toBeGreaterThanOrEqual(
        token.expiresAt * 1000 + 60 * SECOND,
      )
      expect(revocation.expiresAt.getTime()).toBeLessThan(token.expiresAt * 1000 + HOUR)
    })

    it.each<RevocationTarget>([
      { scope: 'SESSION', sessionId: 'phone', subject: 'ada' },
      { scope: 'SUBJECT', subject: 'ada' },
      { scope: 'EVERYONE' },
    ])('for $scope as long as the youngest token it hits can live', async (target) => {
      await clock.stop(NOON)
      const youngest = await issue('ada', 'phone')
      const { revocation } = await revoke(target)

      expect(revocation.expiresAt.getTime()).toBeGreaterThanOrEqual(
        youngest.expiresAt * 1000 + 60 * SECOND,
      )
      await clock.jump(LIFETIME_SECONDS * SECOND)
      expect(await isRevoked(youngest)).toBe(true)
    })

    // Q07
    it('for a token that could not be verified 24 hours, and no longer', async () => {
      await clock.stop(NOON)
      const digest = 'e'.repeat(64)
      const { revocation } = await revoke({ scope: 'TOKEN', digest })

      expect(revocation.expiresAt.getTime() - revocation.revokedAt.getTime()).toBe(DAY)
      await clock.jump(DAY - 1)
      expect(await store.findByDigest(digest)).toEqual(revocation)
      await clock.jump(1)
      expect(await store.findByDigest(digest)).toBeNull()
    })

    // Q18
    it('and then no longer counts, swept or not', async () => {
      const token = await issue()
      const { revocation } = await revoke({ scope: 'SESSION', sessionId: 'phone', subject: 'ada' })
      await clock.jump(revocation.expiresAt.getTime() - revocation.revokedAt.getTime() + SECOND)

      expect(await isRevoked(token)).toBe(false)
      expect(await store.countInForce({})).toBe(0)
      expect(await store.listInForce({ first: 10, after: null, filter: {} })).toEqual({
        items: [],
        hasNextPage: false,
      })
    })
  })

  // Q12
  describe.each<[string, RevocationTarget]>([
    ['one person', { scope: 'SUBJECT', subject: 'ada' }],
    ['everyone', { scope: 'EVERYONE' }],
  ])('a cut-off for %s', (_whom, target) => {
    it('tells before from after while the clock stands still', async () => {
      await clock.stop(NOON)
      const before: Token[] = []

      for (let round = 0; round < 20; round += 1) {
        const token = await issue('ada', 'phone', round % 2 ? store : other)
        expect(await isRevoked(token)).toBe(false)
        before.push(token)

        await revoke(target)
        expect(await Promise.all(before.map(isRevoked))).toEqual(before.map(() => true))
      }
    })

    it('spares nothing because an earlier one of another kind has moved the next issue ahead', async () => {
      await clock.stop(NOON)
      await revoke({ scope: 'EVERYONE' })
      await revoke({ scope: 'SUBJECT', subject: 'ada' })
      const token = await issue()

      expect(await isRevoked(token)).toBe(false)
      await revoke(target)
      expect(await isRevoked(token)).toBe(true)
    })

    it('tells before from after once the clock was set back', async () => {
      await revoke(target)
      await clock.jump(-30 * SECOND)
      const token = await issue()

      expect(await isRevoked(token)).toBe(false)
      await revoke(target)
      expect(await isRevoked(token)).toBe(true)
      expect(await isRevoked(await issue())).toBe(false)
    })

    // Q57
    it('tells before from after of acts that overlap on two nodes', async () => {
      const issues: Array<Span & { token: Token }> = []
      const cutOffs: Array<Span & { revokedAt: Date }> = []
      let step = 0

      async function keepIssuing(from: RevocationStore, times: number): Promise<void> {
        for (let time = 0; time < times; time += 1) {
          const start = (step += 1)
          const token = await issue('ada', 'phone', from)
          issues.push({ start, end: (step += 1), token })
        }
      }
      async function keepRevoking(from: RevocationStore, times: number): Promise<void> {
        for (let time = 0; time < times; time += 1) {
          const start = (step += 1)
          const { revocation } = await from.revoke({ target, reason: 'logout', by: null })
          cutOffs.push({ start, end: (step += 1), revokedAt: revocation.revokedAt })
        }
      }
      await Promise.all([
        keepIssuing(store, 25),
        keepIssuing(other, 25),
        keepIssuing(store, 25),
        keepRevoking(store, 12),
        keepRevoking(other, 12),
      ])

      for (const { token, start, end } of issues) {
        for (const cutOff of cutOffs) {
          const isHit = token.issuedAt * 1000 <= cutOff.revokedAt.getTime()
          if (end < cutOff.start) expect(isHit).toBe(true)
          if (start > cutOff.end) expect(isHit).toBe(false)
        }
      }
      const lastCutOff = Math.max(...cutOffs.map(({ start }) => start))
      const over = issues.filter(({ end }) => end < lastCutOff).map(({ token }) => token)
      expect(await store.findFor(over)).not.toContain(null)
    })
  })

  it('spares the session that a cut-off keeps, and no other', async () => {
    const phone = await issue('ada', 'phone')
    const laptop = await issue('ada', 'laptop')
    const bobs = await issue('bob', 'tablet')
    const { revocation } = await revoke({
      scope: 'SUBJECT',
      subject: 'ada',
      keptSessionId: 'phone',
    })

    expect(revocation.keptSessionId).toBe('phone')
    expect(await store.findFor([phone, laptop, bobs])).toEqual([null, revocation, null])
  })

  it('names the oldest entry of those that revoke a token', async () => {
    const token = await issue()
    await revoke({ scope: 'SESSION', sessionId: 'phone', subject: 'ada' }, { reason: 'first' })
    await clock.jump(SECOND)
    await revoke({ scope: 'TOKEN', token }, { reason: 'second' })
    await clock.jump(SECOND)
    await revoke({ scope: 'EVERYONE' }, { reason: 'third' })

    const [found] = await store.findFor([token])
    expect(found?.reason).toBe('first')
  })

  describe('issueInstant', () => {
    it("is the store's own time, and after every cut-off so far", async () => {
      await clock.stop(NOON)

      expect(await store.issueInstant('ada')).toEqual(NOON)
      await revoke({ scope: 'SUBJECT', subject: 'ada' })
      const next = await store.issueInstant('ada')
      expect(next.getTime()).toBeGreaterThan(NOON.getTime())
      expect(next.getTime()).toBeLessThan(NOON.getTime() + SECOND)
      expect(await store.issueInstant('bob')).toEqual(NOON)
    })

    it('reaches no other person, even of poisonous names', async () => {
      for (const subject of ['a\0b', 'x'.repeat(6144), 'a\ud800']) {
        expect(await store.issueInstant(subject)).toBeInstanceOf(Date)
      }
    })
  })

  describe('restore', () => {
    it('takes an entry out of force, with a trace of who and why', async () => {
      const token = await issue()
      const { revocation } = await revoke({ scope: 'TOKEN', token }, { reason: 'lost', by: 'ada' })
      expect(await isRevoked(token)).toBe(true)

      const outcome = await other.restore(revocation.id, {
        by: 'admin',
        note: 'it was in the other bag',
      })
      expect(outcome).toEqual({ revocation, alreadyRestored: false })
      expect(await isRevoked(token)).toBe(false)
      expect(await store.countInForce({})).toBe(0)
      expect(await store.findById(revocation.id)).toEqual(revocation)
      const { items } = await store.listEvents({ first: 10, after: null, filter: {} })
      expect(items).toMatchObject([
        { kind: 'RESTORED', actor: 'admin', note: 'it was in the other bag', revocation },
        { kind: 'REVOKED', actor: 'ada', note: null, revocation },
      ])
    })

    it('is done once, however often and from wherever it is asked for', async () => {
      const { revocation } = await revoke({ scope: 'EVERYONE' })

      const outcomes = await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          (index % 2 ? store : other).restore(revocation.id, { by: `admin ${index}` }),
        ),
      )
      expect(outcomes.filter((outcome) => outcome?.alreadyRestored === false)).toHaveLength(1)
      for (const outcome of outcomes) expect(outcome?.revocation).toEqual(revocation)
      expect(await store.countEvents({})).toBe(2)
    })

    it('knows nothing of an id that was never made', async () => {
      expect(
        await store.restore('00000000-0000-4000-8000-000000000000', { by: 'admin' }),
      ).toBeNull()
      expect(await store.findById('00000000-0000-4000-8000-000000000000')).toBeNull()
    })

    it('leaves an older entry in force', async () => {
      const token = await issue()
      const older = await revoke({ scope: 'SUBJECT', subject: 'ada' }, { reason: 'older' })
      await clock.jump(SECOND)
      const newer = await revoke({ scope: 'SUBJECT', subject: 'ada' }, { reason: 'newer' })

      expect(newer.revocation.id).not.toBe(older.revocation.id)
      await store.restore(newer.revocation.id, { by: 'admin' })
      expect(await store.findFor([token])).toEqual([older.revocation])
    })

    it('leaves a newer entry in force', async () => {
      const token = await issue()
      const older = await revoke({ scope: 'EVERYONE' }, { reason: 'older' })
      await clock.jump(SECOND)
      const newer = await revoke({ scope: 'SUBJECT', subject: 'ada' }, { reason: 'newer' })

      await store.restore(older.revocation.id, { by: 'admin' })
      expect(await store.findFor([token])).toEqual([newer.revocation])
    })

    it('lets the same be revoked anew, in an entry of its own', async () => {
      const token = await issue()
      const first = await revoke({ scope: 'TOKEN', token })
      await store.restore(first.revocation.id, { by: 'admin' })

      const second = await revoke({ scope: 'TOKEN', token })
      expect(second.alreadyRevoked).toBe(false)
      expect(second.revocation.id).not.toBe(first.revocation.id)
      expect(await isRevoked(token)).toBe(true)
    })

    it('and revoking, at once and many times, end in a state that the journal explains', async () => {
      const target: RevocationTarget = { scope: 'SESSION', sessionId: 'phone', subject: 'ada' }
      const token = await issue()

      async function keepGoing(from: RevocationStore): Promise<void> {
        for (let time = 0; time < 8; time += 1) {
          const { revocation } = await from.revoke({ target, reason: 'logout', by: null })
          await from.restore(revocation.id, { by: 'admin' })
        }
      }
      await Promise.all([keepGoing(store), keepGoing(other), keepGoing(store), keepGoing(other)])

      const { items } = await store.listEvents({ first: 200, after: null, filter: {} })
      const made = items
        .filter(({ kind }) => kind === 'REVOKED')
        .map(({ revocation }) => revocation.id)
      const undone = items
        .filter(({ kind }) => kind === 'RESTORED')
        .map(({ revocation }) => revocation.id)
      expect(new Set(made).size).toBe(made.length)
      expect(undone.toSorted()).toEqual(made.toSorted())
      expect(await isRevoked(token)).toBe(false)
    })
  })

  describe('the list of what is in force', () => {
    it('runs from the newest to the oldest', async () => {
      for (const sessionId of ['a', 'b', 'c']) {
        await revoke({ scope: 'SESSION', sessionId, subject: 'ada' })
        await clock.jump(SECOND)
      }

      const { items } = await store.listInForce({ first: 10, after: null, filter: {} })
      expect(items.map(({ sessionId }) => sessionId)).toEqual(['c', 'b', 'a'])
    })

    it('finds what hits an id in every spelling of a UUID or a digest, and in one of any other name', async () => {
      const id = 'aaaabbbb-cccc-4ddd-8eee-ffff00001111'
      const digest = 'ab'.repeat(32)
      await revoke({ scope: 'SESSION', sessionId: id, subject: 'Ada' }, { by: id })
      await revoke({ scope: 'TOKEN', digest })
      const count = async (filter: RevocationFilter): Promise<number[]> => [
        await store.countInForce(filter),
        await store.countEvents(filter),
        (await store.listInForce({ first: 10, after: null, filter })).items.length,
      ]

      for (const one of [id, id.toUpperCase()]) {
        expect(await count({ sessionId: one })).toEqual([1, 1, 1])
        expect(await count({ revokedBy: one })).toEqual([1, 1, 1])
      }
      expect(await count({ tokenId: digest })).toEqual([1, 1, 1])
      expect(await count({ tokenId: digest.toUpperCase() })).toEqual([1, 1, 1])
      expect(await count({ subject: 'Ada' })).toEqual([1, 1, 1])
      expect(await count({ subject: 'ada' })).toEqual([0, 0, 0])
    })

    it('comes in pages that skip and repeat nothing, even of one instant', async () => {
      await clock.stop(NOON)
      for (let index = 0; index < 25; index += 1) {
        await revoke({ scope: 'SESSION', sessionId: `device ${index}`, subject: 'ada' })
      }

      const pages = await readPages((after: Revocation | null) =>
        store.listInForce({ first: 10, after, filter: {} }),
      )
      expect(pages.map(({ items, hasNextPage }) => [items.length, hasNextPage])).toEqual([
        [10, true],
        [10, true],
        [5, false],
      ])
      expect(new Set(pages.flatMap(({ items }) => items).map(({ id }) => id)).size).toBe(25)
    })

    it('goes on where it was when new entries come and old ones go between two pages', async () => {
      for (let index = 0; index < 9; index += 1) {
        await revoke({ scope: 'SESSION', sessionId: `device ${index}`, subject: 'ada' })
        await clock.jump(SECOND)
      }

      const first = await store.listInForce({ first: 3, after: null, filter: {} })
      await revoke({ scope: 'SESSION', sessionId: 'a new one', subject: 'ada' })
      await store.restore(first.items[2]!.id, { by: 'admin' })
      const second = await store.listInForce({ first: 100, after: first.items[2]!, filter: {} })
      expect([...first.items, ...second.items].map(({ sessionId }) => sessionId)).toEqual(
        [8, 7, 6, 5, 4, 3, 2, 1, 0].map((index) => `device ${index}`),
      )
    })

    it.each([
      [0, 0, false],
      [1, 1, true],
      [2, 2, false],
      [3, 2, false],
    ])('of two, asked for %i, gives %i', async (first, length, hasNextPage) => {
      await revoke({ scope: 'EVERYONE' })
      await revoke({ scope: 'SUBJECT', subject: 'ada' })

      const page = await store.listInForce({ first, after: null, filter: {} })
      expect(page.items).toHaveLength(length)
      if (first > 0) expect(page.hasNextPage).toBe(hasNextPage)
    })
  })

  describe('the journal', () => {
    it('comes in pages that skip and repeat nothing, newest first', async () => {
      await clock.stop(NOON)
      for (let index = 0; index < 12; index += 1) {
        const { revocation } = await revoke({
          scope: 'SESSION',
          sessionId: `${index}`,
          subject: 'ada',
        })
        if (index % 2) await store.restore(revocation.id, { by: 'admin' })
      }

      const pages = await readPages((after: EventCursor | null) =>
        store.listEvents({ first: 5, after, filter: {} }),
      )
      const events = pages.flatMap(({ items }) => items)
      expect(pages.map(({ items }) => items.length)).toEqual([5, 5, 5, 3])
      expect(events.map(({ id }) => BigInt(id))).toEqual(
        events.map(({ id }) => BigInt(id)).toSorted((a, b) => (a < b ? 1 : -1)),
      )
      expect(new Set(events.map(({ id }) => id)).size).toBe(18)
    })

    it('outlives the entries that it tells of', async () => {
      const { revocation } = await revoke({ scope: 'EVERYONE' }, { note: 'a leak', by: 'admin' })
      await clock.jump(DAY + HOUR)
      expect(await store.deleteExpired(100)).toBe(1)

      const { items } = await store.listEvents({ first: 10, after: null, filter: {} })
      expect(items).toMatchObject([{ kind: 'REVOKED', actor: 'admin', note: 'a leak', revocation }])
      expect(await store.findById(revocation.id)).toEqual(revocation)
    })
  })

  describe('the journal, as it grows', () => {
    const readOn = (
      after: JournalPlace | null,
      { filter = {}, limit = 100 }: Partial<JournalRequest> = {},
    ): Promise<JournalExtract> => other.readEvents({ after, filter, limit })
    const sessionsOf = ({ events }: JournalExtract): unknown[] =>
      events.map(({ revocation }) => revocation.sessionId)
    const revokeSession = (sessionId: string): Promise<RevocationOutcome> =>
      revoke({ scope: 'SESSION', sessionId, subject: 'ada' })

    it('begins with nothing, and goes on with what was added, in pieces of any size', async () => {
      await revokeSession('before')
      const start = await readOn(null)
      expect(start.events).toEqual([])
      for (const sessionId of ['a', 'b', 'c']) await revokeSession(sessionId)

      const first = await readOn(start.place, { limit: 2 })
      const second = await readOn(first.place, { limit: 2 })
      await revokeSession('d')
      const third = await readOn(second.place, { limit: 2 })

      expect([first, second, third].map(sessionsOf)).toEqual([['a', 'b'], ['c'], ['d']])
      expect((await readOn(third.place)).events).toEqual([])
    })

    it('goes on behind each line: of what was read so, and of a page', async () => {
      const { place } = await readOn(null)
      for (const sessionId of ['a', 'b', 'c']) await revokeSession(sessionId)
      const { events } = await readOn(place)
      const { items } = await store.listEvents({ first: 3, after: null, filter: {} })

      for (const [index, line] of [...events, ...items.toReversed()].entries()) {
        expect(sessionsOf(await readOn(line.place))).toEqual(['a', 'b', 'c'].slice((index % 3) + 1))
      }
      expect(events.map(({ id }) => id)).toEqual(items.toReversed().map(({ id }) => id))
    })

    it('tells of every kind of line, as the list does', async () => {
      const { place } = await readOn(null)
      const { revocation } = await revoke(
        { scope: 'SUBJECT', subject: 'ada' },
        { note: 'why', by: 'admin' },
      )
      await store.restore(revocation.id, { by: 'admin', note: 'sorry' })

      const { events } = await readOn(place)
      const { items } = await store.listEvents({ first: 2, after: null, filter: {} })
      const withoutPlace = ({ place: _place, ...line }: RevocationEvent): object => line
      expect(events.map(({ kind }) => kind)).toEqual(['REVOKED', 'RESTORED'])
      expect(events.map(withoutPlace)).toEqual(items.toReversed().map(withoutPlace))
    })

    it('is read through a filter', async () => {
      const { place } = await readOn(null)
      await revokeSession('a')
      await revoke({ scope: 'SUBJECT', subject: 'ada' })
      await revokeSession('b')

      expect(sessionsOf(await readOn(place, { filter: { scope: 'SESSION' } }))).toEqual(['a', 'b'])
      expect(sessionsOf(await readOn(place, { filter: { sessionId: 'b' } }))).toEqual(['b'])
    })

    it('is watched: what was revoked is told before it is answered, and not after the end', async () => {
      const told: unknown[] = []
      const unwatch = store.watch({
        grew: (revocations) => told.push(revocations.map(({ id }) => id)),
        missed: () => told.push('missed'),
      })

      const { revocation } = await revokeSession('a')
      expect(told).toEqual([[revocation.id]])
      await store.restore(revocation.id, { by: 'admin' })
      expect(told).toEqual([[revocation.id], []])

      unwatch()
      await revokeSession('b')
      expect(told).toHaveLength(2)
    })
  })

  describe('a filter', () => {
    const at = (seconds: number): Date => new Date(NOON.getTime() + seconds * SECOND)

    beforeEach(async () => {
      await clock.stop(NOON)
      await revoke(
        { scope: 'SESSION', sessionId: 'phone', subject: 'ada' },
        { reason: 'logout', by: 'ada' },
      )
      await clock.jump(SECOND)
      const token = makeToken({
        subject: 'ada',
        sessionId: 'laptop',
        tokenId: 'jti 1',
        expiresAt: NOON.getTime() / 1000 + 900,
      })
      await revoke({ scope: 'TOKEN', token }, { reason: 'stolen', by: 'admin' })
      await clock.jump(SECOND)
      await revoke({ scope: 'SUBJECT', subject: 'bob' }, { reason: 'stolen', by: 'admin' })
      await clock.jump(SECOND)
      const { revocation } = await revoke({ scope: 'EVERYONE' }, { reason: 'leak', by: 'admin' })
      await clock.jump(SECOND)
      await store.restore(revocation.id, { by: 'root', note: 'a false alarm' })
    })

    it.each<[string, RevocationFilter, string[], string[]]>([
      [
        'nothing',
        {},
        ['SUBJECT', 'TOKEN', 'SESSION'],
        ['EVERYONE', 'EVERYONE', 'SUBJECT', 'TOKEN', 'SESSION'],
      ],
      [
        'nulls',
        { scope: null, subject: null, since: null },
        ['SUBJECT', 'TOKEN', 'SESSION'],
        ['EVERYONE', 'EVERYONE', 'SUBJECT', 'TOKEN', 'SESSION'],
      ],
      ['scope', { scope: 'TOKEN' }, ['TOKEN'], ['TOKEN']],
      ['subject', { subject: 'ada' }, ['TOKEN', 'SESSION'], ['TOKEN', 'SESSION']],
      ['sessionId', { sessionId: 'phone' }, ['SESSION'], ['SESSION']],
      ['tokenId', { tokenId: 'jti 1' }, ['TOKEN'], ['TOKEN']],
      ['reason', { reason: 'stolen' }, ['SUBJECT', 'TOKEN'], ['SUBJECT', 'TOKEN']],
      ['revokedBy', { revokedBy: 'admin' }, ['SUBJECT', 'TOKEN'], ['EVERYONE', 'SUBJECT', 'TOKEN']],
      ['who restored', { revokedBy: 'root' }, [], ['EVERYONE']],
      [
        'since, included',
        { since: at(1) },
        ['SUBJECT', 'TOKEN'],
        ['EVERYONE', 'EVERYONE', 'SUBJECT', 'TOKEN'],
      ],
      ['until, excluded', { until: at(1) }, ['SESSION'], ['SESSION']],
      ['since and until', { since: at(1), until: at(2) }, ['TOKEN'], ['TOKEN']],
      [
        'several members',
        { subject: 'ada', reason: 'stolen', revokedBy: 'admin' },
        ['TOKEN'],
        ['TOKEN'],
      ],
      ['what does not occur', { subject: 'ada', scope: 'EVERYONE' }, [], []],
      ['what looks like a pattern', { subject: '%' }, [], []],
    ])(
      'by %s selects the entries, the events and their counts',
      async (_what, filter, inForce, events) => {
        const page = { first: 10, after: null, filter }

        expect((await store.listInForce(page)).items.map(({ scope }) => scope)).toEqual(inForce)
        expect(await store.countInForce(filter)).toBe(inForce.length)
        expect(
          (await store.listEvents(page)).items.map(({ revocation }) => revocation.scope),
        ).toEqual(events)
        expect(await store.countEvents(filter)).toBe(events.length)
      },
    )
  })

  // Q18
  describe('deleteExpired', () => {
    it('removes what may go, no more than the limit at a time, and nothing that is in force', async () => {
      for (let index = 0; index < 7; index += 1) {
        await revoke({ scope: 'SESSION', sessionId: `old ${index}`, subject: 'ada' })
      }
      await clock.jump(DAY + HOUR)
      const token = await issue('ada', 'phone')
      await revoke({ scope: 'SESSION', sessionId: 'phone', subject: 'ada' })

      const counts = [
        await store.deleteExpired(3),
        await other.deleteExpired(3),
        await store.deleteExpired(3),
      ]
      expect(counts).toEqual([3, 3, 1])
      expect(await store.deleteExpired(3)).toBe(0)
      expect(await isRevoked(token)).toBe(true)
      expect(await store.countInForce({})).toBe(1)
      expect(await store.countEvents({})).toBe(8)
    })

    it('keeps an entry for a day after it expired, to the second', async () => {
      await clock.stop(NOON)
      const { revocation } = await revoke({ scope: 'EVERYONE' })

      await clock.jump(revocation.expiresAt.getTime() + DAY - NOON.getTime() - SECOND)
      expect(await store.deleteExpired(10)).toBe(0)
      await clock.jump(SECOND)
      expect(await store.deleteExpired(10)).toBe(1)
    })

    it.each([20 * 60 * SECOND, 23 * HOUR])(
      'forgets nothing because the clock was %s ms ahead for a sweep',
      async (ms) => {
        const token = await issue()
        const { revocation } = await revoke({
          scope: 'SESSION',
          sessionId: 'phone',
          subject: 'ada',
        })

        await clock.jump(ms)
        await store.deleteExpired(10)
        await clock.jump(-ms)
        await store.ping()
        expect(await store.findFor([token])).toEqual([revocation])
        expect(await other.findFor([token])).toEqual([revocation])
      },
    )

    it('removes lines of the journal after their retention, no more than the limit at a time', async () => {
      for (let index = 0; index < 5; index += 1) {
        await revoke({ scope: 'SESSION', sessionId: `old ${index}`, subject: 'ada' })
      }
      await clock.jump(DAY)
      await revoke({ scope: 'SESSION', sessionId: 'young', subject: 'ada' })
      await clock.jump((RETENTION_DAYS - 1) * DAY + SECOND)

      expect(await store.deleteExpired(4)).toBe(4)
      expect(await store.countEvents({})).toBe(2)
      expect(await store.deleteExpired(4)).toBe(1)
      expect(await store.countEvents({})).toBe(1)
      const { items } = await store.listEvents({ first: 10, after: null, filter: {} })
      expect(items[0]?.revocation.sessionId).toBe('young')
    })
  })

  describe('now', () => {
    it("follows the store's clock, not the node's", async () => {
      await clock.jump(-HOUR)
      await store.ping()
      expect(Math.abs(store.now() * 1000 - (Date.now() - HOUR))).toBeLessThan(5 * SECOND)

      await clock.jump(3 * HOUR)
      await store.findFor([makeToken()])
      expect(Math.abs(store.now() * 1000 - (Date.now() + 2 * HOUR))).toBeLessThan(5 * SECOND)
    })
  })
}

interface Span {
  readonly start: number
  readonly end: number
}

async function readPages<Item extends Cursor, Cursor>(
  read: (after: Cursor | null) => Promise<Page<Item>>,
): Promise<Array<Page<Item>>> {
  const pages: Array<Page<Item>> = []
  let after: Cursor | null = null
  for (;;) {
    const page: Page<Item> = await read(after)
    pages.push(page)
    if (!page.hasNextPage || pages.length > 100) return pages
    after = page.items.at(-1)!
  }
}
