import { DataSource } from 'typeorm'
import type { DataSourceOptions } from 'typeorm'
import { Revocation1763769600000 } from '../../migrations/1763769600000-revocation.ts'
import { AccountsAndSessions1763769600001 } from '../../migrations/1763769600001-accounts-and-sessions.ts'
import { SessionCutOff1764288000001 } from '../../migrations/1764288000001-session-cut-off.ts'
import { AccountEntity, FailedAttemptEntity } from '../account/entities.ts'
import { RevocationEntity, RevocationEventEntity } from '../revocation/entities.ts'
import { RefreshTokenEntity, SessionCutOffEntity, SessionEntity } from '../session/entities.ts'
import { refuseStandby } from './pool.ts'
import { countKept } from './warm-pool.ts'

export interface DataSourceSettings {
  readonly url: string
  /** The most connections of this node. */
  readonly poolSize?: number
  /** Migrations may take as long as they need; everything else has a limit. */
  readonly isForMigrations?: boolean
}

/**
 * Milliseconds. The client's limit is the longest, so that the server's clearer error comes first. A transaction of a node that
 * cannot be reached any more must not keep its locks for long.
 */
const LIMITS = {
  connectionTimeoutMillis: 2000,
  lock_timeout: 2000,
  statement_timeout: 4000,
  idle_in_transaction_session_timeout: 3000,
  query_timeout: 5000,
}

/** The service's one DataSource: entities, migrations, and a limit on every wait. */
export function createDataSource(settings: DataSourceSettings): DataSource {
  const { url, poolSize = 10, isForMigrations = false } = settings
  const options: DataSourceOptions = {
    type: 'postgres',
    url,
    applicationName: 'portcullis',
    entities: [
      RevocationEntity,
      RevocationEventEntity,
      SessionEntity,
      SessionCutOffEntity,
      RefreshTokenEntity,
      AccountEntity,
      FailedAttemptEntity,
    ],
    migrations: [
      Revocation1763769600000,
      AccountsAndSessions1763769600001,
      SessionCutOff1764288000001,
    ],
    migrationsTableName: 'migration',
    migrationsTransactionMode: 'each',
    installExtensions: false,
    poolSize,
    // A lost connection is the caller's error when it matters, and TypeORM would print it.
    poolErrorHandler: () => undefined,
    extra: {
      verify: refuseStandby,
      ...(isForMigrations
        ? { connectionTimeoutMillis: 10_000 }
        : { ...LIMITS, keepAlive: true, min: countKept(poolSize) }),
    },
  }
  return new DataSource(options)
}
