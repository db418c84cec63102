import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { migrate } from '../../src/service/database/migrate.ts'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { login, register } from '../support/people.ts'
import { noPgBouncer, startPgBouncer } from '../support/pgbouncer.ts'
import type { PgBouncer } from '../support/pgbouncer.ts'
import { sendGraphQL, startService } from '../support/service.ts'
import type { TestService, TestServiceOptions } from '../support/service.ts'

if (noPgBouncer !== null) console.warn(`not run: test/database/pgbouncer.test.ts: ${noPgBouncer}`)

const inFrontOf = new Map<string, PgBouncer>()
let database: TestDatabase

beforeEach(async () => {
  database = await createDatabase()
})

afterEach(async () => {
  for (const pooler of inFrontOf.values()) await pooler.stop()
  inFrontOf.clear()
  await database.drop()
})

async function pooled(mode: 'session' | 'transaction' | 'statement'): Promise<string> {
  const pooler = await startPgBouncer(database.url, mode)
  inFrontOf.set(mode, pooler)
  return pooler.url
}

/** Two nodes, because one hears of its own revocations without the journal. */
async function startTwo(options: TestServiceOptions): Promise<readonly [TestService, TestService]> {
  const here = await startService({ database, ...options })
  const there = await startService({ database, ...options })
  onTestFinished(async () => {
    await here.stop()
    await there.stop()
  })
  return [here, there]
}

describe.skipIf(noPgBouncer !== null)('A PgBouncer as it comes', () => {
  it.each([
    ['session', true, null],
    ['session', true, 300],
    ['session', false, null],
    ['session', false, 300],
    ['transaction', false, null],
    ['transaction', false, 300],
  ] as const)(
    'in %s mode, with prepared statements %s and a replica of %s ms, has logouts hold on two nodes',
    async (mode, databasePrepares, maxStalenessMs) => {
      await database.query('drop schema public cascade; create schema public')
      const databaseUrl = await pooled(mode)
      const [here, there] = await startTwo({ databaseUrl, databasePrepares, maxStalenessMs })
      const phone = await register(here, 'ada')
      const laptop = await login(there, 'ada', 'laptop')

      // More than one connection of the server, each with what we prepared and set: or not. A busy machine may be too slow.
      await vi.waitFor(async () => {
        const all = await Promise.all(
          Array.from({ length: 20 }, (_, at) =>
            (at % 2 ? here : there).graphql('{ me { id } sessions { id } }', {
              token: phone.accessToken,
            }),
          ),
        )
        expect(all.flatMap(({ errors }) => errors)).toEqual([])
      }, 10_000)
      expect(JSON.stringify([here.log, there.log])).not.toContain('prepared statement')
      await here.graphql('mutation { logout { alreadyRevoked } }', { token: phone.accessToken })
      for (const node of [here, there]) {
        const [gone, kept] = await Promise.all(
          [phone, laptop].map(({ accessToken: token }) => node.graphql('{ me { id } }', { token })),
        )
        expect(gone!.errors[0]?.extensions.reason).toBe('TOKEN_REVOKED')
        expect(kept!.errors).toEqual([])
        expect((await fetch(`${node.url}/readyz`)).status).toBe(200)
      }
    },
  )

  it('in transaction mode is named before anything is changed, with what to set', async () => {
    await database.query('drop schema public cascade; create schema public')
    const url = await pooled('transaction')

    await expect(startService({ database, databaseUrl: url })).rejects.toThrow(
      /^A pooler at 127\.0\.0\.1:\d+\/\S+ lends its connections .*; set DATABASE_PREPARE=off, and JOURNAL_DATABASE_URL/,
    )
    expect(await database.query(`select 1 from pg_tables where schemaname = 'public'`)).toEqual([])
  })

  it('with a journal past it has the news of other nodes at once', async () => {
    const databaseUrl = await pooled('transaction')
    const [here, there] = await startTwo({
      databaseUrl,
      databasePrepares: false,
      journalDatabaseUrl: database.url,
      maxStalenessMs: 60_000,
    })
    const { accessToken: token } = await register(here, 'ada')
    expect((await there.graphql('{ me { id } }', { token })).errors).toEqual([])
    await sendGraphQL(here.url, 'mutation { logout { alreadyRevoked } }', { token })

    await vi.waitFor(async () => {
      const { errors } = await sendGraphQL(there.url, '{ me { id } }', { token })
      expect(errors[0]?.extensions.reason).toBe('TOKEN_REVOKED')
    }, 5000)
    const direct = await database.query(
      `select 1 from pg_stat_activity
       where datname = current_database() and application_name = 'portcullis-replica'`,
    )
    expect(direct).toHaveLength(2)
  })

  it('is no address for the journal, nor is another database', async () => {
    const databaseUrl = await pooled('transaction')
    const other = await createDatabase()
    onTestFinished(other.drop)
    const start = (journalDatabaseUrl: string): Promise<unknown> =>
      startService({ database, databaseUrl, databasePrepares: false, journalDatabaseUrl })

    await expect(start(databaseUrl)).rejects.toThrow(
      /^JOURNAL_DATABASE_URL leads to a pooler that lends .*; name the database itself$/,
    )
    await expect(start(other.url)).rejects.toThrow(
      /^JOURNAL_DATABASE_URL \(\S+\) leads to another database than DATABASE_URL$/,
    )
  })

  it.each(['statement'] as const)('in %s mode is refused in one sentence', async (mode) => {
    const url = await pooled(mode)
    await expect(migrate(url, { prepares: false })).rejects.toThrow(
      /^Cannot use the database at .*transaction blocks not allowed in statement pooling mode/,
    )
  })

  it('refuses what the URL asks of a session, and the sentence says so', async () => {
    const url = await pooled('session')
    await expect(migrate(`${url}?options=-c%20search_path%3Dpublic`)).rejects.toThrow(
      /unsupported startup parameter: options; take it out of DATABASE_URL, or have PgBouncer pass it over/,
    )
  })
})
