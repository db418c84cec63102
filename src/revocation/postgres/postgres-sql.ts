/** Every statement of the PostgreSQL store. */
import { EMPTY_SNAPSHOT } from '../journal/journal-place.ts'
import { FORGET_AFTER_SECONDS } from '../retention.ts'
import { columns, eventColumns, isOfThisCount, revocationOfEvent } from '../tables/columns.ts'

/** One row at least, for the clock; `key` is null in a row that is no entry. */
export const findByKeys = {
  name: 'portcullis-find-by-keys',
  text: `
    select clock_timestamp() as now, key, ${columns}
    from (select) as always
    left join revocation on key = any($1::uuid[]) and expires_at > clock_timestamp()`,
}

/** Whether the tables are there, and what is asked of them can be written. */
export const ping = {
  name: 'portcullis-ping',
  text: `
    select clock_timestamp() as now,
           pg_is_in_recovery() or current_setting('transaction_read_only') = 'on' as "isReadOnly"
    from (select) as always
    left join revocation on false`,
}

/** What stands under which of the keys $1. One row at least, for the clock; the rest of it may be `null`. */
export const findStanding = `
  select date_trunc('milliseconds', clock_timestamp()) as now, key, ${columns}
  from (select) as always
  left join revocation
    on key = any($1::uuid[]) and scope in ('TOKEN', 'SESSION') and expires_at > clock_timestamp()`

/** $1 everyone, $2 the subject; the locks' numbers are the first 64 bits of their keys. */
export const lockForIssue = `
  select pg_advisory_xact_lock_shared(('x' || left(replace($1::text, '-', ''), 16))::bit(64)::bigint),
         pg_advisory_xact_lock_shared(('x' || left(replace($2::text, '-', ''), 16))::bit(64)::bigint)`

export const lockSubject = `
  select pg_advisory_xact_lock_shared(('x' || left(replace($1::text, '-', ''), 16))::bit(64)::bigint),
         pg_advisory_xact_lock(('x' || left(replace($2::text, '-', ''), 16))::bit(64)::bigint)`

export const lockEveryone = `
  select pg_advisory_xact_lock(('x' || left(replace($1::text, '-', ''), 16))::bit(64)::bigint)`

const selectInstant = `
  select clock_timestamp() as now,
         greatest(
           date_trunc('milliseconds', clock_timestamp()),
           max(revoked_at) + interval '1 millisecond'
         ) as instant
  from revocation`

/** Later than every cut-off of the keys $1 so far, even if the clock stands still or was set back. */
export const nextInstant = `${selectInstant} where key = any($1::uuid[])`

/** As `nextInstant`, of all; by an index, whatever the number of entries. */
export const nextInstantOfAll = selectInstant

/**
 * Entries, a column of theirs an array. The first one under a key wins; an expired entry that was not swept yet gives
 * way. In the order of their keys, so that two nodes do not wait for each other. The journal's lines are part of the
 * statement.
 */
export const add = `
  with wanted as (
    select * from unnest(
      $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
      $9::text[], $10::timestamptz[], $11::timestamptz[], $12::text[], $13::text[], $14::text[]
    ) as wanted (
      id, key, scope, issuer, subject, session_id, token_id, digest, kept_session_id,
      revoked_at, expires_at, reason, revoked_by, note
    )
    order by key
  ), added as (
    insert into revocation (
      id, key, scope, issuer, subject, session_id, token_id, digest, kept_session_id,
      revoked_at, expires_at, reason, revoked_by, note
    )
    select * from wanted
    on conflict (key) where scope in ('TOKEN', 'SESSION') do update
    set id = excluded.id, revoked_at = excluded.revoked_at, expires_at = excluded.expires_at,
        reason = excluded.reason, revoked_by = excluded.revoked_by, note = excluded.note
    where revocation.expires_at <= excluded.revoked_at
    returning *
  ), journalled as (
    insert into revocation_event (
      kind, occurred_at, actor, note, revocation_id, revocation_note, scope, issuer, subject,
      session_id, token_id, digest, kept_session_id, revoked_at, expires_at, reason, revoked_by
    )
    select 'REVOKED', revoked_at, revoked_by, note, id, note, scope, issuer, subject,
           session_id, token_id, digest, kept_session_id, revoked_at, expires_at, reason, revoked_by
    from added
  )
  select key, ${columns} from added`

/** The latest cut-off in force that spares no session, or the same one as $2. */
export const findLatestCutOff = `
  select ${columns}
  from revocation
  where key = $1 and expires_at > clock_timestamp()
    and (kept_session_id is null or kept_session_id = $2)
  order by revoked_at desc
  limit 1`

export const findById = `
  select ${columns} from revocation where id = $1
  union all
  select ${revocationOfEvent} from revocation_event where revocation_id = $1 and kind = 'REVOKED'
  limit 1`

export const restore = `
  with removed as (
    delete from revocation where id = $1 returning *
  ), journalled as (
    insert into revocation_event (
      kind, occurred_at, actor, note, revocation_id, revocation_note, scope, issuer, subject,
      session_id, token_id, digest, kept_session_id, revoked_at, expires_at, reason, revoked_by
    )
    select 'RESTORED', clock_timestamp(), $2, $3, id, note, scope, issuer, subject,
           session_id, token_id, digest, kept_session_id, revoked_at, expires_at, reason, revoked_by
    from removed
  )
  select ${columns} from removed`

/** Once; nothing when the journal has forgotten the suspension. */
export const journalReinstatement = `
  insert into revocation_event (
    kind, occurred_at, actor, note, revocation_id, revocation_note, scope, issuer, subject,
    session_id, token_id, digest, kept_session_id, revoked_at, expires_at, reason, revoked_by
  )
  select 'REINSTATED', clock_timestamp(), $2, $3, revocation_id, revocation_note, scope, issuer, subject,
         session_id, token_id, digest, kept_session_id, revoked_at, expires_at, reason, revoked_by
  from revocation_event where revocation_id = $1 and kind = 'REVOKED'
  on conflict (revocation_id, kind) do nothing`

export const findRestored = `
  select ${revocationOfEvent} from revocation_event where revocation_id = $1 and kind = 'RESTORED'`

const matchesFilter = (time: string, actor: string): string => `
  ($1::text is null or scope = $1)
  and ($2::text[] is null or subject = any($2))
  and ($3::text[] is null or session_id = any($3))
  and ($4::text[] is null or token_id = any($4) or digest = any($4))
  and ($5::text is null or reason = $5)
  and ($6::text[] is null or ${actor} = any($6))
  and ($7::timestamptz is null or ${time} >= $7)
  and ($8::timestamptz is null or ${time} < $8)`

const isInForce = `expires_at > clock_timestamp() and ${matchesFilter('revoked_at', 'revoked_by')}`

/** $9 and $10: the place behind which to start; $11: how many. */
export const listInForce = `
  select ${columns}
  from revocation
  where ${isInForce}
    and ($9::timestamptz is null or (revoked_at, id) < ($9::timestamptz, $10::uuid))
  order by revoked_at desc, id desc
  limit $11`

export const countInForce = `select count(*)::integer as count from revocation where ${isInForce}`

/** $9: the id behind which to start; $10: how many. */
export const listEvents = `
  select txid_current_snapshot()::text as snapshot, ${eventColumns}
  from revocation_event
  where ${matchesFilter('occurred_at', 'actor')} and ($9::bigint is null or id < $9::bigint)
  order by id desc
  limit $10`

/** $1: the number of a line, and whether that line was restored. */
export const findJournalEnd = `
  select txid_current_snapshot()::text as snapshot,
         exists (select from revocation_event where id = $1::bigint and not ${isOfThisCount}) as "isRestored"`

/**
 * Whether the newest lines of the journal were restored, and the tokens of all people were not revoked since. Of restored lines one
 * transaction wrote several here, which different ones wrote first.
 */
export const findRestoration = `
  with newest as (
    select id, xmin::text as writer, transaction_id, kind, scope, ${isOfThisCount} as is_of_this_count
    from revocation_event
    order by id desc
    limit 1000
  ), restored as (
    select max(id) as id
    from newest
    where not is_of_this_count
      or writer in (select writer from newest group by writer having count(distinct transaction_id) > 1)
  )
  select restored.id is not null and not exists (
    select from newest where newest.id > restored.id and scope = 'EVERYONE' and kind = 'REVOKED'
  ) as "isUnsafe"
  from restored`

/** Whether the tokens of all people were revoked at or after the instant $1, restored or not. */
export const findCutOffSince = `
  select clock_timestamp() as now, exists (
    select from revocation_event
    where occurred_at >= $1::timestamptz and scope = 'EVERYONE' and kind = 'REVOKED'
  ) as "isDone"`

/** The last line that was restored from a server whose count was beyond the snapshot $1. */
export const findLastRestored = `
  select max(id) as id from revocation_event
  where transaction_id >= txid_snapshot_xmax($1::txid_snapshot)`

/**
 * $9: the number behind which to start; of what the snapshot $10 saw and $11 did not; $12: how many. Restored lines count as
 * seen by every snapshot but the empty one.
 */
export const readEvents = `
  select ${eventColumns}
  from revocation_event
  where ${matchesFilter('occurred_at', 'actor')} and id > $9::bigint
    and transaction_id >= txid_snapshot_xmin($11::txid_snapshot)
    and case
      when ${isOfThisCount}
      then txid_visible_in_snapshot(transaction_id, $10::txid_snapshot)
        and not txid_visible_in_snapshot(transaction_id, $11::txid_snapshot)
      else $11::txid_snapshot::text = '${EMPTY_SNAPSHOT}'
    end
  order by id
  limit $12`

export const countEvents = `
  select count(*)::integer as count
  from revocation_event
  where ${matchesFilter('occurred_at', 'actor')}`

/**
 * Entries go a day after they expired, by a clock that may have jumped ahead: set right again, it finds them.
 *
 * Here and below the clock is read once, in a subquery: compared with a volatile function no index is used.
 */
export const deleteExpired = `
  delete from revocation
  where id = any(array(
    select id from revocation
    where expires_at <= (select clock_timestamp()) - interval '${FORGET_AFTER_SECONDS} seconds'
    limit $1
    for update skip locked
  ))`

/** $2: the journal's retention in days. */
export const deleteOldEvents = `
  delete from revocation_event
  where id = any(array(
    select id from revocation_event
    where occurred_at < (select clock_timestamp()) - make_interval(days => $2::integer)
    limit $1
    for update skip locked
  ))`
