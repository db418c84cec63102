import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createBatched } from '../src/lib/batch.ts'
import type { BatchOptions } from '../src/lib/batch.ts'
import { createGate } from './support/gate.ts'

describe('questions that are asked together', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }))
  afterEach(() => void vi.useRealTimers())

  /** Says what goes in which call; each call is answered when its gate is opened. */
  function start(options: BatchOptions = {}) {
    const calls: Array<readonly string[]> = []
    const gates: Array<ReturnType<typeof createGate>> = []
    const ask = createBatched<string, string>(async (questions) => {
      calls.push(questions)
      const gate = createGate()
      gates.push(gate)
      await gate.opened
      return questions.map((question) => question.toUpperCase())
    }, options)
    const answer = async (call: number): Promise<void> => {
      gates[call]?.open()
      await settle()
    }
    return { ask, calls, answer }
  }

  async function settle(): Promise<void> {
    for (let turn = 0; turn < 5; turn += 1) await nextTurn()
  }

  it('go in one call, and those of meanwhile in the next', async () => {
    const { ask, calls, answer } = start()
    const first = [ask('a'), ask('b')]
    await settle()
    const second = [ask('c'), ask('d')]
    await settle()
    expect(calls).toEqual([['a', 'b']])

    await answer(0)
    expect(await Promise.all(first)).toEqual(['A', 'B'])
    expect(calls).toEqual([
      ['a', 'b'],
      ['c', 'd'],
    ])
    await answer(1)
    expect(await Promise.all(second)).toEqual(['C', 'D'])
  })

  it('wait for all the calls of those before, when these were too many for one', async () => {
    const { ask, calls, answer } = start({ maxBatchSize: 1 })
    void ask('a')
    void ask('b')
    await settle()
    void ask('c')
    await answer(0)
    expect(calls).toEqual([['a'], ['b']])

    await answer(1)
    expect(calls).toEqual([['a'], ['b'], ['c']])
  })

  it('wait no longer than they have patience', async () => {
    const { ask, calls, answer } = start({ patienceMs: 100 })
    const slow = ask('a')
    await settle()
    void ask('b')
    vi.advanceTimersByTime(99)
    await settle()
    expect(calls).toEqual([['a']])
    vi.advanceTimersByTime(1)
    await settle()
    expect(calls).toEqual([['a'], ['b']])

    // These wait for `b` now, whatever becomes of `a`.
    void ask('c')
    await answer(0)
    expect(await slow).toBe('A')
    expect(calls).toHaveLength(2)
    await answer(1)
    expect(calls).toEqual([['a'], ['b'], ['c']])
  })
})
