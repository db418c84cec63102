import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'
import { Cluster } from './support/cluster.ts'
import type { Database } from './support/cluster.ts'
import { ROOT, fault } from './support/fault.ts'
import type { Scene } from './support/fault.ts'
import type { Check } from './support/node.ts'
import { Pair, until } from './support/pair.ts'

describe('F11: the disk is full', () => {
  fault(
    'revocations are refused, checks go on, and it heals without a restart',
    async (scene) => {
      const { pair } = scene
      await moveToSmallDisk(scene)

      await pair.survives(async (watch) => {
        await pair.database.query(`create table filler (content text) tablespace small`)
        await fill(pair)
        const since = performance.now()
        // The last pages in use have some room left.
        await until(async () => watch.seen('revoke', 0, since).includes(REFUSED), 20_000)
        const fullAt = performance.now()
        await sleep(1500)
        for (const node of [0, 1]) {
          expect(watch.serves(node, fullAt)).toBe(true)
        }
        expect(pair.node(0).log).toContain('could not extend file')
        await pair.database.query('drop table filler')
      })
    },
    { needs: ROOT, env: { SWEEP_INTERVAL: '0' } },
  )
})

describe('F14: ten million entries', () => {
  it.each(['database', 'replica'] as const)(
    'are no obstacle to a start nor to checks (%s)',
    { timeout: 400_000 },
    async (check) => {
      const { cluster, database } = await findLargeDatabase()
      const [small, ms] = await startTimed(check, await cluster.createDatabase())
      await small.stop()
      await database.query(`truncate account cascade`)
      const [pair, largeMs] = await startTimed(check, database)
      onTestFinished(async () => pair.stop())
      // As long as beside no entries, and twice that for a busy machine; or it served while the replica was loading.
      expect(largeMs < 3 * ms || !(await isInStep(pair))).toBe(true)

      const startedAt = performance.now()
      await until(async () => isInStep(pair), 120_000)
      const mebibytes = Math.round((await pair.node(0).residentBytes) / 2 ** 20)
      console.info(
        `F14 (${check}): started in ${Math.round(largeMs)} ms, without entries ${Math.round(ms)} ms; in step ${Math.round(performance.now() - startedAt)} ms later, ${mebibytes} MiB`,
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

const REFUSED = 'REVOCATION_UNAVAILABLE'

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

/** Two nodes at once, with an account, a sign-in and an admin's besides; and how long that took, in milliseconds. */
async function startTimed(check: Check, database: Database): Promise<[Pair, number]> {
  const startedAt = performance.now()
  const pair = await Pair.start({ check, database, env: { SWEEP_INTERVAL: '0' } })
  return [pair, performance.now() - startedAt]
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

/** Puts what revocations are written to onto a disk of eight megabytes. */
async function moveToSmallDisk({ cluster, pair, onEnd }: Scene): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-disk-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder])
  onEnd(() => {
    // The server still has its files open, and is ended after this.
    execFileSync('umount', ['--lazy', folder])
    rmSync(folder, { recursive: true })
  })
  const { uid, gid } = cluster.user ?? {
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
  }
  chownSync(folder, uid, gid)
  chmodSync(folder, 0o700)

  await pair.database.query(`create tablespace small location '${folder}'`)
  for (const table of ['revocation', 'revocation_event']) {
    await pair.database.query(`alter table ${table} set tablespace small`)
  }
}

async function fill({ database }: Pair): Promise<void> {
  for (const rows of [1000, 100, 10, 1]) {
    const more = `insert into filler select repeat(md5(random()::text), 60) from generate_series(1, ${rows})`
    for (;;) {
      const isFull = await database.query(more).then(
        () => false,
        () => true,
      )
      if (isFull) break
    }
  }
}
