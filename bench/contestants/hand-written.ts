/**
 * What an expert writes by hand for one node: one Fastify route, graphql-jit, fast-jwt with its cache, and a `Set`.
 *
 * It keeps none of our promises: no other node hears of a revocation, a restart forgets it, and there are no limits, no
 * security headers, no validation of documents beyond graphql-js's, no status by the reason of a refusal.
 *
 * @see {@link https://github.com/nearform/fast-jwt#caching} `cacheKeyBuilder`
 * @see {@link https://github.com/zalando-incubator/graphql-jit#compiledquery--compilequeryschema-document-operationname-compileroptions}
 */
import { makeExecutableSchema } from '@graphql-tools/schema'
import { createVerifier } from 'fast-jwt'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { parse, validate } from 'graphql'
import { compileQuery, isCompiledQuery } from 'graphql-jit'
import type { CompiledQuery } from 'graphql-jit'
import { findUser, items, roleTypeDefs, typeDefsOf } from '../data.ts'
import type { User } from '../data.ts'
import { AUDIENCE, ISSUER, SECRET } from '../tokens.ts'
import { readBearer } from './jwt.ts'
import type { Claims } from './jwt.ts'
import { present } from './serve.ts'

interface Context {
  readonly user: User
}

const schema = makeExecutableSchema({
  typeDefs: [roleTypeDefs, typeDefsOf('')],
  resolvers: {
    Query: {
      me: (_parent: unknown, _args: unknown, { user }: Context) => user,
      items: () => items,
      plainItems: () => items,
    },
  },
})

const verify = createVerifier({
  key: SECRET,
  algorithms: ['HS256'],
  allowedIss: ISSUER,
  allowedAud: AUDIENCE,
  cache: 10_000,
  cacheKeyBuilder: (token: string) => token,
}) as (token: string) => Claims

const revoked = new Set<string>()
const compiled = new Map<string, CompiledQuery>()

await present(async () => {
  const app = createApp()
  return {
    listen: async () => {
      await app.listen({ port: 0, host: '127.0.0.1' })
      return (app.server.address() as { port: number }).port
    },
    revoke: async (text) => {
      revoked.add(verify(text).jti)
    },
  }
})

function createApp(): FastifyInstance {
  const app = Fastify()
  app.post('/graphql', (request, reply) => {
    const user = findCaller(request.headers.authorization)
    void reply.header('content-type', 'application/json; charset=utf-8')
    if (user === null) return reply.code(401).send('{"errors":[{"message":"not signed in"}]}')

    const { query, variables } = request.body as { query: string; variables?: object }
    const { query: run, stringify } = findCompiled(query)
    return reply.send(stringify(run(undefined, { user }, variables ?? {})))
  })
  return app
}

function findCaller(header: string | undefined): User | null {
  const text = readBearer(header)
  if (text === null) return null
  try {
    const { sub, jti } = verify(text)
    return revoked.has(jti) ? null : findUser(sub)
  } catch {
    return null
  }
}

function findCompiled(text: string): CompiledQuery {
  const known = compiled.get(text)
  if (known !== undefined) return known

  const document = parse(text)
  const [fault] = validate(schema, document)
  if (fault) throw fault
  const query = compileQuery(schema, document, undefined, { customJSONSerializer: true })
  if (!isCompiledQuery(query)) throw new Error('the query cannot be compiled')
  compiled.set(text, query)
  return query
}
