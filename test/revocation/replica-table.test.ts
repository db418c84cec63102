import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ReplicaTable } from '../../src/revocation/replica/replica-table.ts'

const NOON_MS = Date.UTC(2025, 10, 22, 12)
const MINUTE = 60_000

/** Few keys that collide in their halves and their places, so that they meet often. */
const word = fc.constantFrom(0, 1, 2, 0x0100_0000, 0x0100_0001, 0xffff_ffff)
const entry = fc.record({
  high: word,
  low: word,
  reachMs: fc.integer({ min: NOON_MS - 30 * MINUTE, max: NOON_MS + 30 * MINUTE }),
  livesMs: fc.integer({ min: 1, max: 60 * MINUTE }),
})

describe('ReplicaTable', () => {
  // Q01, Q19
  it('never rules out what an entry reaches, and rules out all else, in whatever order entries come', () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 60 }), (entries) => {
        const table = new ReplicaTable()
        const reaches = new Map<string, number>()
        for (const { high, low, reachMs, livesMs } of entries) {
          table.add(high, low, reachMs, reachMs + livesMs)
          const key = `${high}.${low}`
          reaches.set(key, Math.max(reaches.get(key) ?? -Infinity, reachMs))
        }

        expect(table.size).toBe(reaches.size)
        for (const { high, low } of [...entries, { high: 7, low: 7 }]) {
          const reachMs = reaches.get(`${high}.${low}`) ?? -Infinity
          for (const ms of [NOON_MS, reachMs - 1, reachMs, reachMs + 1].filter(Number.isFinite)) {
            expect(table.mayReach(high, low, ms)).toBe(ms <= reachMs)
          }
        }
      }),
    )
  })

  it('holds whatever instants the database can hold, and then says rather too much than too little', () => {
    const table = new ReplicaTable()
    const forEver = Date.UTC(9999, 11, 31)
    table.add(1, 1, NOON_MS, forEver)
    table.add(2, 2, forEver, forEver)
    table.add(3, 3, 0, NOON_MS)

    expect(table.mayReach(1, 1, NOON_MS)).toBe(true)
    expect(table.mayReach(2, 2, NOON_MS)).toBe(true)
    expect(table.mayReach(3, 3, 0)).toBe(true)
    for (const _ of table.removeExpired(NOON_MS + MINUTE));
    expect(table.size).toBe(2)
  })

  it('keeps an entry in 32 bytes at the most, and gives them back when it expires', () => {
    const table = new ReplicaTable()
    const empty = table.bytes
    const random = createRandom()
    const perEntry: number[] = []
    for (let count = 1; count <= 400_000; count++) {
      table.add(random(), random(), NOON_MS, NOON_MS + (count % 2 === 0 ? 10 : 20) * MINUTE)
      if (count >= 100_000 && count % 10_000 === 0) perEntry.push(table.bytes / count)
    }
    expect(table.size).toBe(400_000)
    expect(Math.max(...perEntry)).toBeLessThanOrEqual(32)

    for (const _ of table.removeExpired(NOON_MS + 15 * MINUTE));
    expect(table.size).toBe(200_000)
    expect(table.bytes / 200_000).toBeLessThanOrEqual(32)
    for (const _ of table.removeExpired(NOON_MS + 25 * MINUTE));
    expect(table.size).toBe(0)
    expect(table.bytes).toBe(empty)
  })

  it('keeps what has not expired where it can be found', () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 60 }), fc.nat(60 * MINUTE), (entries, laterMs) => {
        const table = new ReplicaTable()
        for (const { high, low, reachMs, livesMs } of entries) {
          table.add(high, low, reachMs, reachMs + livesMs)
        }
        const nowMs = NOON_MS + laterMs
        for (const _ of table.removeExpired(nowMs));

        for (const { high, low, reachMs, livesMs } of entries) {
          if (reachMs + livesMs > nowMs) expect(table.mayReach(high, low, reachMs)).toBe(true)
        }
      }),
    )
  })
})

/** Xorshift: the same words at every run. */
function createRandom(): () => number {
  let state = 2_463_534_242
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
}
