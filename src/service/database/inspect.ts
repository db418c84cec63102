import type { Client } from 'pg'
import { askAll } from '../../database/pool.ts'
import { StartError } from '../../lib/start-error.ts'
import { connect, describeFailure, describeUrl } from './connect.ts'
import { assertOwnConnections } from './pooler.ts'

/** How the service is told to use a database. */
export interface InspectOptions {
  /** Whether connections are to be ours for as long as they last. */
  readonly prepares: boolean
}

/** Where the tables of a database are. */
export interface Place {
  readonly schema: string
  /** Where names without a schema are looked for: there first. */
  readonly searchPath: string
}

/** What a database says of itself. */
interface Findings {
  readonly encoding: string
  readonly path: string
  /** The first schema of the path that is there; `null`: none is. */
  readonly first: string | null
  /** Where the path finds our tables; `null`: nowhere. */
  readonly home: string | null
  /** Every schema that has our tables. */
  readonly homes: readonly string[]
}

/** How long the database has to answer, in milliseconds. */
const LOOK_MS = 10_000

/** Within a transaction, so that a pooler lends no other client a connection whose limit we set. */
const LOOK = `
  begin; set local statement_timeout = ${LOOK_MS};
  select current_setting('server_encoding') as encoding, current_setting('search_path') as path,
    current_schema() as first,
    (select nspname::text from pg_class join pg_namespace on pg_namespace.oid = relnamespace
     where pg_class.oid = to_regclass('migration')) as home,
    array(
      select nspname::text from pg_class join pg_namespace on pg_namespace.oid = relnamespace
      where relname in ('migration', 'revocation', 'revocation_event') and relkind in ('r', 'p')
      group by nspname having count(*) = 3 order by nspname
    ) as homes`

/**
 * Looks at a database before anything is changed in it.
 *
 * @returns Where its tables are, or will be.
 * @throws {@link StartError} when it is not one that the service can use, with the way out.
 */
export async function inspect(url: string, options: InspectOptions): Promise<Place> {
  const client = await connect(url)
  try {
    const found = (await askAll<Findings>(client, LOOK, LOOK_MS)) as Findings
    await client.query('commit')
    assertEncoding(url, found.encoding)
    await assertOwnConnections(url, client, options)
    const schema = findSchema(url, client, found, options)
    return { schema, searchPath: `"${schema.replaceAll('"', '""')}", ${found.path}` }
  } catch (error) {
    if (error instanceof StartError) throw error
    throw new StartError(describeFailure(url, error))
  } finally {
    await client.end().catch(() => undefined)
  }
}

function assertEncoding(url: string, encoding: string): void {
  if (encoding === 'UTF8') return
  throw new StartError(
    `The database at ${describeUrl(url)} has the encoding ${encoding}, which cannot hold every text; make another with ` +
      `"create database ... encoding 'UTF8' locale 'C' template template0", and copy into it what is to be kept`,
  )
}

function findSchema(
  url: string,
  client: Client,
  { path, first, home, homes }: Findings,
  { prepares }: InspectOptions,
): string {
  const where = describeUrl(url)
  // Where connections are not ours the path cannot be set: tables of a later release would be made elsewhere.
  if (home !== null && (prepares || home === first)) return home

  const [elsewhere] = home === null ? homes : [home]
  if (elsewhere !== undefined && (home !== null || !isPathTold(client))) {
    throw new StartError(
      `The tables of Portcullis at ${where} are in the schema ${elsewhere}, and search_path (${path}) leads elsewhere; set it ` +
        `back (alter role ... set search_path = ${elsewhere}), or say in DATABASE_URL which schema to use ` +
        `(?options=-c%20search_path%3D${elsewhere})`,
    )
  }
  if (first === null) {
    throw new StartError(
      `The search_path at ${where} (${path}) names no schema that is there and may be used; make one, or set it`,
    )
  }
  return first
}

/** Whether who starts this node says which schema is meant. */
function isPathTold(client: Client): boolean {
  const { connectionParameters } = client as unknown as {
    readonly connectionParameters: { readonly options?: string }
  }
  return /search_path/i.test(connectionParameters.options ?? '')
}
