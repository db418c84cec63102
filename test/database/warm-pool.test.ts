import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { poolOf } from '../../src/database/pool.ts'
import { createDataSource } from '../../src/service/database/data-source.ts'
import { warmPool } from '../../src/service/database/warm-pool.ts'
import { createDatabase } from '../support/database.ts'
import { startService } from '../support/service.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'

describe('the connections of a node', () => {
  it('are open soon after its start, before the first request', async () => {
    const service = await startService({ databasePoolSize: 4, maxStalenessMs: null })
    const count = async (): Promise<number> => {
      const [row] = await service.database.query<{ count: number }>(
        `select count(*)::integer as count from pg_stat_activity
         where datname = current_database() and application_name = 'portcullis'
           and query not like 'listen%'`,
      )
      return row?.count ?? 0
    }

    await expect.poll(count, { timeout: 10_000 }).toBeGreaterThanOrEqual(4)
    await service.stop()
  })

  it('are ten at the most while idle', async () => {
    const database = await createDatabase()
    const dataSource = createDataSource({ url: database.url, poolSize: 15 })
    await dataSource.initialize()
    await warmPool(dataSource)
    await sleep(50)

    const { totalCount, idleCount } = poolOf(dataSource)
    expect({ totalCount, idleCount }).toEqual({ totalCount: 10, idleCount: 10 })
    await dataSource.destroy()
    await database.drop()
  })

  it('that cannot be opened are no error yet', async () => {
    const database = await createDatabase()
    const cable = await startTcpProxy(database.url)
    const dataSource = createDataSource({ url: cable.url, poolSize: 4 })
    await dataSource.initialize()
    await cable.close()

    await expect(warmPool(dataSource)).resolves.toBeUndefined()
    await dataSource.destroy()
    await database.drop()
  })
})
