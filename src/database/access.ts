import type { QueryConfig } from 'pg'
import type { DataSource } from 'typeorm'
import { setUpTransaction, settingUp } from './connection-settings.ts'
import { poolOf } from './pool.ts'

/** A prepared statement: PostgreSQL plans it once a connection. */
export interface PreparedStatement {
  readonly name: string
  readonly text: string
}

/** How statements of ours get to a database. */
export interface Access {
  /** Whether a connection keeps what was prepared on it: one that a pooler lends for a transaction does not. */
  readonly prepares: boolean
  /** What each transaction begins with; `null` where each connection was set up when it was made. */
  readonly beginning: string | null
  /** Where the journal is read; `null`: where everything else is. */
  readonly journalUrl: string | null
}

/** A library user's `DataSource`: its connections are not ours to set up. */
const SHARED: Access = {
  prepares: true,
  beginning: setUpTransaction({}, null),
  journalUrl: null,
}

/** Our own `DataSource` has it among the options of its pool. */
export function accessOf(dataSource: DataSource): Access {
  const { access = SHARED } = poolOf(dataSource).options as { readonly access?: Access }
  return access
}

/** A statement outside of transactions, as this access takes it. */
export function queryOf(
  { prepares, beginning }: Access,
  { name, text: plain }: PreparedStatement,
): QueryConfig {
  const text = beginning === null ? plain : settingUp(plain)
  return prepares ? { name, text } : { text }
}
