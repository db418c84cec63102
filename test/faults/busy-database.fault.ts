import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { describe, expect } from 'vitest'
import { refresh, register } from '../support/people.ts'
import type { Cluster } from './support/cluster.ts'
import { fault } from './support/fault.ts'
import { until } from './support/pair.ts'
import type { Pair } from './support/pair.ts'
import { REFUSED, REFUSING_MS } from './support/watch.ts'

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
    // Of many people: one person's own wait for each other, and take no more than one connection.
    const people = await Promise.all(
      Array.from({ length: 12 }, async (_, at) => register(pair.node(0), `person${at}`)),
    )

    await pair.survives(async (watch) => {
      const since = performance.now()
      const release = await lock(pair, 'lock table refresh_token in share row exclusive mode')
      const waiting = people.flatMap(({ refreshToken }) =>
        Array.from({ length: 5 }, async () => refresh(pair.node(0).once, refreshToken)),
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
        for (const cable of pair.cables) cable.setMode('cut')
        await until(async () => (await countConnections(cluster)) === 0)
        const strangers = await takeConnections(cluster.url)
        for (const cable of pair.cables) cable.setMode('pass')
        const since = performance.now()
        await sleep(3000)
        const answers = watch.seen('live', 0, since)
        await Promise.all(strangers.map(async (stranger) => stranger.end()))
        expect(answers).toEqual(REFUSED)
        expect(pair.node(0).log).toContain('too many clients')
      })
    },
    { server: { max_connections: 40 } },
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

  fault('a transaction locks the table', async ({ pair }) => {
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

describe('F25: a migration runs', () => {
  fault('a column is added in a transaction that stays open', async ({ pair }) => {
    await pair.survives(async () => {
      const release = await lock(pair, 'alter table revocation add column x integer')
      await sleep(5000)
      await release('commit')
    })
  })
})

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

/** The nodes' own. */
async function countConnections(cluster: Cluster): Promise<number> {
  const connections = await cluster.query(
    `select from pg_stat_activity where application_name like 'portcullis%'`,
  )
  return connections.length
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
