import { migrate } from '../dist/src/service/database/migrate.js'
import type { Database, Postgres } from './postgres.ts'
import type { Scope } from './scope.ts'

/** A database with our schema and nothing in it. */
export async function createOurDatabase(
  scope: Scope,
  postgres: Postgres,
  purpose: string,
): Promise<Database> {
  const database = await postgres.createDatabase(scope, purpose)
  await migrate(database.url)
  return database
}

const AT_A_TIME = 1_000_000

/**
 * Adds revocations of sessions, with random keys.
 *
 * Indexes go before and come back after: row by row they would take many times as long.
 *
 * @param expiresIn - SQL interval from now; negative for entries that have expired.
 */
export async function addRevocations(
  database: Database,
  count: number,
  expiresIn: string,
): Promise<void> {
  const indexes = await dropIndexes(database)
  for (let done = 0; done < count; done += AT_A_TIME) {
    await database.query(
      `insert into revocation
         (id, key, scope, subject, session_id, revoked_at, expires_at, reason, revoked_by)
       select gen_random_uuid(), gen_random_uuid(), 'SESSION', subject, gen_random_uuid()::text,
              clock_timestamp() - interval '1 hour', clock_timestamp() + $2::interval, 'logout', subject
       from (select gen_random_uuid()::text as subject from generate_series(1, $1::integer)) as g`,
      [Math.min(AT_A_TIME, count - done), expiresIn],
    )
  }
  for (const create of indexes) await database.query(create)
  await settle(database)
}

/** Statistics and visibility as in a table that has been there for long; and nothing left to be written meanwhile. */
export async function settle(database: Database): Promise<void> {
  await database.query('vacuum analyze')
  // Who may not do it waits for the server's own.
  await database.query('checkpoint').catch(() => undefined)
}

/** @returns The statements that bring them back. */
async function dropIndexes(database: Database): Promise<readonly string[]> {
  const constraints = await database.query<{ name: string; definition: string }>(
    `select conname as name, pg_get_constraintdef(oid) as definition
     from pg_constraint where conrelid = 'revocation'::regclass and contype in ('p', 'u')`,
  )
  for (const { name } of constraints) {
    await database.query(`alter table revocation drop constraint ${name}`)
  }

  const indexes = await database.query<{ name: string; definition: string }>(
    `select indexname as name, indexdef as definition from pg_indexes
     where schemaname = current_schema() and tablename = 'revocation'`,
  )
  for (const { name } of indexes) await database.query(`drop index ${name}`)

  return [
    ...constraints.map((c) => `alter table revocation add constraint ${c.name} ${c.definition}`),
    ...indexes.map(({ definition }) => definition),
  ]
}
