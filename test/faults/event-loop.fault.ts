import { describe, expect } from 'vitest'
import { fault } from './support/fault.ts'
import { HeavyClient, MAX_ANSWER_BYTES, MAX_MS } from './support/heavy-client.ts'
import { heavyRequests } from './support/heavy-requests.ts'

// Q43
describe('F26: requests made to keep the event loop', () => {
  fault(
    'take no more than 100 ms of it, and are answered briefly',
    async ({ pair, check }) => {
      const node = pair.node(0)
      const client = new HeavyClient(node, pair.adminToken)
      const tooMuch: unknown[] = []
      let asked = 0
      // Half of them in each mode: they are some two thousand.
      const half = check === 'database' ? 0 : 1
      for (const request of heavyRequests()) {
        asked += 1
        if (asked % 2 !== half) continue
        const { ms, bytes, status } = await client.measure(request)
        if (ms > MAX_MS || bytes > MAX_ANSWER_BYTES || status === 500)
          tooMuch.push({ name: request.name, ms, bytes, status })
      }

      expect(tooMuch).toEqual([])
      expect(asked).toBeGreaterThan(2000)
      expect(node.isAlive).toBe(true)
      expect(node.log).not.toContain('internal error')
    },
    { timeoutMs: 900_000 },
  )
})
