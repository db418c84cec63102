import { z } from 'zod'
import type { ReauthenticationRules } from '../caller/demand.ts'
import { DateTime } from '../graphql/date-time.ts'
import { StartError } from '../lib/start-error.ts'
import type { AttemptLimits } from './account/failed-attempts.ts'
import { findOriginFault } from './browser-origin.ts'
import { findUrlFault } from './database-url.ts'
import { readKeys } from './key-settings.ts'

/** How the service runs. Read once, at the start; everything else is given what it needs. */
export interface Settings {
  readonly isProduction: boolean
  readonly host: string
  readonly port: number
  /** `null`: start our own PostgreSQL in `dataDir`. */
  readonly databaseUrl: string | null
  /** The same database by a role that may change its schema; `null`: that of `databaseUrl` may. */
  readonly migrationDatabaseUrl: string | null
  /** The same database without a pooler, for reading the journal; `null`: as everything else. */
  readonly journalDatabaseUrl: string | null
  /** Whether connections are ours for as long as they last; not so behind a pooler in transaction mode. */
  readonly databasePrepares: boolean
  readonly dataDir: string
  readonly databasePoolSize: number
  /** `null`: generate one in `dataDir`. */
  readonly signWith: string | null
  readonly previousKeys: readonly string[]
  readonly issuer: string
  readonly audience: string
  readonly accessTokenTtlSeconds: number
  readonly refreshTokenTtlSeconds: number
  /** `null`: a session is never idle for too long. */
  readonly sessionIdleTtlSeconds: number | null
  readonly maxSessionsPerUser: number
  readonly refreshGraceSeconds: number
  /** For how long an unused successor is given again, in seconds. */
  readonly refreshLostAnswerSeconds: number
  readonly failedAttempts: AttemptLimits
  readonly reauthentication: ReauthenticationRules
  readonly adminEmail: string | null
  readonly adminPassword: string | null
  /** How far behind this node's replica may be, in milliseconds; `null`: every check reads the database. */
  readonly maxStalenessMs: number | null
  readonly revokedTokenStatus: 401 | 403
  /** Whether queries that come again and again are answered in front of the HTTP framework. */
  readonly fastLane: boolean
  readonly journalRetentionDays: number
  /** After a backup was restored: what was issued before is revoked at the start, once; `null`: nothing is. */
  readonly revokeIssuedBefore: Date | null
  /** 0: this node does not sweep. */
  readonly sweepIntervalSeconds: number
  readonly corsOrigins: readonly string[]
  /** How many clients may stay connected to this node. */
  readonly maxLiveConnections: number
  readonly trustProxy: boolean
  /** How long this node serves after the signal to stop, while `/readyz` says that it is not ready. */
  readonly shutdownDelaySeconds: number
  readonly logLevel: string
}

/** `JWT_ISSUER` where nothing is set: every installation's. */
export const DEFAULT_ISSUER = 'portcullis'

const DAY_SECONDS = 24 * 60 * 60

const seconds = (fallback: number, max: number): z.ZodType<number> => wholeNumber(fallback, 1, max)

const environment = z.object({
  NODE_ENV: z
    .enum(['development', 'test', 'production'], 'expected development, test or production')
    .default('development'),
  HOST: z.string().min(1, 'expected a host name or address').default('127.0.0.1'),
  PORT: wholeNumber(4000, 0, 65_535),
  DATABASE_URL: databaseUrl(),
  MIGRATION_DATABASE_URL: databaseUrl(),
  JOURNAL_DATABASE_URL: databaseUrl(),
  DATABASE_PREPARE: z.enum(['on', 'off'], 'expected on or off').default('on'),
  DATABASE_POOL_SIZE: wholeNumber(10, 2, 1000),
  DATA_DIR: z.string().min(1, 'expected a folder').default('.portcullis'),
  JWT_SECRET: z.string().optional(),
  JWT_PRIVATE_KEY_FILE: z.string().min(1, 'expected a file').optional(),
  JWT_PREVIOUS_KEYS: list(),
  JWT_ISSUER: shortText().default(DEFAULT_ISSUER),
  JWT_AUDIENCE: shortText().default('portcullis'),
  ACCESS_TOKEN_TTL: seconds(900, DAY_SECONDS),
  REFRESH_TOKEN_TTL: seconds(30 * DAY_SECONDS, 366 * DAY_SECONDS),
  SESSION_IDLE_TTL: wholeNumberBetween(1, 366 * DAY_SECONDS).optional(),
  MAX_SESSIONS_PER_USER: wholeNumber(500, 1, 1_000_000),
  REFRESH_GRACE: wholeNumber(5, 0, 60),
  REFRESH_LOST_ANSWER: wholeNumber(0, 0, 3600),
  FAILED_ATTEMPTS_PER_ACCOUNT: wholeNumber(10, 1, 1_000_000),
  FAILED_ATTEMPTS_PER_ADDRESS: wholeNumber(100, 1, 1_000_000),
  FAILED_ATTEMPTS_WINDOW: seconds(900, DAY_SECONDS),
  REAUTHENTICATION_MAX_AGE: seconds(DAY_SECONDS / 2, 366 * DAY_SECONDS),
  ADMIN_REAUTHENTICATION_MAX_AGE: seconds(900, 366 * DAY_SECONDS),
  ADMIN_EMAIL: z
    .string()
    .regex(z.regexes.html5Email, 'expected an e-mail address')
    .max(254, 'expected an e-mail address of at most 254 characters')
    .optional(),
  ADMIN_PASSWORD: z
    .string()
    .refine((password) => [...password].length >= 8, 'expected at least 8 characters')
    .refine((password) => Buffer.byteLength(password) <= 1024, 'expected at most 1024 bytes')
    .optional(),
  REVOCATION_CHECK: z
    .enum(['database', 'replica'], 'expected database or replica')
    .default('database'),
  REVOCATION_MAX_STALENESS_MS: wholeNumber(1000, 50, 60_000),
  REVOKED_TOKEN_STATUS: z.enum(['401', '403'], 'expected 401 or 403').default('401'),
  FAST_LANE: z.enum(['on', 'off'], 'expected on or off').default('on'),
  JOURNAL_RETENTION_DAYS: wholeNumber(90, 1, 36_500),
  REVOKE_ISSUED_BEFORE: instant().optional(),
  SWEEP_INTERVAL: wholeNumber(60, 0, DAY_SECONDS),
  CORS_ORIGINS: list().superRefine((origins, context) => {
    const faults = origins.flatMap(describeOriginFault)
    if (faults.length > 0) context.addIssue(describeOrigins(faults))
  }),
  MAX_LIVE_CONNECTIONS: wholeNumber(20_000, 1, 1_000_000),
  SHUTDOWN_DELAY: wholeNumber(0, 0, 3600),
  TRUST_PROXY: z.enum(['true', 'false'], 'expected true or false').default('false'),
  LOG_LEVEL: z
    .enum(
      ['fatal', 'error', 'warn', 'info', 'debug', 'silent'],
      'expected fatal, error, warn, info, debug or silent',
    )
    .default('info'),
})

type Environment = z.infer<typeof environment>

/** What holds a secret is never quoted. */
const SECRETS = new Set([
  'JWT_SECRET',
  'JWT_PREVIOUS_KEYS',
  'ADMIN_PASSWORD',
  'DATABASE_URL',
  'MIGRATION_DATABASE_URL',
  'JOURNAL_DATABASE_URL',
])

const KEYS = new Set(['JWT_SECRET', 'JWT_PREVIOUS_KEYS'])

/** The web IDE that talks to any server from its own origin (in development only). */
const APOLLO_SANDBOX = 'https://studio.apollographql.com'

/**
 * Reads the settings from the environment; an empty variable counts as not given.
 *
 * @throws {@link StartError} that names every variable at fault, what came and what was expected.
 */
export function readSettings(env: Readonly<Record<string, string | undefined>>): Settings {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))
  const parsed = environment.safeParse(given)
  const faults = parsed.success ? [] : parsed.error.issues.map((issue) => describe(issue, given))

  faults.push(...findUndecoded(given))
  if (parsed.success) faults.push(...findContradictions(parsed.data))
  const keys = readKeys({ ...given, previous: splitList(given['JWT_PREVIOUS_KEYS'] ?? '') }, faults)
  if (given['NODE_ENV'] === 'production') faults.push(...findMissing(given))
  if (!parsed.success || faults.length > 0) {
    throw new StartError(['These settings need mending:', ...faults].join('\n  '))
  }

  return { ...toSettings(parsed.data), ...keys }
}

/** Node reads variables as UTF-8, with U+FFFD in the place of what is not. Keys are judged by `createKeyRing`. */
function findUndecoded(given: Readonly<Record<string, string | undefined>>): string[] {
  return Object.keys(environment.shape)
    .filter((name) => !KEYS.has(name) && given[name]?.includes('\ufffd'))
    .map((name) => `${name}: got bytes that are not UTF-8; expected text in UTF-8`)
}

function toSettings(env: Environment): Omit<Settings, 'signWith' | 'previousKeys'> {
  const isProduction = env.NODE_ENV === 'production'
  return {
    isProduction,
    host: env.HOST,
    port: env.PORT,
    databaseUrl: env.DATABASE_URL ?? null,
    migrationDatabaseUrl: env.MIGRATION_DATABASE_URL ?? null,
    journalDatabaseUrl: env.JOURNAL_DATABASE_URL ?? null,
    databasePrepares: env.DATABASE_PREPARE === 'on',
    dataDir: env.DATA_DIR,
    databasePoolSize: env.DATABASE_POOL_SIZE,
    issuer: env.JWT_ISSUER,
    audience: env.JWT_AUDIENCE,
    accessTokenTtlSeconds: env.ACCESS_TOKEN_TTL,
    refreshTokenTtlSeconds: env.REFRESH_TOKEN_TTL,
    sessionIdleTtlSeconds: env.SESSION_IDLE_TTL ?? null,
    maxSessionsPerUser: env.MAX_SESSIONS_PER_USER,
    refreshGraceSeconds: env.REFRESH_GRACE,
    refreshLostAnswerSeconds: env.REFRESH_LOST_ANSWER,
    failedAttempts: {
      perAccount: env.FAILED_ATTEMPTS_PER_ACCOUNT,
      perAddress: env.FAILED_ATTEMPTS_PER_ADDRESS,
      windowSeconds: env.FAILED_ATTEMPTS_WINDOW,
    },
    reauthentication: {
      maxAgeSeconds: env.REAUTHENTICATION_MAX_AGE,
      adminMaxAgeSeconds: env.ADMIN_REAUTHENTICATION_MAX_AGE,
    },
    adminEmail: env.ADMIN_EMAIL ?? null,
    adminPassword: env.ADMIN_PASSWORD ?? null,
    maxStalenessMs: env.REVOCATION_CHECK === 'replica' ? env.REVOCATION_MAX_STALENESS_MS : null,
    revokedTokenStatus: env.REVOKED_TOKEN_STATUS === '403' ? 403 : 401,
    fastLane: env.FAST_LANE === 'on',
    journalRetentionDays: env.JOURNAL_RETENTION_DAYS,
    revokeIssuedBefore: env.REVOKE_ISSUED_BEFORE ?? null,
    sweepIntervalSeconds: env.SWEEP_INTERVAL,
    corsOrigins: isProduction ? env.CORS_ORIGINS : [APOLLO_SANDBOX, ...env.CORS_ORIGINS],
    maxLiveConnections: env.MAX_LIVE_CONNECTIONS,
    trustProxy: env.TRUST_PROXY === 'true',
    shutdownDelaySeconds: env.SHUTDOWN_DELAY,
    logLevel: env.LOG_LEVEL,
  }
}

function findContradictions(env: Environment): string[] {
  const faults: string[] = []
  for (const name of ['MIGRATION_DATABASE_URL', 'JOURNAL_DATABASE_URL'] as const) {
    if (env[name] !== undefined && env.DATABASE_URL === undefined) {
      faults.push(`DATABASE_URL: missing; expected the database of ${name}`)
    }
  }
  // Clients refresh after the access token has expired.
  if (env.SESSION_IDLE_TTL !== undefined && env.SESSION_IDLE_TTL <= env.ACCESS_TOKEN_TTL) {
    faults.push(
      `SESSION_IDLE_TTL: got "${env.SESSION_IDLE_TTL}"; expected more than ACCESS_TOKEN_TTL (${env.ACCESS_TOKEN_TTL})`,
    )
  }
  return faults
}

/** Production generates nothing: what must be given is named all at once. */
function findMissing(given: Readonly<Record<string, string | undefined>>): string[] {
  const missing: string[] = []
  if (!given['DATABASE_URL'] && !given['DATA_DIR']) {
    missing.push(
      'DATABASE_URL: missing; expected a PostgreSQL to use (or DATA_DIR, to keep one of our own there)',
    )
  }
  if (!given['JWT_SECRET'] && !given['JWT_PRIVATE_KEY_FILE']) {
    missing.push('JWT_SECRET: missing; expected at least 32 bytes (or JWT_PRIVATE_KEY_FILE)')
  }
  if (given['ADMIN_EMAIL'] && !given['ADMIN_PASSWORD']) {
    missing.push('ADMIN_PASSWORD: missing; expected the password of ADMIN_EMAIL')
  }
  if (given['ADMIN_PASSWORD'] && !given['ADMIN_EMAIL']) {
    missing.push('ADMIN_EMAIL: missing; expected whose password ADMIN_PASSWORD is')
  }
  return missing
}

function describe(
  issue: z.core.$ZodIssue,
  given: Readonly<Record<string, string | undefined>>,
): string {
  const name = String(issue.path[0])
  const got = SECRETS.has(name) ? 'a value that is not shown' : JSON.stringify(given[name])
  return `${name}: got ${got}; ${issue.message}`
}

function wholeNumber(fallback: number, min: number, max: number): z.ZodType<number> {
  return wholeNumberBetween(min, max).default(fallback)
}

function wholeNumberBetween(
  min: number,
  max: number,
): z.ZodPipe<z.ZodString, z.ZodTransform<number, string>> {
  const expected = `expected a whole number from ${min} to ${max}`
  return z
    .string()
    .regex(/^\d{1,9}$/, expected)
    .transform(Number)
    .refine((value) => value >= min && value <= max, expected)
}

/** One fault, told once. */
function databaseUrl(): z.ZodType<string | undefined> {
  return z
    .string()
    .superRefine((url, context) => {
      const message = findUrlFault(url)
      if (message !== null) context.addIssue({ code: 'custom', message })
    })
    .optional()
}

/** As the API's `DateTime`. */
function instant(): z.ZodType<Date> {
  return z.string().transform((text, context) => {
    try {
      return DateTime.parseValue(text)
    } catch {
      context.addIssue('expected an instant such as 2026-11-22T09:30:00Z')
      return z.NEVER
    }
  })
}

function shortText(): z.ZodString {
  return z.string().min(1, 'expected a name').max(255, 'expected a name of at most 255 characters')
}

function list(): z.ZodType<readonly string[]> {
  return z.string().transform(splitList).default([])
}

function splitList(text: string): string[] {
  return text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '')
}

function describeOriginFault(origin: string): string[] {
  const fault = findOriginFault(origin)
  return fault === null ? [] : [`"${origin}" ${fault}`]
}

function describeOrigins(faults: readonly string[]): string {
  return `expected origins such as https://app.example.com, separated by commas, as browsers send them: ${faults.join('; ')}`
}
