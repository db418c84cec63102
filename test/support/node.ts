import { DataSource } from 'typeorm'
import { inject } from 'vitest'
import { createRevocationCheck } from '../../src/revocation/check.ts'
import type { RevocationCheck } from '../../src/revocation/check.ts'
import { PostgresRevocationStore } from '../../src/revocation/postgres/postgres-store.ts'
import { RevocationReplica } from '../../src/revocation/replica/replica.ts'
import { createDataSource } from '../../src/service/database/data-source.ts'
import { createSessionKeeper } from '../../src/service/session/session-keeper.ts'
import { Sessions } from '../../src/service/session/sessions.ts'
import type { Device, ReadGrant, SessionsOptions } from '../../src/service/session/sessions.ts'
import { createKeyRing } from '../../src/token/keys.ts'
import { createTokenSigner } from '../../src/token/signer.ts'
import { TokenVerifier } from '../../src/token/verifier.ts'
import { SECRET } from './service.ts'

/** A node without its HTTP: what signs people in, revokes and checks, on a database that others share. */
export interface TestNode {
  readonly dataSource: DataSource
  readonly revocations: PostgresRevocationStore
  readonly sessions: Sessions
  readonly tokens: TokenVerifier
  readonly check: RevocationCheck
  /** How late the node may hear of what another one did, in milliseconds; 0 where every check asks the database. */
  readonly maxStalenessMs: number
  close(): Promise<void>
}

export interface TestNodeOptions extends Partial<
  Pick<
    SessionsOptions,
    | 'readGrant'
    | 'onReuse'
    | 'onGivenWay'
    | 'lifetimeSeconds'
    | 'idleSeconds'
    | 'maxPerPerson'
    | 'graceSeconds'
    | 'lostAnswerSeconds'
  >
> {
  readonly poolSize?: number
}

/** How long access tokens live in these tests, in seconds. */
export const TOKEN_SECONDS = 900

/** How long anything may take where nothing is asked of its speed, in milliseconds: the machine may be busy. */
export const PATIENCE_MS = 15_000

export const PHONE: Device = { name: 'phone', userAgent: 'Phone/1', ipAddress: '192.0.2.1' }
export const LAPTOP: Device = { name: 'laptop', userAgent: 'Laptop/1', ipAddress: '192.0.2.2' }

/** The grant of any subject. */
export const grantUser: ReadGrant = async () => ({ roles: ['USER'] })

export async function openNode(url: string, options: TestNodeOptions = {}): Promise<TestNode> {
  const { poolSize = 5, readGrant = grantUser, onReuse = () => undefined } = options
  const { lifetimeSeconds = 30 * 24 * 3600, graceSeconds = 5, lostAnswerSeconds = 0 } = options
  const { idleSeconds = null, maxPerPerson = null, onGivenWay } = options
  const keys = createKeyRing({ signWith: SECRET })
  const names = { issuer: 'portcullis', audience: 'portcullis' }

  const dataSource = await openDataSource(url, poolSize)
  const maxStalenessMs = inject('revocationCheck') === 'replica' ? 200 : 0
  const replica = maxStalenessMs > 0 ? new RevocationReplica(dataSource, { maxStalenessMs }) : null
  const revocations = new PostgresRevocationStore(dataSource, {
    maxTokenLifetimeSeconds: TOKEN_SECONDS,
    checkTimeoutMs: PATIENCE_MS,
    sessions: createSessionKeeper({ idleSeconds }),
    ...(replica && { replica }),
  })
  await replica?.start()
  const sessions = new Sessions({
    dataSource,
    revocations,
    sign: createTokenSigner({ keys, ...names, lifetimeSeconds: TOKEN_SECONDS }),
    lifetimeSeconds,
    idleSeconds,
    maxPerPerson,
    ...(onGivenWay && { onGivenWay }),
    graceSeconds,
    lostAnswerSeconds,
    readGrant,
    onReuse,
  })
  const tokens = new TokenVerifier({
    keys,
    ...names,
    maxLifetimeSeconds: TOKEN_SECONDS,
    now: () => revocations.now(),
  })

  return {
    dataSource,
    revocations,
    sessions,
    tokens,
    maxStalenessMs,
    check: createRevocationCheck(revocations, { timeoutMs: PATIENCE_MS }),
    async close() {
      await replica?.stop()
      await dataSource.destroy()
    },
  }
}

/** The service's own DataSource, but for its patience. */
export async function openDataSource(url: string, poolSize: number): Promise<DataSource> {
  const { options } = createDataSource({ url, poolSize })
  const limits = {
    connectionTimeoutMillis: PATIENCE_MS,
    lock_timeout: PATIENCE_MS,
    statement_timeout: PATIENCE_MS,
    query_timeout: PATIENCE_MS,
  }
  const patient = { ...options, extra: { ...(options.extra as object), ...limits } }
  return new DataSource(patient).initialize()
}
