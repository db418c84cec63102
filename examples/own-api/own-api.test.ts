import type { DataSource } from 'typeorm'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { PostgresRevocationStore } from '../../src/index.ts'
import { createDatabase } from '../../test/support/database.ts'
import type { TestDatabase } from '../../test/support/database.ts'
import { SESSION_ENDED, stopSubscribers, subscribe } from '../../test/support/live.ts'
import { createDataSource } from './data-source.ts'
import type { OwnApi } from './server.ts'
import { startInMemory, startOnPostgres } from './start.ts'
import type { OwnApiSettings } from './start.ts'

const settings: OwnApiSettings = { secret: 'the secret of the tests, 32 bytes or more', port: 0 }

interface Answer {
  readonly status: number
  readonly challenge: string | null
  readonly data: any
  readonly errors?: ReadonlyArray<{ message: string; extensions: any }>
}

async function ask(
  api: OwnApi,
  query: string,
  { token, variables }: { token?: string; variables?: object } = {},
): Promise<Answer> {
  const response = await fetch(api.url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify({ query, variables }),
  })
  const { data, errors } = (await response.json()) as Answer
  const challenge = response.headers.get('www-authenticate')
  return { status: response.status, challenge, data, ...(errors && { errors }) }
}

async function signIn(api: OwnApi, name: string): Promise<string> {
  const query = `mutation ($email: String!, $password: String!) {
    signIn(email: $email, password: $password) { accessToken }
  }`
  const variables = { email: `${name}@orders.example`, password: `the password of ${name}` }
  return (await ask(api, query, { variables })).data.signIn.accessToken
}

/** What `orders` says: the items, or why it was refused. */
async function itemsOf(api: OwnApi, token?: string): Promise<string> {
  const { data, errors } = await ask(api, '{ orders { item } }', { token })
  return data ? data.orders.map(({ item }: { item: string }) => item).join() : reasonOf(errors)
}

function reasonOf(errors: Answer['errors']): string {
  return errors?.[0]?.extensions.reason ?? errors?.[0]?.extensions.code
}

/** An empty database, as a team has that never heard of Portcullis. */
async function createEmptyDatabase(): Promise<TestDatabase> {
  const database = await createDatabase()
  await database.query('drop schema public cascade')
  await database.query('create schema public')
  return database
}

describe.each(['memory', 'PostgreSQL'])('an API team’s own server, revocations in %s', (kept) => {
  let database: TestDatabase | undefined
  let api: OwnApi

  beforeAll(async () => {
    if (kept === 'PostgreSQL') database = await createEmptyDatabase()
    api = database ? await startOnPostgres(database.url, settings) : await startInMemory(settings)
  })

  afterAll(async () => {
    await api?.stop()
    await database?.drop()
  })

  it('shows the team’s fields to whoever signed in at the team’s login', async () => {
    const phone = await signIn(api, 'ada')

    expect(await ask(api, '{ orders { id item orderedBy packed } }', { token: phone })).toEqual({
      status: 200,
      challenge: null,
      data: { orders: [{ id: '1', item: 'drawbridge', orderedBy: 'ada', packed: false }] },
    })
  })

  it('refuses them without a token, with 401 and a challenge', async () => {
    const { status, challenge, data, errors } = await ask(api, '{ orders { item } }')

    expect({ status, challenge, data, reason: reasonOf(errors) }).toEqual({
      status: 401,
      challenge: 'Bearer',
      data: null,
      reason: 'TOKEN_MISSING',
    })
  })

  it('refuses a wrong password as Portcullis’ own login does', async () => {
    const query =
      'mutation { signIn(email: "ada@orders.example", password: "guess") { expiresIn } }'
    const { status, errors } = await ask(api, query)

    expect({ status, extensions: errors?.[0]?.extensions }).toMatchObject({
      status: 401,
      extensions: { code: 'UNAUTHENTICATED', reason: 'INVALID_CREDENTIALS' },
    })
  })

  it('signs one device out with the logout mutation, and no other', async () => {
    const phone = await signIn(api, 'ada')
    const laptop = await signIn(api, 'ada')

    const logout = 'mutation { logout { alreadyRevoked } }'
    const first = await ask(api, logout, { token: phone })
    const again = await ask(api, logout, { token: phone })
    const refused = await ask(api, '{ orders { item } }', { token: phone })

    expect(first.data.logout.alreadyRevoked).toBe(false)
    expect(again.data.logout.alreadyRevoked).toBe(true)
    expect(refused).toMatchObject({
      status: 401,
      challenge: 'Bearer error="invalid_token"',
      data: null,
      errors: [{ extensions: { reason: 'TOKEN_REVOKED', revocation: { reason: 'logout' } } }],
    })
    expect(await itemsOf(api, laptop)).toBe('drawbridge')
  })

  it('signs every device of a person out, and lets the next sign-in work at once', async () => {
    const [phone, laptop] = [await signIn(api, 'ada'), await signIn(api, 'ada')]
    const somebodyElse = await signIn(api, 'grace')

    await ask(api, 'mutation { logoutAllDevices { revocation { id } } }', { token: phone })
    const tablet = await signIn(api, 'ada')

    expect(await itemsOf(api, phone)).toBe('TOKEN_REVOKED')
    expect(await itemsOf(api, laptop)).toBe('TOKEN_REVOKED')
    expect(await itemsOf(api, tablet)).toBe('drawbridge')
    expect(await itemsOf(api, somebodyElse)).toBe('moat')
  })

  it('lets an admin revoke a stolen token, and tells its holder why', async () => {
    const [stolen, laptop] = [await signIn(api, 'ada'), await signIn(api, 'ada')]
    const query = `mutation ($token: String!) {
      revokeToken(token: $token, reason: "stolen phone") { verified revocation { subject revokedBy } }
    }`
    const variables = { token: stolen }

    const byAda = await ask(api, query, { token: laptop, variables })
    expect({ status: byAda.status, reason: reasonOf(byAda.errors) }).toEqual({
      status: 403,
      reason: 'ROLE_REQUIRED',
    })
    expect(await itemsOf(api, stolen)).toBe('drawbridge')

    const byOlga = await ask(api, query, { token: await signIn(api, 'olga'), variables })
    expect(byOlga.data.revokeToken).toEqual({
      verified: true,
      revocation: { subject: 'ada', revokedBy: 'olga' },
    })
    const { errors } = await ask(api, '{ orders { item } }', { token: stolen })
    expect(errors?.[0]?.extensions.revocation.reason).toBe('stolen phone')
    expect(await itemsOf(api, laptop)).toBe('drawbridge')
  })

  it('asks for roles, the team’s own too; ADMIN includes them all', async () => {
    const [ada, grace, olga] = await Promise.all(
      ['ada', 'grace', 'olga'].map((name) => signIn(api, name)),
    )
    const pack = 'mutation { packOrder(id: "2") { packed } }'

    expect(reasonOf((await ask(api, '{ allOrders { id } }', { token: ada })).errors)).toBe(
      'ROLE_REQUIRED',
    )
    expect((await ask(api, '{ allOrders { id } }', { token: olga })).data.allOrders).toHaveLength(2)

    expect(reasonOf((await ask(api, pack, { token: ada })).errors)).toBe('ROLE_REQUIRED')
    const untouched = await ask(api, '{ allOrders { packed } }', { token: olga })
    expect(untouched.data.allOrders).toEqual([{ packed: false }, { packed: false }])
    expect((await ask(api, pack, { token: grace })).data.packOrder).toEqual({ packed: true })
    expect((await ask(api, pack, { token: olga })).data.packOrder).toEqual({ packed: true })
  })

  it('leaves public fields open, whatever the token', async () => {
    const revoked = await signIn(api, 'ada')
    await ask(api, 'mutation { logout { alreadyRevoked } }', { token: revoked })

    for (const token of [undefined, 'no token at all', revoked]) {
      const { status, data } = await ask(api, '{ catalogue }', { token })
      expect({ status, data }).toEqual({
        status: 200,
        data: { catalogue: ['portcullis', 'drawbridge', 'moat'] },
      })
    }
  })
})

describe('two servers of an API team on one database', () => {
  let database: TestDatabase
  let one: OwnApi
  let other: OwnApi

  beforeAll(async () => {
    database = await createEmptyDatabase()
    one = await startOnPostgres(database.url, settings)
    other = await startOnPostgres(database.url, settings)
  })

  afterAll(async () => {
    await one?.stop()
    await other?.stop()
    await database?.drop()
  })

  it('refuse what either of them revoked, at the very next check', async () => {
    const [phone, laptop] = [await signIn(one, 'ada'), await signIn(other, 'ada')]
    expect(await itemsOf(other, phone)).toBe('drawbridge')

    await ask(one, 'mutation { logout { alreadyRevoked } }', { token: phone })
    expect(await itemsOf(other, phone)).toBe('TOKEN_REVOKED')
    expect(await itemsOf(one, laptop)).toBe('drawbridge')

    await ask(other, 'mutation { logoutAllDevices { revocation { id } } }', { token: laptop })
    expect(await itemsOf(one, laptop)).toBe('TOKEN_REVOKED')
  })

  it('remember it through a restart', async () => {
    const phone = await signIn(one, 'ada')
    await ask(one, 'mutation { logout { alreadyRevoked } }', { token: phone })
    expect(await itemsOf(one, phone)).toBe('TOKEN_REVOKED')

    await one.stop()
    one = await startOnPostgres(database.url, settings)

    expect(await itemsOf(one, phone)).toBe('TOKEN_REVOKED')
  })
})

it('leaves no connection to the database behind when it stops', async () => {
  const database = await createEmptyDatabase()
  try {
    const api = await startOnPostgres(database.url, settings)
    await signIn(api, 'ada')
    await api.stop()

    const sql = `select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`
    await expect.poll(() => database.query(sql), { timeout: 5000 }).toEqual([])
  } finally {
    await database.drop()
  }
})

describe('an API team’s DataSource, with Portcullis’ entities and migrations beside theirs', () => {
  let database: TestDatabase
  let dataSource: DataSource

  beforeAll(async () => {
    database = await createEmptyDatabase()
    dataSource = createDataSource(database.url)
    await dataSource.initialize()
  })

  afterAll(async () => {
    await dataSource?.destroy()
    await database?.drop()
  })

  it('says at the first ping that the migrations were forgotten', async () => {
    const store = new PostgresRevocationStore(dataSource)

    await expect(store.ping()).rejects.toMatchObject({
      extensions: { code: 'REVOCATION_UNAVAILABLE' },
      cause: { message: 'relation "revocation" does not exist' },
    })
  })

  it('leaves nothing for TypeORM to change, and can be undone', async () => {
    const ran = await dataSource.runMigrations()

    const { upQueries } = await dataSource.driver.createSchemaBuilder().log()
    expect(upQueries.map(({ query }) => query)).toEqual([])

    for (const _ of ran) await dataSource.undoLastMigration()
    const tables = await database.query('select tablename from pg_tables where schemaname = $1', [
      'public',
    ])
    expect(tables).toEqual([{ tablename: 'migrations' }])
  })
})

// Q50
it('ends live connections on every node with their token', async () => {
  const database = await createEmptyDatabase()
  const here = await startOnPostgres(database.url, settings)
  const there = await startOnPostgres(database.url, settings)
  const token = await signIn(here, 'ada')
  const sockets = await Promise.all(
    [here, there].map(async ({ liveUrl }) => subscribe({ url: liveUrl }, SESSION_ENDED, { token })),
  )

  await ask(here, 'mutation { logout { alreadyRevoked } }', { token })

  for (const socket of sockets) {
    expect(await socket.closed()).toEqual({ code: 4403, reason: 'TOKEN_REVOKED' })
    expect(await socket.result()).toMatchObject({ data: { sessionEnded: { reason: 'logout' } } })
  }
  stopSubscribers()
  await Promise.all([here.stop(), there.stop()])
  await database.drop()
})
