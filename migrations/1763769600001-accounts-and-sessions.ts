import type { MigrationInterface, QueryRunner } from 'typeorm'

/** New tables only: a running release does not notice. */
export class AccountsAndSessions1763769600001 implements MigrationInterface {
  readonly name = 'AccountsAndSessions1763769600001'

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table account (
        id uuid not null constraint account_pkey primary key,
        email text not null,
        password_hash text not null,
        roles text[] not null,
        suspended_at timestamptz(3),
        suspension_id uuid,
        created_at timestamptz(3) not null
      )`)
    await runner.query(`create unique index account_email on account (email)`)

    await runner.query(`
      create table session (
        id uuid not null constraint session_pkey primary key,
        subject text not null,
        device text,
        user_agent text,
        ip_address text,
        created_at timestamptz(3) not null,
        authenticated_at timestamptz(3) not null,
        last_seen_at timestamptz(3) not null,
        last_issued_at timestamptz(3) not null,
        expires_at timestamptz(3) not null,
        ended_at timestamptz(3)
      )`)
    await runner.query(`create index session_subject on session (subject, created_at)`)
    await runner.query(`create index session_expires_at on session (expires_at)`)
    await runner.query(`create index session_ended_at on session (ended_at)`)

    await runner.query(`
      create table refresh_token (
        hash bytea not null constraint refresh_token_pkey primary key,
        session_id uuid not null
          constraint refresh_token_session references session (id) on delete cascade,
        created_at timestamptz(3) not null,
        replaced_at timestamptz(3),
        successor_salt bytea
      )`)
    await runner.query(`create index refresh_token_session_id on refresh_token (session_id)`)

    await runner.query(`
      create table failed_attempt (
        key text not null constraint failed_attempt_pkey primary key,
        failures integer not null,
        expires_at timestamptz(3) not null
      )`)
    await runner.query(`create index failed_attempt_expires_at on failed_attempt (expires_at)`)
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table failed_attempt`)
    await runner.query(`drop table refresh_token`)
    await runner.query(`drop table session`)
    await runner.query(`drop table account`)
  }
}
