import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { TooManySignInsError, WorkQueue } from '../../src/service/account/work-queue.ts'
import { createGate } from '../support/gate.ts'

describe('a work queue', () => {
  it('runs so much at a time, in the order in which it came', async () => {
    const queue = new WorkQueue({ maxRunning: 2, maxWaiting: 10, maxWaitMs: 10_000 })
    const begun: number[] = []
    let running = 0
    let most = 0

    const results = await Promise.all(
      [0, 1, 2, 3, 4, 5].map((n) =>
        queue.run(async () => {
          begun.push(n)
          running += 1
          most = Math.max(most, running)
          await sleep(1)
          running -= 1
          return n
        }),
      ),
    )

    expect(results).toEqual([0, 1, 2, 3, 4, 5])
    expect(begun).toEqual([0, 1, 2, 3, 4, 5])
    expect(most).toBe(2)
  })

  // Q58
  it('refuses a request that finds the queue too long, and says when to come back', async () => {
    const queue = new WorkQueue({ maxRunning: 1, maxWaiting: 1, maxWaitMs: 10_000 })
    const gate = createGate()
    const inTurn = [queue.run(() => gate.opened), queue.run(async () => undefined)]

    const refused = await queue.run(async () => undefined).catch((error: unknown) => error)
    gate.open()
    await Promise.all(inTurn)

    expect(refused).toBeInstanceOf(TooManySignInsError)
    expect(refused).toMatchObject({
      message: 'Too many sign-ins at the moment; try again in 5 s',
      httpStatus: 429,
      retryAfterSeconds: 5,
      extensions: { code: 'RATE_LIMITED' },
    })
    expect(await queue.run(async () => 'again')).toBe('again')
  })

  // Q58
  it('refuses a request that waited too long, and serves the next', async () => {
    const queue = new WorkQueue({ maxRunning: 1, maxWaiting: 10, maxWaitMs: 20 })
    const gate = createGate()
    const first = queue.run(() => gate.opened)
    let runs = 0
    const late = [1, 2].map(() =>
      queue
        .run(async () => {
          runs += 1
        })
        .catch((error: unknown) => error),
    )

    await sleep(40)
    gate.open()

    expect(await first).toBeUndefined()
    for (const refusal of await Promise.all(late))
      expect(refusal).toBeInstanceOf(TooManySignInsError)
    expect(runs).toBe(0)
    expect(await queue.run(async () => 'again')).toBe('again')
  })

  it('goes on after work that fails', async () => {
    const queue = new WorkQueue({ maxRunning: 1, maxWaiting: 10, maxWaitMs: 10_000 })

    const failed = queue.run(() => Promise.reject(new Error('no')))
    const next = queue.run(async () => 'next')

    await expect(failed).rejects.toThrow('no')
    expect(await next).toBe('next')
  })
})
