import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import pg from 'pg'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import { startEmbeddedPostgres } from '../../src/embedded-postgres/embedded-postgres.ts'
import { migrate } from '../../src/service/database/migrate.ts'
import type { TestDatabase } from './database.ts'

/** A database on a server of its own, whose count of transactions is its own too. */
export interface FreshDatabase extends TestDatabase {
  /** Ends transactions until the count is there. */
  countTo(transaction: bigint): Promise<void>
  count(): Promise<bigint>
}

/** A migrated, empty database in a new cluster. */
export async function createFreshDatabase(): Promise<FreshDatabase> {
  const dataDir = await mkdtemp(join(tmpdir(), 'portcullis-fresh-'))
  await chmod(dataDir, 0o711)
  const server = await startEmbeddedPostgres({ dataDir })
  await migrate(server.url)

  const query: TestDatabase['query'] = async (text, values = []) =>
    onConnection(server.url, async (client) => (await client.query(text, [...values])).rows)
  const count = async (): Promise<bigint> => {
    const [row] = await query<{ id: string }>(`select txid_current() as id`)
    return BigInt(row!.id)
  }
  return {
    url: server.url,
    query,
    count,
    async countTo(transaction) {
      const missing = Number(transaction - (await count()))
      await query(
        `do $$ begin
           for n in 1..${missing} loop perform txid_current(); commit; end loop;
         end $$`,
      )
    },
    async drop() {
      await server.stop()
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

/** As `pg_dump` does, in the order in which `pg_restore` puts them back. */
const TABLES = [
  'installation',
  'account',
  'session',
  'refresh_token',
  'session_cut_off',
  'revocation',
  'revocation_event',
]

/** All rows of a database's tables as they are now, ready to be put into another. */
export interface Dump {
  restoreTo(database: TestDatabase): Promise<void>
}

export async function dump(database: TestDatabase): Promise<Dump> {
  const tables = await onConnection(database.url, async (client) => {
    const contents = new Map<string, Buffer>()
    await client.query('begin isolation level repeatable read')
    for (const table of TABLES) {
      const chunks: Buffer[] = []
      for await (const chunk of client.query(copyTo(`copy ${table} to stdout`)))
        chunks.push(chunk as Buffer)
      contents.set(table, Buffer.concat(chunks))
    }
    return contents
  })

  return {
    restoreTo: async (other) =>
      onConnection(other.url, async (client) => {
        await client.query(`truncate ${TABLES.join(', ')} cascade`)
        for (const [table, rows] of tables) {
          await pipeline([rows], client.query(copyFrom(`copy ${table} from stdin`)))
        }
        await client.query(
          `select setval('revocation_event_id_seq', greatest(max(id), 1)) from revocation_event`,
        )
      }),
  }
}

async function onConnection<Result>(
  url: string,
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}
