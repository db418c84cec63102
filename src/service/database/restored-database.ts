import type { Logger } from 'pino'
import type { DataSource } from 'typeorm'
import type { Revocation } from '../../contract.ts'
import { runTransaction } from '../../database/transaction.ts'
import { StartError } from '../../lib/start-error.ts'
import * as sql from '../../revocation/postgres/postgres-sql.ts'
import type { PostgresRevocationStore } from '../../revocation/postgres/postgres-store.ts'

/** What a start does about a database that may be a restored backup. */
export interface RestoredDatabaseOptions {
  readonly dataSource: DataSource
  readonly revocations: PostgresRevocationStore
  /** Everything issued before is revoked, once; `null`: nothing is. */
  readonly revokeIssuedBefore: Date | null
  readonly journalRetentionDays: number
  readonly log: Logger
}

/** How much later than the database's clock an instant may be, in milliseconds: people take it from another clock. */
const CLOCK_SKEW_MS = 60_000

const DAY_MS = 24 * 60 * 60 * 1000

/**
 * Makes a restored backup safe, if it was told to, and says so if it finds one that was not made safe.
 *
 * @throws {@link StartError} when the instant is of no use.
 */
export async function attendToRestoredDatabase(options: RestoredDatabaseOptions): Promise<void> {
  const { dataSource, revokeIssuedBefore, log } = options
  if (revokeIssuedBefore !== null) await revokeOnce(options, revokeIssuedBefore)

  const [{ isUnsafe }] = await dataSource.query<[{ isUnsafe: boolean }]>(sql.findRestoration)
  if (!isUnsafe) return
  log.warn(
    { event: 'restored_database' },
    'This database was restored from a backup: what was revoked after that was taken is accepted again. Set REVOKE_ISSUED_BEFORE to the instant of the restore, or revokeEveryone; see docs/operations.md',
  )
}

async function revokeOnce(
  { dataSource, revocations, journalRetentionDays, log }: RestoredDatabaseOptions,
  instant: Date,
): Promise<void> {
  const revocation = await runTransaction(
    dataSource,
    async (manager): Promise<Revocation | null> => {
      // Nodes that start together take turns, and the second one finds what the first has done.
      await revocations.lockWithin(manager, { scope: 'EVERYONE' })
      const [{ now, isDone }] = await manager.query<[{ now: Date; isDone: boolean }]>(
        sql.findCutOffSince,
        [instant],
      )
      assertOfUse(instant, now, journalRetentionDays)
      if (isDone) return null

      const request = {
        target: { scope: 'EVERYONE' },
        reason: 'backup_restored',
        by: null,
      } as const
      return (await revocations.revokeWithin(manager, request, { always: true })).revocation
    },
  )
  if (revocation === null) return
  revocations.announce(revocation)
  log.warn(
    { event: 'revocation', scope: revocation.scope, revocationId: revocation.id },
    'everything issued so far was revoked, as REVOKE_ISSUED_BEFORE asks',
  )
}

function assertOfUse(instant: Date, now: Date, journalRetentionDays: number): void {
  const ageMs = now.getTime() - instant.getTime()
  if (ageMs < -CLOCK_SKEW_MS) {
    throw new StartError(
      `REVOKE_ISSUED_BEFORE is in the future: it is ${now.toISOString()} by the database's clock`,
    )
  }
  // The journal would not know whether it was done.
  if (ageMs > journalRetentionDays * DAY_MS) {
    throw new StartError(
      `REVOKE_ISSUED_BEFORE is older than the journal (${journalRetentionDays} days); take it away`,
    )
  }
}
