import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect } from 'vitest'
import { login } from '../support/people.ts'
import { fault } from './support/fault.ts'
import { startHerd } from './support/herd.ts'
import { FEED, STALENESS_MS } from './support/node.ts'
import { until } from './support/pair.ts'

// Q04, Q59
describe('F01: PostgreSQL restarts under load', () => {
  fault('as an operator restarts it, and after a crash', async ({ pair, cluster }) => {
    const { text } = pair.mintToken()

    await pair.survives(async () => {
      let isOver = false
      const seen = new Set<string>()
      const callers = Array.from({ length: 20 }, async (_, caller) => {
        while (!isOver) seen.add(await pair.whoAmIOnce(caller % 2, text))
      })
      await cluster.restart('fast')
      await sleep(500)
      await cluster.restart('immediate')
      await sleep(500)
      isOver = true
      await Promise.all(callers)
      expect([...seen].filter((outcome) => outcome !== 'REVOCATION_UNAVAILABLE')).toEqual([
        'ACCEPTED',
      ])
    })
  })
})

// Q01
describe('F05: a node dies between the commit and its news', () => {
  fault(
    'the others refuse within the bound',
    async ({ pair }) => {
      const phone = await login(pair.node(0), 'ada', 'phone')
      expect(await pair.whoAmI(1, phone.accessToken)).toBe('ACCEPTED')
      const isCommitted = pair.cables[0].setModeAfter('COMMIT', 'deaf')

      const logout = pair.ask(0, 'mutation { logout { alreadyRevoked } }', phone.accessToken)
      await isCommitted
      await until(async () => (await pair.database.query('select 1 from revocation')).length > 0)
      const committedAt = performance.now()
      await pair.kill(0)
      expect(await logout).toBe('NO_ANSWER')

      if (pair.check === 'replica') await sleep(committedAt + STALENESS_MS - performance.now())
      expect(await pair.whoAmI(1, phone.accessToken)).toBe('TOKEN_REVOKED')
      pair.cables[0].setMode('pass')
      await pair.startAgain(0)
      expect(await pair.whoAmI(0, phone.accessToken)).toBe('TOKEN_REVOKED')
    },
    { env: { SWEEP_INTERVAL: '0' } },
  )
})

// Q02
describe('F07: PostgreSQL is killed when a revocation has been answered', () => {
  fault(
    'the revocation is there afterwards, fifty times',
    async ({ pair, cluster }) => {
      const revoked: string[] = []
      let lastAt = 0
      for (let time = 0; time < 50; time += 1) {
        const { text } = pair.mintToken()
        const node = time % 2
        await until(async () => (await pair.revokeToken(node, text)) === 'ACCEPTED')
        lastAt = performance.now()
        await cluster.kill()
        revoked.push(text)
        await cluster.start()
      }

      // The crash swallowed the last hint: the other replica may be as far behind as the bound.
      if (pair.check === 'replica') await sleep(lastAt + STALENESS_MS - performance.now())
      for (const node of [0, 1]) {
        await until(async () => (await pair.whoAmI(node, pair.mintToken().text)) === 'ACCEPTED')
        const outcomes = await Promise.all(revoked.map(async (token) => pair.whoAmI(node, token)))
        expect([...new Set(outcomes)]).toEqual(['TOKEN_REVOKED'])
        expect(pair.node(node).isAlive).toBe(true)
      }
    },
    { timeoutMs: 180_000 },
  )
})

describe('F17: all clients come back at once', () => {
  fault(
    '500 clients are served again within 5 s of the restart of all',
    async ({ pair, cluster }) => {
      const herd = startHerd(pair, 500)
      await until(async () => herd.servedSince(0) === 500, 30_000)

      await Promise.all([cluster.kill(), pair.kill(0), pair.kill(1)])
      await cluster.start()
      await Promise.all([pair.startAgain(0), pair.startAgain(1)])
      const backAt = performance.now()
      await until(async () => herd.servedSince(backAt) === 500, 30_000)
      expect(performance.now() - backAt).toBeLessThan(5000)
      expect(await herd.stop()).toEqual([])
      for (const node of [0, 1]) expect(pair.node(node).isAlive).toBe(true)
    },
  )
})

// Q19
describe('F23: a node stands still', () => {
  fault('its first answer after the pause knows what was revoked meanwhile', async ({ pair }) => {
    await pair.survives(async () => {
      const { text } = pair.mintToken()
      expect(await pair.whoAmI(1, text)).toBe('ACCEPTED')

      pair.pause(1)
      // The news must not come before the question.
      pair.cables[1].setMode('blackhole', FEED)
      expect(await pair.revokeToken(0, text)).toBe('ACCEPTED')
      await sleep(3 * STALENESS_MS)
      const first = pair.whoAmIOnce(1, text)
      await sleep(100)
      pair.goOn(1)
      expect(['TOKEN_REVOKED', 'REVOCATION_UNAVAILABLE']).toContain(await first)
      await until(async () => (await pair.whoAmI(1, text)) === 'TOKEN_REVOKED')
      pair.cables[1].setMode('pass')
    })
  })
})

// Q02
describe('F24: everything restarts', () => {
  fault('and what was revoked stays so', async ({ pair, cluster }) => {
    await pair.survives(async () => {
      await Promise.all([pair.kill(0), pair.kill(1), cluster.stop()])
      await cluster.start()
      await Promise.all([pair.startAgain(0), pair.startAgain(1)])
    })
  })
})
