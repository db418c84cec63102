import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect } from 'vitest'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import type { Cluster, Database } from './support/cluster.ts'
import { fault } from './support/fault.ts'
import type { Scene } from './support/fault.ts'
import { Node, STALENESS_MS } from './support/node.ts'
import { until } from './support/pair.ts'
import type { Pair } from './support/pair.ts'

describe('F16: the primary is lost, and a standby takes its place', () => {
  fault('a synchronous one has everything that was answered', async (scene) => {
    const { pair, cluster } = scene
    const standby = await startStandby(scene)
    await cluster.query(`alter system set synchronous_standby_names = 'standby'`)
    await cluster.query('select pg_reload_conf()')
    await until(async () => {
      const rows = await cluster.query(
        `select 1 from pg_stat_replication where sync_state = 'sync'`,
      )
      return rows.length === 1
    })

    await pair.survives(async () => {
      await sleep(1000)
      await cluster.kill()
      await standby.promote()
      pair.moveTo(databaseAt(standby, pair))
    })
  })

  fault('where it was behind, what is revoked from then on reaches all nodes', async (scene) => {
    const { pair, cluster, onEnd } = scene
    const cable = await startTcpProxy(cluster.url)
    onEnd(async () => cable.close())
    const standby = await startStandby(scene, cable.url)

    cable.setMode('blackhole')
    const lost = pair.mintToken().text
    // Both nodes read further in the journal than the new primary will have written for a while.
    for (let more = 0; more < 20; more += 1) {
      expect(await pair.revokeToken(more % 2, pair.mintToken().text)).toBe('ACCEPTED')
    }
    expect(await pair.revokeToken(0, lost)).toBe('ACCEPTED')
    await sleep(STALENESS_MS)
    expect(await pair.whoAmI(1, lost)).toBe('TOKEN_REVOKED')

    await cluster.kill()
    await standby.promote()
    pair.moveTo(databaseAt(standby, pair))
    const { text } = pair.mintToken()
    for (const node of [0, 1])
      await until(async () => (await pair.whoAmI(node, text)) === 'ACCEPTED')
    // What had not reached it is lost, which is documented.
    expect(await pair.whoAmI(1, lost)).toBe('ACCEPTED')
    await pair.survives(async () => sleep(3000))
  })
})

describe('F22: what a node reads is not the primary', () => {
  fault('a standby is refused at the start and at any time later', async (scene) => {
    const { pair, cluster } = scene
    const standby = await startStandby(scene)
    const { url } = databaseAt(standby, pair)
    const starting = Node.start({ databaseUrl: url, check: pair.check })
    await expect(starting).rejects.toThrow(
      /is a standby, which may not have heard of every revocation/,
    )

    await pair.survives(async (watch) => {
      pair.cables[1].leadTo(standby.url)
      pair.cables[1].setMode('cut')
      pair.cables[1].setMode('pass')
      await sleep(STALENESS_MS + 500)
      const since = performance.now()
      await sleep(1500)
      expect(watch.seen('live', 1, since)).toEqual(['REVOCATION_UNAVAILABLE'])
      expect(watch.serves(0, since)).toBe(true)
      pair.cables[1].leadTo(cluster.url)
      pair.cables[1].setMode('cut')
      pair.cables[1].setMode('pass')
    })
  })
})

async function startStandby({ cluster, onEnd }: Scene, url?: string): Promise<Cluster> {
  const standby = await cluster.startStandby(url)
  onEnd(async () => standby.remove())
  return standby
}

/** The copy of the nodes' database on another server. */
function databaseAt(cluster: Cluster, { database }: Pair): Database {
  return cluster.database(new URL(database.url).pathname.slice(1))
}
