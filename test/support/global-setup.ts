import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { TestProject } from 'vitest/node'
import { startEmbeddedPostgres } from '../../src/embedded-postgres/embedded-postgres.ts'
import { migrate } from '../../src/service/database/migrate.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** A server to make databases on, and the migrated database to copy them from. */
    /** How the services and nodes of the tests check, unless a test says otherwise. */
    readonly revocationCheck: 'database' | 'replica'
    readonly postgres: { readonly serverUrl: string; readonly template: string }
  }
}

/** One real PostgreSQL for the whole run: `DATABASE_URL`, or one of our own that ends with the run. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startServer()
  const prefix = `portcullis_test_${randomBytes(4).toString('hex')}`
  const template = `${prefix}_template`

  await run(server.url, `create database ${template}`)
  const templateUrl = new URL(server.url)
  templateUrl.pathname = template
  await migrate(templateUrl.href)
  project.provide('postgres', { serverUrl: server.url, template })

  return async () => {
    try {
      await refuseLeaks(server.url, prefix)
    } finally {
      await run(server.url, `drop database if exists ${template} with (force)`)
      await server.stop()
    }
  }
}

async function startServer(): Promise<{ url: string; stop(): Promise<void> }> {
  const given = process.env['DATABASE_URL']
  // The suite sets its own settings; what stands in the environment must not leak into the services under test.
  delete process.env['DATABASE_URL']
  if (given) return { url: given, stop: async () => undefined }

  const dataDir = await mkdtemp(join(tmpdir(), 'portcullis-test-'))
  // Run by root, the server is another user, who has to get there.
  await chmod(dataDir, 0o711)
  const server = await startEmbeddedPostgres({ dataDir })
  return {
    url: server.url,
    async stop() {
      await server.stop()
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

/** A test that leaves a connection or a database behind has forgotten to stop something. */
async function refuseLeaks(url: string, prefix: string): Promise<void> {
  const { rows } = await run(
    url,
    `select datname as name, (select count(*)::integer from pg_stat_activity a where a.datname = d.datname) as connections
     from pg_database d where datname like '${prefix}%' and datname <> '${prefix}_template'`,
  )
  if (rows.length > 0) {
    throw new Error(`Tests left databases behind: ${JSON.stringify(rows)}`)
  }
}

async function run(url: string, sql: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await client.query(sql)
  } finally {
    await client.end()
  }
}
