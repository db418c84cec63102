import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { StartError } from '../../src/lib/start-error.ts'
import { migrate } from '../../src/service/database/migrate.ts'
import type { TestDatabase } from '../support/database.ts'
import { login, passwordOf, refresh, register, whoAmI } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService, TestServiceOptions } from '../support/service.ts'
import { errorOf } from '../token/forge.ts'

const { serverUrl, template } = inject('postgres')

/** The statements of the page, under names of this run: roles belong to the whole server. */
const suffix = randomBytes(4).toString('hex')
const OWNER = `portcullis_owner_${suffix}`
const API = `portcullis_api_${suffix}`
const SWEEPER = `portcullis_sweeper_${suffix}`
const DATABASE = `${template.replace('_template', '')}_roles_${suffix}`

const page = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8')
const [roles, rights, strictRights, sweeper] = [...page.matchAll(/```sql\n([^]*?)```/g)].map(
  ([, sql = '']) =>
    sql
      .replaceAll(/portcullis_(owner|api|sweeper)/g, `portcullis_$1_${suffix}`)
      .replace(/create database portcullis /, `create database ${DATABASE} `),
) as [string, string, string, string]

let database: TestDatabase

beforeAll(async () => {
  for (const statement of roles.split(';')) {
    if (statement.trim() !== '') await run(serverUrl, statement)
  }
  await run(urlOf(null), rights)
  database = {
    url: urlOf(API),
    query: async (sql, values) => run(urlOf(null), sql, values),
    drop: async () => undefined,
  }
})

afterAll(async () => {
  await run(serverUrl, `drop database ${DATABASE} with (force)`)
  for (const role of [SWEEPER, API, OWNER]) await run(serverUrl, `drop role if exists ${role}`)
})

/** @param role - `null` for a superuser. */
function urlOf(role: string | null): string {
  const url = new URL(serverUrl)
  url.pathname = DATABASE
  if (role !== null) {
    url.username = role
    url.password = role.startsWith('portcullis_api') ? 'change%20me%20too' : 'change%20me'
    if (role.startsWith('portcullis_sweeper')) url.password = 'change%20me%20as%20well'
  }
  return url.href
}

async function run<Row extends pg.QueryResultRow>(
  url: string,
  sql: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rows } = await (values.length > 0
      ? client.query<Row>(sql, [...values])
      : client.query<Row>(sql))
    return rows
  } finally {
    await client.end()
  }
}

async function start(options: TestServiceOptions = {}): Promise<TestService> {
  return startService({ database, databaseUrl: urlOf(API), ...options })
}

async function failureOf(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => {
      throw new Error('It did not fail')
    },
    (error: unknown) => error as Error,
  )
}

/** All that the service does with its tables. */
async function expectToLive(service: TestService, name: string): Promise<void> {
  const admin = await login(service, 'admin', 'console')
  const phone = await register(service, name)
  const laptop = await login(service, name, 'laptop')
  const act = async (mutation: string, token = admin.accessToken): Promise<any> => {
    const { data, errors } = await service.graphql(`mutation { ${mutation} }`, { token })
    expect(errors).toEqual([])
    return data
  }

  await service.graphql(
    `mutation { login(email: "${name}@example.com", password: "no") { tokenType } }`,
  )
  expect(await whoAmI(service, phone.accessToken)).toBe(`${name}@example.com`)
  const { data } = await refresh(service, phone.refreshToken)
  const { reauthenticate } = await act(
    `reauthenticate(password: "${passwordOf(name)}") { accessToken }`,
    data.refresh.accessToken,
  )
  await act(`logout { alreadyRevoked }`, laptop.accessToken)
  expect(await whoAmI(service, laptop.accessToken)).toBe('TOKEN_REVOKED')
  const { revokeToken } = await act(
    `revokeToken(token: "${reauthenticate.accessToken}") { revocation { id } }`,
  )
  expect(await whoAmI(service, reauthenticate.accessToken)).toBe('TOKEN_REVOKED')
  await act(`restore(revocationId: "${revokeToken.revocation.id}") { alreadyRestored }`)
  expect(await whoAmI(service, reauthenticate.accessToken)).toBe(`${name}@example.com`)
  await act(
    `changePassword(currentPassword: "${passwordOf(name)}", newPassword: "quite another one") { tokenType }`,
    reauthenticate.accessToken,
  )
  await act(`setUserRoles(userId: "${phone.userId}", roles: [ADMIN]) { alreadySet }`)
  await act(`suspendUser(userId: "${phone.userId}") { alreadySuspended }`)
  await act(`reinstateUser(userId: "${phone.userId}") { alreadyReinstated }`)
  await act(`revokeUser(userId: "${phone.userId}") { endedSessions }`)
  await act(`logoutAllDevices { endedSessions }`)
  expect(await whoAmI(service, admin.accessToken)).toBe('TOKEN_REVOKED')

  const again = await login(service, 'admin', 'console')
  const lists = await service.graphql(
    '{ revocations { totalCount } revocationEvents { totalCount } sessions { id } }',
    { token: again.accessToken },
  )
  expect(lists.errors).toEqual([])
  expect(service.log.filter(({ level }) => level >= 40)).toEqual([])
}

// Q61
describe('a role that may not change the schema', () => {
  it('is told in one sentence that the schema is not up to date', async () => {
    const error = await failureOf(migrate(urlOf(API)))

    expect(error).toBeInstanceOf(StartError)
    expect(error.message).toMatch(
      /^The role of \S+ may not bring the schema up to date \(permission denied .*\); set MIGRATION_DATABASE_URL to one that owns it$/,
    )
    expect(error.message).not.toContain('change')
  })

  it('starts when another role migrates, and is enough for all that the service does', async () => {
    const service = await start({ migrationDatabaseUrl: urlOf(OWNER) })
    try {
      await expectToLive(service, 'ada')
    } finally {
      await service.stop()
    }
  })

  it('starts by itself when the schema is up to date, also with a replica', async () => {
    const service = await start({ maxStalenessMs: 200 })
    try {
      await expectToLive(service, 'barbara')
    } finally {
      await service.stop()
    }
  })

  it.each([
    'create table mine (id int)',
    'create function mine() returns int language sql as $$ select 1 $$',
    'create schema mine',
    'alter table account add column mine int',
    'drop table session',
    'truncate revocation',
    'create index mine on session (device)',
    'create trigger mine before insert on account execute function suppress_redundant_updates_trigger()',
  ])('may not: %s', async (statement) => {
    const error = await failureOf(run(urlOf(API), statement))

    expect(error.message).toMatch(/permission denied|must be owner/)
  })

  it('is told when the migrations went to another database', async () => {
    const elsewhere = new URL(serverUrl)
    elsewhere.pathname = template
    await run(urlOf(OWNER), `delete from migration where name like 'AccountsAndSessions%'`)
    try {
      const error = await failureOf(start({ migrationDatabaseUrl: elsewhere.href }))
      expect(error.message).toContain('may not bring the schema up to date')
    } finally {
      await run(
        urlOf(OWNER),
        `insert into migration (timestamp, name) values (1763769600001, 'AccountsAndSessions1763769600001')`,
      )
    }
  })
})

// Q61
describe('the rights of a service that cannot rewrite its journal', () => {
  beforeAll(async () => {
    await run(urlOf(OWNER), strictRights)
    for (const statement of sweeper.split(';')) {
      // Roles are made by a superuser, rights on tables given by their owner: a superuser may both.
      if (statement.trim() !== '') await run(urlOf(null), statement)
    }
  })

  it.each([0, 200])('are enough for all that it does (replica: %i ms)', async (maxStalenessMs) => {
    const service = await start({
      sweepIntervalSeconds: 0,
      ...(maxStalenessMs > 0 && { maxStalenessMs }),
    })
    try {
      await expectToLive(service, maxStalenessMs > 0 ? 'chandra' : 'dorothy')
    } finally {
      await service.stop()
    }
  })

  it.each([
    'delete from revocation_event',
    `update revocation_event set actor = 'somebody else'`,
    'delete from session',
    'delete from account',
    'delete from migration',
  ])('do not allow: %s', async (statement) => {
    expect((await failureOf(run(urlOf(API), statement))).message).toContain('permission denied')
  })

  it('leave the clean-up to a role that may', async () => {
    await run(
      urlOf(null),
      `update revocation set expires_at = now() - interval '25 hours';
       update revocation_event set occurred_at = now() - interval '1 year';
       update session set ended_at = now() - interval '1 year', expires_at = now() - interval '1 year';
       update failed_attempt set expires_at = now() - interval '1 hour'`,
    )
    const node = await start({ databaseUrl: urlOf(SWEEPER), sweepIntervalSeconds: 1 })
    try {
      for (const table of ['revocation', 'revocation_event', 'session', 'failed_attempt']) {
        await expect
          .poll(() => run(urlOf(null), `select 1 from ${table}`), { timeout: 10_000 })
          .toEqual([])
      }
      expect(node.log.filter(({ msg }) => msg === 'sweep failed')).toEqual([])
    } finally {
      await node.stop()
    }
  })
})

it('the page has the statements that this file runs', () => {
  expect(errorOf(() => [roles, rights, strictRights, sweeper].map((sql) => sql.trim()))).toBeNull()
  expect(page.match(/```sql/g)).toHaveLength(4)
})
