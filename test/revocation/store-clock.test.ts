import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { StoreClock } from '../../src/revocation/store-clock.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'] })
})

afterEach(() => {
  vi.useRealTimers()
})

const STORE_NOW = new Date('2031-05-06T07:08:09Z')

// Q27
it.each([
  ['forward', 120_000],
  ['back', -120_000],
])('is right although the node’s own clock is set %s', (_direction, ms) => {
  const onSetBack = vi.fn<() => void>()
  const clock = new StoreClock(onSetBack)
  clock.observe(STORE_NOW)

  vi.setSystemTime(Date.now() + ms)
  expect(clock.now() * 1000).toBeCloseTo(STORE_NOW.getTime(), -3)
  clock.observe(STORE_NOW)
  expect(onSetBack).not.toHaveBeenCalled()
})

it('says when the store’s clock was set back by more than entries outlive their tokens', () => {
  const onSetBack = vi.fn<() => void>()
  const clock = new StoreClock(onSetBack)
  clock.observe(STORE_NOW)

  clock.observe(new Date(STORE_NOW.getTime() - 59_000))
  expect(onSetBack).not.toHaveBeenCalled()
  clock.observe(new Date(STORE_NOW.getTime() - 2 * 59_000 - 2000))
  expect(onSetBack).toHaveBeenCalledTimes(1)
})
