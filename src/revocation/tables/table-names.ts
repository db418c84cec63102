import type { DataSource, EntitySchema, MigrationInterface, QueryRunner } from 'typeorm'
import { RevocationEntity, RevocationEventEntity } from './entities.ts'

/** The tables that the library makes, by the names that its SQL and its migrations call them. */
const TABLES: Readonly<Record<string, EntitySchema>> = {
  revocation: RevocationEntity,
  revocation_event: RevocationEventEntity,
}

/** Whole words only: columns and indexes, such as `revocation_id`, keep their names. */
const TABLE_NAME = new RegExp(`\\b(${Object.keys(TABLES).join('|')})\\b`, 'g')

/**
 * Writes the names of our tables in a statement as the `DataSource` has them, with its `schema`, `entityPrefix` and
 * naming strategy.
 */
export function nameTables(dataSource: DataSource, text: string): string {
  return text.replaceAll(TABLE_NAME, (table) => pathOf(dataSource, table))
}

/**
 * Refuses a `DataSource` whose columns are not called as our SQL calls them.
 *
 * @throws `TypeError`
 */
export function assertColumnNames(dataSource: DataSource): void {
  for (const entity of Object.values(TABLES)) {
    if (!dataSource.hasMetadata(entity)) continue
    for (const { propertyName, databaseName } of dataSource.getMetadata(entity).columns) {
      const expected = entity.options.columns[propertyName]?.name ?? propertyName
      if (databaseName === expected) continue
      throw new TypeError(
        `expected the column ${expected} of ${entity.options.name}, got ${databaseName}: ` +
          'have the naming strategy of the DataSource leave the columns of revocationEntities alone',
      )
    }
  }
}

/** A migration of ours that makes its tables where the `DataSource` that runs it looks for them. */
export function inPlace(Migration: new () => MigrationInterface): new () => MigrationInterface {
  return class implements MigrationInterface {
    readonly #migration = new Migration()
    readonly name = this.#migration.name ?? Migration.name
    readonly transaction = this.#migration.transaction

    async up(runner: QueryRunner): Promise<void> {
      await this.#migration.up(namingTables(runner))
    }

    async down(runner: QueryRunner): Promise<void> {
      await this.#migration.down(namingTables(runner))
    }
  }
}

function namingTables(runner: QueryRunner): QueryRunner {
  const query = async (text: string, parameters?: unknown[]): Promise<unknown> =>
    runner.query(nameTables(runner.dataSource, text), parameters)
  return new Proxy(runner, {
    get: (target, name) => (name === 'query' ? query : (Reflect.get(target, name) as unknown)),
  })
}

function pathOf(dataSource: DataSource, table: string): string {
  const { schema, entityPrefix = '' } = dataSource.options as {
    readonly schema?: string
    readonly entityPrefix?: string
  }
  const entity = TABLES[table]
  const named =
    entity && dataSource.hasMetadata(entity)
      ? dataSource.getMetadata(entity)
      : { schema, tableName: `${entityPrefix}${table}` }
  return named.schema ? `${quote(named.schema)}.${quote(named.tableName)}` : quote(named.tableName)
}

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
