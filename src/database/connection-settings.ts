/**
 * What our SQL means must not depend on how a server, a database or a role was set up: here is every setting of PostgreSQL
 * that it would depend on. A connection of ours is given them when it is made; a transaction on a connection that is not ours
 * (a library user's, or one of a pooler) when it begins; a statement outside of transactions within itself.
 */

type Setting = readonly [name: string, value: string]

/** How values are read and written. */
const FORMS: readonly Setting[] = [
  ['DateStyle', 'ISO, YMD'],
  // Off, a NULL in an array of ours would be the text "NULL".
  ['array_nulls', 'on'],
]

const MEANING: readonly Setting[] = [
  ...FORMS,
  ['IntervalStyle', 'postgres'],
  ['TimeZone', 'UTC'],
  ['client_encoding', 'UTF8'],
  ['bytea_output', 'hex'],
  ['extra_float_digits', '1'],
  ['standard_conforming_strings', 'on'],
  ['backslash_quote', 'safe_encoding'],
  ['quote_all_identifiers', 'off'],
  ['transform_null_equals', 'off'],
  ['row_security', 'on'],
  // Else foreign keys do nothing. Only a superuser may set it, and so only a superuser can have set it.
  ['session_replication_role', 'origin'],
  ['exit_on_error', 'off'],
]

/** Each of our statements is short. To read the journal took 276 ms when it was compiled, and 0.2 ms when not. */
const SPEED: readonly Setting[] = [['jit', 'off']]

const TRANSACTIONS: readonly Setting[] = [
  ['default_transaction_isolation', 'read committed'],
  ['default_transaction_deferrable', 'off'],
]

/** How long the server lets a session wait, in milliseconds; 0: without end. */
export interface Limits {
  readonly lock_timeout: number
  readonly statement_timeout: number
  readonly idle_in_transaction_session_timeout: number
}

/** A transaction of a node that cannot be reached any more must not keep its locks for long. */
export const SERVING: Limits = {
  lock_timeout: 2000,
  statement_timeout: 4000,
  idle_in_transaction_session_timeout: 3000,
}

/** For migrations, and for the journal's feed, which sets a limit for each statement. */
export const UNLIMITED: Limits = {
  lock_timeout: 0,
  statement_timeout: 0,
  idle_in_transaction_session_timeout: 0,
}

/** Limits of other kinds, which would end what we do in the middle. */
const NO_OTHER_LIMITS: readonly Setting[] = [
  ['idle_session_timeout', '0'],
  ['transaction_timeout', '0'],
]

/** An acknowledged revocation must survive a crash. To wait for standbys as well is the operator's to choose. */
const SYNCHRONOUS_COMMIT = `('synchronous_commit', case current_setting('synchronous_commit')
  when 'remote_apply' then 'remote_apply' else 'on' end)`

/**
 * Read-only by a default of the database or the role: what we are there for is to write. A whole server that is read-only is
 * left so, because a managed one is when its disk is full, and one that gives way to another must not acknowledge anything.
 */
const READ_WRITE = `('default_transaction_read_only', case when exists (
  select from pg_db_role_setting, unnest(setconfig) as said
  where setdatabase in (0, (select oid from pg_database where datname = current_database()))
    and setrole in (0, (select oid from pg_roles where rolname = session_user))
    and said like 'default_transaction_read_only=%'
) then 'off' else current_setting('default_transaction_read_only') end)`

/**
 * Statements that set up a connection for as long as it lasts.
 *
 * @param searchPath - Where names without a schema are looked for; `null`: as the server says.
 */
export function setUpConnection(limits: Partial<Limits>, searchPath: string | null): string {
  const { statement_timeout: timeout } = limits
  const values = [
    ...[...MEANING, ...SPEED, ...TRANSACTIONS, ...NO_OTHER_LIMITS, ...settingsOf(limits)].map(
      literal,
    ),
    ...pathOf(searchPath),
    SYNCHRONOUS_COMMIT,
    READ_WRITE,
  ]
  // First, because the limit that stands holds for the rest.
  const first = timeout === undefined ? '' : `set statement_timeout = ${timeout}; `
  return `${first}select ${set('false', values)}`
}

/** Statements that set up a transaction that has just begun. */
export function setUpTransaction(limits: Partial<Limits>, searchPath: string | null): string {
  const other = Object.keys(limits).length === 0 ? [] : [['transaction_timeout', '0'] as const]
  const values = [
    ...[...MEANING, ...SPEED, ...other, ...settingsOf(limits)].map(literal),
    ...pathOf(searchPath),
    SYNCHRONOUS_COMMIT,
  ]
  return `set transaction isolation level read committed, not deferrable; select ${set('true', values)}`
}

/** A statement that has a transaction of a library user's read and write values as we do. */
export const SET_UP_FORMS = `select current_setting('transaction_isolation') as isolation, ${set('true', FORMS.map(literal))}`

/** A statement that sets up itself: what it answers is written after the setting was made. */
export function settingUp(text: string): string {
  return `select answer.* from (select set_config('DateStyle', 'ISO, YMD', true)) as settings
    cross join lateral (${text}) as answer`
}

/** A setting that this server does not know is left out, and one that stands is not set: that may need a right. */
function set(isLocal: 'true' | 'false', values: readonly string[]): string {
  return `(select count(set_config(name, value, ${isLocal}))
    from (values ${values.join(', ')}) as wanted (name, value)
    where current_setting(name, true) <> value)`
}

function settingsOf(limits: Partial<Limits>): readonly Setting[] {
  return Object.entries(limits).map(([name, milliseconds]) => [name, String(milliseconds)])
}

function pathOf(searchPath: string | null): readonly string[] {
  return searchPath === null ? [] : [literal(['search_path', searchPath])]
}

function literal([name, value]: Setting): string {
  return `('${name}', '${value.replaceAll("'", "''")}')`
}
