import assert from 'node:assert/strict'
import { createHash, createHmac, createPublicKey, verify } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Revocation } from '../../src/contract.ts'
import { TokenExpiredError, TokenInvalidError } from '../../src/errors.ts'
import { isRevokedBy } from '../../src/revocation/revocation.ts'
import { createTokenSigner } from '../../src/token/signer.ts'
import type { TokenGrant } from '../../src/token/signer.ts'
import {
  anyText,
  authorities,
  decode,
  es256,
  forge,
  hs256,
  LIFETIME,
  newSecret,
  NOW,
  partsOf,
  Raw,
  refusalOf,
  ringOf,
  rs256,
  RULES,
  verifierOf,
} from './forge.ts'
import type { Authority } from './forge.ts'

const GRANT: TokenGrant = {
  subject: 'ada',
  sessionId: 'laptop',
  roles: ['USER', 'ADMIN'],
  issuedAt: new Date(NOW * 1000),
}

function signerOf(authority: Authority, lifetimeSeconds = LIFETIME) {
  return createTokenSigner({ ...RULES, keys: ringOf(authority), lifetimeSeconds })
}

describe.each(authorities)('$algorithm', (authority) => {
  const verifier = verifierOf(authority)
  const sign = signerOf(authority)

  it('verifies what it signed, and finds the same in it', () => {
    const { text, tokenId, expiresIn } = sign(GRANT)

    expect(expiresIn).toBe(LIFETIME)
    expect(verifier.verify(text)).toEqual({
      issuer: 'portcullis',
      subject: 'ada',
      tokenId,
      sessionId: 'laptop',
      issuedAt: NOW,
      expiresAt: NOW + LIFETIME,
      roles: ['USER', 'ADMIN'],
      digest: createHash('sha256')
        .update(text.slice(0, text.lastIndexOf('.')))
        .digest('hex'),
    })
  })

  // Q30
  it('signs a token that others can check by the standards alone', () => {
    const [header, payload, signature] = partsOf(sign(GRANT).text)

    expect(decode(header)).toEqual({ alg: authority.algorithm, kid: authority.kid, typ: 'at+jwt' })
    expect(decode(payload)).toEqual({
      iss: 'portcullis',
      aud: 'portcullis',
      sub: 'ada',
      jti: expect.any(String),
      sid: 'laptop',
      iat: NOW,
      exp: NOW + LIFETIME,
      roles: ['USER', 'ADMIN'],
    })
    expect(isSignedBy(authority, `${header}.${payload}`, signature)).toBe(true)
  })

  it('verifies a token made by hand', () => {
    expect(verifier.verify(forge(authority))).toMatchObject({
      subject: 'ada',
      tokenId: 'token of ada',
      sessionId: 'laptop',
    })
  })

  it('verifies a token without kid with the key that signs', () => {
    expect(verifier.verify(forge(authority, { header: { kid: undefined } })).subject).toBe('ada')
  })

  it('takes one token for another only when they are the same', () => {
    const one = sign(GRANT)
    const other = sign(GRANT)

    expect(one.tokenId).not.toBe(other.tokenId)
    expect(verifier.verify(one.text).digest).not.toBe(verifier.verify(other.text).digest)
  })
})

function isSignedBy(
  { algorithm, verifyWith }: Authority,
  input: string,
  signature: string,
): boolean {
  if (algorithm === 'HS256') {
    return createHmac('sha256', verifyWith).update(input).digest('base64url') === signature
  }
  const key = createPublicKey(verifyWith)
  const bytes = Buffer.from(signature, 'base64url')
  return verify('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }, bytes)
}

describe('the signer', () => {
  const sign = signerOf(hs256)

  // Q33
  it('gives every token an id of 128 random bits', () => {
    const ids = Array.from({ length: 1000 }, () => sign(GRANT).tokenId)
    const bytes = ids.map((id) => Buffer.from(id.replaceAll('-', ''), 'hex'))

    expect(new Set(ids).size).toBe(1000)
    expect(ids.filter((id) => !/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/.test(id))).toEqual([])
    // Each bit is sometimes set and sometimes not: none is spent on a version or a counter.
    const counts = Array.from({ length: 128 }, (_, bit) => {
      return bytes.filter((id) => (id[bit >> 3]! >> (bit & 7)) & 1).length
    })
    expect(Math.min(...counts)).toBeGreaterThan(350)
    expect(Math.max(...counts)).toBeLessThan(650)
  })

  it('lets no token outlive the end of its session', () => {
    const { text, expiresIn } = sign({ ...GRANT, notAfter: new Date((NOW + 90.75) * 1000) })

    expect(expiresIn).toBe(90)
    expect(verifierOf(hs256).verify(text).expiresAt).toBe(NOW + 90.75)
  })

  it('does not lengthen a token to the end of its session', () => {
    const { text, expiresIn } = sign({ ...GRANT, notAfter: new Date((NOW + 86_400) * 1000) })

    expect(expiresIn).toBe(LIFETIME)
    expect(verifierOf(hs256).verify(text).expiresAt).toBe(NOW + LIFETIME)
  })

  it('keeps the millisecond of the issue time, whatever the instant and the lifetime', () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date('2024-01-01'), max: new Date('2099-12-31'), noInvalidDate: true }),
        fc.integer({ min: 1, max: 86_400 }),
        (issuedAt, lifetimeSeconds) => {
          const now = issuedAt.getTime() / 1000
          const verifier = verifierOf(hs256, {
            maxLifetimeSeconds: lifetimeSeconds,
            now: () => now,
          })
          const { text, expiresIn } = signerOf(hs256, lifetimeSeconds)({ ...GRANT, issuedAt })

          const token = verifier.verify(text)
          assert.equal(Math.round(token.issuedAt * 1000), issuedAt.getTime())
          assert.equal(expiresIn, lifetimeSeconds)
        },
      ),
      { numRuns: 200 },
    )
  })
})

describe('the time', () => {
  const sign = signerOf(hs256)
  const { text } = sign(GRANT)
  const at = (now: number) => verifierOf(hs256, { now: () => now })

  // Q27
  it.each([
    ['a millisecond before', -0.001],
    ['an instant before', -0.000001],
  ])('still accepts a token %s its expiry', (_when, seconds) => {
    expect(at(NOW + LIFETIME + seconds).verify(text).subject).toBe('ada')
  })

  // Q27
  it.each([
    ['at its expiry, without leeway', 0],
    ['a millisecond after it', 0.001],
    ['an hour after it', 3600],
    ['a century after it', 3_155_760_000],
  ])('refuses a token as expired %s', (_when, seconds) => {
    const verifier = at(NOW + LIFETIME + seconds)

    expect(() => verifier.verify(text)).toThrow(TokenExpiredError)
    expect(() => verifier.verify(text)).toThrow('This token has expired: refresh it')
    expect(verifier.isExpired(verifier.verifyIgnoringExpiry(text))).toBe(true)
    expect(verifier.identify(text)).toMatchObject({ kind: 'VERIFIED', isExpired: true })
  })

  it('does not look at the clock of this machine', () => {
    const in1971 = { issuedAt: new Date('1971-01-01T00:00:00.250Z') }
    const old = sign({ ...GRANT, ...in1971 })

    expect(at(31_536_001).verify(old.text).issuedAt).toBe(31_536_000.25)
  })

  it('asks the clock anew at each verification', () => {
    let now = NOW
    const verifier = verifierOf(hs256, { now: () => now })
    expect(verifier.verify(text).subject).toBe('ada')

    now += LIFETIME
    expect(() => verifier.verify(text)).toThrow(TokenExpiredError)
  })

  it('finds a token that is expired and wrong otherwise invalid, not expired', () => {
    const verifier = at(NOW + 3600)
    const stranger = newSecret('the secret of somebody else, of 32 bytes and more')

    expect(refusalOf(verifier, forge(hs256, { sign: stranger.sign }))).toBe(
      'the signature does not hold',
    )
    expect(refusalOf(verifier, forge(hs256, { claims: { aud: 'billing' } }))).toBe(
      'aud is not ours',
    )
  })

  // Q28
  it.each([
    [0, true],
    [59.999, true],
    [60, true],
    [60.001, false],
    [3600, false],
  ])('reads an issue time %d s ahead of the clock: accepted %s', (seconds, isAccepted) => {
    const token = forge(hs256, { claims: { iat: NOW + seconds, exp: NOW + seconds + 60 } })

    if (isAccepted) expect(verifierOf(hs256).verify(token).issuedAt).toBe(NOW + seconds)
    else expect(refusalOf(verifierOf(hs256), token)).toBe('iat is in the future')
  })

  // Q27
  it.each([
    [-3600, true],
    [0, true],
    [60, true],
    [60.001, false],
    [86_400, false],
  ])('reads an nbf %d s ahead of the clock: accepted %s', (seconds, isAccepted) => {
    const token = forge(hs256, { claims: { nbf: NOW + seconds } })

    if (isAccepted) expect(verifierOf(hs256).verify(token).subject).toBe('ada')
    else expect(refusalOf(verifierOf(hs256), token)).toBe('nbf is in the future')
  })

  // Q28
  it.each([
    [0.001, true],
    [LIFETIME, true],
    [LIFETIME + 0.01, false],
    [LIFETIME + 1, false],
    [86_400, false],
    [3_155_760_000, false],
  ])('reads a lifetime of %d s: accepted %s', (seconds, isAccepted) => {
    const iat = NOW - 0.0005
    const token = forge(hs256, { claims: { iat, exp: iat + seconds } })

    if (isAccepted) expect(verifierOf(hs256).verify(token).expiresAt).toBe(iat + seconds)
    else expect(refusalOf(verifierOf(hs256), token)).toBe('exp is too far from iat')
  })

  it.each([
    ['the same as', 0],
    ['a second before', -1],
    ['a year before', -31_557_600],
  ])('refuses an expiry %s the issue time', (_what, seconds) => {
    const token = forge(hs256, { claims: { exp: NOW - 60 + seconds } })

    expect(refusalOf(verifierOf(hs256), token)).toBe('exp is not after iat')
  })
})

describe('the claims', () => {
  const verifier = verifierOf(hs256)

  function refusalWith(claims: Record<string, unknown>): string {
    return refusalOf(verifier, forge(hs256, { claims }))
  }

  const notNames: Array<[what: string, value: unknown]> = [
    ['missing', undefined],
    ['null', null],
    ['empty', ''],
    ['a number', 7],
    ['zero', 0],
    ['true', true],
    ['a list', ['ada']],
    ['an empty list', []],
    ['an object', { ada: 1 }],
    ['an object that passes for a text', { length: 3, toString: 'ada' }],
    ['256 characters long', 'a'.repeat(256)],
    ['4,000 characters long', 'a'.repeat(4000)],
    ['256 UTF-16 units long', '🏰'.repeat(128)],
    ['one NUL', '\0'],
    ['a text with a NUL', 'ada\0'],
    ['a text with a line break', 'ada\nroot'],
    ['a text with DEL', 'ada\x7f'],
    ['a text with a control character of C1', 'ada\x85'],
    ['the first half of a surrogate pair', '\ud83c'],
    ['the second half of a surrogate pair', 'ada\udff0'],
    ['a surrogate pair the wrong way round', '\udff0\ud83c'],
  ]

  // Q06, Q29
  describe.each(['sub', 'jti', 'sid'])('%s', (claim) => {
    it.each(notNames)('is refused when %s', (_what, value) => {
      expect(refusalWith({ [claim]: value })).toBe(`${claim} is missing or not a plain string`)
    })

    it.each([
      ['one character', 'a'],
      ['255 characters', 'a'.repeat(255)],
      ['a UUID', '7e3f9f1c-4c0b-4d6e-8f53-9b1f0f3e9a11'],
      ['a pair of surrogates', '🏰'],
      ['letters of everywhere', 'Łukasz Ибрагим 李'],
      ['the name of a property of all objects', '__proto__'],
      ['SQL', `'; drop table revocation; --`],
      ['a space at its end', 'ada '],
    ])('is kept as it stands when it is %s', (_what, value) => {
      const { subject, tokenId, sessionId } = verifier.verify(
        forge(hs256, { claims: { [claim]: value } }),
      )

      expect({ sub: subject, jti: tokenId, sid: sessionId }[claim]).toBe(value)
    })
  })

  // Q06, Q29
  it.each([
    ['missing', undefined],
    ['null', null],
    ['empty', ''],
    ['another', 'https://evil.example'],
    ['ours in capitals', 'PORTCULLIS'],
    ['ours with a slash', 'portcullis/'],
    ['ours with a space', ' portcullis'],
    ['ours with a NUL', 'portcullis\0'],
    ['ours and more', 'portcullis.evil.example'],
    ['the beginning of ours', 'portculli'],
    ['ours with a letter that only looks the same', 'pоrtcullis'],
    ['a list of ours', ['portcullis']],
    ['an object', { portcullis: true }],
    ['a number', 1],
  ])('iss is refused when %s', (_what, iss) => {
    expect(refusalWith({ iss })).toBe('iss is not ours')
  })

  // Q29
  it.each([
    ['missing', undefined],
    ['null', null],
    ['empty', ''],
    ['another', 'billing'],
    ['ours in capitals', 'Portcullis'],
    ['ours in a text with others', 'billing portcullis'],
    ['ours in a list of one text', ['billing,portcullis']],
    ['an empty list', []],
    ['a list of others', ['billing', 'shop']],
    ['a list in a list', [['portcullis']]],
    ['a list of objects', [{ portcullis: true }]],
    ['an object that passes for a list', { 0: 'portcullis', length: 1 }],
    ['true', true],
    ['a list of 65 with ours', [...Array.from({ length: 64 }, String), 'portcullis']],
  ])('aud is refused when %s', (_what, aud) => {
    expect(refusalWith({ aud })).toBe('aud is not ours')
  })

  it.each([
    ['ours', 'portcullis'],
    ['a list of ours', ['portcullis']],
    ['a list with ours', ['billing', 'portcullis']],
    ['a list of 64 with ours', [...Array.from({ length: 63 }, String), 'portcullis']],
  ])('aud is accepted when %s', (_what, aud) => {
    expect(verifier.verify(forge(hs256, { claims: { aud } })).subject).toBe('ada')
  })

  const notTimes: Array<[what: string, value: unknown]> = [
    ['null', null],
    ['a text', String(NOW + 60)],
    ['a date', '2025-11-22T08:26:40Z'],
    ['empty', ''],
    ['true', true],
    ['a list', [NOW + 60]],
    ['an object', { seconds: NOW }],
    ['zero', 0],
    ['negative zero', new Raw('-0')],
    ['negative', -NOW],
    ['infinite', new Raw('1e999')],
    ['infinite in digits', new Raw('9'.repeat(400))],
    ['negative and infinite', new Raw('-1e999')],
    ['too small for a number', new Raw('1e-999')],
    ['in milliseconds', NOW * 1000],
    ['in microseconds', NOW * 1e6],
    ['in the year 10000', 253_402_300_800],
    ['the largest whole number', Number.MAX_SAFE_INTEGER],
    ['the largest number', Number.MAX_VALUE],
  ]

  // Q06, Q27
  it.each([['missing', undefined] as [string, unknown], ...notTimes])(
    'iat is refused when %s',
    (_what, iat) => {
      expect(refusalWith({ iat })).toBe('iat is missing or not a time')
    },
  )

  // Q06, Q27
  it.each([['missing', undefined] as [string, unknown], ...notTimes])(
    'exp is refused when %s',
    (_what, exp) => {
      expect(refusalWith({ exp })).toBe('exp is missing or not a time')
    },
  )

  // Q27
  // Q55
  it.each(notTimes)('auth_time is refused when %s', (_what, time) => {
    expect(refusalWith({ auth_time: time })).toBe('auth_time is not a time')
  })

  // Q55
  it('auth_time is refused when it is after iat: a sign-in comes before its token', () => {
    expect(refusalWith({ auth_time: NOW - 59 })).toBe('auth_time is after iat')
    expect(refusalWith({ auth_time: NOW + 1e9 })).toBe('auth_time is after iat')
    const token = forge(hs256, { claims: { auth_time: NOW - 60 } })
    expect(verifierOf(hs256).verify(token).authenticatedAt).toBe(NOW - 60)
  })

  it.each(notTimes)('nbf is refused when %s', (_what, nbf) => {
    expect(refusalWith({ nbf })).toBe('nbf is not a time')
  })

  it.each([
    'NaN',
    'Infinity',
    '-Infinity',
    '0x69211e00',
    '01763800900',
    '+1763800900',
    '1763800900.',
    'undefined',
  ])('exp is refused when it is written %s, which is no JSON', (json) => {
    expect(refusalWith({ exp: new Raw(json) })).toBe('the payload is not JSON')
  })

  it('reads a time in any notation of JSON', () => {
    const exp = new Raw('17638005.00E+2')

    expect(verifier.verify(forge(hs256, { claims: { exp } })).expiresAt).toBe(1_763_800_500)
  })

  it.each([
    ['null', null],
    ['a text', 'ADMIN'],
    ['an object', { ADMIN: true }],
    ['a number', 1],
    ['a list of numbers', [1]],
    ['a list of lists', [['ADMIN']]],
    ['a list with null', ['USER', null]],
    ['a list with an empty text', ['']],
    ['a list with a NUL', ['USER\0']],
    ['a list of 65', Array.from({ length: 65 }, String)],
  ])('roles are refused when they are %s', (_what, roles) => {
    expect(refusalWith({ roles })).toBe('roles is no list')
  })

  it('takes a token without roles', () => {
    expect(verifier.verify(forge(hs256, { claims: { roles: undefined } })).roles).toEqual([])
  })

  it('ignores claims that it does not know', () => {
    const claims = { role: 'ADMIN', isAdmin: true, scope: '*', acr: 7 }

    expect(verifier.verify(forge(hs256, { claims }))).toEqual({
      ...verifier.verify(forge(hs256)),
      digest: expect.any(String),
    })
  })

  // Q06, Q27, Q28, Q29
  it('lets through nothing but sound claims, whatever was signed', () => {
    const mostly = (right: unknown, ...others: Array<fc.Arbitrary<unknown>>) =>
      fc.oneof(
        { weight: 12, arbitrary: fc.constant(right) },
        ...others.map((arbitrary) => ({ weight: 1, arbitrary })),
      )
    const name = mostly('ada', anyText(), fc.jsonValue({ maxDepth: 2 }))
    const near = fc.double({ min: NOW - 2000, max: NOW + 2000, noNaN: true })
    const time = (right: number) => mostly(right, near, fc.double(), fc.jsonValue({ maxDepth: 1 }))
    const claims = fc.record({
      aud: mostly('portcullis', fc.array(fc.constantFrom('portcullis', 'billing'))),
      sub: name,
      jti: name,
      sid: name,
      iat: time(NOW - 60),
      exp: time(NOW + 60),
      nbf: mostly(undefined, near, fc.jsonValue({ maxDepth: 1 })),
      roles: mostly(['USER'], fc.array(anyText()), fc.jsonValue({ maxDepth: 2 })),
    })

    let accepted = 0
    fc.assert(
      fc.property(claims, (changes) => {
        const token = outcomeOf(forge(hs256, { claims: changes }))
        if (token === null) return
        accepted++
        for (const text of [token.subject, token.tokenId, token.sessionId, ...token.roles]) {
          assert(/^[^\p{Cc}\p{Cs}]{1,255}$/u.test(text))
        }
        assert(token.issuedAt > 0 && token.issuedAt <= NOW + 60)
        assert(token.expiresAt > NOW && token.expiresAt - token.issuedAt <= LIFETIME + 0.001)
      }),
      { numRuns: 1000 },
    )
    // Some 400 of them are sound: so few that the rest was not tried, or so many that nothing was, would show.
    expect(accepted).toBeGreaterThan(200)
    expect(accepted).toBeLessThan(700)
  })

  function outcomeOf(text: string) {
    try {
      return verifier.verify(text)
    } catch (error) {
      if (error instanceof TokenInvalidError || error instanceof TokenExpiredError) return null
      throw error
    }
  }
})

describe('a change of keys', () => {
  const older = newSecret('the secret of last year, of 32 bytes and more')

  // Q34
  it.each([
    ['a secret', older, hs256],
    ['a secret, to RSA', older, rs256],
    ['RSA, to P-256', rs256, es256],
    ['P-256, to a secret', es256, hs256],
  ])('lets tokens of the old key live on: %s', (_what, before, after) => {
    const verifier = verifierOf(after, { previous: [before.verifyWith] })

    expect(verifier.verify(forge(before)).subject).toBe('ada')
    expect(verifier.verify(forge(after)).subject).toBe('ada')
  })

  // Q34
  it('signs with the new key only', () => {
    const keys = ringOf(rs256, [older.signWith, es256.verifyWith])
    const [header] = partsOf(createTokenSigner({ ...RULES, keys, lifetimeSeconds: 60 })(GRANT).text)

    expect(decode(header)).toEqual({ alg: 'RS256', kid: rs256.kid, typ: 'at+jwt' })
  })

  // Q22, Q34
  it('tries a token with the key that it names, and with no other', () => {
    const verifier = verifierOf(hs256, { previous: [older.signWith] })

    expect(refusalOf(verifier, forge(older, { header: { kid: hs256.kid } }))).toBe(
      'the signature does not hold',
    )
    expect(refusalOf(verifier, forge(older, { header: { kid: undefined } }))).toBe(
      'the signature does not hold',
    )
  })

  // Q34
  it('refuses tokens of a key that was taken away, and of one that is not there yet', () => {
    expect(refusalOf(verifierOf(hs256), forge(older))).toBe('kid is not known')
    expect(refusalOf(verifierOf(older), forge(hs256))).toBe('kid is not known')
  })

  // Q34
  it('leaves revocations in force: they stand under what the token says, not under its key', () => {
    const text = forge(rs256)
    const before = verifierOf(rs256).verify(text)
    const after = verifierOf(es256, { previous: [rs256.verifyWith] }).verify(text)

    expect(after).toEqual(before)
    expect(isRevokedBy(after, revocationOf(before))).toBe(true)
  })

  // Q05
  it('leaves a revocation in force for the same token signed anew', () => {
    const before = verifierOf(rs256).verify(forge(rs256))
    const after = verifierOf(es256).verify(forge(es256))

    expect(after.digest).not.toBe(before.digest)
    expect(isRevokedBy(after, revocationOf(before))).toBe(true)
  })
})

function revocationOf({ issuer, tokenId }: { issuer: string; tokenId: string }): Revocation {
  return {
    id: '1',
    scope: 'TOKEN',
    issuer,
    tokenId,
    subject: null,
    sessionId: null,
    digest: null,
    keptSessionId: null,
    revokedAt: new Date(NOW * 1000),
    expiresAt: new Date((NOW + LIFETIME) * 1000),
    reason: 'logout',
    note: null,
    revokedBy: null,
  }
}
