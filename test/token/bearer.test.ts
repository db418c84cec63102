import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TokenInvalidError } from '../../src/errors.ts'
import { readBearerToken } from '../../src/token/bearer.ts'
import { anyText, errorOf } from './forge.ts'

const NO_BEARER = 'the Authorization header is not a bearer token'
const TWO_HEADERS = 'more than one Authorization header'

function refusalOf(header: Parameters<typeof readBearerToken>[0]): unknown {
  const error = errorOf(() => readBearerToken(header))
  expect(error).toBeInstanceOf(TokenInvalidError)
  const { message, extensions, cause } = error as TokenInvalidError
  expect(message).toBe('Sign in again: this token is not valid')
  expect(extensions).toEqual({ code: 'UNAUTHENTICATED', reason: 'TOKEN_INVALID' })
  return cause
}

describe('readBearerToken', () => {
  it.each([
    ['no header', undefined],
    ['an empty list of headers', []],
    ['an empty header', ''],
    ['a header of blanks', ' \t '],
    ['a list of one that is empty', ['']],
  ])('finds no token in %s', (_what, header) => {
    expect(readBearerToken(header)).toBeNull()
  })

  // Q37
  it.each(['Bearer', 'bearer', 'BEARER', 'bEaReR'])('takes the scheme spelled %s', (scheme) => {
    expect(readBearerToken(`${scheme} aaa.bbb.ccc`)).toBe('aaa.bbb.ccc')
  })

  it.each([
    ['several spaces', 'Bearer    aaa.bbb.ccc'],
    ['spaces around', '  Bearer aaa.bbb.ccc  '],
    ['a tab after it', 'Bearer aaa.bbb.ccc\t'],
    ['a list of one', ['Bearer aaa.bbb.ccc']],
  ])('finds the token with %s', (_what, header) => {
    expect(readBearerToken(header)).toBe('aaa.bbb.ccc')
  })

  it('takes every character that RFC 6750 allows, and leaves the token to be verified', () => {
    expect(readBearerToken('Bearer AZaz09-._~+/==')).toBe('AZaz09-._~+/==')
    expect(readBearerToken('Bearer Bearer')).toBe('Bearer')
  })

  // Q37
  it.each([
    ['the scheme alone', 'Bearer'],
    ['the scheme and a space', 'Bearer '],
    ['the token alone', 'aaa.bbb.ccc'],
    ['the token without a space', 'Beareraaa.bbb.ccc'],
    ['a tab between', 'Bearer\taaa.bbb.ccc'],
    ['a no-break space between', 'Bearer\u00a0aaa.bbb.ccc'],
    ['a line break between', 'Bearer\naaa.bbb.ccc'],
    ['another scheme', 'Basic YWRhOnNlY3JldA=='],
    ['another scheme with a token', 'Token aaa.bbb.ccc'],
    ['DPoP', 'DPoP aaa.bbb.ccc'],
    ['a longer scheme', 'Bearer2 aaa.bbb.ccc'],
    ['a colon after the scheme', 'Bearer: aaa.bbb.ccc'],
    ['an equals sign after the scheme', 'Bearer=aaa.bbb.ccc'],
    ['the scheme twice', 'Bearer Bearer aaa.bbb.ccc'],
    ['two tokens', 'Bearer aaa.bbb.ccc ddd.eee.fff'],
    ['two tokens after a comma', 'Bearer aaa.bbb.ccc,ddd.eee.fff'],
    ['two values in one', 'Bearer aaa.bbb.ccc, Bearer ddd.eee.fff'],
    ['two schemes in one', 'Basic YWRhOnNlY3JldA==, Bearer aaa.bbb.ccc'],
    ['a comma at the end', 'Bearer aaa.bbb.ccc,'],
    ['a parameter', 'Bearer aaa.bbb.ccc; charset=utf-8'],
    ['a parameter in the place of the token', 'Bearer realm="portcullis"'],
    ['quotes', 'Bearer "aaa.bbb.ccc"'],
    ['angle brackets', 'Bearer <aaa.bbb.ccc>'],
    ['a NUL', 'Bearer aaa.bbb.ccc\0'],
    ['a letter of another script', 'Веаrer aaa.bbb.ccc'],
    ['a token of other letters', 'Bearer ааа.bbb.ccc'],
  ])('refuses a header that is %s', (_what, header) => {
    expect(refusalOf(header)).toBe(NO_BEARER)
  })

  // Q38
  it.each([
    ['two tokens', ['Bearer aaa.bbb.ccc', 'Bearer ddd.eee.fff']],
    ['the same twice', ['Bearer aaa.bbb.ccc', 'Bearer aaa.bbb.ccc']],
    ['a token and another scheme', ['Bearer aaa.bbb.ccc', 'Basic YWRhOnNlY3JldA==']],
    ['a token and nothing', ['Bearer aaa.bbb.ccc', '']],
    ['nothing and a token', ['', 'Bearer aaa.bbb.ccc']],
  ])('refuses two headers: %s', (_what, headers) => {
    expect(refusalOf(headers)).toBe(TWO_HEADERS)
  })

  // Q36, Q37
  it('finds a token or refuses, whatever is sent, and quotes none of it', () => {
    const value = fc.oneof(
      anyText(),
      anyText().map((text) => `Bearer ${text}`),
      fc.base64String().map((text) => `bearer ${text}`),
    )
    fc.assert(
      fc.property(fc.oneof(value, fc.array(value, { maxLength: 3 })), (header) => {
        const error = errorOf(() => readBearerToken(header))
        if (error !== null) expect([NO_BEARER, TWO_HEADERS]).toContain(refusalOf(header))
        else expect(readBearerToken(header) ?? 'none').toMatch(/^[A-Za-z0-9._~+/=-]+$/)
      }),
      { numRuns: 300 },
    )
  })

  it('refuses a long run of spaces at once', () => {
    const start = performance.now()
    refusalOf(`Bearer ${' '.repeat(1_000_000)}!`)

    expect(performance.now() - start).toBeLessThan(500)
  })
})
