/**
 * Our own server, as `npm run build` made it, with the schema of the benchmark.
 *
 * VARIANT: `checked` (REVOCATION_CHECK says how); `signature-only` (tokens are verified, revocation is not asked for); or
 * `no-auth` (no directive, no caller).
 */
import { makeExecutableSchema } from '@graphql-tools/schema'
import type { FastifyInstance } from 'fastify'
import type { GraphQLSchema } from 'graphql'
import { pino } from 'pino'
import type { DataSource } from 'typeorm'
import { Authentication } from '../../dist/src/caller/authentication.js'
import { createPortcullis } from '../../dist/src/portcullis.js'
import type { Portcullis } from '../../dist/src/portcullis.js'
import { JournalFollower } from '../../dist/src/revocation/journal/journal-follower.js'
import { PostgresRevocationStore } from '../../dist/src/revocation/postgres/postgres-store.js'
import { RevocationReplica } from '../../dist/src/revocation/replica/replica.js'
import { createDataSource } from '../../dist/src/service/database/data-source.js'
import { createMetrics } from '../../dist/src/service/http/metrics.js'
import { createServer } from '../../dist/src/service/http/server.js'
import { createSessionKeeper } from '../../dist/src/service/session/session-keeper.js'
import { findUser, items, typeDefsOf, users } from '../data.ts'
import { AUDIENCE, ISSUER, TOKEN_LIFETIME_SECONDS, keys } from '../tokens.ts'
import { present, requireSetting } from './serve.ts'

type Variant = 'checked' | 'signature-only' | 'no-auth'

const variant = requireSetting('VARIANT') as Variant

await present(async () => {
  const dataSource = createDataSource({ url: requireSetting('DATABASE_URL') })
  await dataSource.initialize()
  const replica =
    process.env.REVOCATION_CHECK === 'replica' ? new RevocationReplica(dataSource) : null
  const portcullis = await createNode(dataSource, replica)
  const app = await createServer({
    schema: createSchema(portcullis),
    portcullis: chooseCheck(portcullis),
    keys,
    replica,
    metrics: createMetrics(replica, () => 0),
    log: pino({ level: 'silent' }),
    isProduction: true,
    revokedTokenStatus: 401,
    corsOrigins: [],
    maxLiveConnections: 20_000,
    trustProxy: false,
  })

  return {
    listen: async () => listen(app),
    revoke: async (text) => {
      const target = { scope: 'TOKEN', token: portcullis.tokens.verify(text) } as const
      await portcullis.revocations.revoke({ target, reason: 'benchmark', by: null })
    },
    sweep: async () => sweep(portcullis, dataSource),
  }
})

/** One node of the library. As in the service, the replica loads while the server listens already. */
async function createNode(
  dataSource: DataSource,
  replica: RevocationReplica | null,
): Promise<Portcullis> {
  const store = new PostgresRevocationStore(dataSource, {
    maxTokenLifetimeSeconds: TOKEN_LIFETIME_SECONDS,
    sessions: createSessionKeeper(),
    ...(replica ? { replica } : { journal: new JournalFollower(dataSource) }),
  })
  await store.ping()
  void replica?.start()
  return createPortcullis({ keys, issuer: ISSUER, audience: AUDIENCE, store })
}

/** Everything as in the real server, but that every token passes for one that is not revoked, at once. */
function chooseCheck(portcullis: Portcullis): Portcullis {
  if (variant !== 'signature-only') return portcullis
  const { tokens, check } = portcullis
  return {
    ...portcullis,
    context: ({ authorization }) => ({
      auth: new Authentication({ authorization, tokens, check, rulesOut: () => true }),
    }),
  }
}

function createSchema(portcullis: Portcullis): GraphQLSchema {
  const isOpen = variant === 'no-auth'
  const typeDefs = [
    ...portcullis.typeDefs,
    typeDefsOf(isOpen ? '' : '@auth', isOpen ? '' : '@public'),
  ]
  const own = {
    Query: {
      me: isOpen ? () => users[0] : findMe,
      items: () => items,
      plainItems: () => items,
    },
  }
  const schema = makeExecutableSchema({ typeDefs, resolvers: [portcullis.resolvers, own] })
  return portcullis.protect(schema)
}

/** The guard has found out who calls. */
function findMe(_parent: unknown, _args: object, { auth }: { auth: Authentication }): unknown {
  return auth.caller && findUser(auth.caller.subject)
}

async function listen(app: FastifyInstance): Promise<number> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as { port: number }).port
}

/** The sweeper of the library, until nothing is left. */
async function sweep(portcullis: Portcullis, dataSource: DataSource): Promise<number> {
  const startedAt = performance.now()
  const sweeper = portcullis.startSweeper({ intervalMs: 1 })
  try {
    for (;;) {
      await new Promise((resolve) => {
        setTimeout(resolve, 100)
      })
      const [row] = await dataSource.query<[{ left: boolean }]>(
        'select exists(select from revocation where expires_at <= (select clock_timestamp())) as left',
      )
      if (!row.left) return performance.now() - startedAt
    }
  } finally {
    await sweeper.stop()
  }
}
