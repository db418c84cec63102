import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import type { DataSource } from 'typeorm'
import { ReadOnlyError } from '../database/pool.ts'
import { RevocationUnavailableError } from '../errors.ts'
import { StartError } from '../lib/start-error.ts'
import { createPortcullis } from '../portcullis.ts'
import { JournalFollower } from '../revocation/journal/journal-follower.ts'
import type { JournalFollowerOptions } from '../revocation/journal/journal-follower.ts'
import { PostgresRevocationStore } from '../revocation/postgres/postgres-store.ts'
import { RevocationReplica } from '../revocation/replica/replica.ts'
import { unlessAhead } from '../revocation/store-clock.ts'
import { startSweeper } from '../revocation/sweeper.ts'
import type { Sweep } from '../revocation/sweeper.ts'
import { shieldLog } from '../security-event.ts'
import { createKeyRing } from '../token/keys.ts'
import { createTokenSigner } from '../token/signer.ts'
import { readAccountGrant } from './account/account-rows.ts'
import { Accounts } from './account/accounts.ts'
import { FailedAttempts } from './account/failed-attempts.ts'
import { ensureFirstAdmin } from './account/first-admin.ts'
import type { NewAdmin } from './account/first-admin.ts'
import { PasswordResets } from './account/password-resets.ts'
import { assertRestorable } from './account/restorable.ts'
import { WorkQueue } from './account/work-queue.ts'
import { createDataSource } from './database/data-source.ts'
import { inspect } from './database/inspect.ts'
import { readInstallation } from './database/installation.ts'
import { migrate } from './database/migrate.ts'
import { assertJournal } from './database/pooler.ts'
import { attendToRestoredDatabase } from './database/restored-database.ts'
import { warmPool } from './database/warm-pool.ts'
import { createServiceSchema } from './graphql/schema.ts'
import { assertCanListen, listen } from './http/listen.ts'
import { createMetrics } from './http/metrics.ts'
import { createServer } from './http/server.ts'
import { SessionEnder } from './session/session-ender.ts'
import { createSessionKeeper } from './session/session-keeper.ts'
import { Sessions } from './session/sessions.ts'
import { DEFAULT_ISSUER } from './settings.ts'
import type { Settings } from './settings.ts'

/** Settings with nothing left to generate. */
export interface ServiceSettings extends Settings {
  readonly databaseUrl: string
  readonly signWith: string
  /** How often a document is executed before it is compiled; 2 if not given. */
  readonly compileAfter?: number
  /** Milliseconds between two pings of a WebSocket; 11,000 if not given. */
  readonly pingIntervalMs?: number
  /** How many requests may be under way while the event loop has no rest; 500 if not given. */
  readonly maxUnderWay?: number
  /** How long a client may take to send its request; 30 seconds if not given. */
  readonly requestTimeoutMs?: number
  /** How many lines of the log could not be written, for `/metrics`; 0 if not given. */
  readonly countDroppedLogLines?: () => number
}

/** One running node. */
export interface Service {
  readonly url: string
  /** The admin that this start made with a generated password; `null` when there was no need. */
  readonly newAdmin: NewAdmin | null
  /** Has `/readyz` say that this node is not ready; all else is served. */
  announceStop(): void
  /** Ends requests under way, then everything else; idempotent. */
  stop(): Promise<void>
}

/**
 * How passwords wait to be hashed.
 *
 * They are hashed on libuv's four threads, which DNS, files and cryptography use too, and take the processor from the
 * checks for as long: so they leave a thread and, where there are several, a processor alone.
 */
const HASHING = {
  maxRunning: Math.max(1, Math.min(availableParallelism(), 4) - 1),
  maxWaiting: 500,
  maxWaitMs: 30_000,
}

/** Release 0.3 refuses to start without: docs/decisions/one-database.md. */
const ISSUER_WARNING =
  'JWT_ISSUER is not set: name this installation (its URL, for instance), so that no other one takes its tokens; from 0.3 on production does not start without it'

/** How long the database has for its first answer, in milliseconds: it or the machine may be busy with its own start. */
const FIRST_ANSWER_MS = 10_000

/** How long a stop waits for requests under way, in milliseconds. */
const DRAIN_MS = 10_000

/**
 * Starts a node: migrations, services, HTTP.
 *
 * @throws {@link StartError} with one sentence for the person at the terminal.
 */
export async function startService(settings: ServiceSettings, log: Logger): Promise<Service> {
  const { databaseUrl, migrationDatabaseUrl, journalDatabaseUrl: journalUrl } = settings
  const { databasePrepares: prepares } = settings
  // Nothing is changed in the database by a node that cannot listen.
  await assertCanListen(settings)
  const applied = await migrate(migrationDatabaseUrl ?? databaseUrl, { prepares })
  // The service's own role need not be able to migrate, and finds nothing left to do: or this is another database.
  if (migrationDatabaseUrl !== null) await migrate(databaseUrl, { prepares })
  if (journalUrl !== null) await assertJournal(databaseUrl, journalUrl)
  if (applied.length > 0) log.info({ migrations: applied }, 'database migrated')

  const dataSource = createDataSource({
    url: databaseUrl,
    poolSize: settings.databasePoolSize,
    prepares,
    journalUrl,
    ...(await inspect(databaseUrl, { prepares })),
  })
  await dataSource.initialize()
  const replica = createReplica(settings, dataSource, log)
  const following = replica ?? new JournalFollower(dataSource, reportTo(log, 'journal'))
  try {
    // First, because the pool may take the last connections. Until it is in step the database is asked, and `/readyz` says
    // that this node is not ready.
    void follow(following)
    return await startNode(settings, { dataSource, following }, log)
  } catch (error) {
    await following.stop()
    await dataSource.destroy()
    throw error
  }
}

/** Milliseconds after which a start that could not come to anything is tried again: rights may have been granted. */
const FOLLOW_AGAIN_MS = 5000

/** Until it is stopped. Faults are in the log. */
async function follow(following: JournalFollower | RevocationReplica): Promise<void> {
  for (;;) {
    try {
      return await following.start()
    } catch {
      await sleep(FOLLOW_AGAIN_MS, undefined, { ref: false })
    }
  }
}

interface Backing {
  readonly dataSource: DataSource
  readonly following: JournalFollower | RevocationReplica
}

async function startNode(
  settings: ServiceSettings,
  { dataSource, following }: Backing,
  log: Logger,
): Promise<Service> {
  const securityLog = shieldLog(({ event, ...details }) => log.info({ event, ...details }, event))
  const { issuer, audience, accessTokenTtlSeconds: lifetimeSeconds } = settings
  const keys = createKeyRing({ signWith: settings.signWith, previous: settings.previousKeys })
  const installation = await waitForAnswer(() => readInstallation(dataSource))
  if (settings.isProduction && issuer === DEFAULT_ISSUER) log.warn(ISSUER_WARNING)

  const replica = following instanceof RevocationReplica ? following : null
  const metrics = createMetrics(replica, settings.countDroppedLogLines ?? (() => 0))
  const ender = new SessionEnder({ dataSource, onError: reportSweep(log) })
  const revocations = new PostgresRevocationStore(dataSource, {
    maxTokenLifetimeSeconds: lifetimeSeconds,
    journalRetentionDays: settings.journalRetentionDays,
    sessions: createSessionKeeper({
      idleSeconds: settings.sessionIdleTtlSeconds,
      onLeft: () => ender.start(),
    }),
    ...(following instanceof RevocationReplica ? { replica: following } : { journal: following }),
  })
  const attempts = new FailedAttempts(dataSource, settings.failedAttempts)
  const hashing = new WorkQueue(HASHING)
  const accounts = new Accounts({ dataSource, revocations, attempts, hashing })
  const resets = new PasswordResets({ dataSource, revocations, attempts, hashing })
  const sessions = new Sessions({
    dataSource,
    revocations,
    sign: createTokenSigner({ keys, issuer, audience, lifetimeSeconds, installation }),
    lifetimeSeconds: settings.refreshTokenTtlSeconds,
    idleSeconds: settings.sessionIdleTtlSeconds,
    maxPerPerson: settings.maxSessionsPerUser,
    graceSeconds: settings.refreshGraceSeconds,
    lostAnswerSeconds: settings.refreshLostAnswerSeconds,
    readGrant: readAccountGrant,
    onReuse: ({ id: sessionId, subject }, { id: revocationId }, { ipAddress }) =>
      securityLog({ event: 'refresh_token_reused', subject, sessionId, revocationId, ipAddress }),
    onGivenWay: ({ id: sessionId, subject }, { id: revocationId, scope, reason }, { ipAddress }) =>
      securityLog({
        event: 'revocation',
        subject,
        sessionId,
        scope,
        reason,
        revocationId,
        ipAddress,
      }),
  })

  const portcullis = createPortcullis({
    keys,
    issuer,
    audience,
    installation,
    store: revocations,
    log: securityLog,
    onLookUp: metrics.observeLookUp,
    onCut: metrics.observeCut,
    findOpaqueToken: async (text) => {
      const session = await sessions.findByRefreshToken(text)
      if (session === null) return null
      const { id: sessionId, subject, expiresAt } = session
      const isExpired = expiresAt.getTime() <= revocations.now() * 1000
      return { sessionId, subject, isExpired }
    },
    reauthentication: settings.reauthentication,
    readSubject: async (userId) => (await accounts.get(userId)).id,
    assertRestorable: (revocation) => assertRestorable(revocation, accounts),
  })
  metrics.watch(portcullis.live.connections)
  await waitForAnswer(async () => revocations.ping().catch(ignoreReadOnly))

  await attendToRestoredDatabase({ dataSource, revocations, ...settings, log })

  const schema = createServiceSchema({
    portcullis,
    accounts,
    attempts,
    resets,
    sessions,
    log: securityLog,
    reauthentication: settings.reauthentication,
  })
  let isStopping = false
  const app = await createServer({
    ...settings,
    schema,
    portcullis,
    keys,
    replica,
    metrics,
    countHashing: () => hashing.size,
    isStopping: () => isStopping,
    log,
  })
  const url = await listen(app, settings)
  // Last, because what is shown once must not be made by a start that fails.
  const newAdmin = await waitForAnswer(() => ensureFirstAdmin(accounts, settings, log)).catch(
    async (error: unknown) => {
      await app.close()
      throw error
    },
  )
  void warmPool(dataSource)
  // What a node that is gone has left.
  ender.start()

  const forgetting: readonly Sweep[] = [
    (limit) => revocations.deleteExpired(limit),
    (limit) => sessions.deleteEnded(limit),
    (limit) => attempts.deleteExpired(limit),
    (limit) => resets.deleteExpired(limit),
  ]
  const sweeper =
    settings.sweepIntervalSeconds === 0
      ? null
      : startSweeper({
          sweeps: [
            (limit) => ender.endBatch(limit),
            ...forgetting.map((sweep) => unlessAhead(revocations, sweep)),
          ],
          intervalMs: settings.sweepIntervalSeconds * 1000,
          onError: reportSweep(log),
        })

  let stopping: Promise<void> | undefined
  return {
    url,
    newAdmin,
    announceStop: () => {
      isStopping = true
    },
    stop: () => {
      stopping ??= drain(app)
        .then(() => Promise.all([sweeper?.stop(), ender.stop(), following.stop()]))
        .then(() => dataSource.destroy())
      return stopping
    },
  }
}

/** Checks go on while PostgreSQL is read-only, and `/readyz` says the rest. */
function ignoreReadOnly(error: Error): void {
  if (!(error.cause instanceof ReadOnlyError)) throw error
}

/** @throws {@link StartError} when the database, which was there a moment ago, has not answered a check by then. */
async function waitForAnswer<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
  const deadline = performance.now() + FIRST_ANSWER_MS
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (!(error instanceof RevocationUnavailableError)) throw error
      const cause = error.cause as Error
      if (performance.now() > deadline)
        throw new StartError(`The database does not answer: ${cause.message}`)
      await sleep(100)
    }
  }
}

function createReplica(
  { maxStalenessMs }: Settings,
  dataSource: DataSource,
  log: Logger,
): RevocationReplica | null {
  if (maxStalenessMs === null) return null
  return new RevocationReplica(dataSource, {
    maxStalenessMs,
    ...reportTo(log, 'replica'),
  })
}

function reportSweep(log: Logger): (error: unknown) => void {
  return (error) => log.warn({ err: { message: (error as Error).message } }, 'sweep failed')
}

function reportTo(
  log: Logger,
  what: string,
): Pick<JournalFollowerOptions, 'onFault' | 'onInStep' | 'onReplaced'> {
  return {
    onReplaced: () =>
      log.warn(
        { event: 'journal_replaced' },
        'journal replaced: a standby took over, or a backup was restored; what was revoked last may be lost, see docs/operations.md',
      ),
    onFault: (error) =>
      log.warn({ err: { message: (error as Error).message } }, `${what} out of step`),
    onInStep: () => log.info(`${what} in step`),
  }
}

async function drain(app: FastifyInstance): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), DRAIN_MS)
  try {
    await app.close()
  } finally {
    clearTimeout(timer)
  }
}
