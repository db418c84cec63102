import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { login, refresh, whoAmI } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { Cluster } from './support/cluster.ts'
import type { Database } from './support/cluster.ts'
import { Pair, until } from './support/pair.ts'

/** `FAULTS_SESSIONS=2000000` takes some ten minutes each. */
const SESSIONS = Number(process.env['FAULTS_SESSIONS'] ?? 200_000)

/** How long the cut-off may take, and a check beside it, in milliseconds: the machine may be busy. */
const CUT_OFF_MS = 2000
const CHECK_MS = 3000

describe('F28: a great many sessions end at once', () => {
  it.each([
    ['everyone', 'revokeEveryone(reason: "key leaked")', 'phone-'],
    ['one person', 'revokeUser(userId: $id, reason: "key leaked")', ''],
  ])(
    'of %s: the cut-off is answered at once and decides at once; a node that dies leaves the rest to the other',
    { timeout: 900_000 },
    async (_whom, act, prefix) => {
      const pair = await startPair()
      const { ada } = pair
      await fill(pair.database, prefix, ada.userId)
      const watch = watchChecks(pair)

      const askedAt = performance.now()
      const { data, errors } = await pair.asAdmin(
        0,
        `mutation (${act.includes('$id') ? '$id: ID!' : ''}) { ${act} { endedSessions } }`.replace(
          '()',
          '',
        ),
        { id: ada.userId },
      )
      const answeredAt = performance.now()
      expect(errors).toEqual([])
      expect(Object.values(data)).toEqual([{ endedSessions: null }])
      await expectEnded(pair, ada)
      expect(await countLive(pair.database)).toBeGreaterThan(SESSIONS / 2)
      const again = await login(pair.node(1), 'ada', 'after')

      await sleep(2000)
      await pair.kill(0)
      await until(async () => (await countCutOffs(pair.database)) === 0, 700_000)
      const endedAt = performance.now()
      expect(await countLive(pair.database)).toBeLessThan(5)

      expect((await refresh(pair.node(1), again.refreshToken)).errors).toEqual([])
      const slowestMs = watch.stop()
      console.info(
        `F28: answered in ${Math.round(answeredAt - askedAt)} ms, all ended ${Math.round((endedAt - answeredAt) / 1000)} s later, the slowest check meanwhile ${Math.round(slowestMs)} ms`,
      )
      expect(answeredAt - askedAt).toBeLessThan(CUT_OFF_MS)
      expect(slowestMs).toBeLessThan(CHECK_MS)
    },
  )
})

async function startPair(): Promise<Pair> {
  // Nothing of it has to outlive the test, so that it need not wait for the disk.
  const cluster = await Cluster.create({ fsync: 'off', max_wal_size: '4GB' })
  onTestFinished(async () => cluster.remove())
  const database = await cluster.createDatabase()
  const pair = await Pair.start({ check: 'database', database, env: { SWEEP_INTERVAL: '1' } })
  onTestFinished(async () => pair.stop())
  return pair
}

/** @param prefix - Of the persons; empty: all are of one. */
async function fill(database: Database, prefix: string, subject: string): Promise<void> {
  const indexes = await database.query<{ indexdef: string; indexname: string }>(
    `select indexdef, indexname from pg_indexes where tablename = 'session' and indexname <> 'session_pkey'`,
  )
  for (const { indexname } of indexes) await database.query(`drop index ${indexname}`)
  await database.query(
    `insert into session (id, subject, created_at, authenticated_at, last_seen_at, last_issued_at, expires_at)
     select gen_random_uuid(), case when $1 = '' then $2 else $1 || n / 4 end, at, at, at, at, at + interval '30 days'
     from generate_series(1, ${SESSIONS}) n, lateral (select now() - n * interval '1 second' as at) as made`,
    [prefix, subject],
  )
  for (const { indexdef } of indexes) await database.query(indexdef)
}

/** On both nodes, from the answer on. */
async function expectEnded(pair: Pair, ada: SignIn): Promise<void> {
  for (const node of [0, 1]) {
    expect(await whoAmI(pair.node(node), ada.accessToken)).toBe('TOKEN_REVOKED')
    const { errors } = await refresh(pair.node(node), ada.refreshToken)
    expect(errors[0]?.extensions.reason).toBe('INVALID_REFRESH_TOKEN')
  }
}

async function countLive(database: Database): Promise<number> {
  const [row] = await database.query<{ count: number }>(
    `select count(*)::integer as count from session where ended_at is null`,
  )
  return row?.count ?? 0
}

async function countCutOffs(database: Database): Promise<number> {
  return (await database.query(`select 1 from session_cut_off`)).length
}

/** Asks the second node all the time; a refusal is as good as an answer that never comes. */
function watchChecks(pair: Pair): { stop(): number } {
  let slowestMs = 0
  let isStopped = false
  async function look(): Promise<void> {
    while (!isStopped) {
      const askedAt = performance.now()
      const outcome = await pair.whoAmIOnce(1, pair.ada.accessToken)
      const tookMs = /ACCEPTED|TOKEN_REVOKED/.test(outcome) ? performance.now() - askedAt : Infinity
      slowestMs = Math.max(slowestMs, tookMs)
      await sleep(20)
    }
  }
  void look()
  return {
    stop: () => {
      isStopped = true
      return slowestMs
    },
  }
}
