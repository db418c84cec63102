import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createRefreshToken,
  deriveSuccessor,
  formatRefreshToken,
  hashRefreshToken,
  parseRefreshToken,
} from '../../src/service/session/refresh-token.ts'
import { anyText, otherSpellings } from '../token/forge.ts'

const bytes = (min: number, max = min) =>
  fc.uint8Array({ minLength: min, maxLength: max }).map((array) => Buffer.from(array))

describe('a refresh token', () => {
  it('has 256 random bits', () => {
    const tokens = Array.from({ length: 1000 }, createRefreshToken)
    const counts = Array.from({ length: 256 }, (_, bit) => {
      return tokens.filter((token) => (token[bit >> 3]! >> (bit & 7)) & 1).length
    })

    expect(tokens.every((token) => token.length === 32)).toBe(true)
    expect(new Set(tokens.map(formatRefreshToken)).size).toBe(1000)
    expect(Math.min(...counts)).toBeGreaterThan(350)
    expect(Math.max(...counts)).toBeLessThan(650)
  })

  it('is 43 characters of base64url, and is read as it was written', () => {
    fc.assert(
      fc.property(bytes(32), (token) => {
        const text = formatRefreshToken(token)
        expect(text).toMatch(/^[\w-]{43}$/)
        expect(parseRefreshToken(text)).toEqual(token)
      }),
    )
  })

  it('has one spelling: others that decode to the same are refused', () => {
    const text = formatRefreshToken(createRefreshToken())
    const spellings = otherSpellings(text)

    expect(spellings).toHaveLength(3)
    for (const spelling of spellings) expect(parseRefreshToken(spelling)).toBeNull()
  })

  const text = `${'-_Az09'.repeat(7)}A`

  it.each([
    ['nothing', ''],
    ['a character less', text.slice(1)],
    ['a character more', `${text}A`],
    ['padding', `${text}=`],
    ['the standard alphabet', text.replaceAll('-', '+').replaceAll('_', '/')],
    ['a space before it', ` ${text}`],
    ['a space after it', `${text} `],
    ['a line break after it', `${text}\n`],
    ['a NUL', `${text.slice(1)}\0`],
    ['a letter of another script', `${text.slice(1)}ａ`],
    ['hexadecimal', 'a'.repeat(64)],
    ['a JWT', 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.AAAA'],
    ['a million characters', 'A'.repeat(1_000_000)],
  ])('is not %s', (_what, wrong) => {
    expect(parseRefreshToken(text)).not.toBeNull()
    expect(parseRefreshToken(wrong)).toBeNull()
  })

  it('is read or refused without an exception, whatever the text', () => {
    fc.assert(
      fc.property(anyText(60), (anything) => {
        const token = parseRefreshToken(anything)
        expect(token === null || formatRefreshToken(token) === anything).toBe(true)
      }),
    )
  })

  // Q36
  it('is stored as its SHA-256 only', () => {
    const token = createRefreshToken()

    expect(hashRefreshToken(token)).toEqual(createHash('sha256').update(token).digest())
  })
})

describe('a successor', () => {
  it('is the same whenever it is derived from the same token and salt', () => {
    fc.assert(
      fc.property(bytes(32), bytes(16), (token, salt) => {
        expect(deriveSuccessor(token, salt)).toEqual(
          deriveSuccessor(Buffer.from(token), Buffer.from(salt)),
        )
        expect(deriveSuccessor(token, salt)).toHaveLength(32)
      }),
    )
  })

  it('is another for another salt, and for another token', () => {
    fc.assert(
      fc.property(
        bytes(32),
        bytes(32),
        bytes(16),
        bytes(16),
        (token, otherToken, salt, otherSalt) => {
          fc.pre(!token.equals(otherToken) && !salt.equals(otherSalt))
          const successors = [token, otherToken].flatMap((from) =>
            [salt, otherSalt].map((by) => formatRefreshToken(deriveSuccessor(from, by))),
          )
          expect(new Set([...successors, formatRefreshToken(token)]).size).toBe(5)
        },
      ),
    )
  })

  it('does not follow from what is stored: the hash in the place of the token gives another', () => {
    const token = createRefreshToken()
    const salt = Buffer.alloc(16, 7)

    expect(deriveSuccessor(hashRefreshToken(token), salt)).not.toEqual(deriveSuccessor(token, salt))
  })

  it('has successors of its own that do not come round', () => {
    let token: Buffer = Buffer.alloc(32)
    const salt = Buffer.alloc(16)
    const chain = Array.from({ length: 1000 }, () => {
      token = deriveSuccessor(token, salt)
      return formatRefreshToken(token)
    })

    expect(new Set(chain).size).toBe(1000)
  })
})
