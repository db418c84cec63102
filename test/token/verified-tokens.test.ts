import { describe, expect, it } from 'vitest'
import { TokenExpiredError, TokenInvalidError } from '../../src/errors.ts'
import { VerifiedTokens } from '../../src/token/verified-tokens.ts'
import { TokenVerifier } from '../../src/token/verifier.ts'
import { forge, hs256, LIFETIME, NOW, ringOf, RULES } from './forge.ts'

function verifierAt(clock: { now: number }): TokenVerifier {
  return new TokenVerifier({
    ...RULES,
    keys: ringOf(hs256),
    maxLifetimeSeconds: LIFETIME,
    now: () => clock.now,
  })
}

describe('a token that was verified before', () => {
  // Q27, Q28
  it('is refused when its time is over, and when the clock was set back to before it', () => {
    const clock = { now: NOW }
    const verifier = verifierAt(clock)
    const text = forge(hs256, { claims: { iat: NOW - 1, exp: NOW + 100 } })
    expect(verifier.verify(text)).toBe(verifier.verify(text))

    clock.now = NOW + 100
    expect(() => verifier.verify(text)).toThrow(TokenExpiredError)
    clock.now = NOW - 1000
    expect(() => verifier.verify(text)).toThrow(TokenInvalidError)
  })

  it('is refused when the clock was set back to before its nbf', () => {
    const clock = { now: NOW }
    const verifier = verifierAt(clock)
    const text = forge(hs256, { claims: { iat: NOW - 600, nbf: NOW - 1, exp: NOW + 100 } })
    verifier.verify(text)

    clock.now = NOW - 300
    expect(() => verifier.verify(text)).toThrow(TokenInvalidError)
  })

  // Q26
  it('helps no other spelling of it', () => {
    const verifier = verifierAt({ now: NOW })
    const text = forge(hs256)
    verifier.verify(text)

    for (const spelling of [`${text}=`, `${text} `, `${text.slice(0, -1)}~`, text.toUpperCase()]) {
      expect(() => verifier.verify(spelling)).toThrow(TokenInvalidError)
    }
  })

  it('cannot be changed by its user', () => {
    const token = verifierAt({ now: NOW }).verify(forge(hs256))
    expect(() => Object.assign(token, { subject: 'eve' })).toThrow(TypeError)
    expect(() => (token.roles as string[]).push('ADMIN')).toThrow(TypeError)
  })

  it('is not remembered when its signature did not hold', () => {
    const verifier = verifierAt({ now: NOW })
    const forged = `${forge(hs256).slice(0, -4)}AAAA`
    for (const _ of [1, 2]) expect(() => verifier.verify(forged)).toThrow(TokenInvalidError)
  })
})

describe('VerifiedTokens', () => {
  const token = verifierAt({ now: NOW }).verify(forge(hs256))

  it('keeps what is used, and forgets what is not', () => {
    const verified = new VerifiedTokens()
    verified.add('used', token)
    verified.add('unused', token)
    for (let count = 0; count < 25_000; count++) {
      verified.add(`other ${count}`, token)
      if (count % 5000 === 0) verified.find('used')
    }

    expect(verified.find('used')).toBe(token)
    expect(verified.find('unused')).toBeUndefined()
    expect(verified.find('other 1')).toBeUndefined()
    expect(verified.find('other 24999')).toBe(token)
  })

  it('keeps nothing so long that a few of them would fill the memory', () => {
    const verified = new VerifiedTokens()
    verified.add('x'.repeat(5000), token)
    expect(verified.find('x'.repeat(5000))).toBeUndefined()
  })
})
