import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { StartError } from '../src/lib/start-error.ts'
import { readSettings } from '../src/service/settings.ts'
import type { Settings } from '../src/service/settings.ts'
import { createKeyRing } from '../src/token/keys.ts'
import { es256, errorOf, rs256 } from './token/forge.ts'

const SECRET = 'correct-horse-battery-staple-and-then-some'
const OLD_SECRET = 'incorrect-horse-battery-staple-and-then-some'
const DATABASE = 'postgresql://portcullis:sesame-of-the-database@db.example:5432/portcullis'
const PRODUCTION = { NODE_ENV: 'production', DATABASE_URL: DATABASE, JWT_SECRET: SECRET }

let folder: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis settings '))
})

afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

function write(name: string, content: string | Uint8Array): string {
  const file = join(folder, name)
  writeFileSync(file, content)
  return file
}

/** What is said of each fault, in the lines below the first. */
function faultsOf(env: Readonly<Record<string, string | undefined>>): string[] {
  const error = errorOf(() => readSettings(env))
  expect(error).toBeInstanceOf(StartError)
  const [first, ...faults] = (error as StartError).message.split('\n  ')
  expect(first).toBe('These settings need mending:')
  return faults
}

function namesIn(faults: readonly string[]): string[] {
  return faults.map((fault) => fault.split(':')[0]!).toSorted()
}

describe('readSettings', () => {
  it('needs nothing', () => {
    expect(readSettings({})).toEqual({
      isProduction: false,
      host: '127.0.0.1',
      port: 4000,
      databaseUrl: null,
      migrationDatabaseUrl: null,
      journalDatabaseUrl: null,
      databasePrepares: true,
      dataDir: '.portcullis',
      databasePoolSize: 10,
      signWith: null,
      previousKeys: [],
      issuer: 'portcullis',
      audience: 'portcullis',
      accessTokenTtlSeconds: 900,
      refreshTokenTtlSeconds: 2_592_000,
      sessionIdleTtlSeconds: null,
      maxSessionsPerUser: 500,
      refreshGraceSeconds: 5,
      refreshLostAnswerSeconds: 0,
      failedAttempts: { perAccount: 10, perAddress: 100, windowSeconds: 900 },
      reauthentication: { maxAgeSeconds: 43_200, adminMaxAgeSeconds: 900 },
      adminEmail: null,
      adminPassword: null,
      maxStalenessMs: null,
      revokedTokenStatus: 401,
      fastLane: true,
      journalRetentionDays: 90,
      revokeIssuedBefore: null,
      sweepIntervalSeconds: 60,
      corsOrigins: ['https://studio.apollographql.com'],
      maxLiveConnections: 20_000,
      trustProxy: false,
      shutdownDelaySeconds: 0,
      logLevel: 'info',
    })
  })

  it('takes the limits of failed attempts', () => {
    const env = {
      FAILED_ATTEMPTS_PER_ACCOUNT: '3',
      FAILED_ATTEMPTS_PER_ADDRESS: '1000',
      FAILED_ATTEMPTS_WINDOW: '60',
    }
    expect(readSettings(env).failedAttempts).toEqual({
      perAccount: 3,
      perAddress: 1000,
      windowSeconds: 60,
    })
    expect(namesIn(faultsOf({ FAILED_ATTEMPTS_PER_ADDRESS: '0' }))).toEqual([
      'FAILED_ATTEMPTS_PER_ADDRESS',
    ])
  })

  it('takes how recent a login must be', () => {
    const env = { REAUTHENTICATION_MAX_AGE: '3600', ADMIN_REAUTHENTICATION_MAX_AGE: '60' }
    expect(readSettings(env).reauthentication).toEqual({
      maxAgeSeconds: 3600,
      adminMaxAgeSeconds: 60,
    })
  })

  // Q54
  it('refuses an idle limit that would end sessions in use', () => {
    expect(faultsOf({ SESSION_IDLE_TTL: '900' })).toEqual([
      'SESSION_IDLE_TTL: got "900"; expected more than ACCESS_TOKEN_TTL (900)',
    ])
    expect(faultsOf({ SESSION_IDLE_TTL: 'never' })).toEqual([
      'SESSION_IDLE_TTL: got "never"; expected a whole number from 1 to 31622400',
    ])
    const { sessionIdleTtlSeconds } = readSettings({
      SESSION_IDLE_TTL: '61',
      ACCESS_TOKEN_TTL: '60',
    })
    expect(sessionIdleTtlSeconds).toBe(61)
  })

  it('refuses migrations of a database that is not the one in use', () => {
    expect(faultsOf({ MIGRATION_DATABASE_URL: DATABASE })).toEqual([
      'DATABASE_URL: missing; expected the database of MIGRATION_DATABASE_URL',
    ])
    expect(faultsOf({ JOURNAL_DATABASE_URL: DATABASE })).toEqual([
      'DATABASE_URL: missing; expected the database of JOURNAL_DATABASE_URL',
    ])
  })

  it('takes an instant before which what was issued is revoked', () => {
    const { revokeIssuedBefore } = readSettings({
      REVOKE_ISSUED_BEFORE: '2026-11-22T10:30:00+01:00',
    })
    expect(revokeIssuedBefore).toEqual(new Date('2026-11-22T09:30:00Z'))
  })

  it('takes the bound of the replica where there is one', () => {
    const env = { REVOCATION_CHECK: 'replica', REVOCATION_MAX_STALENESS_MS: '200' }
    expect(readSettings(env).maxStalenessMs).toBe(200)
  })

  it('takes an empty variable for one that is not given', () => {
    const names = `
      NODE_ENV HOST PORT DATABASE_URL MIGRATION_DATABASE_URL JOURNAL_DATABASE_URL DATABASE_PREPARE DATABASE_POOL_SIZE DATA_DIR JWT_SECRET JWT_PRIVATE_KEY_FILE
      JWT_PREVIOUS_KEYS JWT_ISSUER JWT_AUDIENCE ACCESS_TOKEN_TTL REFRESH_TOKEN_TTL REFRESH_GRACE
      REFRESH_LOST_ANSWER REVOKE_ISSUED_BEFORE
      FAILED_ATTEMPTS_PER_ACCOUNT FAILED_ATTEMPTS_PER_ADDRESS FAILED_ATTEMPTS_WINDOW SESSION_IDLE_TTL MAX_SESSIONS_PER_USER
      REAUTHENTICATION_MAX_AGE ADMIN_REAUTHENTICATION_MAX_AGE
      ADMIN_EMAIL ADMIN_PASSWORD REVOCATION_CHECK REVOCATION_MAX_STALENESS_MS REVOKED_TOKEN_STATUS FAST_LANE
      JOURNAL_RETENTION_DAYS SWEEP_INTERVAL CORS_ORIGINS TRUST_PROXY SHUTDOWN_DELAY LOG_LEVEL`
      .trim()
      .split(/\s+/)
    const empty = Object.fromEntries(names.map((name) => [name, '']))
    const notGiven = Object.fromEntries(names.map((name) => [name, undefined]))

    expect(readSettings(empty)).toEqual(readSettings({}))
    expect(readSettings(notGiven)).toEqual(readSettings({}))
  })

  it.each<[name: string, value: string, setting: keyof Settings, read: unknown]>([
    ['NODE_ENV', 'test', 'isProduction', false],
    ['HOST', '0.0.0.0', 'host', '0.0.0.0'],
    ['HOST', '::1', 'host', '::1'],
    ['PORT', '0', 'port', 0],
    ['PORT', '65535', 'port', 65_535],
    ['DATABASE_URL', DATABASE, 'databaseUrl', DATABASE],
    [
      'DATABASE_URL',
      'postgres://localhost/portcullis',
      'databaseUrl',
      'postgres://localhost/portcullis',
    ],
    ['DATABASE_PREPARE', 'on', 'databasePrepares', true],
    ['DATABASE_PREPARE', 'off', 'databasePrepares', false],
    ['DATABASE_POOL_SIZE', '25', 'databasePoolSize', 25],
    ['DATA_DIR', '/var/lib/portcullis', 'dataDir', '/var/lib/portcullis'],
    ['JWT_SECRET', SECRET, 'signWith', SECRET],
    ['JWT_SECRET', 'ü'.repeat(16), 'signWith', 'ü'.repeat(16)],
    ['JWT_ISSUER', 'https://id.example.com', 'issuer', 'https://id.example.com'],
    ['JWT_AUDIENCE', 'shop', 'audience', 'shop'],
    ['ACCESS_TOKEN_TTL', '60', 'accessTokenTtlSeconds', 60],
    ['ACCESS_TOKEN_TTL', '86400', 'accessTokenTtlSeconds', 86_400],
    ['REFRESH_TOKEN_TTL', '1', 'refreshTokenTtlSeconds', 1],
    ['REFRESH_GRACE', '0', 'refreshGraceSeconds', 0],
    ['REFRESH_LOST_ANSWER', '600', 'refreshLostAnswerSeconds', 600],
    ['SESSION_IDLE_TTL', '3600', 'sessionIdleTtlSeconds', 3600],
    ['MAX_SESSIONS_PER_USER', '5', 'maxSessionsPerUser', 5],
    ['ADMIN_EMAIL', 'ada@example.com', 'adminEmail', 'ada@example.com'],
    ['ADMIN_PASSWORD', 'a gate of iron, öl', 'adminPassword', 'a gate of iron, öl'],
    ['REVOCATION_CHECK', 'database', 'maxStalenessMs', null],
    ['REVOCATION_CHECK', 'replica', 'maxStalenessMs', 1000],
    ['REVOCATION_MAX_STALENESS_MS', '200', 'maxStalenessMs', null],
    ['REVOKED_TOKEN_STATUS', '401', 'revokedTokenStatus', 401],
    ['REVOKED_TOKEN_STATUS', '403', 'revokedTokenStatus', 403],
    ['FAST_LANE', 'off', 'fastLane', false],
    ['FAST_LANE', 'on', 'fastLane', true],
    ['JOURNAL_RETENTION_DAYS', '365', 'journalRetentionDays', 365],
    ['SWEEP_INTERVAL', '5', 'sweepIntervalSeconds', 5],
    ['SWEEP_INTERVAL', '0', 'sweepIntervalSeconds', 0],
    ['MAX_LIVE_CONNECTIONS', '7', 'maxLiveConnections', 7],
    ['TRUST_PROXY', 'true', 'trustProxy', true],
    ['SHUTDOWN_DELAY', '15', 'shutdownDelaySeconds', 15],
    ['TRUST_PROXY', 'false', 'trustProxy', false],
    ['LOG_LEVEL', 'silent', 'logLevel', 'silent'],
  ])('reads %s=%s', (name, value, setting, read) => {
    const settings = readSettings({ [name]: value })

    expect(settings[setting]).toBe(read)
    expect(settings).toEqual({ ...readSettings({}), [setting]: read })
  })

  it.each<[name: string, value: string, expected: string]>([
    ['PORT', '-1', 'a whole number from 0 to 65535'],
    ['PORT', '65536', 'a whole number from 0 to 65535'],
    ['PORT', '99999999999999999999', 'a whole number from 0 to 65535'],
    ['PORT', 'http', 'a whole number from 0 to 65535'],
    ['PORT', '4000.5', 'a whole number from 0 to 65535'],
    ['PORT', '4e3', 'a whole number from 0 to 65535'],
    ['PORT', '0x50', 'a whole number from 0 to 65535'],
    ['PORT', ' 4000', 'a whole number from 0 to 65535'],
    ['PORT', '٤٠٠٠', 'a whole number from 0 to 65535'],
    ['DATABASE_PREPARE', 'false', 'on or off'],
    ['REVOKE_ISSUED_BEFORE', 'yesterday', 'an instant such as 2026-11-22T09:30:00Z'],
    ['REVOKE_ISSUED_BEFORE', '2026-02-30T09:30:00Z', 'an instant such as 2026-11-22T09:30:00Z'],
    ['DATABASE_POOL_SIZE', '1', 'a whole number from 2 to 1000'],
    ['ACCESS_TOKEN_TTL', '0', 'a whole number from 1 to 86400'],
    ['ACCESS_TOKEN_TTL', '86401', 'a whole number from 1 to 86400'],
    ['ACCESS_TOKEN_TTL', '15m', 'a whole number from 1 to 86400'],
    ['ACCESS_TOKEN_TTL', 'Infinity', 'a whole number from 1 to 86400'],
    ['ACCESS_TOKEN_TTL', 'NaN', 'a whole number from 1 to 86400'],
    ['REFRESH_TOKEN_TTL', '0', 'a whole number from 1 to 31622400'],
    ['REFRESH_TOKEN_TTL', '-900', 'a whole number from 1 to 31622400'],
    ['REFRESH_GRACE', '61', 'a whole number from 0 to 60'],
    ['REFRESH_LOST_ANSWER', '3601', 'a whole number from 0 to 3600'],
    ['JOURNAL_RETENTION_DAYS', '0', 'a whole number from 1 to 36500'],
    ['SWEEP_INTERVAL', '-1', 'a whole number from 0 to 86400'],
    ['ADMIN_EMAIL', 'ada', 'an e-mail address'],
    ['ADMIN_EMAIL', 'ada@example.com, grace@example.com', 'an e-mail address'],
    ['ADMIN_EMAIL', ' ada@example.com', 'an e-mail address'],
    ['NODE_ENV', 'prod', 'development, test or production'],
    ['JWT_ISSUER', 'x'.repeat(256), 'a name of at most 255 characters'],
    ['REVOCATION_CHECK', 'memory', 'database or replica'],
    ['REVOCATION_CHECK', 'DATABASE', 'database or replica'],
    ['REVOCATION_MAX_STALENESS_MS', '49', 'a whole number from 50 to 60000'],
    ['REVOCATION_MAX_STALENESS_MS', '60001', 'a whole number from 50 to 60000'],
    ['REVOCATION_MAX_STALENESS_MS', '1s', 'a whole number from 50 to 60000'],
    ['REVOKED_TOKEN_STATUS', '400', '401 or 403'],
    ['REVOKED_TOKEN_STATUS', '401 ', '401 or 403'],
    ['FAST_LANE', 'true', 'on or off'],
    ['TRUST_PROXY', 'yes', 'true or false'],
    ['SHUTDOWN_DELAY', '3601', 'a whole number from 0 to 3600'],
    ['SHUTDOWN_DELAY', '1.5', 'a whole number from 0 to 3600'],
    ['TRUST_PROXY', '1', 'true or false'],
    ['LOG_LEVEL', 'verbose', 'fatal, error, warn, info, debug or silent'],
    ['CORS_ORIGINS', 'app.example.com', 'origins such as https://app.example.com'],
    ['CORS_ORIGINS', 'https://app.example.com/', 'origins such as https://app.example.com'],
    ['CORS_ORIGINS', 'https://a.example, *', 'origins such as https://app.example.com'],
  ])('refuses %s=%s, says so, and what it expected', (name, value, expected) => {
    const [fault, ...others] = faultsOf({ [name]: value })

    expect(others).toEqual([])
    expect(fault).toMatch(new RegExp(`^${name}: got .*; expected `))
    expect(fault).toContain(JSON.stringify(value))
    expect(fault).toContain(expected)
  })

  // Taken as the driver takes it.
  it.each([
    'postgres://app:pw@/db?host=/cloudsql/project:region:instance',
    'postgres://app:pw@%2Fvar%2Frun%2Fpostgresql/db',
    'postgresql://app:pw@[::1]:5433/db',
    'postgres://db.example/portcullis',
    'postgres:///portcullis',
    'postgres://app@db.example',
    'POSTGRES://app@db.example:6432/portcullis',
    'postgres://app:pw@db.example/db?sslmode=require&channel_binding=require&connect_timeout=10',
    'postgres://app:pw@db.example/db?options=-c%20search_path%3Dauth&application_name=a%2Cb',
    'postgres://app:a%2Cb%40c@db.example/my%20db',
  ])('takes the database %s', (url) => {
    expect(readSettings({ DATABASE_URL: url }).databaseUrl).toBe(url)
  })

  const FORM = 'expected postgresql://user:password@host:port/database'

  it.each([
    ['app:sesame@db.example', FORM],
    ['host=db.example password=sesame dbname=db', FORM],
    ['/var/run/postgresql sesame', FORM],
    ['postgres://app:sesame@db.example:http/db', FORM],
    ['postgres://app:sesame@db.example:65536/db', FORM],
    ['postgres://app:sesame@db.example/db?port=http', FORM],
    ['postgres://app:sesame#1@db.example/db', 'percent-encode what is special'],
    ['postgres://app:sesame@db1.example,db2.example/db', 'expected one host, got a list'],
    ['postgres://app:sesame@db1.example:1,db2.example:2/db', 'expected one host, got a list'],
    ['postgres://app:sesame@/db?host=db1.example,db2.example', 'expected one host, got a list'],
    ['postgres://app:sesame@db.example/db?schema=auth', 'options=-c%20search_path%3D<schema>'],
    ['postgres://app:sesame@db.example/db?currentSchema=auth', 'no parameter currentSchema'],
    ['postgres://app:sesame@db.example/db?search_path=auth', 'no parameter search_path'],
    ['postgres://app:sesame@db.example/?dbname=db', 'no parameter dbname'],
    ['postgres:///?service=sesame', 'no parameter service'],
    ['postgres://app:sesame@db.example/db?sslmode=required', 'expected sslmode to be disable, '],
    [
      'postgres://app:sesame@db.example/db?sslrootcert=/sesame.pem',
      'files that can be read (ENOENT)',
    ],
  ])('tells one fault of the database %s, and nothing of it', (url, expected) => {
    for (const name of ['MIGRATION_DATABASE_URL', 'JOURNAL_DATABASE_URL', 'DATABASE_URL']) {
      const [fault, ...others] = faultsOf({ DATABASE_URL: DATABASE, [name]: url })
      expect(others).toEqual([])
      expect(fault).toMatch(new RegExp(`^${name}: got a value that is not shown; expected `))
      expect(fault).toContain(expected)
      expect(fault).not.toContain('sesame')
    }
  })

  it('bounds the names that stand in every token', () => {
    for (const name of ['JWT_ISSUER', 'JWT_AUDIENCE']) {
      expect(readSettings({ [name]: 'i'.repeat(255) })).toBeDefined()
      expect(faultsOf({ [name]: 'i'.repeat(256) })).toEqual([
        expect.stringMatching(`^${name}: got`),
      ])
    }
  })

  it('bounds the e-mail address of the admin as any other', () => {
    const address = (length: number) => `ada@${'b.'.repeat(120)}`.padEnd(length, 'c')

    expect(readSettings({ ADMIN_EMAIL: address(254) })).toBeDefined()
    expect(faultsOf({ ADMIN_EMAIL: address(255) })).toEqual([
      expect.stringMatching(/^ADMIN_EMAIL: got .*; expected an e-mail address of at most 254/),
    ])
  })

  it('names every fault at once', () => {
    const faults = faultsOf({
      PORT: 'http',
      DATABASE_URL: 'mysql://localhost',
      JWT_SECRET: 'short',
      JWT_PREVIOUS_KEYS: `${OLD_SECRET},brief`,
      ACCESS_TOKEN_TTL: '0',
      REVOKED_TOKEN_STATUS: '418',
    })

    expect(namesIn(faults)).toEqual([
      'ACCESS_TOKEN_TTL',
      'DATABASE_URL',
      'JWT_PREVIOUS_KEYS (entry 2)',
      'JWT_SECRET',
      'PORT',
      'REVOKED_TOKEN_STATUS',
    ])
  })

  it('ignores what is not for it', () => {
    expect(readSettings({ PATH: '/usr/bin', port: '1', JWT_SECRET_FILE: 'x' })).toEqual(
      readSettings({}),
    )
  })

  it('separates origins by commas, and adds that of Apollo Sandbox in development only', () => {
    const CORS_ORIGINS = 'https://app.example.com, http://localhost:3000,,capacitor://localhost'
    const origins = ['https://app.example.com', 'http://localhost:3000', 'capacitor://localhost']

    expect(readSettings({ CORS_ORIGINS }).corsOrigins).toEqual([
      'https://studio.apollographql.com',
      ...origins,
    ])
    expect(readSettings({ ...PRODUCTION, CORS_ORIGINS }).corsOrigins).toEqual(origins)
  })
})

describe('bytes that are not UTF-8', () => {
  // Node gives variables with U+FFFD in the place of such bytes.
  it.each(['ADMIN_PASSWORD', 'JWT_AUDIENCE', 'DATA_DIR'])('are refused in %s', (name) => {
    const value = 'passw\ufffdrd, and long enough for a secret'

    expect(faultsOf({ [name]: value })).toEqual([
      `${name}: got bytes that are not UTF-8; expected text in UTF-8`,
    ])
  })
})

describe('the origins that may ask', () => {
  // Q48
  it.each([
    ['https://*.example.com', 'has a wildcard; name each origin'],
    ['https://app-*.example.com', 'has a wildcard; name each origin'],
    ['*', 'allows every page, which is not possible with credentials'],
    ['null', 'is the origin of every page that hides its own'],
    ['https://app.example.com:443', 'is sent as https://app.example.com'],
    ['http://app.example.com:80', 'is sent as http://app.example.com'],
    ['https://app.example.com:', 'is sent as https://app.example.com'],
    ['https://app.example.com:08443', 'is sent as https://app.example.com:8443'],
    ['https://app.example.com/', 'is sent as https://app.example.com'],
    ['https://app.example.com/app', 'is sent as https://app.example.com'],
    ['https://app.example.com?x', 'is sent as https://app.example.com'],
    ['https://app.example.com#x', 'is sent as https://app.example.com'],
    ['https://ada@app.example.com', 'is sent as https://app.example.com'],
    ['https://APP.example.com', 'is sent as https://app.example.com'],
    ['HTTPS://app.example.com', 'is sent as https://app.example.com'],
    ['https:app.example.com', 'is sent as https://app.example.com'],
    ['https://münchen.example', 'is sent as https://xn--mnchen-3ya.example'],
    ['https://127.1', 'is sent as https://127.0.0.1'],
    ['https://[0:0:0:0:0:0:0:1]', 'is sent as https://[::1]'],
    ['https://', 'is no origin'],
    ['https://a b.example', 'is no origin'],
    ['https://a.example;https://b.example', 'is no origin'],
    ['https://app.example.com:65536', 'is no origin'],
    ['app.example.com', 'is no origin'],
    ['localhost:3000', 'is no origin'],
    ['"https://app.example.com"', 'is no origin'],
    ['//app.example.com', 'is no origin'],
    ['Capacitor://localhost', 'is no origin'],
    ['capacitor://localhost/', 'is no origin'],
    ['file://', 'is of a scheme that no page has an origin of'],
    ['wss://app.example.com', 'is of a scheme that no page has an origin of'],
  ])('are refused where no browser would send them, with the reason: %s', (origin, reason) => {
    for (const env of [{}, PRODUCTION]) {
      expect(faultsOf({ ...env, CORS_ORIGINS: `https://other.example,${origin}` })).toEqual([
        `CORS_ORIGINS: got ${JSON.stringify(`https://other.example,${origin}`)}; ` +
          'expected origins such as https://app.example.com, separated by commas, ' +
          `as browsers send them: "${origin}" ${reason}`,
      ])
    }
  })

  it('are all named that are wrong, in one line', () => {
    const [fault, ...others] = faultsOf({ CORS_ORIGINS: 'https://a.example/,*,https://b.example' })

    expect(others).toEqual([])
    expect(fault).toContain(
      '"https://a.example/" is sent as https://a.example; "*" allows every page',
    )
  })

  it.each([
    'https://app.example.com',
    'http://localhost:3000',
    'https://app.example.com:8443',
    'https://xn--mnchen-3ya.example',
    'http://127.0.0.1:5173',
    'http://[::1]:3000',
    'https://app.example.com.',
    'capacitor://localhost',
    'chrome-extension://abcdefghijklmnopabcdefghijklmnop',
    'moz-extension://1f0e4c9a-8b0d-4b5e-9f57-0d5f0a5d3d4f',
    'tauri://localhost',
  ])('are taken as browsers and apps send them: %s', (origin) => {
    expect(readSettings({ ...PRODUCTION, CORS_ORIGINS: origin }).corsOrigins).toEqual([origin])
  })
})

describe('in production', () => {
  // Q32
  it('names all that is missing at once: no key and no database is made up', () => {
    expect(faultsOf({ NODE_ENV: 'production' })).toEqual([
      expect.stringMatching(/^DATABASE_URL: missing; expected a PostgreSQL .*DATA_DIR/),
      expect.stringMatching(
        /^JWT_SECRET: missing; expected at least 32 bytes .*JWT_PRIVATE_KEY_FILE/,
      ),
    ])
  })

  it.each([
    [
      'ADMIN_EMAIL',
      'ada@example.com',
      /^ADMIN_PASSWORD: missing; expected the password of ADMIN_EMAIL/,
    ],
    ['ADMIN_PASSWORD', 'a b c d e f g', /^ADMIN_EMAIL: missing; expected whose password/],
  ])('makes up nothing to %s', (name, value, fault) => {
    expect(faultsOf({ ...PRODUCTION, [name]: value })).toEqual([expect.stringMatching(fault)])
    expect(readSettings({ [name]: value })).toBeDefined()
  })

  it('names what is missing beside what is wrong', () => {
    const faults = faultsOf({ NODE_ENV: 'production', DATABASE_URL: '', PORT: 'http' })

    expect(namesIn(faults)).toEqual(['DATABASE_URL', 'JWT_SECRET', 'PORT'])
  })

  it.each([
    ['a database and a secret', PRODUCTION],
    ['a folder for a database of its own', { ...PRODUCTION, DATABASE_URL: '', DATA_DIR: '/data' }],
  ])('is content with %s', (_what, env) => {
    expect(readSettings(env)).toMatchObject({ isProduction: true, signWith: SECRET })
  })

  it('is content with a key file in the place of a secret', () => {
    const file = write('production.pem', rs256.signWith)

    expect(
      readSettings({ ...PRODUCTION, JWT_SECRET: '', JWT_PRIVATE_KEY_FILE: file }).signWith,
    ).toBe(rs256.signWith)
  })
})

describe('keys', () => {
  // Q36
  it.each<[what: string, env: Record<string, string>, secret: string]>([
    ['a secret that is too short', { JWT_SECRET: 'sesame-open' }, 'sesame'],
    [
      'a secret that is a broken key',
      { JWT_SECRET: '-----BEGIN PRIVATE KEY-----\nsesame0000000000000' },
      'sesame',
    ],
    ['an old secret that is too short', { JWT_PREVIOUS_KEYS: 'sesame-open' }, 'sesame'],
    [
      'an old secret that looks like a file',
      { JWT_PREVIOUS_KEYS: '/sesame/open/sesame/open/sesame/open' },
      'sesame',
    ],
    [
      'an old key that is broken',
      { JWT_PREVIOUS_KEYS: '-----BEGIN PUBLIC KEY-----\nsesame' },
      'sesame',
    ],
    [
      'the key in the place of its file',
      { JWT_PRIVATE_KEY_FILE: '-----BEGIN PRIVATE KEY-----\nsesame' },
      'sesame',
    ],
    ['a password that is too short', { ADMIN_PASSWORD: 'sesame' }, 'sesame'],
    ['a password that is too long', { ADMIN_PASSWORD: 'sesame'.repeat(200) }, 'sesame'],
    ['a password that was no UTF-8', { ADMIN_PASSWORD: 'a sesame\ufffd' }, 'sesame'],
    ['a database with its password', { DATABASE_URL: 'mysql://root:sesame@localhost' }, 'sesame'],
    [
      'a database whose password cannot be decoded',
      { DATABASE_URL: 'postgresql://root:sesame%ZZ@localhost/x' },
      'sesame',
    ],
    [
      'a database that is no URL',
      { DATABASE_URL: 'postgresql://root:sesame@local host:port/x' },
      'sesame',
    ],
  ])('never appear in a message: %s', (_what, env, secret) => {
    const faults = faultsOf(env)

    expect(faults).toHaveLength(1)
    expect(faults[0]).toMatch(new RegExp(`^${Object.keys(env)[0]}\\b`))
    expect(faults[0]).not.toContain(secret)
  })

  // Q32
  it.each([
    ['JWT_SECRET', 'x'.repeat(31), 'JWT_SECRET: expected a secret of at least 32 bytes, got 31'],
    [
      'JWT_PREVIOUS_KEYS',
      'x'.repeat(31),
      'JWT_PREVIOUS_KEYS (entry 1): expected a secret of at least 32 bytes, got 31',
    ],
  ])('need 32 bytes: %s', (name, value, fault) => {
    expect(faultsOf({ [name]: value })).toEqual([fault])
    expect(readSettings({ [name]: `${value}x` })).toBeDefined()
  })

  it.each([
    ['RSA', rs256.signWith],
    ['P-256', es256.signWith],
  ])('are read from a file, which wins over a secret: %s', (name, pem) => {
    const file = write(`${name} key.pem`, pem)

    expect(readSettings({ JWT_SECRET: SECRET, JWT_PRIVATE_KEY_FILE: file }).signWith).toBe(pem)
  })

  it('are refused with the reason when their file is not there, is a folder or is no key', () => {
    const missing = join(folder, 'missing.pem')
    const notes = write('notes.txt', 'This is no key, though it is longer than 32 bytes.')

    expect(faultsOf({ JWT_PRIVATE_KEY_FILE: missing })).toEqual([
      `JWT_PRIVATE_KEY_FILE: cannot read ${missing}: ENOENT`,
    ])
    expect(faultsOf({ JWT_PRIVATE_KEY_FILE: folder })).toEqual([
      `JWT_PRIVATE_KEY_FILE: cannot read ${folder}: EISDIR`,
    ])
    expect(faultsOf({ JWT_PRIVATE_KEY_FILE: notes })).toEqual([
      `JWT_PRIVATE_KEY_FILE: expected a PEM private key in ${notes}`,
    ])
  })

  it('are refused for signing when they are public', () => {
    const file = write('public.pem', rs256.verifyWith)

    expect(faultsOf({ JWT_PRIVATE_KEY_FILE: file })).toEqual([
      'JWT_PRIVATE_KEY_FILE: expected a PEM private key without a passphrase, got something else',
    ])
  })

  it.each<[what: string, content: () => string, fault: RegExp]>([
    ['a broken key', () => rs256.signWith.slice(0, 200), /expected a PEM .* got something else$/],
    ['a key with a passphrase', encryptedKey, /without a passphrase/],
    [
      'a key of 1024 bits',
      () => newPem('rsa', { modulusLength: 1024 }),
      /at least 2048 bits .* got rsa 1024$/,
    ],
    ['P-384', () => newPem('ec', { namedCurve: 'P-384' }), /P-256 key, got ec secp384r1$/],
    ['Ed25519', () => newPem('ed25519', {}), /P-256 key, got ed25519$/],
  ])('are refused with the reason when the file holds %s', (_what, content, fault) => {
    const file = write('wrong.pem', content())

    for (const name of ['JWT_PRIVATE_KEY_FILE', 'JWT_PREVIOUS_KEYS']) {
      const faults = faultsOf({ [name]: file })
      expect(faults).toEqual([expect.stringMatching(fault)])
      expect(faults[0]).toMatch(new RegExp(`^${name}`))
    }
  })
})

describe('older keys', () => {
  // Q34
  it('are secrets and files, separated by commas', () => {
    const publicKey = write('old public.pem', rs256.verifyWith)
    const privateKey = write('old private.pem', es256.signWith)
    const secret = write('old secret.txt', `${OLD_SECRET}\n`)
    const base64 = '/+'.repeat(21).replace('/', 'A').concat('A=')
    const { previousKeys } = readSettings({
      JWT_PREVIOUS_KEYS: [publicKey, ` ${SECRET} `, privateKey, '', secret, base64].join(','),
    })
    const ring = createKeyRing({
      signWith: 'another secret of more than 32 bytes',
      previous: previousKeys,
    })

    expect(previousKeys).toEqual([
      rs256.verifyWith.trim(),
      SECRET,
      es256.signWith.trim(),
      OLD_SECRET,
      base64,
    ])
    expect([...ring.verifying.values()].map(({ algorithm }) => algorithm).toSorted()).toEqual([
      'ES256',
      'HS256',
      'HS256',
      'HS256',
      'HS256',
      'RS256',
    ])
    expect(ring.verifying.get(rs256.kid)?.algorithm).toBe('RS256')
    expect(ring.verifying.get(es256.kid)?.algorithm).toBe('ES256')
  })

  // Q32
  it.each([
    ['an absolute path', '/run/secrets/jwt-public-key-of-last-year'],
    ['a path of letters only', '/run/secrets/jwt/public/key/of/last/year'],
    ['a relative path', './keys/the-public-key-of-last-year'],
    ['a path without a beginning', 'keys/public-key-of-the-year-2024-for-portcullis'],
    ['a file name', 'the-public-key-of-last-year-for-portcullis.pem'],
    ['a file name in capitals', 'THE-PUBLIC-KEY-OF-LAST-YEAR-FOR-PORTCULLIS.PEM'],
  ])('that are missing files do not become secrets that can be guessed: %s', (_what, path) => {
    expect(faultsOf({ JWT_PREVIOUS_KEYS: `${SECRET},${path}` })).toEqual([
      'JWT_PREVIOUS_KEYS (entry 2): ' +
        'cannot read what looks like a file (a secret that does goes into one): ENOENT',
    ])
  })

  it('are refused when the file is a folder', () => {
    mkdirSync(join(folder, 'keys'))

    expect(faultsOf({ JWT_PREVIOUS_KEYS: join(folder, 'keys') })).toEqual([
      expect.stringMatching(/^JWT_PREVIOUS_KEYS \(entry 1\): cannot read .*: EISDIR$/),
    ])
  })

  // Q22, Q32
  it.each<[what: string, content: () => string | Uint8Array]>([
    ['in DER', () => keyOf('spki', 'der')],
    ['as a JSON Web Key', () => JSON.stringify({ kty: 'RSA', n: 'AQAB'.repeat(20), e: 'AQAB' })],
    ['for SSH', () => `ssh-rsa ${'AAAAB3Nz'.repeat(20)} ada@laptop`],
  ])('that are public do not become secrets in another form: %s', (_what, content) => {
    const file = write('other form', content())

    expect(faultsOf({ JWT_PREVIOUS_KEYS: file })).toEqual([
      'JWT_PREVIOUS_KEYS (entry 1): expected a secret or a PEM key, got a key in another form',
    ])
  })
})

function keyOf(type: 'spki', format: 'der'): Uint8Array {
  return generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ type, format })
}

function newPem(type: string, options: object): string {
  const { privateKey } = generateKeyPairSync(type as 'rsa', options as { modulusLength: number })
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

function encryptedKey(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return privateKey
    .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'sesame' })
    .toString()
}
