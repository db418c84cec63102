/** Apollo Server on Express, express-jwt in front of it with `isRevoked` asking Redis. */
import { createServer } from 'node:http'
import { ApolloServer } from '@apollo/server'
import { expressMiddleware } from '@as-integrations/express5'
import express from 'express'
import { expressjwt } from 'express-jwt'
import type { Request as JwtRequest } from 'express-jwt'
import { createPlainSchema } from './apollo-fastify.ts'
import type { CallerContext } from './auth-directive.ts'
import { secretKey, verifyOptions, verifyToken } from './jwt.ts'
import { connectDenylist } from './redis.ts'
import type { Denylist } from './redis.ts'
import { listenOn, present } from './serve.ts'

interface VerifiedToken {
  readonly payload: { readonly jti: string }
}

await present(async () => {
  const denylist = await connectDenylist()
  const apollo = new ApolloServer<CallerContext>({
    schema: createPlainSchema(),
    introspection: false,
    stopOnTerminationSignals: false,
  })
  await apollo.start()

  return {
    listen: async () => listenOn(createServer(createApp(apollo, denylist))),
    revoke: async (text) => denylist.add(verifyToken(text).jti),
  }
})

/**
 * As both packages document it. `credentialsRequired: false` lets public fields through without a token; the ETag,
 * which Express would compute over every answer, is off.
 *
 * @see {@link https://github.com/auth0/express-jwt#revoked-tokens}
 * @see {@link https://www.apollographql.com/docs/apollo-server/api/express-middleware}
 * @see {@link https://expressjs.com/en/advanced/best-practice-performance.html} NODE_ENV=production
 */
function createApp(apollo: ApolloServer<CallerContext>, denylist: Denylist): express.Express {
  const app = express()
  app.disable('x-powered-by')
  app.disable('etag')
  app.use(
    '/graphql',
    expressjwt({
      secret: secretKey,
      ...verifyOptions,
      credentialsRequired: false,
      isRevoked: async (_request, token) => denylist.has((token as VerifiedToken).payload.jti),
    }),
    express.json(),
    expressMiddleware(apollo, {
      context: async ({ req }) => {
        const id = (req as JwtRequest).auth?.sub
        return { caller: id === undefined ? null : { id } }
      },
    }),
  )
  app.use(refuse)
  return app
}

/** express-jwt hands its refusal on as an error; Express knows such a function by its four parameters. */
function refuse(
  error: { readonly status?: number; readonly message: string },
  _request: express.Request,
  response: express.Response,
  _next: express.NextFunction,
): void {
  response.status(error.status ?? 500).json({ errors: [{ message: error.message }] })
}
