import type { MigrationInterface, QueryRunner } from 'typeorm'

/**
 * A table, a column and indexes that a running release does not need: it goes on. Its logins and refreshes wait while the
 * indexes are built, about two seconds for each million sessions.
 */
export class SessionCutOff1764288000001 implements MigrationInterface {
  readonly name = 'SessionCutOff1764288000001'

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table session_cut_off (
        id uuid not null constraint session_cut_off_pkey primary key,
        subject text,
        kept_session_id text,
        revoked_at timestamptz(3) not null,
        reason text not null,
        ended_to_subject text,
        ended_to_id uuid
      )`)
    await runner.query(`alter table session add column end_reason text`)
    await runner.query(`create index session_live on session (subject, id) where ended_at is null`)
    await runner.query(`create index session_last_issued_at on session (last_issued_at)`)
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop index session_last_issued_at`)
    await runner.query(`drop index session_live`)
    await runner.query(`alter table session drop column end_reason`)
    await runner.query(`drop table session_cut_off`)
  }
}
