import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect } from 'vitest'
import { login, passwordOf } from '../support/people.ts'
import { fault } from './support/fault.ts'
import { FEED } from './support/node.ts'
import { until } from './support/pair.ts'
import type { Pair } from './support/pair.ts'
import { RECOVERY_MS, REFUSED, REFUSING_MS } from './support/watch.ts'

const LOGIN = `mutation ($email: String!, $password: String!) {
  login(email: $email, password: $password) { accessToken }
}`
const ADA = { email: 'ada@example.com', password: passwordOf('ada') }

// Q03, Q04, Q58
describe('F03: a connection is dead without an error', () => {
  fault('nothing gets through to one node for a while', async ({ pair }) => {
    await pair.survives(async (watch) => {
      const since = performance.now()
      pair.cables[0].setMode('blackhole')
      await sleep(4000)
      expect(watch.seen('live', 0, since + REFUSING_MS)).toEqual(REFUSED)
      expect(watch.serves(1, since)).toBe(true)
      pair.cables[0].setMode('pass')
    })
  })

  fault('what a node asks arrives, and no answer comes back', async ({ pair }) => {
    await pair.survives(async () => {
      pair.cables[1].setMode('deaf')
      await sleep(4000)
      pair.cables[1].setMode('pass')
    })
  })

  fault('every connection is reset', async ({ pair }) => {
    await pair.survives(async () => {
      for (const cable of pair.cables) cable.setMode('cut')
      await sleep(2000)
      for (const cable of pair.cables) cable.setMode('pass')
    })
  })

  fault('a firewall forgets every connection of both nodes', async ({ pair }) => {
    await pair.survives(async () => {
      for (const cable of pair.cables) cable.abandon()
    })
  })
})

// Q03, Q04
describe('F03: a connection falls silent in the middle of a transaction', () => {
  fault('others that are revoked on the node do not wait for it', async ({ pair }) => {
    await pair.survives(async () => {
      await Promise.all(
        pair.cables.map(async (cable) => {
          await cable.setModeAfter('COMMIT', 'pass')
          cable.abandon()
        }),
      )
    })
  })

  fault('what it has locked is free again soon', async ({ pair }) => {
    const phone = await login(pair.node(0), 'ada', 'phone')
    await pair.survives(async () => {
      const hasLocked = pair.cables[0].setModeAfter('pg_advisory_xact_lock((', 'pass')
      const cuttingOff = pair
        .node(0)
        .once.graphql('mutation { logoutAllDevices { endedSessions } }', {
          token: phone.accessToken,
        })
      await hasLocked
      pair.cables[0].abandon()
      const since = performance.now()
      await until(async () => {
        const answer = await pair.node(1).once.graphql(LOGIN, { variables: ADA })
        return answer.errors.length === 0
      }, 2 * RECOVERY_MS)
      expect(performance.now() - since).toBeLessThan(RECOVERY_MS)
      expect((await cuttingOff).status).toBe(503)
    })
  })
})

// Q03, Q08
describe('F04: the answer of a commit is lost', () => {
  fault(
    'the client is told to try again, and the logout is made once',
    async ({ pair }) => {
      const phone = await login(pair.node(0), 'ada', 'phone')
      const isLost = pair.cables[0].setModeAfter('COMMIT', 'deaf')
      const logout = (node: number): ReturnType<Pair['ask']> =>
        pair.ask(node, 'mutation { logout { alreadyRevoked } }', phone.accessToken)

      const lost = logout(0)
      await isLost
      expect(await lost).toBe('REVOCATION_UNAVAILABLE')
      expect(await countRows(pair, phone.sessionId)).toEqual({ entries: 1, events: 1 })
      expect(await pair.whoAmI(1, phone.accessToken)).toBe('TOKEN_REVOKED')

      pair.cables[0].setMode('pass')
      await until(async () => (await logout(0)) === 'ACCEPTED')
      expect(await logout(1)).toBe('ACCEPTED')
      expect(await countRows(pair, phone.sessionId)).toEqual({ entries: 1, events: 1 })
      for (const node of [0, 1]) {
        expect(await pair.whoAmI(node, phone.accessToken)).toBe('TOKEN_REVOKED')
      }
    },
    { env: { SWEEP_INTERVAL: '0' } },
  )
})

// Q01, Q19
describe('F08: the connection that brings the news is silently dead', () => {
  fault('nothing gets through over it', async ({ pair }) => {
    await pair.survives(async (watch) => {
      const since = performance.now()
      pair.cables[1].setMode('blackhole', FEED)
      await sleep(4000)
      expect(watch.serves(1, since)).toBe(true)
      pair.cables[1].setMode('pass')
    })
  })

  fault('it is ended again and again', async ({ pair }) => {
    await pair.survives(async () => {
      for (let time = 0; time < 10; time += 1) {
        await pair.database.query(
          `select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1`,
          [FEED],
        )
        await sleep(400)
      }
    })
  })
})

// Q04, Q19, Q62
describe('F09: a node cannot be sure of what it knows for longer than the bound', () => {
  fault('it asks the database, and says so', async ({ pair }) => {
    await pair.survives(async () => {
      pair.cables[1].setMode('blackhole', FEED)
      await sleep(REFUSING_MS)

      const { text } = pair.mintToken()
      expect(await pair.whoAmI(1, text)).toBe('ACCEPTED')
      expect(await pair.revokeToken(0, text)).toBe('ACCEPTED')
      expect(await pair.whoAmI(1, text)).toBe('TOKEN_REVOKED')
      const { replica } = await readReady(pair, 1)
      expect(replica?.state).toBe(pair.check === 'replica' ? 'STALE' : undefined)
      pair.cables[1].setMode('pass')
    })
  })

  fault('it refuses where it cannot ask either, and is not ready', async ({ pair }) => {
    await pair.survives(async (watch) => {
      const since = performance.now()
      pair.cables[1].setMode('blackhole')
      await sleep(REFUSING_MS)
      expect((await readReady(pair, 1)).status).toBe('unavailable')
      expect((await readReady(pair, 0)).status).toBe('ready')
      await sleep(500)
      expect(watch.seen('live', 1, since + REFUSING_MS)).toEqual(REFUSED)
      pair.cables[1].setMode('pass')
    })
    expect((await readReady(pair, 1)).status).toBe('ready')
  })
})

async function countRows({ database }: Pair, sessionId: string): Promise<unknown> {
  const [counts] = await database.query(
    `select (select count(*)::int from revocation where session_id = $1) as entries,
       (select count(*)::int from revocation_event where session_id = $1) as events`,
    [sessionId],
  )
  return counts
}

interface Ready {
  readonly status: string
  readonly replica?: { readonly state: string }
}

async function readReady(pair: Pair, node: number): Promise<Ready> {
  const response = await fetch(`${pair.node(node).url}/readyz`)
  return (await response.json()) as Ready
}
