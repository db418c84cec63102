import type { IncomingMessage } from 'node:http'
import cors from '@fastify/cors'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import type { RevocationReplica } from '../../revocation/replica/replica.ts'
import { publicJwks } from '../../token/keys.ts'
import type { KeyRing } from '../../token/keys.ts'
import { registerExplorer } from './explorer.ts'
import { registerFastLane } from './fast-lane-route.ts'
import { GRAPHQL_PATH, registerGraphQL } from './graphql-route.ts'
import type { GraphQLRouteOptions } from './graphql-route.ts'
import { registerHealth } from './health.ts'
import { answerErrorsAsGraphQL, answerFault } from './http-errors.ts'
import { readJsonStrictly } from './json-body.ts'
import { shedLoad } from './load-shedding.ts'
import { registerMetrics } from './metrics.ts'
import type { Metrics } from './metrics.ts'
import { answerUnreadable } from './raw-answers.ts'
import { judgeHeads } from './request-head.ts'
import { secure } from './security-headers.ts'
import { opensWebSocket } from './upgrades.ts'

export interface ServerOptions extends GraphQLRouteOptions {
  readonly keys: KeyRing
  /** `null` where every check reads the database. */
  readonly replica: RevocationReplica | null
  readonly metrics: Metrics
  readonly corsOrigins: readonly string[]
  /** How long a client may take to send its request; 30 seconds if not given. */
  readonly requestTimeoutMs?: number
  /** How many requests may be under way while the event loop has no rest; 500 if not given. */
  readonly maxUnderWay?: number
  /** Whether queries that come again and again are answered in front of Fastify; they are, if not given. */
  readonly fastLane?: boolean
  /** How many requests wait for a password to be hashed: that line has a bound of its own. None, if not given. */
  readonly countHashing?: () => number
  /** Whether this node is about to stop. */
  readonly isStopping?: () => boolean
}

const MAX_BODY_BYTES = 1024 * 1024

/**
 * How long a client may take to send its request, and how long the head of it, in milliseconds: a client that sends a byte now
 * and then would hold connections for as long as he likes.
 */
const REQUEST_TIMEOUT_MS = 30_000
const HEAD_TIMEOUT_MS = 10_000

/** How often that is looked at. */
const TIMEOUT_CHECK_MS = 1000

/**
 * Whether Node reads the body of a request with an upgrade itself, as from version 25 on. Then it also declines upgrades as
 * it should; version 24 loses what comes behind a declined one, and `upgrades.ts` sees to it, as in those before.
 */
const PARSES_BODIES_OF_UPGRADES = Number(process.versions.node.split('.')[0]) >= 25

/** As `readForwardedAddress` has it. */
const isNearestProxy = (_address: string, hop: number): boolean => hop === 0

/** Where developers' own pages come from. */
const LOCAL_ORIGIN = /^http:\/\/(localhost|127\.0\.0\.1)(:\d+)?$/

/** The HTTP side of the service, ready to listen. Closing it lets the requests under way end. */
export async function createServer(options: ServerOptions): Promise<FastifyInstance> {
  const { isProduction, corsOrigins, trustProxy, keys, portcullis, replica, metrics } = options
  const { requestTimeoutMs = REQUEST_TIMEOUT_MS } = options
  const app = Fastify({
    trustProxy: trustProxy && isNearestProxy,
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: requestTimeoutMs,
    http: describeHttp(requestTimeoutMs),
    clientErrorHandler: answerUnreadable,
    forceCloseConnections: 'idle',
    frameworkErrors: (error, _request, reply) => {
      void answerFault(error, reply, options.log)
    },
  })

  secureAnswers(app)
  judgeHeads(app)
  readJsonStrictly(app)
  await app.register(cors, {
    origin: isProduction ? [...corsOrigins] : [...corsOrigins, LOCAL_ORIGIN],
    credentials: true,
    methods: ['GET', 'POST'],
    exposedHeaders: ['WWW-Authenticate', 'Retry-After'],
    maxAge: 600,
  })
  const gate = shedLoad(app, {
    ...options,
    path: GRAPHQL_PATH,
    countAside: options.countHashing,
    onShed: metrics.observeShed,
  })
  if (!isProduction) allowPrivateNetwork(app)
  answerErrorsAsGraphQL(app, options.log)

  endConnectionsWhenClosing(app)
  const route = await registerGraphQL(app, options)
  if (options.fastLane !== false) registerFastLane(app, options, { ...route, gate })
  registerHealth(app, {
    revocations: portcullis.revocations,
    replica,
    isStopping: options.isStopping,
  })
  registerMetrics(app, metrics)
  app.get('/.well-known/jwks.json', async (_request, reply) => {
    void reply.header('cache-control', 'public, max-age=300')
    return publicJwks(keys)
  })
  registerExplorer(app, { enabled: !isProduction })
  return app
}

function describeHttp(requestTimeoutMs: number): object {
  return {
    headersTimeout: Math.min(HEAD_TIMEOUT_MS, requestTimeoutMs),
    connectionsCheckingInterval: TIMEOUT_CHECK_MS,
    // `request-head.ts` asks for it, and says so in GraphQL's form.
    requireHostHeader: false,
    ...(PARSES_BODIES_OF_UPGRADES && {
      shouldUpgradeCallback: (request: IncomingMessage) => opensWebSocket(request, GRAPHQL_PATH),
    }),
  }
}

function secureAnswers(app: FastifyInstance): void {
  app.addHook('onRequest', (_request, reply, next) => {
    secure(reply.raw)
    next()
  })
}

/** A connection that is kept alive for a next request would hold up the end. */
function endConnectionsWhenClosing(app: FastifyInstance): void {
  let isClosing = false
  app.addHook('preClose', async () => {
    isClosing = true
  })
  app.addHook('onSend', async (_request, reply) => {
    if (isClosing) void reply.header('connection', 'close')
  })
}

/** Browsers ask before a public page (Apollo Sandbox) may talk to this machine. */
function allowPrivateNetwork(app: FastifyInstance): void {
  app.addHook('onSend', async (request, reply) => {
    const isAsked = request.headers['access-control-request-private-network'] === 'true'
    if (isAsked && reply.hasHeader('access-control-allow-origin')) {
      void reply.header('access-control-allow-private-network', 'true')
    }
  })
}
