import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { json } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { ApolloServer, HeaderMap } from '@apollo/server'
import { ApolloServerPluginDrainHttpServer } from '@apollo/server/plugin/drainHttpServer'
import { startStandaloneServer } from '@apollo/server/standalone'
import { expressMiddleware } from '@as-integrations/express5'
import { fastifyApolloHandler } from '@as-integrations/fastify'
import { makeExecutableSchema } from '@graphql-tools/schema'
import express from 'express'
import type { Express } from 'express'
import fc from 'fast-check'
import Fastify from 'fastify'
import { GraphQLError } from 'graphql'
import type { GraphQLFormattedError } from 'graphql'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { AuthContext } from '../../src/graphql/auth-directive.ts'
import { createPortcullis } from '../../src/portcullis.ts'
import { MemoryRevocationStore } from '../../src/revocation/memory/memory-store.ts'
import { createKeyRing } from '../../src/token/keys.ts'
import { createStatusPlugin } from '../../src/transport/apollo/wire-errors.ts'
import { createFastLane } from '../../src/transport/fast-lane/apollo-lane.ts'
import type { ApolloFastLane, Way } from '../../src/transport/fast-lane/apollo-lane.ts'
import { RawConnection, sendRaw, writePost } from '../support/raw-connection.ts'
import type { RawAnswer } from '../support/raw-connection.ts'
import { SECRET } from '../support/service.ts'
import { createVariedApi, variedDocuments } from '../support/varied-api.ts'

/** A team's server: how it is built, and where it serves GraphQL. */
interface Stack {
  readonly path: string
  start(apollo: ApolloServer<AuthContext>, parts: Parts): Promise<Server>
}

interface Parts {
  /** `null`: without a lane. */
  readonly lane: ApolloFastLane<AuthContext> | null
  readonly context: (request: IncomingMessage) => AuthContext
}

const stacks: Record<string, Stack> = {
  'Apollo on Express': {
    path: '/graphql',
    async start(apollo, { lane, context }) {
      await apollo.start()
      const app = createExpressApp(apollo, context)
      return listen(createServer(lane ? lane.wrap(app as RequestListener) : app))
    },
  },
  'Apollo on Fastify': {
    path: '/graphql',
    async start(apollo, { lane, context }) {
      await apollo.start()
      const app = Fastify({
        serverFactory: (handler) => createServer(lane ? lane.wrap(handler) : handler),
      })
      app.post(
        '/graphql',
        fastifyApolloHandler(apollo, { context: async ({ raw }) => context(raw) }),
      )
      await app.listen({ port: 0, host: '127.0.0.1' })
      return app.server
    },
  },
  startStandaloneServer: {
    path: '/',
    async start(apollo, { lane, context }) {
      let server: Server | undefined
      const own = async ({ req }: { req: IncomingMessage }): Promise<AuthContext> => context(req)
      const { url } = await startStandaloneServer(apollo, {
        listen: { port: 0, host: '127.0.0.1' },
        context: async ({ req }) => {
          ;({ server } = req.socket as Socket & { server: Server })
          return lane ? lane.standaloneContext({ req }) : own({ req })
        },
      })
      await sendRaw(url, writePost('{"query":"{ open }"}', {}, '/'))
      return server as unknown as Server
    },
  },
}

function createExpressApp(
  apollo: ApolloServer<AuthContext>,
  context: (request: IncomingMessage) => AuthContext,
): Express {
  const app = express()
  app.use(
    '/graphql',
    express.json(),
    expressMiddleware(apollo, { context: async ({ req }) => context(req) }),
  )
  return app
}

async function listen(server: Server): Promise<Server> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

/** Apollo Server's option, of the lane too. */
const formatError = (formatted: GraphQLFormattedError): GraphQLFormattedError =>
  formatted.message.startsWith('wrong') ? { ...formatted, message: 'hidden' } : formatted

interface Running {
  readonly url: string
  readonly ways: Way[]
  readonly ran: string[]
  stop(): Promise<void>
}

const store = new MemoryRevocationStore()
const portcullis = createPortcullis({
  keys: createKeyRing({ signWith: SECRET }),
  issuer: 'portcullis',
  audience: 'portcullis',
  store,
})
const context = ({ headers }: IncomingMessage): AuthContext =>
  portcullis.context({ authorization: headers.authorization })

async function start({ path, start: build }: Stack, hasLane: boolean): Promise<Running> {
  const { schema, ran } = createVariedApi(portcullis)
  const ways: Way[] = []
  const lane = hasLane
    ? createFastLane({ schema, context, path, formatError, onAnswer: (way) => ways.push(way) })
    : null
  const plugins = lane ? [...lane.plugins] : [createStatusPlugin()]
  const apollo = new ApolloServer<AuthContext>({ schema, plugins, formatError })
  const server = await build(apollo, { lane, context })
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    ways,
    ran,
    async stop() {
      server.closeAllConnections()
      server.close()
      await apollo.stop()
    },
  }
}

const running: Running[] = []

afterEach(async () => {
  vi.restoreAllMocks()
  await Promise.all(running.splice(0).map(({ stop }) => stop()))
})

describe.each(Object.entries(stacks))('The fast lane in front of %s', (_name, stack) => {
  let fast: Running
  let long: Running

  beforeEach(async () => {
    fast = await start(stack, true)
    long = await start(stack, false)
    running.push(fast, long)
  })

  const post = (body: string, head: Record<string, string> = {}): Buffer =>
    writePost(body, head, stack.path)

  async function expectTheSame(bytes: Buffer): Promise<RawAnswer> {
    fast.ran.length = 0
    long.ran.length = 0
    const [answer, expected] = await Promise.all([
      sendRaw(fast.url, bytes),
      sendRaw(long.url, bytes),
    ])
    // Beside a field that failed, graphql-js may leave out another that the compiler runs, and the other way round (GraphQL
    // §6.4.4): so of several errors each tells its own, and one of them first.
    const failures = (readJson(expected).errors ?? []).length
    if (failures > 1) expect(readJson(answer).data).toEqual(readJson(expected).data)
    else expect(withoutETag(answer)).toEqual(withoutETag(expected))
    if (failures === 0) expect(fast.ran.toSorted()).toEqual(long.ran.toSorted())
    return answer as RawAnswer
  }

  const HOT = '{"query":"{ me { name } }"}'
  const OPEN = '{"query":"{ open }"}'
  /** Executed three times, a query is compiled; then callers, and requests without a token, teach the headers. */
  async function makeHot(body = HOT): Promise<void> {
    await repeatUntilFast(OPEN, async () => ({}))
    await repeatUntilFast(body, async () => ({
      authorization: `Bearer ${(await portcullis.issue({ subject: 'ada' })).text}`,
    }))
  }

  async function repeatUntilFast(
    body: string,
    headOf: () => Promise<Record<string, string>>,
  ): Promise<void> {
    await vi.waitFor(async () => {
      fast.ways.length = 0
      await sendRaw(fast.url, post(body, await headOf()))
      expect(fast.ways).toEqual(['fast'])
    }, 5000)
  }

  it('answers a hot query with the same bytes as the server', async () => {
    await makeHot()
    const { text } = await portcullis.issue({ subject: 'ada' })

    fast.ways.length = 0
    const { status, body } = await expectTheSame(post(HOT, { authorization: `Bearer ${text}` }))
    expect({ status, body }).toEqual({
      status: 200,
      body: '{"data":{"me":{"name":"ada “ß” 𝛀"}}}\n',
    })
    expect(fast.ways).toEqual(['fast'])
  })

  // Q01
  it('refuses a revoked token at its next request, and a request without a token', async () => {
    const { text } = await portcullis.issue({ subject: 'ada' })
    const head = { authorization: `Bearer ${text}` }
    await makeHot()
    await expectTheSame(post(HOT, head))

    const target = { scope: 'TOKEN', token: portcullis.tokens.verify(text) } as const
    await store.revoke({ target, reason: 'lost', by: null })
    fast.ways.length = 0
    const { status, headers, body } = await expectTheSame(post(HOT, head))
    expect(status).toBe(401)
    expect(headers).toContain('www-authenticate: Bearer error="invalid_token"')
    expect(JSON.parse(body).errors[0].extensions).toMatchObject({ reason: 'TOKEN_REVOKED' })
    expect(await expectTheSame(post(HOT))).toMatchObject({ status: 401 })
    expect(fast.ways).toEqual(['fast', 'fast'])
  })

  it('answers generated queries as the server does', async () => {
    await makeHot()
    const admin = await portcullis.issue({ subject: 'grace', roles: ['ADMIN', 'USER'] })
    const user = await portcullis.issue({ subject: 'ada' })
    await fc.assert(
      fc.asyncProperty(
        variedDocuments,
        fc.constantFrom(undefined, `Bearer ${admin.text}`, `Bearer ${user.text}`, 'Bearer x'),
        fc.constantFrom({ text: 'x' }, { text: 1 }, undefined),
        async (query, authorization, variables) => {
          const bytes = post(
            JSON.stringify({ query, variables }),
            authorization === undefined ? {} : { authorization },
          )
          for (let time = 0; time < 4; time += 1) await expectTheSame(bytes)
        },
      ),
      { numRuns: 40 },
    )
  }, 60_000)

  it.each([
    ['an error of a resolver', '{"query":"{ wrong }"}'],
    ['a refusal of a resolver', '{"query":"{ refused }"}'],
    ['a refusal beside data', '{"query":"{ open maybeMe { secret } }"}'],
  ])('answers with %s as the server does', async (_what, body) => {
    await makeHot()
    await makeHot(body)
    fast.ways.length = 0
    await expectTheSame(post(body))
    expect(fast.ways).toEqual(['fast'])
  })

  it.each([
    ['a mutation', '{"query":"mutation { logout { alreadyRevoked } }"}'],
    ['a query that was not asked before', '{"query":"{ open maybeMe { name } }"}'],
    ['a batch', `[${HOT}]`],
  ])('leaves %s to the server', async (_what, body) => {
    await makeHot()
    fast.ways.length = 0
    await expectTheSame(post(body))
    expect(fast.ways).toEqual(['long'])
  })

  it('leaves what is no JSON to the server', async () => {
    await makeHot()
    fast.ways.length = 0
    expect(await sendRaw(fast.url, post('{"query"'))).toMatchObject({ status: 400 })
    expect(fast.ways).toEqual(['long'])
  })

  it('leaves a body that arrives in pieces to the server, which reads all of it', async () => {
    await makeHot()
    const bytes = post(HOT, {
      authorization: `Bearer ${(await portcullis.issue({ subject: 'ada' })).text}`,
    })
    const connection = new RawConnection(fast.url)
    connection.write(bytes.subarray(0, -5))
    await sleep(30)
    connection.write(bytes.subarray(-5))
    expect(await connection.read()).toMatchObject({ status: 200 })
    connection.write(bytes)
    expect(await connection.read()).toMatchObject({ status: 200 })
    connection.destroy()
  })
})

describe('The fast lane', () => {
  async function openExpress(
    options: {
      readonly prepare?: (app: Express) => void
      readonly context?: (request: IncomingMessage) => AuthContext
      readonly resolve?: () => unknown
    } = {},
  ): Promise<Running & { readonly apollo: ApolloServer<AuthContext>; readonly server: Server }> {
    const schema = portcullis.protect(
      makeExecutableSchema({
        typeDefs: [...portcullis.typeDefs, 'type Query { open: String @public }'],
        resolvers: [portcullis.resolvers, { Query: { open: options.resolve ?? (() => 'open') } }],
      }),
    )
    const ways: Way[] = []
    const create = options.context ?? context
    const lane = createFastLane({ schema, context: create, onAnswer: (way) => ways.push(way) })
    const app = express()
    options.prepare?.(app)
    const server = createServer(app as RequestListener)
    lane.open(server)
    const apollo = new ApolloServer<AuthContext>({
      schema,
      plugins: [...lane.plugins, ApolloServerPluginDrainHttpServer({ httpServer: server })],
    })
    await apollo.start()
    app.use(createExpressApp(apollo, create))
    await listen(server)
    const { port } = server.address() as AddressInfo
    const opened = {
      apollo,
      server,
      ways,
      ran: [],
      url: `http://127.0.0.1:${port}`,
      stop: async () => apollo.stop(),
    }
    running.push(opened)
    return opened
  }

  const OPEN = writePost('{"query":"{ open }"}')

  async function ask({ url }: Running, times: number): Promise<RawAnswer | null> {
    let last: RawAnswer | null = null
    for (let time = 0; time < times; time += 1) last = await sendRaw(url, OPEN)
    return last
  }

  it('repeats what the server adds to its answers, for each origin', async () => {
    const opened = await openExpress({
      prepare: (app) =>
        app.use((request, response, next) => {
          response.setHeader('x-team', 'reds')
          response.setHeader('access-control-allow-origin', request.headers.origin ?? 'none')
          response.setHeader('vary', ['origin', 'accept'])
          next()
        }),
    })
    await vi.waitFor(async () => {
      await ask(opened, 1)
      expect(opened.ways.at(-1)).toBe('fast')
    }, 5000)
    const answer = await ask(opened, 1)
    expect(answer?.headers).toEqual(
      expect.arrayContaining([
        'x-team: reds',
        'access-control-allow-origin: none',
        'vary: accept',
        'vary: origin',
        'x-powered-by: Express',
      ]),
    )

    const elsewhere = writePost('{"query":"{ open }"}', { origin: 'https://app.example' })
    opened.ways.length = 0
    for (let time = 0; time < 3; time += 1) {
      const { headers } = (await sendRaw(opened.url, elsewhere)) as RawAnswer
      expect(headers).toContain('access-control-allow-origin: https://app.example')
    }
    expect(opened.ways).toEqual(['long', 'long', 'fast'])
  })

  it.each([
    ['a number of each request', 'x-request-id', (at: number) => String(at)],
    ['a cookie', 'set-cookie', () => 'a=b'],
    ['a header that comes and goes', 'x-odd', (at: number) => (at % 2 ? 'yes' : null)],
  ])('answers nothing, and warns, where the server adds %s', async (_what, name, valueOf) => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    let at = 0
    const opened = await openExpress({
      prepare: (app) =>
        app.use((_request, response, next) => {
          at += 1
          const value = valueOf(at)
          if (value !== null) response.setHeader(name, value)
          next()
        }),
    })
    for (let time = 0; time < 12; time += 1) {
      await ask(opened, 1)
      await sleep(15)
    }
    expect(new Set(opened.ways)).toEqual(new Set(['long']))
    expect(warn.mock.calls).toHaveLength(1)
    expect(JSON.stringify(warn.mock.calls[0])).toContain(name)
  })

  it('repeats both values of a header that a server writes twice', async () => {
    const { schema } = createVariedApi(portcullis)
    const ways: Way[] = []
    const lane = createFastLane({ schema, context, onAnswer: (way) => ways.push(way) })
    const apollo = new ApolloServer<AuthContext>({ schema, plugins: [...lane.plugins] })
    await apollo.start()
    const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      const httpGraphQLRequest = {
        method: 'POST',
        headers: new HeaderMap([['content-type', 'application/json']]),
        search: '',
        body: await json(request),
      }
      const { body } = await apollo.executeHTTPGraphQLRequest({
        httpGraphQLRequest,
        context: async () => context(request),
      })
      const text = body.kind === 'complete' ? body.string : ''
      const type = ['content-type', 'application/json; charset=utf-8']
      const links = ['Link', '</a>', 'link', '</b>']
      response.writeHead(200, [...type, 'content-length', String(text.length), ...links])
      response.end(text)
    }
    const server = await listen(
      createServer(lane.wrap((request, response) => void answer(request, response))),
    )
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    running.push({
      url,
      ways,
      ran: [],
      async stop() {
        server.closeAllConnections()
        server.close()
        await apollo.stop()
      },
    })

    const slow = await sendRaw(url, OPEN)
    expect(slow?.headers).toEqual(expect.arrayContaining(['link: </a>', 'link: </b>']))
    await vi.waitFor(async () => {
      const fast = await sendRaw(url, OPEN)
      expect(ways.at(-1)).toBe('fast')
      expect(fast).toEqual(slow)
    }, 5000)
  })

  it('never repeats to one caller a header that names another', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    const opened = await openExpress({
      prepare: (app) =>
        app.use((request, response, next) => {
          const { authorization } = request.headers
          if (authorization !== undefined) response.setHeader('x-caller', authorization)
          next()
        }),
    })
    const askAs = async (name: string): Promise<RawAnswer> =>
      (await sendRaw(
        opened.url,
        writePost('{"query":"{ open }"}', { authorization: name }),
      )) as RawAnswer
    // Long enough for the query to be compiled, and for one caller's headers to be the same many times.
    await vi.waitFor(async () => {
      await ask(opened, 1)
      expect(opened.ways.at(-1)).toBe('fast')
    }, 5000)

    for (const name of [
      ...Array<string>(8).fill('ada'),
      'bob',
      'ada',
      'bob',
      'ada',
      'bob',
      'eve',
    ]) {
      expect((await askAs(name)).headers).toContain(`x-caller: ${name}`)
    }
    expect(warn.mock.calls).toHaveLength(1)
    expect(JSON.stringify(warn.mock.calls[0])).toContain('x-caller')
  })

  it('goes on where a mutation sets a cookie', async () => {
    const opened = await openExpress({
      prepare: (app) =>
        app.use(express.json(), (request, response, next) => {
          const { query } = request.body as { query: string }
          if (query.startsWith('mutation')) response.setHeader('set-cookie', 'a=b')
          next()
        }),
    })
    const mutation = writePost('{"query":"mutation { __typename }"}')
    for (let time = 0; time < 8; time += 1) {
      const { headers } = (await sendRaw(opened.url, mutation)) as RawAnswer
      expect(headers).toContain('set-cookie: a=b')
    }
    await vi.waitFor(async () => {
      await ask(opened, 1)
      expect(opened.ways.at(-1)).toBe('fast')
    }, 5000)
  })

  it.each([
    ['a callback that throws', 'onAnswer'],
    ['a listener that throws', 'listener'],
  ])('answers the other requests of a turn beside %s', async (_what, what) => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    const thrown: unknown[] = []
    const { schema } = createVariedApi(portcullis)
    const fail = (): never => {
      throw new Error('on purpose')
    }
    const lane = createFastLane({
      schema,
      context,
      ...(what === 'onAnswer' && { onAnswer: fail }),
    })
    const server = await listen(
      createServer(
        lane.wrap((request, response) => {
          response.end('from the server')
          if (what === 'listener' && request.headers['x-bad'] !== undefined) fail()
        }),
      ),
    )
    const before = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.on('uncaughtException', (error) => thrown.push(error))
    const { port } = server.address() as AddressInfo
    const connection = new RawConnection(`http://127.0.0.1:${port}`)
    try {
      connection.write(Buffer.concat([writePost('{}', { 'x-bad': 'yes' }), writePost('{}')]))
      const answers = [await connection.read(), await connection.read()]
      expect(answers).toMatchObject([{ body: 'from the server' }, { body: 'from the server' }])
    } finally {
      connection.destroy()
      server.close()
      process.removeAllListeners('uncaughtException')
      for (const each of before) process.on('uncaughtException', each)
    }
    expect(thrown).toHaveLength(what === 'listener' ? 1 : 0)
    expect(warn.mock.calls).toHaveLength(what === 'listener' ? 0 : 2)
  })

  it('leaves a request to the server whose context is promised', async () => {
    const opened = await openExpress({
      context: (async (request: IncomingMessage) => context(request)) as never,
    })
    for (let time = 0; time < 10; time += 1) {
      expect(await ask(opened, 1)).toMatchObject({ status: 200 })
      await sleep(15)
    }
    expect(new Set(opened.ways)).toEqual(new Set(['long']))
  })

  it('has the server say that a context cannot be made', async () => {
    let isBroken = false
    const opened = await openExpress({
      context: (request) => {
        if (isBroken) throw new GraphQLError('no tenant')
        return context(request)
      },
    })
    await vi.waitFor(async () => {
      await ask(opened, 1)
      expect(opened.ways.at(-1)).toBe('fast')
    }, 5000)
    isBroken = true
    const answer = await ask(opened, 1)
    expect(answer?.status).toBe(500)
    expect(answer?.body).toContain('no tenant')
    expect(opened.ways.at(-1)).toBe('long')
  })

  it('gives an answer the status and headers that an error of a resolver brings', async () => {
    const opened = await openExpress({
      resolve: () => {
        throw new GraphQLError('paid plans only', {
          extensions: {
            code: 'PAYMENT_REQUIRED',
            http: { status: 402, headers: new HeaderMap([['x-plan', 'pro']]) as never },
          },
        })
      },
    })
    const slow = await ask(opened, 1)
    // An error's status teaches no headers, so the lane learns them from another query.
    const other = writePost('{"query":"{ __typename }"}')
    for (const bytes of [other, OPEN]) {
      await vi.waitFor(async () => {
        await sendRaw(opened.url, bytes)
        expect(opened.ways.at(-1)).toBe('fast')
      }, 5000)
    }
    const answer = await ask(opened, 1)
    expect(withoutETag(answer)).toEqual(withoutETag(slow))
    expect(answer).toMatchObject({ status: 402 })
    expect(answer?.headers).toContain('x-plan: pro')
  })

  it('lets a server that drains close its connections', async () => {
    const opened = await openExpress()
    await vi.waitFor(async () => {
      await ask(opened, 1)
      expect(opened.ways.at(-1)).toBe('fast')
    }, 5000)
    const idle = new RawConnection(opened.url)
    idle.write(OPEN)
    expect(await idle.read()).toMatchObject({ status: 200 })
    await opened.apollo.stop()
    expect(await idle.read()).toBeNull()
    expect(opened.server.listening).toBe(false)
  })

  it('opens a server once, and not before it has a listener', () => {
    const { schema } = createVariedApi(portcullis)
    const lane = createFastLane({ schema, context })
    const server = createServer()
    expect(() => lane.open(server)).toThrow(TypeError)

    server.on('request', () => undefined)
    const told = (): void => undefined
    server.on('request', told)
    lane.open(server)
    const [first, second] = server.listeners('request')
    lane.open(server)
    expect(server.listeners('request')).toEqual([first, second])
    expect(second).toBe(told)
  })

  it('starts with no other schema than its server', async () => {
    const lane = createFastLane({ schema: createVariedApi(portcullis).schema, context })
    const apollo = new ApolloServer<AuthContext>({
      schema: createVariedApi(portcullis).schema,
      plugins: [...lane.plugins],
    })
    await expect(apollo.start()).rejects.toThrow('the schema of its fast lane')
  })

  it('is not made for a schema in which a guard is missing', () => {
    const schema = makeExecutableSchema({
      typeDefs: [...portcullis.typeDefs, 'type Query { me: String @auth }'],
      resolvers: portcullis.resolvers,
    })
    expect(() => createFastLane({ schema, context })).toThrow('Query.me')
  })
})

function readJson(answer: RawAnswer | null): { data?: unknown; errors?: unknown[] } {
  return JSON.parse(answer?.body ?? '{}')
}

/** Express names a body by its digest; of an answer to POST it says nothing. */
function withoutETag(answer: RawAnswer | null): RawAnswer | null {
  if (answer === null) return null
  return { ...answer, headers: answer.headers.filter((line) => !line.startsWith('etag:')) }
}
