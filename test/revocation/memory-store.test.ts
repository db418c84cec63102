import { describe } from 'vitest'
import { MemoryRevocationStore } from '../../src/revocation/memory/memory-store.ts'
import { LIFETIME_SECONDS, RETENTION_DAYS, testRevocationStore } from './store-contract.ts'
import type { StoreUnderTest } from './store-contract.ts'

describe('MemoryRevocationStore', () => {
  testRevocationStore(openMemoryStore)
})

async function openMemoryStore(): Promise<StoreUnderTest> {
  let standsAt: number | null = null
  let ahead = 0
  const clock = (): number => (standsAt ?? Date.now()) + ahead

  return {
    async empty() {
      const store = new MemoryRevocationStore({
        maxTokenLifetimeSeconds: LIFETIME_SECONDS,
        journalRetentionDays: RETENTION_DAYS,
        clock,
      })
      return { store, other: store }
    },
    clock: {
      async stop(at) {
        standsAt = at.getTime()
        ahead = 0
      },
      async jump(ms) {
        ahead += ms
      },
      async reset() {
        standsAt = null
        ahead = 0
      },
    },
    close: async () => undefined,
  }
}
