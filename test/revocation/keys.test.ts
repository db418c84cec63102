import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EVERYONE_KEY, keyOfTarget, keysOfToken } from '../../src/revocation/key.ts'
import type { RevocationTarget } from '../../src/revocation/revocation.ts'
import { makeToken } from './make-token.ts'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** Whatever JavaScript calls a string: NUL and halves of surrogate pairs too. */
const anyString = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.array(fc.nat(0xffff), { maxLength: 20 }).map((units) => String.fromCharCode(...units)),
)

// Q47
describe('a key', () => {
  it('is a UUID, whatever a token calls itself', () => {
    fc.assert(
      fc.property(
        anyString,
        anyString,
        anyString,
        anyString,
        (issuer, tokenId, sessionId, subject) => {
          const keys = keysOfToken(makeToken({ issuer, tokenId, sessionId, subject }))

          for (const key of keys) expect(key).toMatch(UUID)
        },
      ),
    )
  })

  it.each([
    ['nothing', ''],
    ['a NUL', 'a\0b'],
    ['half of a surrogate pair', 'a\ud800'],
    ['6 kB', 'x'.repeat(6144)],
    ['SQL', `'; drop table revocation; --`],
    ['what is no UUID', '{not-a-uuid}'],
  ])('is a UUID for an id that is %s', (_what, tokenId) => {
    for (const key of keysOfToken(makeToken({ tokenId }))) expect(key).toMatch(UUID)
  })

  it('is another one for another name', () => {
    fc.assert(
      fc.property(fc.uniqueArray(anyString, { minLength: 2, maxLength: 20 }), (names) => {
        const keys = names.map((sessionId) =>
          keyOfTarget({ scope: 'SESSION', sessionId, subject: null }),
        )

        expect(new Set(keys).size).toBe(names.length)
      }),
    )
  })

  it.each([
    ['half of a surrogate pair and what an encoder puts in its place', '\ud800', '\ufffd'],
    ['two spellings of one letter', '\u00e9', 'e\u0301'],
    ['upper and lower case', 'ADA', 'ada'],
    ['with and without a space', 'ada', 'ada '],
  ])('tells apart %s', (_what, one, other) => {
    expect(keyOfTarget({ scope: 'SUBJECT', subject: one })).not.toBe(
      keyOfTarget({ scope: 'SUBJECT', subject: other }),
    )
  })

  it('is never shared between scopes, even by one name', () => {
    fc.assert(
      fc.property(anyString, (same) => {
        const [token, digest, session, subject, everyone] = keysOfToken(
          makeToken({ issuer: same, tokenId: same, digest: same, sessionId: same, subject: same }),
        )

        expect(new Set([token, digest, session, subject, everyone]).size).toBe(5)
      }),
    )
  })

  it('holds issuer and id apart: what ends one does not begin the other', () => {
    fc.assert(
      fc.property(anyString, fc.string({ minLength: 1 }), anyString, (left, middle, right) => {
        const one = makeToken({ issuer: left + middle, tokenId: right })
        const other = makeToken({ issuer: left, tokenId: middle + right })

        expect(keysOfToken(one)[0]).not.toBe(keysOfToken(other)[0])
      }),
    )
  })

  // Q05
  it('depends on what a token is called, not on its text, age or roles', () => {
    const token = makeToken()
    const later = { ...token, issuedAt: token.issuedAt + 1, expiresAt: token.expiresAt + 1 }

    expect(keysOfToken({ ...later, roles: ['ADMIN'] })).toEqual(keysOfToken(token))
    expect(keysOfToken({ ...token, digest: 'f'.repeat(64) })[0]).toBe(keysOfToken(token)[0])
  })
})

describe('the keys of a token', () => {
  const token = makeToken()
  const { digest, sessionId, subject } = token

  it.each<[string, RevocationTarget]>([
    ['the token', { scope: 'TOKEN', token }],
    ['its digest', { scope: 'TOKEN', digest }],
    ['its session', { scope: 'SESSION', sessionId, subject: null }],
    ['its session, of a known person', { scope: 'SESSION', sessionId, subject }],
    ['its subject', { scope: 'SUBJECT', subject }],
    ['its subject, but for this session', { scope: 'SUBJECT', subject, keptSessionId: sessionId }],
    ['everyone', { scope: 'EVERYONE' }],
  ])('hold the one under which %s stands', (_what, target) => {
    expect(keysOfToken(token)).toContain(keyOfTarget(target))
  })

  it.each<[string, RevocationTarget]>([
    ['another token', { scope: 'TOKEN', token: makeToken({ tokenId: 'another' }) }],
    [
      'a token of this id by another issuer',
      { scope: 'TOKEN', token: { ...token, issuer: 'another' } },
    ],
    ['another digest', { scope: 'TOKEN', digest: 'f'.repeat(64) }],
    ['another session', { scope: 'SESSION', sessionId: 'laptop', subject }],
    ['another person', { scope: 'SUBJECT', subject: 'bob' }],
  ])('do not hold that of %s', (_what, target) => {
    expect(keysOfToken(token)).not.toContain(keyOfTarget(target))
  })
})

it('keeps its form from release to release, because keys are stored', () => {
  const token = makeToken({
    issuer: 'portcullis',
    tokenId: '0e9d3f3c-6d38-4f0e-8d6e-3f6f3b0f8a11',
    sessionId: 'f2b6f7ab-30a4-4a0b-9a5c-5d8f4c7b2e10',
    subject: 'ada',
    digest: '0'.repeat(64),
  })

  expect(keysOfToken(token)).toEqual([
    'd8f11954-d03c-8565-630c-34aa6070e2b2',
    'a1b6b0c2-034c-7362-0b4f-544f30f86b01',
    '4aec7620-1746-2e69-b692-ba9ca88bbc50',
    'b85629db-2982-bf59-c4f0-0251ced7e1dd',
    EVERYONE_KEY,
  ])
  expect(EVERYONE_KEY).toBe('76383e20-d2f2-517b-5747-8dec7e19636e')
})
