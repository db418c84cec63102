import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ApolloServer } from '@apollo/server'
import { startStandaloneServer } from '@apollo/server/standalone'
import { makeExecutableSchema } from '@graphql-tools/schema'
import Fastify from 'fastify'
import { createYoga } from 'graphql-yoga'
import mercurius from 'mercurius'
import { afterEach, describe, expect, it } from 'vitest'
import { RefreshError, createRefresh, createSession } from '../../src/client/client.ts'
import type { Session, SignedOut, Tokens } from '../../src/client/client.ts'
import {
  MemoryRevocationStore,
  createKeyRing,
  createPortcullis,
  createStatusPlugin,
} from '../../src/index.ts'
import { SECRET } from '../support/service.ts'
import { createApp } from './app.ts'

let stop: () => Promise<unknown> = async () => undefined
afterEach(async () => stop())

/** A server that answers everything the same. */
async function answer(
  status: number,
  body: string,
  type = 'application/json',
): Promise<{ url: string; asked(): number }> {
  let asked = 0
  const server = createServer((request, response) => {
    asked += 1
    request.resume()
    response.writeHead(status, { 'content-type': type }).end(body)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  stop = async () => {
    server.closeAllConnections()
    server.close()
  }
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked: () => asked }
}

/** A signed-in person, and how often that was ended. */
function signIn(
  url: string,
  tokens: Tokens = { accessToken: 'access', refreshToken: 'refresh' },
): { session: Session; endings: SignedOut[] } {
  const endings: SignedOut[] = []
  const session = createSession({
    refresh: createRefresh(url, { timeoutMs: 1000 }),
    onSignedOut: (ending) => endings.push(ending),
  })
  session.signIn(tokens)
  return { session, endings }
}

const errorOf = (code?: string, path?: readonly string[]): string =>
  JSON.stringify({
    data: null,
    errors: [{ message: 'no', ...(path && { path }), ...(code && { extensions: { code } }) }],
  })

describe('a refresh that is answered by what is no outage signs out, once', () => {
  it.each([
    ['a mutation that is not there', 400, errorOf('GRAPHQL_VALIDATION_FAILED')],
    ['the same without a code, as Mercurius says it', 400, errorOf()],
    ['the same with 200', 200, errorOf('GRAPHQL_VALIDATION_FAILED')],
    ['an error of the request, with 200 and no code', 200, errorOf()],
    ['input that is refused', 400, errorOf('BAD_USER_INPUT')],
    ['a refusal of the API’s own', 200, errorOf('UNAUTHENTICATED', ['refresh'])],
    ['a code of the API’s own', 200, errorOf('SESSION_OVER', ['refresh'])],
    ['401 without a word', 401, ''],
    ['403 and no JSON', 403, 'Forbidden'],
    ['404 and a page', 404, '<h1>Not found</h1>'],
    ['405', 405, ''],
    ['410', 410, ''],
    ['200 and a page', 200, '<!doctype html><title>Shop</title>'],
    ['200 without data', 200, '{}'],
    ['200 with data that has no refresh', 200, '{"data":{}}'],
    ['200 with data that is null', 200, '{"data":null}'],
    ['tokens without an access token', 200, '{"data":{"refresh":{"refreshToken":"x"}}}'],
    ['null', 200, 'null'],
    ['a list', 200, '[]'],
    ['nothing', 204, ''],
  ])('%s', async (_what, status, body) => {
    const { url, asked } = await answer(status, body)
    const { session, endings } = signIn(url)

    const renewals = [session.renew('access'), session.renew('access'), session.renew('access')]

    expect(await Promise.all(renewals)).toEqual([null, null, null])
    expect(await session.renew('access')).toBeNull()
    expect(session.accessToken).toBeNull()
    expect(endings).toEqual([{ reason: 'TOKEN_EXPIRED' }])
    expect(asked()).toBe(1)
  })

  it('what an app’s own refresh throws of an answer: Apollo Client’s errors among it', async () => {
    for (const thrown of [
      Object.assign(new Error('ServerError'), { statusCode: 404, bodyText: '<h1>' }),
      Object.assign(new Error('CombinedGraphQLErrors'), {
        errors: [{ message: 'Cannot query', extensions: { code: 'GRAPHQL_VALIDATION_FAILED' } }],
      }),
      Object.assign(new Error('no such page'), { status: 404 }),
    ]) {
      const endings: SignedOut[] = []
      const session = createSession({
        refresh: async () => {
          throw thrown
        },
        onSignedOut: (ending) => endings.push(ending),
      })
      session.signIn({ accessToken: 'access', refreshToken: 'refresh' })

      expect(await session.renew('access')).toBeNull()
      expect(endings).toEqual([{ reason: 'TOKEN_EXPIRED' }])
    }
  })
})

describe('a refresh that meets an outage keeps the tokens', () => {
  it.each([
    ['500', 500, errorOf('INTERNAL_SERVER_ERROR')],
    ['200 and a resolver that failed', 200, errorOf(undefined, ['refresh'])],
    ['200 and an internal error', 200, errorOf('INTERNAL_SERVER_ERROR', ['refresh'])],
    ['503 of ours', 503, errorOf('REVOCATION_UNAVAILABLE')],
    ['503 and a page', 503, '<h1>Sorry</h1>'],
    ['502 and a page', 502, '<h1>Bad gateway</h1>'],
    ['501', 501, ''],
    ['429', 429, errorOf('RATE_LIMITED')],
    ['429 and a page', 429, '<h1>Slow down</h1>'],
    ['408', 408, ''],
    ['425', 425, ''],
    ['a validation error behind 503', 503, errorOf('GRAPHQL_VALIDATION_FAILED')],
    ['a time-out of what the API asks', 200, errorOf('GATEWAY_TIMEOUT', ['refresh'])],
  ])('%s', async (_what, status, body) => {
    const { url } = await answer(status, body)
    const { session, endings } = signIn(url)

    await expect(session.renew('access')).rejects.toThrow(RefreshError)
    expect(session.accessToken).toBe('access')
    expect(endings).toEqual([])
  })

  it('nothing listens, no answer comes, or the network fails in an app’s own refresh', async () => {
    const silent = createServer(() => undefined).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    const { session, endings } = signIn(`http://127.0.0.1:${port}`)
    await expect(session.renew('access')).rejects.toThrow('aborted')
    silent.closeAllConnections()
    silent.close()
    await once(silent, 'close')
    await expect(session.renew('access')).rejects.toThrow('fetch failed')

    const own = createSession({
      refresh: async () => {
        throw new AggregateError([new Error('ECONNREFUSED')], 'away')
      },
      onSignedOut: (ending) => endings.push(ending),
    })
    own.signIn({ accessToken: 'access', refreshToken: 'refresh' })
    await expect(own.renew('access')).rejects.toThrow(AggregateError)

    expect([session.accessToken, own.accessToken]).toEqual(['access', 'access'])
    expect(endings).toEqual([])
  })

  it.each([
    ['a proxy', 502, '<h1>Bad gateway</h1>', 2],
    ['a server of GraphQL', 503, errorOf('REVOCATION_UNAVAILABLE'), 1],
    ['a proxy that has enough', 429, '', 1],
  ])(
    'and is tried again at once only where an answer may be lost: by %s',
    async (_whom, status, body, count) => {
      const { url, asked } = await answer(status, body)

      await expect(signIn(url).session.renew('access')).rejects.toThrow(RefreshError)
      expect(asked()).toBe(count)
    },
  )
})

describe('an API of a team’s own that has no refresh', () => {
  let now = Date.parse('2026-11-28T09:00:00Z')
  const portcullis = createPortcullis({
    keys: createKeyRing({ signWith: SECRET }),
    issuer: 'https://api.example',
    audience: 'api',
    store: new MemoryRevocationStore({ clock: () => now }),
  })
  const schema = portcullis.protect(
    makeExecutableSchema({
      typeDefs: [
        ...portcullis.typeDefs,
        'type Query { me: Person @auth } type Person { email: String }',
      ],
      resolvers: [portcullis.resolvers, { Query: { me: () => ({ email: 'ada@api.example' }) } }],
    }),
  )
  const contextOf = (authorization: string | null | undefined): object =>
    portcullis.context({ authorization: authorization ?? undefined })

  async function startApollo(): Promise<string> {
    const server = new ApolloServer({ schema, plugins: [createStatusPlugin()] })
    stop = async () => server.stop()
    const { url } = await startStandaloneServer(server, {
      listen: { port: 0, host: '127.0.0.1' },
      context: async ({ req }) => contextOf(req.headers.authorization),
    })
    return url
  }

  async function startYoga(): Promise<string> {
    const yoga = createYoga({
      schema,
      maskedErrors: false,
      logging: false,
      context: ({ request }) => contextOf(request.headers.get('authorization')),
    })
    const server = createServer((request, response) => void yoga(request, response))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    stop = async () => {
      server.closeAllConnections()
      server.close()
    }
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`
  }

  async function startMercurius(): Promise<string> {
    const app = Fastify()
    await app.register(mercurius, {
      schema,
      context: ({ headers }) => contextOf(headers.authorization),
    })
    stop = async () => app.close()
    return `${await app.listen({ port: 0, host: '127.0.0.1' })}/graphql`
  }

  it.each([
    ['Apollo Server', startApollo],
    ['Yoga', startYoga],
    ['Mercurius', startMercurius],
  ])('signs out once when its token has expired, on %s', async (_which, start) => {
    const url = await start()
    const { text } = await portcullis.issue({ subject: 'ada' })
    const app = createApp({ url, tokens: { accessToken: text, refreshToken: 'of no use' } })
    expect(await app.me()).toBe('ada@api.example')

    now += 20 * 60_000
    const failures = await Promise.allSettled([app.me(), app.me(), app.me()])

    expect(failures.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
    expect(app.endings).toEqual([{ reason: 'TOKEN_EXPIRED' }])
    expect(app.session.accessToken).toBeNull()
  })

  it('signs in with an access token alone, and asks for no refresh when that has expired', async () => {
    const url = await startApollo()
    const { text } = await portcullis.issue({ subject: 'ada' })
    const app = createApp({ url, tokens: { accessToken: text } })
    expect(await app.me()).toBe('ada@api.example')

    now += 20 * 60_000

    await expect(app.me()).rejects.toThrow('This token has expired')
    expect(app.refreshes()).toBe(0)
    expect(app.endings).toEqual([{ reason: 'TOKEN_EXPIRED' }])
  })
})

it('a refresh that gives no new refresh token leaves the one before in use', async () => {
  const given: string[] = []
  const session = createSession({
    refresh: async (refreshToken) => {
      given.push(refreshToken)
      return { accessToken: `access ${given.length}` }
    },
  })
  session.signIn({ accessToken: 'access 0', refreshToken: 'refresh' })

  expect(await session.renew('access 0')).toBe('access 1')
  expect(await session.renew('access 1')).toBe('access 2')
  expect(given).toEqual(['refresh', 'refresh'])
})
