/** Every statement of the journal's feed. */
import { isOfThisCount, whatItHits } from '../tables/columns.ts'

/** A line as a follower reads it, and its place among those of its snapshot. */
const lineColumns = `
  transaction_id as "transactionId", id as number, kind, revocation_id as id, ${whatItHits}`

/** The name under which nodes tell each other what the journal has got. */
const CHANNEL = 'portcullis_revocation'

/**
 * For the feed's connection. Without these two the planner, which hears late of a burst of lines, sorts all of them for each
 * page instead of reading on in the index.
 */
export const listen = `
  set enable_bitmapscan = off;
  set enable_sort = off;
  listen ${CHANNEL}`
export const notify = `select pg_notify('${CHANNEL}', $1)`

/**
 * A page of what was committed since an earlier snapshot, and the snapshot up to which is read. $1: the earlier one's xmax; $2:
 * the transactions that it saw under way; $3: the snapshot of the first page, `null` for that one; $4 and $5: transaction and
 * number of the last line so far; $6: how many lines.
 *
 * So no line is skipped, whatever the order of the commits, and none is read twice, however long a transaction
 * elsewhere is open. One row at least.
 */
export const readJournal = {
  name: 'portcullis-read-journal',
  text: `
    with up_to as materialized (
      select coalesce($3::txid_snapshot, txid_current_snapshot()) as snapshot
    )
    select (select snapshot from up_to)::text as snapshot, clock_timestamp() as now, line.*
    from (select) as always
    left join (
      (
        select ${lineColumns}
        from revocation_event
        where transaction_id >= $1::bigint and (transaction_id, id) > ($4::bigint, $5::bigint)
          and transaction_id < txid_snapshot_xmax((select snapshot from up_to))
          and txid_visible_in_snapshot(transaction_id, (select snapshot from up_to))
          and ${isOfThisCount}
        order by transaction_id, number
        limit $6
      )
      union all
      select late.*
      from unnest($2::bigint[]) as under_way (transaction)
      cross join lateral (
        select ${lineColumns}
        from revocation_event
        where transaction_id = transaction and (transaction_id, id) > ($4::bigint, $5::bigint)
          and txid_visible_in_snapshot(transaction_id, (select snapshot from up_to))
          and ${isOfThisCount}
        order by number
        limit $6
      ) as late
      order by "transactionId", number
      limit $6
    ) as line on true
    order by "transactionId", number`,
}

/**
 * Everything in force that was made since an instant, in PostgreSQL's binary form: key, reach (as `reachOf` says) and
 * expiry.
 */
export function copyInForce(since: Date | null): string {
  const from = since === null ? '' : `and revoked_at >= '${since.toISOString()}'`
  return `
    copy (
      select key, case when scope in ('SUBJECT', 'EVERYONE') then revoked_at else expires_at end, expires_at
      from revocation
      where expires_at > clock_timestamp() ${from}
    ) to stdout (format binary)`
}
