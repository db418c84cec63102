import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { claimsOf, login, register, signToken, whoAmI } from '../support/people.ts'
import { SECRET, startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

let production: TestService
let staging: TestService

beforeAll(async () => {
  production = await startService()
  staging = await startService()
})

afterAll(async () => {
  await staging.stop()
  await production.stop()
})

const started: TestService[] = []

afterEach(async () => {
  for (const service of started.splice(0)) await service.stop()
})

async function startNode(database: TestDatabase, isProduction = false): Promise<TestService> {
  const service = await startService({ database, isProduction })
  started.push(service)
  return service
}

describe('the same JWT_SECRET beside two databases', () => {
  it('makes no admin of the other one, nor a user', async () => {
    const admin = await login(staging, 'admin', 'console')
    const ada = await register(staging, 'ada')

    const list = await production.graphql('{ revocations { totalCount } }', {
      token: admin.accessToken,
    })

    expect([list.status, list.errors[0]?.extensions.reason]).toEqual([401, 'TOKEN_INVALID'])
    expect(await whoAmI(production, ada.accessToken)).toBe('TOKEN_INVALID')
    expect(await whoAmI(staging, ada.accessToken)).toBe('ada@example.com')
  })

  it('lets an admin revoke the foreign token, as one that cannot be verified', async () => {
    const admin = await login(production, 'admin', 'console')
    const { accessToken: token } = await login(staging, 'admin', 'console')

    const { data } = await production.graphql(
      'mutation ($token: String!) { revokeToken(token: $token) { verified } }',
      { token: admin.accessToken, variables: { token } },
    )

    expect(data.revokeToken).toEqual({ verified: false })
  })
})

describe('the id of a database', () => {
  async function markOf(node: TestService, name: string): Promise<string> {
    const { db } = claimsOf((await register(node, name)).accessToken)
    expect(db).toMatch(/^[\da-f-]{36}$/)
    return db
  }

  it('is the same for nodes that start at once, and after a restart', async () => {
    const database = await createDatabase()
    try {
      const nodes = await Promise.all([startNode(database), startNode(database)])
      const marks = await Promise.all(nodes.map((node, n) => markOf(node, `ada${n}`)))
      await Promise.all(started.splice(0).map((node) => node.stop()))

      const again = await startNode(database)
      expect(new Set([...marks, await markOf(again, 'grace')]).size).toBe(1)
      await again.stop()
      started.splice(0)
    } finally {
      await database.drop()
    }
  })

  it('is kept by a copy of the database, whose tokens go on working', async () => {
    const ada = await register(production, 'barbara')
    const { db } = claimsOf(ada.accessToken)
    const rows = await production.database.query<{ id: string }>('select id from installation')
    const copy = await createDatabase()
    try {
      await copy.query(`insert into installation values (1, $1, now())`, [rows[0]!.id])
      await copy.query(
        `insert into account select * from json_populate_recordset(null::account, $1)`,
        [JSON.stringify(await production.database.query('select * from account'))],
      )
      const node = await startNode(copy)

      expect(db).toBe(rows[0]!.id)
      expect(await whoAmI(node, ada.accessToken)).toBe('barbara@example.com')
      await node.stop()
      started.splice(0)
    } finally {
      await copy.drop()
    }
  })
})

describe('a token that release 0.1 issued, without the mark', () => {
  it('works for its lifetime, also when an old node issues it during the upgrade', async () => {
    const ada = await register(production, 'chandra')

    expect(await whoAmI(production, signToken(SECRET, ada))).toBe('chandra@example.com')
    const issuedAt = new Date(Date.now() - 901_000)
    expect(await whoAmI(production, signToken(SECRET, { ...ada, issuedAt }))).toBe('TOKEN_EXPIRED')
  })

  it('is refused when it was issued more than a day after the database got its id', async () => {
    const database = await createDatabase()
    try {
      await database.query(
        `insert into installation values (1, gen_random_uuid(), now() - interval '1 day 1 minute')`,
      )
      const node = await startNode(database)
      const ada = await register(node, 'ada')

      expect(await whoAmI(node, signToken(SECRET, ada))).toBe('TOKEN_INVALID')
      const issuedAt = new Date(Date.now() - 2 * 60_000)
      expect(await whoAmI(node, signToken(SECRET, { ...ada, issuedAt }))).toBe('ada@example.com')
      expect(await whoAmI(node, ada.accessToken)).toBe('ada@example.com')
      await node.stop()
      started.splice(0)
    } finally {
      await database.drop()
    }
  })
})

describe('production', () => {
  it('is asked for JWT_ISSUER at the start, and starts without it in this release', async () => {
    const named = await startService({
      database: production.database,
      isProduction: true,
      issuer: 'https://auth.example.com',
    })
    started.push(named)
    const unnamed = await startNode(production.database, true)

    const warnings = ({ log }: TestService): unknown[] =>
      log.filter(({ msg }) => /JWT_ISSUER/.test(msg)).map(({ level, msg }) => [level, msg])
    expect(warnings(named)).toEqual([])
    expect(warnings(production)).toEqual([])
    expect(warnings(unnamed)).toEqual([
      [
        40,
        expect.stringMatching(/^JWT_ISSUER is not set: .* from 0\.3 on production does not start/),
      ],
    ])
  })
})
