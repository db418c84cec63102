import { setTimeout as sleep } from 'node:timers/promises'
import type { TestDatabase } from './database.ts'

/** Ends the connections over which replicas follow the journal, again and again. */
export function breakFeeds(
  database: TestDatabase,
  { everyMs }: { everyMs: number },
): { stop(): Promise<void> } {
  let isStopping = false
  async function breakThem(): Promise<void> {
    while (!isStopping) {
      await sleep(2 * Math.random() * everyMs)
      await database.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name = 'portcullis-replica'`,
      )
    }
  }

  const breaking = breakThem()
  return {
    stop: async () => {
      isStopping = true
      await breaking
    },
  }
}
