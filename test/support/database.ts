import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { inject } from 'vitest'

export interface TestDatabase {
  readonly url: string
  /** Runs one statement over a connection from outside. */
  query<Row extends pg.QueryResultRow>(sql: string, values?: readonly unknown[]): Promise<Row[]>
  drop(): Promise<void>
}

/** A migrated, empty database of one's own on the run's PostgreSQL. */
export async function createDatabase(): Promise<TestDatabase> {
  const { serverUrl, template } = inject('postgres')
  const name = `${template.replace('_template', '')}_${randomBytes(6).toString('hex')}`
  await run(serverUrl, `create database ${name} template ${template}`)

  const url = new URL(serverUrl)
  url.pathname = name
  return {
    url: url.href,
    query: async (sql, values) => (await run(url.href, sql, values)).rows,
    drop: async () => {
      await run(serverUrl, `drop database if exists ${name} with (force)`)
    },
  }
}

async function run(
  url: string,
  sql: string,
  values: readonly unknown[] = [],
): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await client.query(sql, [...values])
  } finally {
    await client.end()
  }
}
