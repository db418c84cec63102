import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { Scope } from './scope.ts'

/** A PostgreSQL server to make databases in. */
export interface Postgres {
  readonly version: string
  /** Makes an empty database, which goes with the scope. */
  createDatabase(scope: Scope, name: string): Promise<Database>
}

export interface Database {
  readonly url: string
  query<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>
}

const CONNECT_LIMIT_MS = 3000

/** DATABASE_URL, or what answers at the usual place, or the project's own server. */
export async function openPostgres(scope: Scope): Promise<Postgres> {
  const given = process.env.DATABASE_URL
  if (given !== undefined) return usePostgres(scope, given)

  for (const user of ['postgres', userInfo().username]) {
    const url = `postgres://${user}@127.0.0.1:5432/postgres`
    if (await canCreate(url)) return usePostgres(scope, url)
  }
  return usePostgres(scope, await startEmbedded(scope))
}

async function canCreate(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_LIMIT_MS })
  client.on('error', () => undefined)
  try {
    await client.connect()
    const { rows } = await client.query<{ can: boolean }>(
      'select rolsuper or rolcreatedb as can from pg_roles where rolname = current_user',
    )
    return rows[0]?.can ?? false
  } catch {
    return false
  } finally {
    await client.end().catch(() => undefined)
  }
}

async function startEmbedded(scope: Scope): Promise<string> {
  const { startEmbeddedPostgres } =
    await import('../dist/src/embedded-postgres/embedded-postgres.js')
  const dataDir = await mkdtemp(join(tmpdir(), 'portcullis-bench-'))
  scope.defer(() => rm(dataDir, { recursive: true, force: true }))
  const server = await startEmbeddedPostgres({ dataDir })
  scope.defer(() => server.stop())
  return server.url
}

async function usePostgres(scope: Scope, url: string): Promise<Postgres> {
  const admin = createPool(url)
  scope.defer(() => admin.end())
  const { rows } = await admin.query<{ server_version: string }>('show server_version')

  return {
    version: rows[0]!.server_version.split(' ')[0]!,
    async createDatabase(owner, purpose) {
      const name = `portcullis_bench_${process.pid}_${purpose.replaceAll('-', '_')}`
      await admin.query(`create database ${name}`)
      owner.defer(() => admin.query(`drop database if exists ${name} with (force)`))

      const database = new URL(url)
      database.pathname = `/${name}`
      const pool = createPool(database.href)
      owner.defer(() => pool.end())
      return {
        url: database.href,
        query: async (text, values) => (await pool.query(text, values && [...values])).rows,
      }
    },
  }
}

function createPool(url: string): pg.Pool {
  const pool = new pg.Pool({
    connectionString: url,
    max: 2,
    connectionTimeoutMillis: CONNECT_LIMIT_MS,
    idleTimeoutMillis: 1000,
  })
  pool.on('error', () => undefined)
  return pool
}
