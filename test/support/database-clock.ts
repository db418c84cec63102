import type { TestDatabase } from './database.ts'

/** A database's clock, for tests to set. */
export interface DatabaseClock {
  /** Stands still from now on, at this instant or where it is. */
  stop(at?: Date): Promise<void>
  /** Goes on by so many milliseconds at once; back, if negative. */
  jump(ms: number): Promise<void>
  /** Is right again. */
  reset(): Promise<void>
}

/**
 * Puts a clock of ours in front of `clock_timestamp()`, in one database, for connections made from now on.
 *
 * PostgreSQL looks for functions along `search_path`, so the statements under test stay as they are.
 */
export async function replaceClock({ url, query }: TestDatabase): Promise<DatabaseClock> {
  await query(`create table clock (stands_at timestamptz, ahead interval not null)`)
  await query(`insert into clock values (null, '0')`)
  await query(
    `create function clock_timestamp() returns timestamptz volatile language sql
     as 'select coalesce(stands_at, pg_catalog.clock_timestamp()) + ahead from public.clock'`,
  )
  const name = new URL(url).pathname.slice(1)
  await query(`alter database "${name}" set search_path = public, pg_catalog`)

  return {
    stop: async (at) => {
      await query(
        `update clock set stands_at = coalesce($1, pg_catalog.clock_timestamp() + ahead), ahead = '0'`,
        [at ?? null],
      )
    },
    jump: async (ms) => {
      await query(`update clock set ahead = ahead + make_interval(secs => $1)`, [ms / 1000])
    },
    reset: async () => {
      await query(`update clock set stands_at = null, ahead = '0'`)
    },
  }
}
