import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from 'graphql-ws'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { register } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

/** One that is more work for the node than for those who ask: they share a process here. */
const ME = {
  query: `{ ${Array.from({ length: 40 }, (_, n) => `me${n}: me { email }`).join(' ')} }`,
}

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: string
}

const agent = new Agent({ keepAlive: true })

afterAll(() => agent.destroy())

async function ask(service: TestService, token: string, origin = ''): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = {
      'content-type': 'application/json',
      authorization: `Bearer ${token}`,
      ...(origin && { origin }),
    }
    const asking = request(
      `${service.url}/graphql`,
      { method: 'POST', agent, headers },
      (answer) => {
        let body = ''
        answer.on('data', (chunk: Buffer) => {
          body += chunk.toString()
        })
        answer.on('end', () =>
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body }),
        )
      },
    )
    asking.on('error', reject)
    asking.end(JSON.stringify(ME))
  })
}

/** So many clients that ask again as soon as they are answered. */
async function crowd(
  service: TestService,
  token: string,
  { clients, forMs, origin }: { clients: number; forMs: number; origin?: string },
): Promise<Answer[]> {
  const answers: Answer[] = []
  const until = performance.now() + forMs
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (performance.now() < until) answers.push(await ask(service, token, origin))
    }),
  )
  return answers
}

/** As many as are too many, until some of them are refused: how soon that is depends on the machine. */
async function overload(service: TestService, token: string, origin?: string): Promise<Answer[]> {
  const answers: Answer[] = []
  while (countOf(answers, 503) === 0 && answers.length < 20_000) {
    const given = origin === undefined ? {} : { origin }
    const some = await crowd(service, token, { clients: 400, forMs: 3000, ...given })
    answers.push(...some.filter(({ body }) => !body.includes(UNCHECKED)))
  }
  return answers
}

/** A 503 of another kind: on a busy machine the database may answer a check too late. */
const UNCHECKED = '"REVOCATION_UNAVAILABLE"'

const countOf = (answers: readonly Answer[], status: number): number =>
  answers.filter((answer) => answer.status === status).length

async function readShed(service: TestService): Promise<number> {
  const metrics = await (await fetch(`${service.url}/metrics`)).text()
  return Number(/^portcullis_shed_requests_total (\d+)/m.exec(metrics)?.[1])
}

describe('a node that is asked for more than it can do', { timeout: 60_000 }, () => {
  let service: TestService
  let ada: SignIn

  beforeAll(async () => {
    // The clients of a test are few.
    service = await startService({ maxUnderWay: 50 })
    ada = await register(service, 'ada')
  })

  afterAll(async () => {
    await service.stop()
  })

  // Q58
  it('refuses a part with 503, when to come back, and an error as GraphQL has them, and serves the rest', async () => {
    const origin = 'http://localhost:3000'
    const answers = await overload(service, ada.accessToken, origin)

    expect(countOf(answers, 200)).toBeGreaterThan(0)
    const refused = answers.filter(({ status }) => status !== 200)
    expect(refused.length).toBeGreaterThan(0)
    for (const { status, headers, body } of refused) {
      expect(status).toBe(503)
      expect(headers).toMatchObject({
        'retry-after': '1',
        'cache-control': 'no-store',
        'content-type': 'application/json; charset=utf-8',
        'x-content-type-options': 'nosniff',
        'content-security-policy': expect.stringContaining("default-src 'none'"),
        'access-control-allow-origin': origin,
      })
      expect(JSON.parse(body)).toEqual({
        errors: [
          {
            message: 'Too many requests at the moment; try again',
            extensions: { code: 'SERVICE_UNAVAILABLE' },
          },
        ],
      })
    }
    expect(await readShed(service)).toBe(refused.length)
  })

  it('says how it is meanwhile, and keeps its WebSockets', async () => {
    const closed: unknown[] = []
    const client = createClient({
      url: service.url.replace('http', 'ws') + '/graphql',
      webSocketImpl: WebSocket,
      lazy: false,
      retryAttempts: 0,
      connectionParams: { authorization: `Bearer ${ada.accessToken}` },
      on: { closed: (event) => closed.push(event) },
    })
    await new Promise<void>((resolve) => {
      client.on('connected', () => resolve())
    })
    const shedBefore = await readShed(service)
    const crowding = overload(service, ada.accessToken)

    const seen = new Set<string>()
    for (let n = 0; n < 15; n++) {
      await sleep(200)
      for (const path of ['/healthz', '/readyz', '/metrics'])
        seen.add(`${path} ${(await fetch(service.url + path)).status}`)
    }
    await crowding
    expect([...seen].toSorted()).toEqual(['/healthz 200', '/metrics 200', '/readyz 200'])
    expect(await readShed(service)).toBeGreaterThan(shedBefore)
    expect(closed).toEqual([])
    await client.dispose()
  })

  it('serves all again when that is over, and says both in its log', async () => {
    await overload(service, ada.accessToken)

    await expect
      .poll(() => service.log.some(({ msg }) => msg === 'no longer overloaded'), {
        timeout: 10_000,
      })
      .toBe(true)
    expect(service.log.some(({ msg }) => msg === 'overloaded: requests are refused')).toBe(true)
    const answers = await crowd(service, ada.accessToken, { clients: 1, forMs: 300 })
    expect(countOf(answers, 200)).toBe(answers.length)
  })
})

describe('a node that has time for everything', () => {
  let service: TestService
  let ada: SignIn

  beforeAll(async () => {
    service = await startService()
    ada = await register(service, 'ada')
  })

  afterAll(async () => {
    await service.stop()
  })

  it('refuses nothing because of a pause', async () => {
    const paused = sleep(300).then(() => {
      const until = performance.now() + 300
      while (performance.now() < until);
    })
    const answers = await crowd(service, ada.accessToken, { clients: 50, forMs: 2500 })
    await paused

    expect(countOf(answers, 200)).toBe(answers.length)
  })

  it('refuses nothing because many sign in', async () => {
    const signIns = Array.from({ length: 40 }, async () =>
      service.graphql(
        `mutation { login(email: "ada@example.com", password: "the password of ada") { accessToken } }`,
      ),
    )
    const answers = await crowd(service, ada.accessToken, { clients: 5, forMs: 2500 })

    expect(countOf(answers, 200)).toBe(answers.length)
    for (const { status } of await Promise.all(signIns)) expect(status).toBe(200)
  })

  it('refuses nothing because the database is slow', async () => {
    const locked = service.database.query(`begin; lock table account; select pg_sleep(2.5); commit`)
    await sleep(100)
    const answers = await crowd(service, ada.accessToken, { clients: 20, forMs: 2200 })
    await locked

    const codes = answers.flatMap(({ body }) => JSON.parse(body).errors ?? [])
    expect(codes.map(({ extensions }) => extensions.code)).not.toContain('SERVICE_UNAVAILABLE')
  })
})
