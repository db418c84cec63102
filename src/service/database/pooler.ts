import { randomInt } from 'node:crypto'
import type { Client } from 'pg'
import { StartError } from '../../lib/start-error.ts'
import { connect, describeUrl } from './connect.ts'

/** A busy pooler does not give its next client the connection that the last one has left. */
const ATTEMPTS = 10

/**
 * Refuses a pooler that lends its connections for a transaction at a time, unless that is what the service was told.
 *
 * What is prepared or set on such a connection meets others, and is gone at the next statement.
 *
 * @throws {@link StartError} with the settings that make it work.
 */
export async function assertOwnConnections(
  url: string,
  client: Client,
  { prepares }: { readonly prepares: boolean },
): Promise<void> {
  if (!prepares || !(await isLent(url, client))) return
  throw new StartError(
    `A pooler at ${describeUrl(url)} lends its connections for one transaction at a time; set DATABASE_PREPARE=off, and ` +
      'JOURNAL_DATABASE_URL to the database itself (or have the pooler work by session)',
  )
}

/**
 * Refuses an address for the journal that would not serve: its connection must be ours, and of the same database.
 *
 * @throws {@link StartError}
 */
export async function assertJournal(url: string, journalUrl: string): Promise<void> {
  const [client, journal] = await Promise.all([connect(url), connect(journalUrl)])
  try {
    if (await isLent(journalUrl, journal)) {
      throw new StartError(
        'JOURNAL_DATABASE_URL leads to a pooler that lends its connections for one transaction at a time; name the database itself',
      )
    }
    if (await isElsewhere(client, journal)) {
      throw new StartError(
        `JOURNAL_DATABASE_URL (${describeUrl(journalUrl)}) leads to another database than DATABASE_URL`,
      )
    }
  } finally {
    await Promise.all([client, journal].map((one) => one.end().catch(() => undefined)))
  }
}

/** Whether a lock that one client holds is free for the other: locks are of one database. */
async function isElsewhere(client: Client, other: Client): Promise<boolean> {
  const lock = randomInt(2 ** 47)
  await client.query('begin')
  await client.query('select pg_advisory_xact_lock($1)', [lock])
  const { rows } = await other.query<{ free: boolean }>(
    'select pg_try_advisory_xact_lock($1) as free',
    [lock],
  )
  await client.query('rollback')
  return rows[0]?.free !== false
}

/** Whether two clients share one connection of the server. A pooler that is found has made up its process numbers. */
async function isLent(url: string, client: Client): Promise<boolean> {
  const { processID } = client as unknown as { readonly processID: number | null }
  if ((await findServerProcess(client)) === processID) return false

  const other = await connect(url)
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const mine = await findServerProcess(client)
      if ((await findServerProcess(other)) === mine) return true
    }
    return false
  } finally {
    await other.end().catch(() => undefined)
  }
}

async function findServerProcess(client: Client): Promise<number> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  const [{ pid }] = rows as [{ pid: number }]
  return pid
}
