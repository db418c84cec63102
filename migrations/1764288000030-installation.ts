import type { MigrationInterface, QueryRunner } from 'typeorm'

/** A new table only: a running release does not notice. The first node that starts fills it. */
export class Installation1764288000030 implements MigrationInterface {
  readonly name = 'Installation1764288000030'

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table installation (
        number smallint not null constraint installation_pkey primary key,
        id uuid not null,
        created_at timestamptz(3) not null,
        constraint installation_one check (number = 1)
      )`)
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table installation`)
  }
}
