import type { MigrationInterface, QueryRunner } from 'typeorm'

/** New tables only: a running release does not notice. */
export class Revocation1763769600000 implements MigrationInterface {
  readonly name = 'Revocation1763769600000'

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table revocation (
        id uuid not null constraint revocation_pkey primary key,
        key uuid not null,
        scope text not null,
        issuer text,
        subject text,
        session_id text,
        token_id text,
        digest text,
        kept_session_id text,
        revoked_at timestamptz(3) not null,
        expires_at timestamptz(3) not null,
        reason text not null,
        revoked_by text,
        note text,
        constraint revocation_scope check (scope in ('TOKEN', 'SESSION', 'SUBJECT', 'EVERYONE'))
      )`)
    await runner.query(`create index revocation_key on revocation (key)`)
    await runner.query(
      `create unique index revocation_once on revocation (key) where scope in ('TOKEN', 'SESSION')`,
    )
    await runner.query(`create index revocation_expires_at on revocation (expires_at)`)
    await runner.query(`create index revocation_newest on revocation (revoked_at, id)`)

    await runner.query(`
      create table revocation_event (
        id bigserial not null constraint revocation_event_pkey primary key,
        kind text not null,
        occurred_at timestamptz(3) not null,
        actor text,
        note text,
        revocation_id uuid not null,
        revocation_note text,
        transaction_id bigint not null default txid_current(),
        scope text not null,
        issuer text,
        subject text,
        session_id text,
        token_id text,
        digest text,
        kept_session_id text,
        revoked_at timestamptz(3) not null,
        expires_at timestamptz(3) not null,
        reason text not null,
        revoked_by text,
        constraint revocation_event_kind check (kind in ('REVOKED', 'RESTORED', 'REINSTATED'))
      )`)
    await runner.query(
      `create unique index revocation_event_once on revocation_event (revocation_id, kind)`,
    )
    await runner.query(
      `create index revocation_event_occurred_at on revocation_event (occurred_at)`,
    )
    await runner.query(
      `create index revocation_event_transaction on revocation_event (transaction_id, id)`,
    )
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table revocation_event`)
    await runner.query(`drop table revocation`)
  }
}
