import { describe, expect, it } from 'vitest'
import { BadInputError } from '../../src/errors.ts'
import { checkNewPassword, hashPassword, isPassword } from '../../src/service/account/password.ts'
import { errorOf } from '../token/forge.ts'

function faultOf(password: string): unknown {
  const error = errorOf(() => checkNewPassword(password, 'newPassword'))
  if (error === null) return null
  expect(error).toBeInstanceOf(BadInputError)

  const { extensions, message } = error as BadInputError
  expect(extensions).toEqual({
    code: 'BAD_USER_INPUT',
    argument: 'newPassword',
    reason: expect.any(String),
  })
  expect(message).toMatch(
    /^(Choose at (least 8 characters|most 1024 bytes)|This password is known from leaks; .*|A password has no halves of characters .*)$/,
  )
  return extensions.reason
}

describe('a new password', () => {
  it.each([
    ['nothing', '', 'TOO_SHORT'],
    ['7 characters', 'gh7?wzK', 'TOO_SHORT'],
    ['7 characters of two UTF-16 units each', '🏰'.repeat(7), 'TOO_SHORT'],
    ['4 letters, each with its accent apart', 'e\u0301'.repeat(4), 'TOO_SHORT'],
    ['1,025 bytes', 'q'.repeat(1025), 'TOO_LONG'],
    ['257 characters of four bytes', '🏰'.repeat(257), 'TOO_LONG'],
    ['a million characters', 'q'.repeat(1_000_000), 'TOO_LONG'],
    ['nine halves of characters', '\ud83d'.repeat(9), 'FORBIDDEN_CHARACTERS'],
    ['half of a character at its end', 'a gate of iron\ude00', 'FORBIDDEN_CHARACTERS'],
  ])('is refused with %s', (_what, password, fault) => {
    expect(faultOf(password)).toBe(fault)
  })

  it.each([
    ['8 characters', 'gh7?wzKe'],
    ['8 characters of two UTF-16 units each', '🏰'.repeat(8)],
    ['8 letters, each with its accent apart', 'e\u0301'.repeat(8)],
    ['1,024 bytes', 'q'.repeat(1024)],
    ['256 characters of four bytes', '🏰'.repeat(256)],
    ['spaces within and around', ' a gate of iron '],
    ['letters of everywhere', 'замок ворота 城門'],
    ['one kind of character only', 'portcullisgate'],
  ])('is accepted with %s', (_what, password) => {
    expect(faultOf(password)).toBeNull()
  })

  it.each([
    'password',
    'Password',
    'PASSWORD',
    'pAsSwOrD',
    'password1',
    'PASSWORD123',
    '12345678',
    '123456789',
    'qwertyuiop',
    'QwertyUiop',
    'iloveyou',
    'ILOVEYOU',
    'trustno1',
    'Football',
    'Admin123',
  ])('is refused when it is common: %s', (password) => {
    expect(faultOf(password)).toBe('COMMON_PASSWORD')
  })
})

describe('a stored password', () => {
  it('is a hash of argon2id, with a salt of its own', async () => {
    const [one, other] = await Promise.all([
      hashPassword('a gate of iron'),
      hashPassword('a gate of iron'),
    ])

    expect(one).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$[\w+/]{22}\$[\w+/]{43}$/)
    expect(other).not.toBe(one)
    // Q36
    expect(one).not.toContain('gate')
  })

  it('is recognised, and nothing else for it', async () => {
    const hash = await hashPassword('a gate of iron')

    expect(await isPassword('a gate of iron', hash)).toBe(true)
    for (const wrong of [
      '',
      'a gate of iro',
      'a gate of iron ',
      'A gate of iron',
      'a gate of iron\0',
      hash,
    ]) {
      expect(await isPassword(wrong, hash)).toBe(false)
    }
  })

  it('is never opened by halves of characters, which all become the same in UTF-8', async () => {
    const hash = await hashPassword('\ud83d'.repeat(9))

    expect(await isPassword('\ud83d'.repeat(9), hash)).toBe(false)
    expect(await isPassword('\ude00'.repeat(9), hash)).toBe(false)
  })

  it('counts to its last byte: neither a NUL nor its length cuts it', async () => {
    const withNul = await hashPassword('iron\0gate')
    expect(await isPassword('iron\0gate', withNul)).toBe(true)
    expect(await isPassword('iron\0moat', withNul)).toBe(false)
    expect(await isPassword('iron', withNul)).toBe(false)

    const long = 'q'.repeat(1023)
    const longest = await hashPassword(`${long}1`)
    expect(await isPassword(`${long}1`, longest)).toBe(true)
    expect(await isPassword(`${long}2`, longest)).toBe(false)
  })

  it.each([
    ['an accent apart or joined', 'un ch\u00e2teau fort', 'un cha\u0302teau fort'],
    [
      'Hangul in syllables or letters',
      '\uc131\ubb38 \uc131\ubb38',
      '\u1109\u1165\u11bc\u1106\u116e\u11ab \u1109\u1165\u11bc\u1106\u116e\u11ab',
    ],
    ['a sign that has two codes', '10 \u2126 gates', '10 \u03a9 gates'],
  ])('is the same on every keyboard: %s', async (_what, typed, typedElsewhere) => {
    expect(typed).not.toBe(typedElsewhere)
    expect(await isPassword(typedElsewhere, await hashPassword(typed))).toBe(true)
    expect(await isPassword(typed, await hashPassword(typedElsewhere))).toBe(true)
  })

  it('is accepted at sign-in whenever it was accepted as new, however its accents are typed', async () => {
    const joined = '\u00e9'.repeat(512)
    const apart = joined.normalize('NFD')

    expect(Buffer.byteLength(apart)).toBeGreaterThan(1024)
    expect([faultOf(joined), faultOf(apart)]).toEqual([null, null])
    expect(await isPassword(apart, await hashPassword(joined))).toBe(true)
  })

  it('is not looked at when it is longer than any can be', async () => {
    const tooLong = 'q'.repeat(1025)

    expect(await isPassword(tooLong, await hashPassword(tooLong))).toBe(false)
    expect(await isPassword('q'.repeat(1_000_000), null)).toBe(false)
  })

  it('takes as long without an account as with one, and is never right', async () => {
    const hash = await hashPassword('a gate of iron')
    await isPassword('warm', null)
    const time = async (passwordHash: string | null) => {
      const start = performance.now()
      expect(await isPassword('a wrong password', passwordHash)).toBe(false)
      return performance.now() - start
    }
    const times: Record<'nobody' | 'somebody', number[]> = { nobody: [], somebody: [] }
    for (let round = 0; round < 7; round++) {
      times.nobody.push(await time(null))
      times.somebody.push(await time(hash))
    }

    // The quickest of each: what else runs on this machine only makes one slower.
    expect(Math.min(...times.nobody)).toBeGreaterThan(Math.min(...times.somebody) / 3)
    expect(await isPassword('nobody has this password', null)).toBe(false)
  })
})
