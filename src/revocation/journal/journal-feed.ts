import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ClientBase } from 'pg'
import { to as copyTo } from 'pg-copy-streams'
import type { DataSource } from 'typeorm'
import type { Revocation } from '../../contract.ts'
import { openFeedConnection } from '../../database/feed-connection.ts'
import type { FeedConnection } from '../../database/feed-connection.ts'
import { readServerIdentity } from '../../database/server-identity.ts'
import type { ServerIdentity } from '../../database/server-identity.ts'
import type { RevocationEventKind } from '../ports.ts'
import { nameTables } from '../tables/table-names.ts'
import { CopiedEntries } from './copied-entries.ts'
import type { TakeEntry } from './copied-entries.ts'
import * as sql from './journal-sql.ts'

/** A place in the journal: the transactions that had not ended when it was read so far. */
export interface JournalPosition {
  /** Everything from here on was still to come. */
  readonly xmax: bigint
  /** These, below it, were under way. */
  readonly underWay: readonly string[]
}

/** A line of the journal, as far as it matters to nodes: who may see notes reads them himself. */
export interface JournalLine {
  readonly kind: RevocationEventKind
  readonly revocation: Revocation & { readonly note: null }
}

/** How far the journal was read, and when. */
export interface FeedExtract {
  /** Behind everything that was read. */
  readonly position: JournalPosition
  /** The database's clock. */
  readonly now: Date
}

export interface JournalFeedOptions {
  /** How long the database may take to answer or, while it sends much, to go on, in milliseconds. */
  readonly timeLimitMs: number
  /** Told what another node announced. It may be told late, repeatedly or never. */
  readonly onHint: (hint: string) => void
}

/**
 * Lines that come in one statement and are taken in one turn: what others wait for meanwhile is a few milliseconds, and a
 * statement takes no longer however much was missed.
 */
const LINES_A_PAGE = 500

/**
 * Reads the journal over a connection of its own: a pool that is used up must not hold it back.
 *
 * Hints come over the same connection, so regular reads find out that it is dead.
 */
export class JournalFeed {
  /** The server that it leads to; `null` where that does not tell. */
  readonly server: ServerIdentity | null
  readonly #connection: FeedConnection
  readonly #client: ClientBase
  readonly #timeLimitMs: number
  /** Writes the names that our tables have in this `DataSource`. */
  readonly #sql: (text: string) => string

  /** @throws when the database cannot be reached in time. */
  static async open(dataSource: DataSource, options: JournalFeedOptions): Promise<JournalFeed> {
    const connection = await openFeedConnection(dataSource, options.timeLimitMs)
    const { client } = connection
    client.on('notification', ({ processId, payload = '' }) => {
      const { processID: own } = client as unknown as { readonly processID: number }
      if (processId !== own) options.onHint(payload)
    })

    try {
      const listen = { text: sql.listen, query_timeout: options.timeLimitMs }
      await client.query(listen)
      const server = await readServerIdentity(client, options.timeLimitMs)
      return new JournalFeed(connection, server, options, (text) => nameTables(dataSource, text))
    } catch (error) {
      connection.close()
      throw error
    }
  }

  private constructor(
    connection: FeedConnection,
    server: ServerIdentity | null,
    { timeLimitMs }: JournalFeedOptions,
    nameOurTables: (text: string) => string,
  ) {
    this.#connection = connection
    this.#client = connection.client
    this.server = server
    this.#timeLimitMs = timeLimitMs
    this.#sql = nameOurTables
  }

  /**
   * Reads what was committed behind a position, page by page; without one nothing, for a start.
   *
   * @param take - Told the lines of each page.
   */
  async read(
    from: JournalPosition | null,
    take: (lines: readonly JournalLine[]) => void = () => undefined,
  ): Promise<FeedExtract> {
    const values = from ? [String(from.xmax), from.underWay] : [MAX_TRANSACTION_ID, []]
    let upTo: string | null = null
    let last: readonly [string, string] = ['0', '0']
    for (;;) {
      const { rows } = await this.#client.query<JournalRow>({
        ...this.#connection.queryOf({
          name: sql.readJournal.name,
          text: this.#sql(sql.readJournal.text),
        }),
        values: [...values, upTo, ...last, LINES_A_PAGE],
        ...this.#limit(),
      })
      const [{ snapshot, now }] = rows as [JournalRow]
      take(rows.flatMap(toLines))

      const { transactionId, number } = rows.at(-1) as JournalRow
      if (rows.length < LINES_A_PAGE || transactionId === null) {
        return { position: parseSnapshot(snapshot), now }
      }
      upTo = snapshot
      last = [transactionId, number]
      await nextTurn()
    }
  }

  /** Reads everything in force that was made since an instant, or ever. */
  async copyInForce(since: Date | null, take: TakeEntry): Promise<void> {
    const stream = this.#client.query(copyTo(this.#sql(sql.copyInForce(since))))
    const silence = setTimeout(() => {
      stream.destroy(new Error(`It did not go on in time (${this.#timeLimitMs} ms)`))
    }, this.#timeLimitMs)

    const entries = new CopiedEntries(take)
    try {
      for await (const chunk of stream) {
        silence.refresh()
        entries.push(chunk as Buffer)
        // Others get on between two pieces, however fast they come.
        await nextTurn()
      }
      entries.end()
    } finally {
      clearTimeout(silence)
    }
  }

  /** Tells all who read this journal. */
  async announce(hint: string): Promise<void> {
    await this.#client.query({ text: sql.notify, values: [hint], ...this.#limit() })
  }

  /** Ends at once, whatever is under way. */
  close(): void {
    this.#connection.close()
  }

  #limit(): { query_timeout: number } {
    return { query_timeout: this.#timeLimitMs }
  }
}

type EntryRow = {
  readonly transactionId: string
  readonly number: string
  readonly kind: RevocationEventKind
} & Omit<Revocation, 'note'>

/** All but the first two are `null` when nothing was read. */
type JournalRow = { readonly snapshot: string; readonly now: Date } & (
  | EntryRow
  | Record<keyof EntryRow, null>
)

function toLines(row: JournalRow): readonly JournalLine[] {
  if (row.kind === null) return []
  const {
    snapshot: _snapshot,
    now: _now,
    transactionId: _id,
    number: _number,
    kind,
    ...entry
  } = row
  return [{ kind, revocation: { ...entry, note: null } }]
}

const MAX_TRANSACTION_ID = String(2n ** 63n - 1n)

/** @param snapshot - `xmin:xmax:xip_list`, as PostgreSQL writes it. */
function parseSnapshot(snapshot: string): JournalPosition {
  const [, xmax = '', underWay = ''] = snapshot.split(':')
  return { xmax: BigInt(xmax), underWay: underWay === '' ? [] : underWay.split(',') }
}
