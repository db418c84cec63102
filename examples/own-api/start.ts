import { JournalFollower, MemoryRevocationStore, PostgresRevocationStore } from '../../src/index.ts'
import { createDataSource, createTableOrders } from './data-source.ts'
import { createMemoryOrders } from './orders.ts'
import { startOwnApi } from './server.ts'
import type { OwnApi, OwnApiOptions } from './server.ts'

export type OwnApiSettings = Omit<OwnApiOptions, 'store' | 'orders'>

/** For a quick look: revocations are lost with the process, and no other knows of them. */
export async function startInMemory(settings: OwnApiSettings): Promise<OwnApi> {
  const store = new MemoryRevocationStore()
  return startOwnApi({ ...settings, store, orders: createMemoryOrders() })
}

/** As in production: every node on this database refuses what any of them revoked. */
export async function startOnPostgres(url: string, settings: OwnApiSettings): Promise<OwnApi> {
  const dataSource = createDataSource(url)
  await dataSource.initialize()
  await dataSource.runMigrations()

  // So that live connections hear of what other nodes revoke.
  const journal = new JournalFollower(dataSource)
  void journal.start()
  const store = new PostgresRevocationStore(dataSource, { journal })
  const api = await startOwnApi({ ...settings, store, orders: createTableOrders(dataSource) })
  return {
    url: api.url,
    liveUrl: api.liveUrl,
    async stop() {
      await api.stop()
      await journal.stop()
      await dataSource.destroy()
    },
  }
}
