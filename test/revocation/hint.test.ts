import fc from 'fast-check'
import { expect, it } from 'vitest'
import { formatHints, takeHints } from '../../src/revocation/journal/hint.ts'
import type { Hint } from '../../src/revocation/journal/hint.ts'

const word = fc.integer({ min: 0, max: 0xffff_ffff })
const instant = fc.integer({ min: 0, max: Date.UTC(9999, 11, 31) })
const hint = fc.record({ high: word, low: word, reachMs: instant, expiresAtMs: instant })

function read(text: string): Hint[] | null {
  const taken: Hint[] = []
  const isUnderstood = takeHints(text, (high, low, reachMs, expiresAtMs) =>
    taken.push({ high, low, reachMs, expiresAtMs }),
  )
  return isUnderstood ? taken : null
}

it('tells others of entries, in the order given', () => {
  fc.assert(
    fc.property(fc.array(hint, { minLength: 1, maxLength: 100 }), (hints) => {
      expect(read(formatHints(hints))).toEqual(hints)
    }),
  )
})

it('is no longer than PostgreSQL allows, and then says nothing', () => {
  const one = { high: 4_000_000_000, low: 4_000_000_000, reachMs: 1e14, expiresAtMs: 1e14 }
  for (let count = 1; count < 400; count++) {
    expect(Buffer.byteLength(formatHints(Array.from({ length: count }, () => one)))).toBeLessThan(
      8000,
    )
  }
  expect(formatHints(Array.from({ length: 400 }, () => one))).toBe('')
})

it.each([
  '',
  'x',
  '1 2 3',
  '1 2 3 4 5',
  '1 2 3 x',
  '1 2 3 4,',
  '-1 2 3 4',
  '1 2 3 1e9',
  '1 2 3 4\n',
])('takes nothing of what it does not understand: "%s"', (text) => {
  expect(read(text)).toBeNull()
  let taken = 0
  takeHints(`1 2 3 4,${text}`, () => (taken += 1))
  expect(taken).toBe(0)
})
