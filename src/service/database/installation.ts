import { randomUUID } from 'node:crypto'
import { EntitySchema } from 'typeorm'
import type { DataSource, EntityManager } from 'typeorm'
import { runTransaction } from '../../database/transaction.ts'
import { StartError } from '../../lib/start-error.ts'
import type { Installation } from '../../token/claims.ts'

/** The SQLSTATE of what a role may not do. */
const INSUFFICIENT_PRIVILEGE = '42501'

/** The one row of its table. */
export interface InstallationRow {
  readonly number: number
  readonly id: string
  readonly createdAt: Date
}

export const InstallationEntity = new EntitySchema<InstallationRow>({
  name: 'Installation',
  tableName: 'installation',
  columns: {
    number: { type: 'smallint', primary: true, primaryKeyConstraintName: 'installation_pkey' },
    id: { type: 'uuid' },
    createdAt: { name: 'created_at', type: 'timestamp with time zone', precision: 3 },
  },
  checks: [{ name: 'installation_one', expression: 'number = 1' }],
})

/**
 * The mark of a database, made by the first node that asks; nodes that start together get the same one.
 *
 * @throws {@link StartError} when the service's role may not use the table.
 */
export async function readInstallation(dataSource: DataSource): Promise<Installation> {
  try {
    return await readOrMake(dataSource)
  } catch (error) {
    if ((error as { code?: unknown }).code !== INSUFFICIENT_PRIVILEGE) throw error
    throw new StartError(
      'The role of DATABASE_URL may not use the table installation; grant it select and insert (docs/operations.md)',
    )
  }
}

async function readOrMake(dataSource: DataSource): Promise<Installation> {
  return runTransaction(dataSource, async (manager) => {
    const standing = await find(manager)
    // Only the first node writes: others start on a database that is read-only for a while.
    if (standing !== null) return standing

    await manager.query(
      `insert into installation (number, id, created_at) values (1, $1, clock_timestamp())
       on conflict (number) do nothing`,
      [randomUUID()],
    )
    return (await find(manager)) as Installation
  })
}

async function find(manager: EntityManager): Promise<Installation | null> {
  const [row] = await manager.query<InstallationRow[]>(
    `select id, created_at as "createdAt" from installation`,
  )
  return row ? { id: row.id, since: row.createdAt } : null
}
