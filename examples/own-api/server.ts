import { ApolloServer } from '@apollo/server'
import { startStandaloneServer } from '@apollo/server/standalone'
import { makeExecutableSchema } from '@graphql-tools/schema'
import type { IResolvers } from '@graphql-tools/utils'
// In a project of yours: from 'portcullis'
import {
  InvalidCredentialsError,
  createKeyRing,
  createPortcullis,
  createStatusPlugin,
} from '../../src/index.ts'
import type { AuthContext, Portcullis, RevocationStore, SecurityLog } from '../../src/index.ts'
import { startLive } from './live.ts'
import { CATALOGUE } from './orders.ts'
import type { Orders } from './orders.ts'
import { findBySignIn } from './people.ts'
import { typeDefs } from './schema.ts'

export interface OwnApiOptions {
  readonly store: RevocationStore
  readonly orders: Orders
  /** At least 32 bytes; the same on every node. */
  readonly secret: string
  /** 0 picks a free one. */
  readonly port: number
  readonly log?: SecurityLog
}

export interface OwnApi {
  readonly url: string
  /** Where subscriptions are served. */
  readonly liveUrl: string
  stop(): Promise<void>
}

/** The team's server. All that Portcullis needs of it is in this function, and in `signIn` below. */
export async function startOwnApi({
  store,
  orders,
  secret,
  port,
  log,
}: OwnApiOptions): Promise<OwnApi> {
  const portcullis = createPortcullis({
    keys: createKeyRing({ signWith: secret }),
    issuer: 'https://orders.example',
    audience: 'orders',
    store,
    log,
  })
  const schema = portcullis.protect(
    makeExecutableSchema({
      typeDefs: [...portcullis.typeDefs, portcullis.live.typeDefs, typeDefs],
      resolvers: [
        portcullis.resolvers,
        portcullis.live.resolvers,
        createResolvers(portcullis, orders),
      ],
    }),
  )
  const server = new ApolloServer<AuthContext>({
    schema,
    plugins: [createStatusPlugin()],
  })

  const { url } = await startStandaloneServer(server, {
    listen: { port, host: '127.0.0.1' },
    context: async ({ req }) =>
      portcullis.context({
        authorization: req.headers.authorization,
        ipAddress: req.socket.remoteAddress,
      }),
  })
  const live = await startLive(portcullis, schema)
  const sweeper = portcullis.startSweeper()

  return {
    url,
    liveUrl: live.url,
    async stop() {
      await live.stop()
      await server.stop()
      await sweeper.stop()
    },
  }
}

function createResolvers(portcullis: Portcullis, orders: Orders): IResolvers<unknown, AuthContext> {
  return {
    Query: {
      catalogue: () => CATALOGUE,
      allOrders: () => orders.list(),
      async orders(_parent, _args, { auth }) {
        // `@auth` has found out already, so this costs nothing.
        const { subject } = await auth.authenticate()
        return orders.listOf(subject)
      },
    },
    Mutation: {
      async signIn(_parent, { email, password }: { email: string; password: string }) {
        const person = findBySignIn(email, password)
        if (!person) throw new InvalidCredentialsError()

        const token = await portcullis.issue({ subject: person.id, roles: person.roles })
        return { accessToken: token.text, expiresIn: token.expiresIn }
      },
      packOrder: (_parent, { id }: { id: string }) => orders.pack(id),
    },
  }
}
