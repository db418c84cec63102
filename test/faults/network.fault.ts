import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { describe, expect } from 'vitest'
import { login, refresh } from '../support/people.ts'
import { fault } from './support/fault.ts'
import { STALENESS_MS } from './support/node.ts'
import { until } from './support/pair.ts'
import type { Pair } from './support/pair.ts'

/** What the connection says first over which a node follows the journal. */
const FEED = 'portcullis-replica'

/** By then whoever cannot check refuses, in either mode. */
const REFUSING_MS = STALENESS_MS + 1000

// Q04, Q58
describe('F02: every connection of a node is taken', () => {
  fault('by checks whose answers take five seconds', async ({ pair }) => {
    await pair.survives(async (watch) => {
      const since = performance.now()
      pair.cables[0].setDelay(5000)
      const { text } = pair.mintToken()
      const flood = Array.from({ length: 200 }, async () => pair.whoAmIOnce(0, text))

      await sleep(REFUSING_MS)
      expect([...new Set(await Promise.all(flood))]).not.toContain('NO_ANSWER')
      await sleep(1000)
      expect(watch.seen('live', 0, since + REFUSING_MS)).toEqual(REFUSED)
      expect(watch.serves(1, since)).toBe(true)
      pair.cables[0].setDelay(0)
    })
  })

  fault('by transactions that wait for a lock', async ({ pair }) => {
    const phone = await login(pair.node(0), 'ada', 'phone')

    await pair.survives(async (watch) => {
      const since = performance.now()
      const release = await lock(pair, 'lock table refresh_token in access exclusive mode')
      const waiting = Array.from({ length: 60 }, async () =>
        refresh(pair.node(0).once, phone.refreshToken),
      )
      const statuses = (await Promise.all(waiting)).map(({ status }) => status)
      await release()
      expect([...new Set(statuses)]).toEqual([503])
      // A replica answers without a connection; who `me` is, it has to ask.
      expect(watch.seen('live', 0, since)).toContain('REVOCATION_UNAVAILABLE')
    })
  })
})

describe('F02: PostgreSQL has no connection left', () => {
  fault(
    'because strangers have taken them all',
    async ({ pair, cluster }) => {
      await pair.survives(async (watch) => {
        const since = performance.now()
        const strangers = await takeConnections(cluster.url)
        while (performance.now() < since + 3000) {
          await strangers[0]?.query(
            `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'portcullis%'`,
          )
          strangers.push(...(await takeConnections(cluster.url)))
          await sleep(20)
        }
        const answers = watch.seen('live', 0, since)
        await Promise.all(strangers.map(async (stranger) => stranger.end()))
        expect(answers).toContain('REVOCATION_UNAVAILABLE')
        expect(pair.node(0).log).toContain('too many clients')
      })
    },
    { server: { max_connections: 40 } },
  )
})

// Q03, Q04, Q58
describe('F03: a connection is dead without anybody saying so', () => {
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

// Q04, Q58
describe('F06: the database is slow', () => {
  fault('every answer takes two seconds', async ({ pair }) => {
    await pair.survives(async (watch) => {
      const since = performance.now()
      for (const cable of pair.cables) cable.setDelay(2000)
      await sleep(5000)
      expect(watch.seen('live', 0, since + REFUSING_MS)).toEqual(REFUSED)
      for (const cable of pair.cables) cable.setDelay(0)
    })
  })

  fault('somebody locks the table', async ({ pair }) => {
    await pair.survives(async () => {
      const release = await lock(pair, 'lock table revocation in access exclusive mode')
      await sleep(5000)
      await release()
    })
  })

  fault('its processes stand still', async ({ pair, cluster }) => {
    await pair.survives(async (watch) => {
      const since = performance.now()
      await cluster.freeze()
      await sleep(4000)
      expect(watch.seen('live', 0, since + REFUSING_MS)).toEqual(REFUSED)
      await cluster.thaw()
    })
  })
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

describe('F25: somebody migrates', () => {
  fault('a column is added in a transaction that stays open', async ({ pair }) => {
    await pair.survives(async () => {
      const release = await lock(pair, 'alter table revocation add column x integer')
      await sleep(5000)
      await release('commit')
    })
  })
})

const REFUSED = ['REVOCATION_UNAVAILABLE']

/** Takes a lock as a stranger would. */
async function lock({ database }: Pair, sql: string): Promise<(end?: string) => Promise<void>> {
  const stranger = new pg.Client({ connectionString: database.url })
  stranger.on('error', () => undefined)
  await stranger.connect()
  await stranger.query('begin')
  await stranger.query(sql)
  return async (end = 'rollback') => {
    await stranger.query(end)
    await stranger.end()
  }
}

/** All that are left. */
async function takeConnections(url: string): Promise<pg.Client[]> {
  const taken: pg.Client[] = []
  for (;;) {
    const stranger = new pg.Client({ connectionString: url })
    stranger.on('error', () => undefined)
    try {
      await stranger.connect()
    } catch {
      return taken
    }
    taken.push(stranger)
  }
}

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
