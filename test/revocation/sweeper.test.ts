import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { startSweeper } from '../../src/revocation/sweeper.ts'
import type { Sweep, Sweeper } from '../../src/revocation/sweeper.ts'
import { createGate } from '../support/gate.ts'

let sweeper: Sweeper | undefined
let errors: unknown[]

afterEach(async () => {
  await sweeper?.stop()
})

function start(...sweeps: Sweep[]): Sweeper {
  errors = []
  sweeper = startSweeper({
    sweeps,
    intervalMs: 5,
    batchSize: 10,
    onError: (error) => {
      errors.push(error)
    },
  })
  return sweeper
}

// Q18
describe('a sweeper', () => {
  it('goes on in batches while they are full, then with the next, and starts anew later', async () => {
    const found = [10, 10, 3]
    const steps: string[] = []
    const rounds = createGate()
    start(
      async (limit) => {
        steps.push(`entries, ${limit}`)
        return found.shift() ?? 0
      },
      async (limit) => {
        steps.push(`sessions, ${limit}`)
        if (steps.length >= 6) rounds.open()
        return 0
      },
    )

    await rounds.opened
    const [entries, sessions] = ['entries, 10', 'sessions, 10']
    expect(steps.slice(0, 6)).toEqual([entries, entries, entries, sessions, entries, sessions])
  })

  it('tells of a failure, does the rest, and tries again', async () => {
    const failure = new Error('no connection')
    let others = 0
    const again = createGate()
    start(
      async () => {
        if (errors.length === 2) again.open()
        throw failure
      },
      async () => {
        others += 1
        return 0
      },
    )

    await again.opened
    expect(errors.slice(0, 2)).toEqual([failure, failure])
    expect(others).toBeGreaterThanOrEqual(2)
  })

  it('stops after the batch under way, and stays so', async () => {
    const [begun, done] = [createGate(), createGate()]
    const steps: string[] = []
    start(async () => {
      steps.push('began')
      begun.open()
      await done.opened
      steps.push('ended')
      return 10
    })
    await begun.opened

    const stopping = sweeper?.stop().then(() => steps.push('stopped'))
    await sleep(20)
    expect(steps).toEqual(['began'])
    done.open()
    await stopping
    await sleep(20)
    expect(steps).toEqual(['began', 'ended', 'stopped'])
    await sweeper?.stop()
  })

  it('does nothing when it is stopped before it began', async () => {
    let sweeps = 0
    await start(async () => (sweeps += 1)).stop()

    await sleep(20)
    expect(sweeps).toBe(0)
  })
})
