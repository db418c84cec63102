import type { Socket } from 'node:net'
import { Client } from 'pg'
import type { ClientBase, QueryConfig } from 'pg'
import type { DataSource } from 'typeorm'
import { accessOf, queryOf } from './access.ts'
import type { Access, PreparedStatement } from './access.ts'
import { UNLIMITED, setUpConnection } from './connection-settings.ts'
import { assertPrimary, poolOf } from './pool.ts'

/** A connection for the journal alone: the pool must not hold it back. Its time limits are set by statement. */
export interface FeedConnection {
  readonly client: ClientBase
  /** A statement as this connection takes it. */
  readonly queryOf: (statement: PreparedStatement) => QueryConfig
  /** Ends it at once, whatever is under way. */
  readonly close: () => void
}

const NAME = 'portcullis-replica'

/** The SQLSTATE of a server, a database or a role that has no connection left. */
const TOO_MANY_CONNECTIONS = '53300'

/** How long a connection may take, in milliseconds, when the pool sets no limit. */
const CONNECT_MS = 2000

/**
 * Connects, and sets up what the meaning of our SQL depends on.
 *
 * Where the server has no connection left, but the pool has several, it is one of the pool's: the checks get on with one less,
 * and no check gets on without the journal.
 *
 * @throws when it leads to a standby, or gives no answer in time.
 */
export async function openFeedConnection(
  dataSource: DataSource,
  timeLimitMs: number,
): Promise<FeedConnection> {
  const access = feedAccessOf(accessOf(dataSource))
  const { client, close } = await connect(dataSource, access)
  try {
    const isOurs = access.beginning === null
    await assertPrimary(client, timeLimitMs, isOurs ? setUpConnection(UNLIMITED, null) : null)
    return { client, close, queryOf: (statement) => queryOf(access, statement) }
  } catch (error) {
    close()
    throw error
  }
}

type Connected = Pick<FeedConnection, 'client' | 'close'>

async function connect(dataSource: DataSource, access: Access): Promise<Connected> {
  const client = new Client(readOptions(dataSource, access))
  const close = (): void => hangUp(client)
  // What breaks the connection fails the next statement, whose caller hears of it.
  client.on('error', () => undefined)
  try {
    await client.connect()
    return { client, close }
  } catch (error) {
    close()
    const { code } = error as { readonly code?: unknown }
    const isFull = code === TOO_MANY_CONNECTIONS && access.journalUrl === null
    if (isFull && poolOf(dataSource).totalCount > 1) return takeFromPool(dataSource)
    throw error
  }
}

/** It never goes back: it listens, and has other limits. */
async function takeFromPool(dataSource: DataSource): Promise<Connected> {
  const client = await poolOf(dataSource).connect()
  client.on('error', () => undefined)
  const { connectionParameters } = client as unknown as Internals
  connectionParameters.query_timeout = false
  const close = (): void => {
    hangUp(client)
    client.release(true)
  }
  try {
    await client.query(`set application_name = '${NAME}'`)
    return { client, close }
  } catch (error) {
    close()
    throw error
  }
}

/** What is used of the driver's client. */
interface Internals {
  readonly connection: { readonly stream: Socket }
  readonly connectionParameters: { query_timeout: number | false }
}

function hangUp(client: ClientBase): void {
  const { stream } = (client as unknown as Internals).connection
  stream.destroy()
}

/** Unless a pooler lends it for a transaction at a time, the connection is ours, whosever the pool is. */
function feedAccessOf(access: Access): Access {
  const isOurs = access.prepares || access.journalUrl !== null
  return isOurs ? { ...access, prepares: true, beginning: null } : access
}

/** Those of the pool, but for where it leads. */
function readOptions(dataSource: DataSource, { journalUrl }: Access): object {
  const { options } = poolOf(dataSource)
  // The pool hides the password from code that lists its options.
  const { password, connectionTimeoutMillis = CONNECT_MS } = options
  return {
    ...options,
    password,
    ...(journalUrl !== null && { connectionString: journalUrl }),
    connectionTimeoutMillis,
    application_name: NAME,
    statement_timeout: 0,
    query_timeout: 0,
  }
}
