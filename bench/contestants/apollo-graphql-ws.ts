/** Apollo Server on Express and graphql-ws's own `useServer`: the token is looked at when the socket is opened. */
import { createServer } from 'node:http'
import { ApolloServer } from '@apollo/server'
import { ApolloServerPluginDrainHttpServer } from '@apollo/server/plugin/drainHttpServer'
import { expressMiddleware } from '@as-integrations/express5'
import { makeExecutableSchema } from '@graphql-tools/schema'
import express from 'express'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocketServer } from 'ws'
import { createDeferred } from '../deferred.ts'
import { readBearer, verifyToken } from './jwt.ts'
import { connectDenylist } from './redis.ts'
import type { Denylist } from './redis.ts'
import { listenOn, present } from './serve.ts'

const typeDefs = `
  type Query { ping: String }
  type Subscription { sessionEnded: SessionEnded! }
  type SessionEnded { scope: String! reason: String! revokedAt: String! }`

/** Costs nothing but itself, and has no news. */
const silence: AsyncIterableIterator<object> = {
  next: async () => createDeferred<IteratorResult<object>>().promise,
  return: async () => ({ done: true, value: undefined }),
  [Symbol.asyncIterator]: () => silence,
}

/**
 * As both document it. The interval of the pings is their default, 12 s, which is ours too.
 *
 * @see {@link https://www.apollographql.com/docs/apollo-server/data/subscriptions}
 * @see {@link https://the-guild.dev/graphql/ws/recipes}
 */
await present(async () => {
  const denylist = await connectDenylist()
  const schema = makeExecutableSchema({
    typeDefs,
    resolvers: { Subscription: { sessionEnded: { subscribe: () => silence } } },
  })
  const app = express()
  const server = createServer(app)
  useServer(
    {
      schema,
      onConnect: async ({ connectionParams }) => isAdmitted(denylist, connectionParams),
    },
    new WebSocketServer({ server, path: '/graphql' }),
  )

  const apollo = new ApolloServer({
    schema,
    introspection: false,
    stopOnTerminationSignals: false,
    plugins: [ApolloServerPluginDrainHttpServer({ httpServer: server })],
  })
  await apollo.start()
  app.use('/graphql', express.json(), expressMiddleware(apollo))

  return {
    listen: async () => listenOn(server),
    revoke: async (text) => denylist.add(verifyToken(text).jti),
  }
})

/** `false` closes the socket with 4403. */
async function isAdmitted(
  denylist: Denylist,
  params: Record<string, unknown> | undefined,
): Promise<boolean> {
  const text = readBearer(params?.authorization as string | undefined)
  if (text === null) return false
  try {
    return !(await denylist.has(verifyToken(text).jti))
  } catch {
    return false
  }
}
