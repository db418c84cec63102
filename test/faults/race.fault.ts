import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { describe, expect } from 'vitest'
import { login, refresh, register } from '../support/people.ts'
import { fault } from './support/fault.ts'
import { STALENESS_MS } from './support/node.ts'
import { until } from './support/pair.ts'

// Q17, Q18
describe('F15: both nodes sweep while revocations are written', () => {
  fault(
    'what has expired goes, and nothing else',
    async ({ pair }) => {
      const { text } = pair.mintToken()
      expect(await pair.revokeToken(0, text)).toBe('ACCEPTED')

      await pair.survives(async () => {
        await pair.database.query(
          `insert into revocation (id, key, scope, token_id, revoked_at, expires_at, reason)
           select gen_random_uuid(), gen_random_uuid(), 'TOKEN', n::text, now() - interval '3 days',
             now() - interval '2 days', 'expired'
           from generate_series(1, 50000) n`,
        )
        await until(async () => {
          const [row] = await pair.database.query(
            `select count(*)::int as left from revocation where reason = 'expired'`,
          )
          return row?.['left'] === 0
        }, 30_000)
      })
      for (const node of [0, 1]) {
        expect(await pair.whoAmI(node, text)).toBe('TOKEN_REVOKED')
        expect(pair.node(node).log).not.toContain('sweep failed')
      }
    },
    { env: { SWEEP_INTERVAL: '1' } },
  )
})

// Q08, Q57
describe('F18: fifty logouts of one token on two nodes', () => {
  fault('all succeed, and make one entry', async ({ pair }) => {
    for (let round = 0; round < 3; round += 1) {
      const phone = await login(pair.node(0), 'ada', 'phone')
      const logouts = await Promise.all(
        Array.from({ length: 50 }, async (_, index) =>
          pair
            .node(index % 2)
            .graphql('mutation { logout { alreadyRevoked revocation { id revokedAt } } }', {
              token: phone.accessToken,
            }),
        ),
      )

      expect(logouts.flatMap(({ errors }) => errors)).toEqual([])
      const made = logouts.map(({ data }) => data.logout)
      expect(made.filter(({ alreadyRevoked }) => !alreadyRevoked)).toHaveLength(1)
      expect(new Set(made.map(({ revocation }) => JSON.stringify(revocation))).size).toBe(1)
      const rows = await pair.database.query(
        `select kind from revocation_event where session_id = $1`,
        [phone.sessionId],
      )
      expect(rows).toEqual([{ kind: 'REVOKED' }])
    }
  })
})

// Q12, Q57
describe('F19: a refresh races with logoutAllDevices', () => {
  fault('in either order, no token of it lives', async ({ pair }) => {
    await register(pair.node(0), 'bob')
    for (let round = 0; round < 8; round += 1) {
      const [phone, laptop] = [
        await login(pair.node(0), 'bob', 'phone'),
        await login(pair.node(1), 'bob', 'laptop'),
      ]
      const [refreshed, all] = await Promise.all([
        sleep(2 * round).then(async () => refresh(pair.node(0), phone.refreshToken)),
        pair.ask(1, 'mutation { logoutAllDevices { endedSessions } }', laptop.accessToken),
      ])
      expect(all).toBe('ACCEPTED')
      if (pair.check === 'replica') await sleep(STALENESS_MS)

      const { accessToken, refreshToken } = refreshed.data?.refresh ?? phone
      for (const node of [0, 1]) expect(await pair.whoAmI(node, accessToken)).toBe('TOKEN_REVOKED')
      expect((await refresh(pair.node(1), refreshToken)).errors[0]?.extensions.reason).toBe(
        'INVALID_REFRESH_TOKEN',
      )
    }
  })

  fault('also when its commit is held up', async ({ pair }) => {
    const phone = await login(pair.node(0), 'ada', 'phone')
    const laptop = await login(pair.node(1), 'ada', 'laptop')
    const release = await holdCommits(pair.database.url, 'refresh_token')

    const refreshing = refresh(pair.node(0), phone.refreshToken)
    await sleep(500)
    const ending = pair.ask(
      1,
      'mutation { logoutAllDevices { endedSessions } }',
      laptop.accessToken,
    )
    await sleep(500)
    await release()
    const { data } = await refreshing
    expect(await ending).toBe('ACCEPTED')
    if (pair.check === 'replica') await sleep(STALENESS_MS)
    for (const node of [0, 1]) {
      expect(await pair.whoAmI(node, data.refresh.accessToken)).toBe('TOKEN_REVOKED')
    }
  })
})

// Q01
describe('F20: transactions commit in another order than they began', () => {
  fault('and no node misses one', async ({ pair }) => {
    await pair.survives(async () => {
      for (let round = 0; round < 3; round += 1) {
        const { text } = pair.mintToken()
        expect(await pair.whoAmI(1, text)).toBe('ACCEPTED')
        const release = await holdCommits(pair.database.url, 'revocation_event', text.slice(-20))

        const late = pair.asAdmin(
          0,
          `mutation ($token: String!, $note: String) { revokeToken(token: $token, note: $note) { alreadyRevoked } }`,
          { token: text, note: text.slice(-20) },
        )
        // Meanwhile others begin later, and are done sooner.
        await sleep(300)
        for (let other = 0; other < 3; other += 1) {
          expect(await pair.revokeToken(1, pair.mintToken().text)).toBe('ACCEPTED')
        }
        await release()
        expect((await late).errors).toEqual([])
        const answeredAt = performance.now()
        expect(await pair.whoAmI(0, text)).toBe('TOKEN_REVOKED')
        await sleep(answeredAt + STALENESS_MS - performance.now())
        expect(await pair.whoAmI(1, text)).toBe('TOKEN_REVOKED')
      }
    })
  })
})

// Q01
describe('F21: a long transaction elsewhere', () => {
  fault('does not hold up the news', async ({ pair, cluster }) => {
    await pair.survives(async (watch) => {
      const since = performance.now()
      const stranger = new pg.Client({ connectionString: cluster.url })
      await stranger.connect()
      await stranger.query('begin')
      await stranger.query('create table x ()')
      await sleep(5000)
      for (const node of [0, 1]) {
        expect(watch.serves(node, since)).toBe(true)
      }
      await stranger.query('commit')
      await stranger.end()
    })
  })
})

/** Lets transactions that wrote to a table wait at their commit; those alone with this note, if one is given. */
async function holdCommits(
  url: string,
  table: string,
  note?: string,
): Promise<() => Promise<void>> {
  const holder = new pg.Client({ connectionString: url })
  await holder.connect()
  await holder.query(`select pg_advisory_lock(1)`)
  await holder.query(
    `create or replace function hold() returns trigger language plpgsql as
     'begin
        perform set_config(''lock_timeout'', ''0'', true);
        perform pg_advisory_xact_lock_shared(1);
        return null;
      end'`,
  )
  const condition = note === undefined ? '' : `when (new.note = '${note}')`
  await holder.query(
    `create constraint trigger hold after insert on ${table} deferrable initially deferred
     for each row ${condition} execute function hold()`,
  )
  return async () => {
    await holder.query(`select pg_advisory_unlock(1)`)
    await holder.query(`drop trigger hold on ${table}`)
    await holder.end()
  }
}
