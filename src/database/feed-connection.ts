import { Client } from 'pg'
import type { QueryConfig } from 'pg'
import type { DataSource } from 'typeorm'
import { accessOf, queryOf } from './access.ts'
import type { Access, PreparedStatement } from './access.ts'
import { UNLIMITED, setUpConnection } from './connection-settings.ts'
import { assertPrimary, poolOf } from './pool.ts'

/** A connection beside the pool, which must not hold it back. Its time limits are set by statement. */
export interface FeedConnection {
  readonly client: Client
  /**
   * Connects, and sets up what the meaning of our SQL depends on.
   *
   * @throws when it leads to a standby, or gives no answer in time.
   */
  open(timeLimitMs: number): Promise<void>
  /** A statement as this connection takes it. */
  queryOf(statement: PreparedStatement): QueryConfig
}

/** How long a connection may take, in milliseconds, when the pool sets no limit. */
const CONNECT_MS = 2000

export function createFeedConnection(dataSource: DataSource): FeedConnection {
  const access = feedAccessOf(accessOf(dataSource))
  const client = new Client(readOptions(dataSource, access))
  return {
    client,
    queryOf: (statement) => queryOf(access, statement),
    async open(timeLimitMs) {
      await client.connect()
      const isOurs = access.beginning === null
      await assertPrimary(client, timeLimitMs, isOurs ? setUpConnection(UNLIMITED, null) : null)
    },
  }
}

/** Unless a pooler lends it for a transaction at a time, the connection is ours, whosever the pool is. */
function feedAccessOf(access: Access): Access {
  const isOurs = access.prepares || access.journalUrl !== null
  return isOurs ? { ...access, prepares: true, beginning: null } : access
}

/** Those of the pool, but for where it leads. */
function readOptions(dataSource: DataSource, { journalUrl }: Access): object {
  const { options } = poolOf(dataSource)
  // The pool hides the password from whoever lists its options.
  const { password, connectionTimeoutMillis = CONNECT_MS } = options
  return {
    ...options,
    password,
    ...(journalUrl !== null && { connectionString: journalUrl }),
    connectionTimeoutMillis,
    application_name: 'portcullis-replica',
    statement_timeout: 0,
    query_timeout: 0,
  }
}
