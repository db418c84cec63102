import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { login, refresh, register, whoAmI } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { GraphQLAnswer, TestService } from '../support/service.ts'

let service: TestService
let crowd: SignIn

beforeAll(async () => {
  service = await startService()
  crowd = await register(service, 'crowd')
  await service.database.query(
    `insert into session (id, subject, created_at, authenticated_at, last_seen_at, last_issued_at, expires_at)
     select gen_random_uuid(), $1, at, at, at, at, at + interval '30 days'
     from generate_series(1, 499) n, lateral (select now() - n * interval '1 minute' as at) as made`,
    [crowd.userId],
  )
})

afterAll(async () => {
  await service.stop()
})

function ask(query: string): Promise<GraphQLAnswer> {
  return service.graphql(query, { token: crowd.accessToken })
}

async function list(args: string): Promise<Array<{ id: string; current: boolean }>> {
  const { data, errors } = await ask(`{ sessions${args} { id current } }`)
  expect(errors).toEqual([])
  return data.sessions
}

describe('a person with 500 sessions', () => {
  // Q43
  it('is listed the newest 100, and gets the others page by page, each once', async () => {
    const ids: string[] = []
    for (let args = ''; ;) {
      const page = await list(args)
      ids.push(...page.map(({ id }) => id))
      if (page.length < 100) break
      args = `(first: 100, after: "${ids.at(-1)}")`
    }

    expect(ids).toHaveLength(500)
    expect(new Set(ids).size).toBe(500)
    expect(ids[0]).toBe(crowd.sessionId)
    expect(await list('')).toHaveLength(100)
    expect((await list('(first: 2)')).map(({ current }) => current)).toEqual([true, false])
  })

  it.each([
    ['(first: 0)', 'first', 'OUT_OF_RANGE'],
    ['(first: 101)', 'first', 'OUT_OF_RANGE'],
    ['(after: "no id")', 'after', 'MALFORMED_CURSOR'],
    ['(after: "00000000-0000-4000-8000-000000000000")', 'after', 'MALFORMED_CURSOR'],
  ])('hears what is wrong with sessions%s', async (args, argument, reason) => {
    const { errors } = await ask(`{ sessions${args} { id } }`)

    expect(errors.map(({ extensions }) => extensions)).toEqual([
      { code: 'BAD_USER_INPUT', reason, argument },
    ])
  })

  it('cannot start behind a session of another person', async () => {
    const other = await register(service, 'other')
    const { errors } = await ask(`{ sessions(after: "${other.sessionId}") { id } }`)

    expect(errors[0]?.extensions).toMatchObject({ reason: 'MALFORMED_CURSOR' })
  })

  // Q43
  it('may ask for 500 items in an operation, counted before anything is read', async () => {
    const aliases = (count: number): string =>
      `{ ${Array.from({ length: count }, (_, n) => `a${n}: sessions { id }`).join(' ')} }`

    expect((await ask(aliases(5))).errors).toEqual([])
    const { errors } = await ask(aliases(6))
    const refusal = { code: 'BAD_USER_INPUT', reason: 'OUT_OF_RANGE', argument: 'first' }
    expect(new Set(errors.map(({ extensions }) => JSON.stringify(extensions)))).toEqual(
      new Set([JSON.stringify(refusal)]),
    )
  })
})

/** Holds a lock until the work is done. */
async function locked(statement: string, work: () => Promise<void>): Promise<void> {
  const holder = new pg.Client({ connectionString: service.database.url })
  await holder.connect()
  await holder.query('begin')
  await holder.query(statement)
  try {
    await work()
  } finally {
    await holder.end()
  }
}

async function sendBatch(query: string): Promise<void> {
  const response = await fetch(`${service.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${crowd.accessToken}` },
    body: JSON.stringify(Array.from({ length: 10 }, () => ({ query }))),
  })
  await response.arrayBuffer()
}

// Q43, Q58
describe('while the database is slow with what one person asks for on four connections', () => {
  it.each([
    ['50 times 100 sessions', 50, ''],
    ['5 times 100 sessions', 5, ''],
    ['5 pages of sessions', 5, '(first: $n)'],
  ])('others are checked and served: %s, in batches of 10', async (_what, count, args) => {
    const grace = await register(service, `grace-${count}-${args.length}`)
    const fields = Array.from(
      { length: count },
      (_, n) => `a${n}: sessions${args.replace('$n', String(n + 1))} { id }`,
    )

    await locked('lock table session in access exclusive mode', async () => {
      const flood = [1, 2, 3, 4].map(() => sendBatch(`{ ${fields.join(' ')} }`))
      await sleep(500)
      for (let time = 0; time < 5; time++) {
        expect(await whoAmI(service, grace.accessToken)).toMatch(/^grace/)
      }
      await Promise.all(flood)
    })
  })

  it('others sign in and are served: refreshes of one session', async () => {
    const grace = await register(service, 'grace')
    await locked(`select 1 from session where id = '${crowd.sessionId}' for update`, async () => {
      const flood = Array.from({ length: 40 }, () => refresh(service, crowd.refreshToken))
      await sleep(500)
      for (let time = 0; time < 5; time++) {
        expect(await whoAmI(service, grace.accessToken)).toMatch(/^grace/)
      }
      expect((await login(service, 'grace', 'desk')).userId).toBe(grace.userId)
      await Promise.all(flood)
    })
    expect((await refresh(service, crowd.refreshToken)).errors).toEqual([])
  })
})
