import { ApolloServer } from '@apollo/server'
import type { ApolloServerPlugin } from '@apollo/server'
import createResponseCache from '@apollo/server-plugin-response-cache'
import { startStandaloneServer } from '@apollo/server/standalone'
import { makeExecutableSchema } from '@graphql-tools/schema'
import type { IResolvers } from '@graphql-tools/utils'
import { afterEach, describe, expect, it } from 'vitest'
import {
  MemoryRevocationStore,
  createKeyRing,
  createPortcullis,
  createStatusPlugin,
} from '../../src/index.ts'
import type { AuthContext } from '../../src/index.ts'
import { SECRET } from '../support/service.ts'

const portcullis = createPortcullis({
  keys: createKeyRing({ signWith: SECRET }),
  issuer: 'https://api.example',
  audience: 'api',
  store: new MemoryRevocationStore(),
})

const typeDefs = `
  enum CacheControlScope { PUBLIC PRIVATE }
  directive @cacheControl(maxAge: Int, scope: CacheControlScope, inheritMaxAge: Boolean) on FIELD_DEFINITION | OBJECT | INTERFACE | UNION
  type Query {
    open: Int @public @cacheControl(maxAge: 60)
    bare: Int @auth @cacheControl(maxAge: 60)
    said: Int @auth(requires: ADMIN) @cacheControl(maxAge: 60, scope: PUBLIC)
    byType: Diary @auth
    diary: Diary @public
    told: Int @auth
    replaced: Int @auth
    overwritten: Int @auth
    byDefault: Int @auth
    asking: Int @public @cacheControl(maxAge: 60)
  }
  type Diary @cacheControl(maxAge: 60) { text: Int @auth }`

let runs = 0
const run = (): number => (runs += 1)

const resolvers: IResolvers<unknown, AuthContext> = {
  Query: {
    open: run,
    bare: run,
    said: run,
    byType: () => ({ text: run() }),
    diary: () => ({ text: run() }),
    told(_parent, _args, _context, { cacheControl }: any) {
      cacheControl.setCacheHint({ maxAge: 60, scope: 'PUBLIC' })
      return run()
    },
    replaced(_parent, _args, _context, { cacheControl }: any) {
      cacheControl.cacheHint.replace({ maxAge: 60, scope: 'PUBLIC' })
      cacheControl.cacheHint.restrict({ scope: 'PUBLIC' })
      return run()
    },
    overwritten(_parent, _args, _context, { cacheControl }: any) {
      Object.assign(cacheControl.cacheHint, { maxAge: 60, scope: 'PUBLIC' })
      return run()
    },
    byDefault: run,
    async asking(_parent, _args, { auth }) {
      await auth.authenticate()
      return run()
    },
  },
}

const schema = portcullis.protect(
  makeExecutableSchema({
    typeDefs: [...portcullis.typeDefs, typeDefs],
    resolvers: [portcullis.resolvers, resolvers],
  }),
)

let server: ApolloServer | undefined
afterEach(async () => server?.stop())

interface Answer {
  readonly status: number
  readonly cacheControl: string | null
  readonly body: any
}

type Ask = (query: string, token?: string) => Promise<Answer>

async function start(plugins: readonly ApolloServerPlugin[]): Promise<Ask> {
  server = new ApolloServer({ schema, plugins: [...plugins] })
  const { url } = await startStandaloneServer(server, {
    listen: { port: 0, host: '127.0.0.1' },
    context: async ({ req }) => portcullis.context({ authorization: req.headers.authorization }),
  })
  return async (query, token) => {
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify({ query }),
    })
    const cacheControl = response.headers.get('cache-control')
    return { status: response.status, cacheControl, body: await response.json() }
  }
}

async function signIn(): Promise<{ token: string; revoke(): Promise<void> }> {
  const { text, sessionId } = await portcullis.issue({ subject: 'olga', roles: ['USER', 'ADMIN'] })
  const target = { scope: 'SESSION', sessionId, subject: 'olga' } as const
  return {
    token: text,
    async revoke() {
      await portcullis.revocations.revoke({ target, reason: 'lost', by: null })
    },
  }
}

const reasonOf = ({ body }: Answer): unknown => body.errors?.[0].extensions.reason

const DEPENDENT = [
  ['a hint of a guarded field', '{ bare }'],
  ['a hint that says PUBLIC', '{ said }'],
  ['a hint of its type', '{ byType { text } }'],
  ['a guarded field below', '{ diary { text } }'],
  ['a hint of its resolver', '{ told }'],
  ['a hint that its resolver replaces', '{ replaced }'],
  ['a guarded field beside an open one', '{ open bare }'],
] as const

describe('an answer that depends on its caller is not given to the next one, with', () => {
  it.each(DEPENDENT)('%s, in Apollo’s response cache', async (_what, query) => {
    const ask = await start([createResponseCache()])
    const { token } = await signIn()

    const first = await ask(query, token)
    const next = await ask(query)

    expect(first.body.errors).toBeUndefined()
    expect(first.cacheControl).toBe('max-age=60, private')
    expect(reasonOf(next)).toBe('TOKEN_MISSING')
  })

  it('the maximum age that a server gives by default', async () => {
    const { ApolloServerPluginCacheControl } = await import('@apollo/server/plugin/cacheControl')
    const ask = await start([
      ApolloServerPluginCacheControl({ defaultMaxAge: 60 }),
      createResponseCache(),
    ])

    const first = await ask('{ byDefault }', (await signIn()).token)

    expect(first.cacheControl).toBe('max-age=60, private')
    expect(reasonOf(await ask('{ byDefault }'))).toBe('TOKEN_MISSING')
  })

  it('a hint for the whole answer, or a resolver that asks itself, given the status plug-in', async () => {
    const hint: ApolloServerPlugin = {
      async requestDidStart({ overallCachePolicy }) {
        overallCachePolicy.replace({ maxAge: 60, scope: 'PUBLIC' })
      },
    }
    for (const plugins of [[hint], []]) {
      const ask = await start([...plugins, createResponseCache(), createStatusPlugin()])
      for (const query of ['{ bare }', '{ asking }', '{ overwritten }']) {
        expect((await ask(query, (await signIn()).token)).cacheControl).toBe('max-age=60, private')
        expect(reasonOf(await ask(query))).toBe('TOKEN_MISSING')
      }
      await server?.stop()
    }
  })

  it('nothing: what is open to all is kept for all', async () => {
    const ask = await start([createResponseCache(), createStatusPlugin()])

    const first = await ask('{ open }', (await signIn()).token)

    expect(first.cacheControl).toBe('max-age=60, public')
    expect((await ask('{ open }')).body).toEqual(first.body)
  })
})

describe('an answer that a cache keeps for its caller', () => {
  const perToken = createResponseCache({
    sessionId: async ({ request }) => request.http?.headers.get('authorization') ?? null,
  })
  const perPerson = createResponseCache({ sessionId: async () => 'olga' })

  it.each([
    ['before', [createStatusPlugin(), perToken]],
    ['behind', [perToken, createStatusPlugin()]],
  ])(
    'is refused once its token is revoked, with the status plug-in %s the cache',
    async (_where, plugins) => {
      const ask = await start(plugins)
      const { token, revoke } = await signIn()
      const first = await ask('{ open said }', token)
      expect((await ask('{ open said }', token)).body).toEqual(first.body)

      await revoke()
      const partly = await ask('{ open said }', token)
      const wholly = await ask('{ said }', token)

      expect(partly).toMatchObject({
        status: 200,
        cacheControl: 'no-store',
        body: { data: { said: null } },
      })
      expect(partly.body.data.open).not.toBe(first.body.data.open)
      expect(reasonOf(partly)).toBe('TOKEN_REVOKED')
      expect(reasonOf(wholly)).toBe('TOKEN_REVOKED')
    },
  )

  it('is not given to a token of the same person that lacks the role', async () => {
    const ask = await start([perPerson, createStatusPlugin()])
    await ask('{ said }', (await signIn()).token)
    const { text } = await portcullis.issue({ subject: 'olga', roles: ['USER'] })

    expect(reasonOf(await ask('{ said }', text))).toBe('ROLE_REQUIRED')
  })

  it('is given out while its token is good', async () => {
    const ask = await start([perToken, createStatusPlugin()])
    const { token } = await signIn()

    const first = await ask('{ said }', token)

    expect(await ask('{ said }', token)).toEqual(first)
  })

  it('goes by the caller that was checked, where the recipe of docs/library.md is followed', async () => {
    const perCaller = createResponseCache({
      sessionId: async ({ contextValue }) => {
        const { auth } = contextValue as AuthContext
        return auth.authenticate().then(
          ({ tokenId }) => tokenId,
          () => null,
        )
      },
    })
    const ask = await start([perCaller])
    const { token, revoke } = await signIn()
    const first = await ask('{ said }', token)
    expect((await ask('{ said }', token)).body).toEqual(first.body)

    await revoke()

    expect(reasonOf(await ask('{ said }', token))).toBe('TOKEN_REVOKED')
  })
})
