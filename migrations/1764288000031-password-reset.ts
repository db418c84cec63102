import type { MigrationInterface, QueryRunner } from 'typeorm'

/** A new table only: a running release does not notice. */
export class PasswordReset1764288000031 implements MigrationInterface {
  readonly name = 'PasswordReset1764288000031'

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table password_reset (
        account_id uuid not null constraint password_reset_pkey primary key
          constraint password_reset_account references account (id) on delete cascade,
        hash bytea not null,
        created_by text not null,
        created_at timestamptz(3) not null,
        expires_at timestamptz(3) not null
      )`)
    await runner.query(`create unique index password_reset_hash on password_reset (hash)`)
    await runner.query(`create index password_reset_expires_at on password_reset (expires_at)`)
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table password_reset`)
  }
}
