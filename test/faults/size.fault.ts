import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'
import { Cluster } from './support/cluster.ts'
import type { Database } from './support/cluster.ts'
import { Pair, until } from './support/pair.ts'

describe('F14: ten million entries', () => {
  it.each(['database', 'replica'] as const)(
    'are no obstacle to a start nor to checks (%s)',
    { timeout: 400_000 },
    async (check) => {
      const { cluster, database } = await findLargeDatabase()
      const env = { SWEEP_INTERVAL: '0' }
      const small = await Pair.start({ check, database: await cluster.createDatabase(), env })
      await small.stop()
      await database.query(`truncate account cascade`)
      const pair = await Pair.start({ check, database, env })
      onTestFinished(async () => pair.stop())
      // As long as beside no entries, and twice that for a busy machine.
      expect(pair.startMs).toBeLessThan(3 * small.startMs)

      const startedAt = performance.now()
      await until(async () => isInStep(pair), 120_000)
      const mebibytes = Math.round((await pair.node(0).residentBytes) / 2 ** 20)
      console.info(
        `F14 (${check}): started in ${Math.round(pair.startMs)} ms, without entries ${Math.round(small.startMs)} ms; in step ${Math.round(performance.now() - startedAt)} ms later, ${mebibytes} MiB`,
      )
      await pair.survives(async (watch) => {
        const since = performance.now()
        await sleep(3000)
        for (const node of [0, 1]) {
          expect(watch.serves(node, since)).toBe(true)
        }
      })
    },
  )
})

const ENTRIES = 10_000_000

let large: Promise<Large> | undefined

interface Large {
  readonly cluster: Cluster
  readonly database: Database
}

afterAll(async () => (await large)?.cluster.remove())

/** Made once, for both modes. */
async function findLargeDatabase(): Promise<Large> {
  large ??= fillCluster()
  return large
}

async function fillCluster(): Promise<Large> {
  // Nothing of it has to outlive the test, so that it need not wait for the disk.
  const cluster = await Cluster.create({
    fsync: 'off',
    max_wal_size: '4GB',
    maintenance_work_mem: '256MB',
  })
  const database = await cluster.createDatabase()
  const pair = await Pair.start({ check: 'database', database })
  await pair.stop()

  const indexes = await database.query<{ indexdef: string; indexname: string }>(
    `select indexdef, indexname from pg_indexes where tablename = 'revocation' and indexname <> 'revocation_pkey'`,
  )
  for (const { indexname } of indexes) await database.query(`drop index ${indexname}`)
  await database.query(`alter table revocation drop constraint revocation_pkey`)
  await database.query(
    `insert into revocation (id, key, scope, issuer, token_id, revoked_at, expires_at, reason)
     select gen_random_uuid(), gen_random_uuid(), 'TOKEN', 'portcullis', n::text,
       now(), now() + interval '1 day', 'logout'
     from generate_series(1, ${ENTRIES}) n`,
  )
  await database.query(`alter table revocation add constraint revocation_pkey primary key (id)`)
  for (const { indexdef } of indexes) await database.query(indexdef)
  await database.query(`analyze revocation`)
  return { cluster, database }
}

async function isInStep(pair: Pair): Promise<boolean> {
  if (pair.check === 'database') return true
  const response = await fetch(`${pair.node(0).url}/readyz`)
  const { replica } = (await response.json()) as { replica: { state: string; entries: number } }
  return replica.state === 'IN_STEP' && replica.entries >= ENTRIES
}
