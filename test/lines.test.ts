import { describe, expect, it } from 'vitest'
import { createLines } from '../src/database/lines.ts'
import { RateLimitedError, RevocationUnavailableError } from '../src/errors.ts'
import { createGate } from './support/gate.ts'

describe('lines', () => {
  it('run one after the other what stands in the same one, in its order, and others beside it', async () => {
    const run = createLines({ maxWaiting: 10, maxWaitMs: 10_000 })
    const gate = createGate()
    const done: string[] = []
    const ada = [1, 2, 3].map((turn) =>
      run('ada', async () => {
        await gate.opened
        done.push(`ada ${turn}`)
      }),
    )

    await run('grace', async () => done.push('grace'))
    expect(done).toEqual(['grace'])
    gate.open()
    await Promise.all(ada)
    expect(done).toEqual(['grace', 'ada 1', 'ada 2', 'ada 3'])
  })

  it('go on after work that fails, and give back what it gave', async () => {
    const run = createLines({ maxWaiting: 10, maxWaitMs: 10_000 })
    const [failed, done] = await Promise.allSettled([
      run('ada', async () => {
        throw new TypeError('broken')
      }),
      run('ada', async () => 'done'),
    ])

    expect(failed).toMatchObject({ reason: new TypeError('broken') })
    expect(done).toMatchObject({ value: 'done' })
  })

  it('refuse what would have to wait behind too many, and that only', async () => {
    const run = createLines({ maxWaiting: 2, maxWaitMs: 10_000 })
    const gate = createGate()
    const accepted = [1, 2, 3].map(() => run('ada', async () => gate.opened))

    await expect(run('ada', async () => undefined)).rejects.toThrow(RateLimitedError)
    await run('grace', async () => undefined)
    gate.open()
    await Promise.all(accepted)
    await run('ada', async () => undefined)
  })

  it('refuse what has waited too long, and go on with what comes behind it', async () => {
    const run = createLines({ maxWaiting: 10, maxWaitMs: 50 })
    const gate = createGate()
    const first = run('ada', async () => gate.opened)

    await expect(run('ada', async () => undefined)).rejects.toThrow(RevocationUnavailableError)
    const last = run('ada', async () => 'last')
    gate.open()
    await first
    expect(await last).toBe('last')
  })
})
