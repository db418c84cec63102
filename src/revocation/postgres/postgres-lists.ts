import type { DataSource, EntityManager } from 'typeorm'
import type { Revocation } from '../../contract.ts'
import { runTransaction } from '../../database/transaction.ts'
import {
  EMPTY_SNAPSHOT,
  formatPlace,
  isForeign,
  parsePlace,
  placeAt,
} from '../journal/journal-place.ts'
import type { SnapshotPlace } from '../journal/journal-place.ts'
import type {
  EventCursor,
  JournalExtract,
  JournalRequest,
  Page,
  PageRequest,
  RevocationCursor,
  RevocationEvent,
  RevocationFilter,
} from '../ports.ts'
import { spellingsOf } from '../spelling.ts'
import { nameTables } from '../tables/table-names.ts'
import * as sql from './postgres-sql.ts'

/** What admins are shown: entries in force, and the journal by page or as it grows. */
export class PostgresLists {
  readonly #dataSource: DataSource

  constructor(dataSource: DataSource) {
    this.#dataSource = dataSource
  }

  async listInForce(page: PageRequest<RevocationCursor>): Promise<Page<Revocation>> {
    const { first, after } = page
    const position = [after?.revokedAt ?? null, after?.id ?? null]
    return this.#list<Revocation>(sql.listInForce, first, [
      ...filterValues(page.filter),
      ...position,
    ])
  }

  async countInForce(filter: RevocationFilter): Promise<number> {
    return this.#count(sql.countInForce, filter)
  }

  async listEvents(page: PageRequest<EventCursor>): Promise<Page<RevocationEvent>> {
    const values = [...filterValues(page.filter), page.after?.id ?? null]
    const rows = await this.#list<ListedEventRow>(sql.listEvents, page.first, values)
    const items = rows.items.map(({ snapshot, ...row }) =>
      toEvent(row, { id: row.id, upTo: snapshot, seen: EMPTY_SNAPSHOT }),
    )
    return { ...rows, items }
  }

  async countEvents(filter: RevocationFilter): Promise<number> {
    return this.#count(sql.countEvents, filter)
  }

  async readEvents({ after, filter, limit }: JournalRequest): Promise<JournalExtract> {
    return runTransaction(this.#dataSource, async (manager) => {
      const place = after === null ? null : parsePlace(after)
      const [{ snapshot: end, isRestored }] = await manager.query<[JournalEnd]>(
        this.#sql(sql.findJournalEnd),
        [place?.id ?? null],
      )
      const done = { events: [], place: formatPlace(placeAt(end)) }
      if (place === null) return done

      const from = isForeign(place, end, isRestored)
        ? await this.#moveHere(manager, place, end)
        : place
      const events: RevocationEvent[] = []
      // What is newer comes after all that an earlier extract began with.
      for (const part of [from, { id: '0', upTo: end, seen: from.upTo }]) {
        const values = [...filterValues(filter), part.id, part.upTo, part.seen]
        const left = limit - events.length
        const rows = await manager.query<EventRow[]>(this.#sql(sql.readEvents), [...values, left])
        events.push(...rows.map((row) => toEvent(row, { ...part, id: row.id })))
        const last = events.at(-1)
        if (rows.length === left && last) return { events, place: last.place }
      }
      return { ...done, events }
    })
  }

  /** A statement with the names that our tables have in this `DataSource`. */
  #sql(text: string): string {
    return nameTables(this.#dataSource, text)
  }

  /** Of another server's place only the number counts, and of that no more than the lines that were restored from there. */
  async #moveHere(
    manager: EntityManager,
    { id }: SnapshotPlace,
    end: string,
  ): Promise<SnapshotPlace> {
    const text = this.#sql(sql.findLastRestored)
    const [{ id: last }] = await manager.query<[{ id: string | null }]>(text, [end])
    const isBeyond = last !== null && BigInt(id) > BigInt(last)
    return { id: isBeyond ? last : id, upTo: end, seen: EMPTY_SNAPSHOT }
  }

  async #list<Item>(text: string, first: number, values: readonly unknown[]): Promise<Page<Item>> {
    return runTransaction(this.#dataSource, async (manager) => {
      const rows = await manager.query<Item[]>(this.#sql(text), [...values, first + 1])
      return { items: rows.slice(0, first), hasNextPage: rows.length > first }
    })
  }

  async #count(text: string, filter: RevocationFilter): Promise<number> {
    return runTransaction(this.#dataSource, async (manager) => {
      const [row] = await manager.query<[{ count: number }]>(this.#sql(text), filterValues(filter))
      return row.count
    })
  }
}

interface JournalEnd {
  readonly snapshot: string
  readonly isRestored: boolean
}

type EventRow = Omit<RevocationEvent, 'place' | 'revocation'> &
  Omit<Revocation, 'id' | 'note'> & { revocationId: string; revocationNote: string | null }

type ListedEventRow = EventRow & { readonly snapshot: string }

function toEvent(row: EventRow, place: SnapshotPlace): RevocationEvent {
  const { id, kind, occurredAt, actor, note, revocationId, revocationNote, ...revocation } = row
  return {
    id,
    place: formatPlace(place),
    kind,
    occurredAt,
    actor,
    note,
    revocation: { ...revocation, id: revocationId, note: revocationNote },
  }
}

/** Of an id all its spellings. */
function filterValues(filter: RevocationFilter): unknown[] {
  const { scope, subject, sessionId, tokenId, reason, revokedBy, since, until } = filter
  const spell = (id: string | null | undefined): readonly string[] | null =>
    id == null ? null : spellingsOf(id)
  const ids = [subject, sessionId, tokenId].map(spell)
  return [scope, ...ids, reason, spell(revokedBy), since, until].map((value) => value ?? null)
}
