import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect } from 'vitest'
import { ROOT, fault } from './support/fault.ts'
import type { Scene } from './support/fault.ts'
import { until } from './support/pair.ts'
import type { Pair } from './support/pair.ts'

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

const REFUSED = 'REVOCATION_UNAVAILABLE'

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
