/** Mercurius, mercurius-auth, and @fastify/jwt with `trusted` asking Redis. JIT=1: with `jit: 1`. */
import jwt from '@fastify/jwt'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import mercurius from 'mercurius'
import type { MercuriusContext } from 'mercurius'
import mercuriusAuth from 'mercurius-auth'
import { findUser, items, roleTypeDefs, typeDefsOf } from '../data.ts'
import { AUDIENCE, ISSUER, SECRET } from '../tokens.ts'
import { verifyToken } from './jwt.ts'
import { connectDenylist } from './redis.ts'
import type { Denylist } from './redis.ts'
import { present } from './serve.ts'

// At run time the module is the plug-in; its types are written for another kind of module.
const authPlugin = mercuriusAuth as unknown as typeof mercuriusAuth.default

interface AuthenticatedContext extends MercuriusContext {
  readonly auth?: { readonly subject: string | null }
}

await present(async () => {
  const denylist = await connectDenylist()
  const app = await createApp(denylist)

  return {
    listen: async () => {
      await app.listen({ port: 0, host: '127.0.0.1' })
      return (app.server.address() as { port: number }).port
    },
    revoke: async (text) => denylist.add(verifyToken(text).jti),
  }
})

/**
 * The verifier remembers tokens that it has verified, and finds them by their text: both are what its documentation
 * names for speed. Revocation is asked for at every request nevertheless.
 *
 * @see {@link https://github.com/fastify/fastify-jwt#trusted} and `cache` under its `verify` options
 * @see {@link https://github.com/nearform/fast-jwt#caching} `cacheKeyBuilder`
 * @see {@link https://mercurius.dev/#/docs/api/options} `jit`, `cache`
 * @see {@link https://github.com/mercurius-js/auth/blob/main/docs/auth-context.md} and `errors.md` beside it
 */
async function createApp(denylist: Denylist): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(jwt, {
    secret: SECRET,
    verify: {
      algorithms: ['HS256'],
      allowedIss: ISSUER,
      allowedAud: AUDIENCE,
      cache: 10_000,
      cacheKeyBuilder: (token: string) => token,
    },
    trusted: async (_request, token) => !(await denylist.has((token as { jti: string }).jti)),
  })
  await app.register(mercurius, {
    schema: ['directive @auth on OBJECT | FIELD_DEFINITION', roleTypeDefs, typeDefsOf('@auth')],
    resolvers: {
      Query: {
        me: (_parent, _args, context) => {
          const subject = (context as AuthenticatedContext).auth?.subject
          return subject ? findUser(subject) : null
        },
        items: () => items,
        plainItems: () => items,
      },
    },
    graphiql: false,
    ...(process.env.JIT === '1' && { jit: 1 }),
  })
  await app.register(authPlugin, {
    authDirective: 'auth',
    authContext: async ({ reply }) => ({ subject: await findSubject(reply.request) }),
    // Its type asks for a promise, its code awaits whatever comes: without one there is less to wait for.
    applyPolicy: ((
      _policy: unknown,
      _parent: unknown,
      _args: unknown,
      context: AuthenticatedContext,
    ) => context.auth?.subject !== null || createRefusal()) as never,
  })
  await app.ready()
  return app
}

async function findSubject(request: MercuriusContext['reply']['request']): Promise<string | null> {
  try {
    return (await request.jwtVerify<{ sub: string }>()).sub
  } catch {
    return null
  }
}

function createRefusal(): Error {
  return new mercurius.ErrorWithProps('not signed in', { code: 'UNAUTHENTICATED' }, 401)
}
