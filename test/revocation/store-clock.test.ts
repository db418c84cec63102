import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { StoreClock, unlessAhead } from '../../src/revocation/store-clock.ts'

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

it('says so too when it was set back in several small steps', () => {
  const onSetBack = vi.fn<() => void>()
  const clock = new StoreClock(onSetBack)
  for (const seconds of [0, 25, 50]) clock.observe(new Date(STORE_NOW.getTime() - seconds * 1000))
  expect(onSetBack).not.toHaveBeenCalled()

  clock.observe(new Date(STORE_NOW.getTime() - 75_000))
  expect(onSetBack).toHaveBeenCalledTimes(1)
  clock.observe(new Date(STORE_NOW.getTime() - 100_000))
  expect(onSetBack).toHaveBeenCalledTimes(1)
})

it.each([
  [13 * 3600, 0],
  [11 * 3600, 7],
  [-100 * 3600, 7],
])(
  'has a sweep wait while the store’s clock is %s seconds from the process’s',
  async (seconds, swept) => {
    const clock = new StoreClock()
    clock.observe(new Date(performance.timeOrigin + performance.now() + seconds * 1000))

    expect(await unlessAhead(clock, async () => 7)(10)).toBe(swept)
  },
)
