import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Revocation } from '../../src/contract.ts'
import { findRevoking, isRevokedBy } from '../../src/revocation/revocation.ts'
import type { Token } from '../../src/token/claims.ts'
import { makeToken } from './make-token.ts'

/** Few names and few instants, so that tokens and entries meet. */
const name = fc.constantFrom('a', 'b', 'c')
const MIDNIGHT = Date.UTC(2025, 10, 22)
const millis = fc.integer({ min: MIDNIGHT, max: MIDNIGHT + 10 })

const token: fc.Arbitrary<Token> = fc
  .record({
    issuer: name,
    subject: name,
    tokenId: name,
    sessionId: name,
    digest: name,
    issuedAtMicros: fc.integer({ min: MIDNIGHT * 1000, max: (MIDNIGHT + 10) * 1000 }),
  })
  .map(({ issuedAtMicros, ...claims }) => makeToken({ ...claims, issuedAt: issuedAtMicros / 1e6 }))

const cutOff: fc.Arbitrary<Revocation> = fc
  .record({
    scope: fc.constantFrom('SUBJECT' as const, 'EVERYONE' as const),
    subject: name,
    keptSessionId: fc.option(name),
    revokedAt: millis,
  })
  .map(({ scope, subject, keptSessionId, revokedAt }) =>
    scope === 'SUBJECT'
      ? entry({ scope, subject, keptSessionId, revokedAt: new Date(revokedAt) })
      : entry({ scope, revokedAt: new Date(revokedAt) }),
  )

const anyEntry: fc.Arbitrary<Revocation> = fc.oneof(
  cutOff,
  fc
    .tuple(name, millis)
    .map(([sessionId, revokedAt]) =>
      entry({ scope: 'SESSION', sessionId, revokedAt: new Date(revokedAt) }),
    ),
  fc
    .tuple(name, name, millis)
    .map(([issuer, tokenId, revokedAt]) =>
      entry({ scope: 'TOKEN', issuer, tokenId, revokedAt: new Date(revokedAt) }),
    ),
  fc
    .tuple(name, millis)
    .map(([digest, revokedAt]) =>
      entry({ scope: 'TOKEN', digest, revokedAt: new Date(revokedAt) }),
    ),
)

// Q05
describe('an entry for one token', () => {
  it('revokes the token of its issuer and id, whatever else differs', () => {
    fc.assert(
      fc.property(token, token, (revoked, other) => {
        const { issuer, tokenId } = revoked
        const revocation = entry({ scope: 'TOKEN', issuer, tokenId })

        const isSame = other.issuer === issuer && other.tokenId === tokenId
        expect(isRevokedBy(revoked, revocation)).toBe(true)
        expect(isRevokedBy(other, revocation)).toBe(isSame)
      }),
    )
  })

  it('revokes by the digest of the signing input, and by that only, when the token could not be verified', () => {
    fc.assert(
      fc.property(token, name, (presented, digest) => {
        const revocation = entry({ scope: 'TOKEN', digest })

        expect(isRevokedBy(presented, revocation)).toBe(presented.digest === digest)
      }),
    )
  })
})

// Q11
it('revokes every token of a session, of whatever age', () => {
  fc.assert(
    fc.property(token, name, millis, (presented, sessionId, revokedAt) => {
      const revocation = entry({ scope: 'SESSION', sessionId, revokedAt: new Date(revokedAt) })

      expect(isRevokedBy(presented, revocation)).toBe(presented.sessionId === sessionId)
    }),
  )
})

// Q12
describe('a cut-off', () => {
  it('revokes what was issued at or before it, and nothing later', () => {
    fc.assert(
      fc.property(token, cutOff, (presented, revocation) => {
        const isItsSubject =
          revocation.scope === 'EVERYONE' || presented.subject === revocation.subject
        const isKept = presented.sessionId === revocation.keptSessionId
        const isIssuedLater = presented.issuedAt * 1000 >= revocation.revokedAt.getTime() + 1 - 1e-4

        expect(isRevokedBy(presented, revocation)).toBe(isItsSubject && !isKept && !isIssuedLater)
      }),
    )
  })

  it('tells instants apart to the millisecond, all through the century', () => {
    const instant = fc.integer({ min: Date.UTC(2000, 0), max: Date.UTC(2100, 0) })
    fc.assert(
      fc.property(instant, (issuedAtMs) => {
        const presented = makeToken({ issuedAt: issuedAtMs / 1000 })

        expect(isRevokedBy(presented, everyoneAt(issuedAtMs))).toBe(true)
        expect(isRevokedBy(presented, everyoneAt(issuedAtMs - 1))).toBe(false)
      }),
      { numRuns: 2000 },
    )
  })

  it.each([
    ['a second before', -1, true],
    ['a millisecond before', -0.001, true],
    ['in the same millisecond', 0, true],
    ['a part of a millisecond after', 0.000_4, true],
    ['almost a millisecond after', 0.000_999, true],
    ['a millisecond after', 0.001, false],
    ['later in the same second', 0.5, false],
  ])('given a token issued %s', (_when, seconds, isRevoked) => {
    const cutOffMs = MIDNIGHT + 250

    const presented = makeToken({ issuedAt: cutOffMs / 1000 + seconds })
    expect(isRevokedBy(presented, everyoneAt(cutOffMs))).toBe(isRevoked)
  })

  it.each([
    ['at the start of the second of the cut-off', MIDNIGHT, true],
    ['at the start of the next', MIDNIGHT + 1000, false],
  ])('takes an iat in whole seconds as it stands: %s', (_when, issuedAtMs, isRevoked) => {
    const presented = makeToken({ issuedAt: issuedAtMs / 1000 })

    expect(isRevokedBy(presented, everyoneAt(MIDNIGHT + 250))).toBe(isRevoked)
  })

  it('spares the kept session, and of that person only', () => {
    const revocation = entry({
      scope: 'SUBJECT',
      subject: 'ada',
      keptSessionId: 'phone',
      revokedAt: new Date(MIDNIGHT),
    })
    const issuedAt = MIDNIGHT / 1000

    expect(isRevokedBy(makeToken({ issuedAt, sessionId: 'phone' }), revocation)).toBe(false)
    expect(isRevokedBy(makeToken({ issuedAt, sessionId: 'laptop' }), revocation)).toBe(true)
    expect(isRevokedBy(makeToken({ issuedAt, subject: 'bob' }), revocation)).toBe(false)
  })
})

describe('several entries', () => {
  // Q12
  it('let the latest cut-off win: what an earlier one revokes, a later one does too', () => {
    fc.assert(
      fc.property(token, cutOff, fc.nat(10), (presented, earlier, laterByMs) => {
        const revokedAt = new Date(earlier.revokedAt.getTime() + laterByMs)

        fc.pre(isRevokedBy(presented, earlier))
        expect(isRevokedBy(presented, { ...earlier, revokedAt })).toBe(true)
      }),
    )
  })

  it('never shorten each other: added ones leave revoked what was', () => {
    fc.assert(
      fc.property(token, fc.array(anyEntry), fc.array(anyEntry), (presented, before, added) => {
        fc.pre(findRevoking(presented, before) !== null)

        expect(findRevoking(presented, [...before, ...added])).not.toBeNull()
        expect(findRevoking(presented, [...added, ...before])).not.toBeNull()
      }),
    )
  })

  it('revoke a token when one of them does, in whatever order they come', () => {
    const shuffled = fc
      .array(anyEntry)
      .chain((entries) =>
        fc.tuple(fc.constant(entries), fc.shuffledSubarray(entries, { minLength: entries.length })),
      )
    fc.assert(
      fc.property(token, shuffled, (presented, [entries, otherOrder]) => {
        const found = findRevoking(presented, entries)

        expect(found !== null).toBe(entries.some((one) => isRevokedBy(presented, one)))
        expect(findRevoking(presented, otherOrder)?.revokedAt).toEqual(found?.revokedAt)
      }),
    )
  })

  it('name the oldest, because that is the one that ended the token', () => {
    fc.assert(
      fc.property(token, fc.array(anyEntry, { minLength: 1 }), (presented, entries) => {
        const found = findRevoking(presented, new Set(entries))
        fc.pre(found !== null)

        expect(isRevokedBy(presented, found)).toBe(true)
        for (const one of entries.filter((each) => isRevokedBy(presented, each))) {
          expect(found.revokedAt.getTime()).toBeLessThanOrEqual(one.revokedAt.getTime())
        }
      }),
    )
  })

  it('are none, and revoke nothing', () => {
    expect(findRevoking(makeToken(), [])).toBeNull()
  })

  it('keep a session alive only when each of them spares it', () => {
    const presented = makeToken({ issuedAt: MIDNIGHT / 1000, sessionId: 'phone' })
    const keeping = entry({
      scope: 'SUBJECT',
      subject: 'ada',
      keptSessionId: 'phone',
      revokedAt: new Date(MIDNIGHT + 1),
    })

    expect(findRevoking(presented, [keeping])).toBeNull()
    expect(findRevoking(presented, [keeping, everyoneAt(MIDNIGHT)])).toMatchObject({
      scope: 'EVERYONE',
    })
  })
})

function everyoneAt(ms: number): Revocation {
  return entry({ scope: 'EVERYONE', revokedAt: new Date(ms) })
}

function entry(revocation: Partial<Revocation> & Pick<Revocation, 'scope'>): Revocation {
  const { revokedAt = new Date(MIDNIGHT) } = revocation
  return {
    id: '00000000-0000-4000-8000-000000000000',
    issuer: null,
    subject: null,
    sessionId: null,
    tokenId: null,
    digest: null,
    keptSessionId: null,
    expiresAt: new Date(revokedAt.getTime() + 1_020_000),
    reason: 'logout',
    note: null,
    revokedBy: null,
    ...revocation,
    revokedAt,
  }
}
