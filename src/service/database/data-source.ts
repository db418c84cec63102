import type { Client } from 'pg'
import { DataSource } from 'typeorm'
import type { DataSourceOptions } from 'typeorm'
import { Revocation1763769600000 } from '../../../migrations/1763769600000-revocation.ts'
import { AccountsAndSessions1763769600001 } from '../../../migrations/1763769600001-accounts-and-sessions.ts'
import { SessionCutOff1764288000001 } from '../../../migrations/1764288000001-session-cut-off.ts'
import { Installation1764288000030 } from '../../../migrations/1764288000030-installation.ts'
import { PasswordReset1764288000031 } from '../../../migrations/1764288000031-password-reset.ts'
import type { Access } from '../../database/access.ts'
import {
  SERVING,
  UNLIMITED,
  setUpConnection,
  setUpTransaction,
} from '../../database/connection-settings.ts'
import type { Limits } from '../../database/connection-settings.ts'
import { refuseStandby } from '../../database/pool.ts'
import { RevocationEntity, RevocationEventEntity } from '../../revocation/tables/entities.ts'
import { AccountEntity, FailedAttemptEntity, PasswordResetEntity } from '../account/entities.ts'
import { RefreshTokenEntity, SessionCutOffEntity, SessionEntity } from '../session/entities.ts'
import { InstallationEntity } from './installation.ts'
import { countKept } from './warm-pool.ts'

type Verify = (client: Client, done: (error?: Error) => void) => void

export interface DataSourceSettings {
  readonly url: string
  /** The most connections of this node. */
  readonly poolSize?: number
  /** Migrations may take as long as they need; everything else has a limit. */
  readonly isForMigrations?: boolean
  /** Whether connections are ours for as long as they last; not so behind a pooler in transaction mode. */
  readonly prepares?: boolean
  /** The schema that has the tables, if that is known already. */
  readonly schema?: string
  /** Where names without a schema are looked for; `null`: as the server says. */
  readonly searchPath?: string | null
  /** A direct connection for the journal; `null`: that of `url` is one. */
  readonly journalUrl?: string | null
}

/** Milliseconds. The client's limit is the longest, so that the server's clearer error comes first. */
const WAITS = { connectionTimeoutMillis: 2000, query_timeout: 5000 }

/** The service's one DataSource: entities, migrations, and a limit on every wait. */
export function createDataSource(settings: DataSourceSettings): DataSource {
  const { url, poolSize = 10, schema, isForMigrations = false } = settings
  const options: DataSourceOptions = {
    type: 'postgres',
    applicationName: 'portcullis',
    ...(schema !== undefined && { schema }),
    entities: [
      RevocationEntity,
      RevocationEventEntity,
      SessionEntity,
      SessionCutOffEntity,
      RefreshTokenEntity,
      AccountEntity,
      FailedAttemptEntity,
      PasswordResetEntity,
      InstallationEntity,
    ],
    migrations: [
      Revocation1763769600000,
      AccountsAndSessions1763769600001,
      SessionCutOff1764288000001,
      Installation1764288000030,
      PasswordReset1764288000031,
    ],
    migrationsTableName: 'migration',
    migrationsTransactionMode: 'each',
    installExtensions: false,
    poolSize,
    // A lost connection is the caller's error when it matters, and TypeORM would print it.
    poolErrorHandler: () => undefined,
    extra: {
      // The driver's to read: TypeORM's own reading of a URL knows fewer forms.
      connectionString: url,
      ...accessSettings(settings),
      ...(isForMigrations
        ? { connectionTimeoutMillis: 10_000 }
        : { ...WAITS, keepAlive: true, min: countKept(poolSize) }),
    },
  }
  return new DataSource(options)
}

/** How connections are set up, or transactions where connections are not ours to set up. */
function accessSettings(settings: DataSourceSettings): { access: Access; verify: Verify } {
  const {
    isForMigrations = false,
    prepares = true,
    searchPath = null,
    journalUrl = null,
  } = settings
  const limits = isForMigrations ? UNLIMITED : SERVING
  const beginning = prepares ? null : setUpTransaction(limits, searchPath)
  return {
    access: { prepares, beginning, journalUrl },
    verify: (client, done) =>
      refuseStandby(
        client,
        done,
        prepares ? setUpConnection(untold(limits, client), searchPath) : null,
      ),
  }
}

/** Those that neither the URL nor the pool's options say: the driver has told these to the server. */
function untold(limits: Limits, client: Client): Partial<Limits> {
  const { connectionParameters: told } = client as unknown as {
    readonly connectionParameters: Readonly<Record<string, unknown>>
  }
  return Object.fromEntries(Object.entries(limits).filter(([name]) => !told[name]))
}
