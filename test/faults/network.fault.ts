import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect } from 'vitest'
import { fault } from './support/fault.ts'

describe('F03: a connection is dead without anybody saying so', () => {
  fault('nothing gets through to one node for a while', async ({ pair }) => {
    const [cable] = pair.cables
    await pair.survives(async (watch) => {
      const since = performance.now()
      cable.setMode('blackhole')
      await sleep(4000)
      // Longer than any bound: it has refused, and the other has not.
      expect(watch.count('live', 0, since + 1500)).toEqual({
        REVOCATION_UNAVAILABLE: expect.any(Number),
      })
      expect(Object.keys(watch.count('live', 1, since))).toEqual(['ACCEPTED'])
      cable.setMode('pass')
    })
  })

  fault('a firewall forgets every connection of both', async ({ pair }) => {
    await pair.survives(async () => {
      for (const cable of pair.cables) cable.abandon()
    })
  })
})
