import type { IncomingMessage } from 'node:http'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { ApolloServer } from '@apollo/server'
import type { ApolloServerPlugin } from '@apollo/server'
import {
  ApolloServerPluginCacheControlDisabled,
  ApolloServerPluginLandingPageDisabled,
} from '@apollo/server/plugin/disabled'
import { fastifyApolloHandler } from '@as-integrations/fastify'
import cors from '@fastify/cors'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { NoSchemaIntrospectionCustomRule } from 'graphql'
import type { GraphQLSchema } from 'graphql'
import helmet from 'helmet'
import type { Logger } from 'pino'
import type { ServiceContext } from '../graphql/context.ts'
import { createRootFieldLimit } from '../graphql/root-field-limit.ts'
import type { LiveConnection } from '../live/live-connection.ts'
import type { Portcullis } from '../portcullis.ts'
import type { RevocationReplica } from '../revocation/replica.ts'
import { publicJwks } from '../token/keys.ts'
import type { KeyRing } from '../token/keys.ts'
import { createCompiledQueries } from './compiled-queries.ts'
import { createDocumentLimits } from './document-limits.ts'
import { createEventStreams, wantsEventStream } from './event-streams.ts'
import { registerExplorer } from './explorer.ts'
import { registerHealth } from './health.ts'
import { registerMetrics } from './metrics.ts'
import type { Metrics } from './metrics.ts'
import { registerWebSockets } from './web-sockets.ts'
import { createErrorGate, createStatusPlugin } from './wire-errors.ts'

export interface ServerOptions {
  readonly schema: GraphQLSchema
  /** The same without the guards, for queries that were found to meet all of them. */
  readonly unguarded: GraphQLSchema
  /** How often a document is executed before it is compiled; 2 if not given. */
  readonly compileAfter?: number
  readonly portcullis: Portcullis
  readonly keys: KeyRing
  /** `null` where every check reads the database. */
  readonly replica: RevocationReplica | null
  readonly metrics: Metrics
  readonly log: Logger
  readonly isProduction: boolean
  readonly revokedTokenStatus: 401 | 403
  readonly corsOrigins: readonly string[]
  /** How many clients may stay connected. */
  readonly maxLiveConnections: number
  /** How often those over WebSockets are asked whether they are there; 11 seconds if not given. */
  readonly pingIntervalMs?: number
  /** Whether one proxy stands in front, whose word on the caller's address is taken. */
  readonly trustProxy: boolean
  /** How long a client may take to send its request; 30 seconds if not given. */
  readonly requestTimeoutMs?: number
}

/**
 * What a document may hold, in tokens of the GraphQL language; the introspection query has some 250. So no document can
 * nest so deep that the parser's stack overflows, nor name so many fields that others wait long.
 */
const MAX_DOCUMENT_TOKENS = 2000

const GRAPHQL_PATH = '/graphql'

const MAX_BODY_BYTES = 1024 * 1024

/** How many operations one request may hold, and fields one operation at its root: they all run at the same time. */
const MAX_BATCH = 10
const MAX_ROOT_FIELDS = 50

/**
 * What one operation may ask for, when the fields of a fragment are counted as often as it is spread: 2,000 tokens can
 * be written out to hundreds of thousands of fields, and each of them to as many as a list has items. The introspection
 * of tools has 230 fields, 15 deep.
 */
const MAX_DOCUMENT_SIZE = { fields: 500, aliases: 100, directives: 50, spreads: 50, depth: 20 }

/**
 * Without asking first, a browser lets no foreign page send these: so a request that has one of them was meant. The last
 * is for clients such as urql, which send their queries by GET.
 */
const NOT_OF_A_FOREIGN_PAGE = [
  'apollo-require-preflight',
  'x-apollo-operation-name',
  'authorization',
]

/**
 * How long a client may take to send its request, and how long the head of it, in milliseconds: whoever sends a byte now
 * and then would hold connections for as long as he likes.
 */
const REQUEST_TIMEOUT_MS = 30_000
const HEAD_TIMEOUT_MS = 10_000

/** How often that is looked at. */
const TIMEOUT_CHECK_MS = 1000

/** What stands left of its entry in `X-Forwarded-For` may be the client's own invention. */
const isNearestProxy = (_address: string, hop: number): boolean => hop === 0

/** Where developers' own pages come from. */
const LOCAL_ORIGIN = /^http:\/\/(localhost|127\.0\.0\.1)(:\d+)?$/

/** The HTTP side of the service, ready to listen. Closing it lets the requests under way end. */
export async function createServer(options: ServerOptions): Promise<FastifyInstance> {
  const { isProduction, corsOrigins, trustProxy, keys, portcullis, replica } = options
  const { requestTimeoutMs = REQUEST_TIMEOUT_MS } = options
  const app = Fastify({
    trustProxy: trustProxy && isNearestProxy,
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: requestTimeoutMs,
    http: {
      headersTimeout: Math.min(HEAD_TIMEOUT_MS, requestTimeoutMs),
      connectionsCheckingInterval: TIMEOUT_CHECK_MS,
    },
    forceCloseConnections: 'idle',
    frameworkErrors: (error, _request, reply) => {
      void answerFault(error, reply, options.log)
    },
  })

  secureAnswers(app)
  await app.register(cors, {
    origin: isProduction ? [...corsOrigins] : [...corsOrigins, LOCAL_ORIGIN],
    credentials: true,
    methods: ['GET', 'POST'],
    exposedHeaders: ['WWW-Authenticate', 'Retry-After'],
    maxAge: 600,
  })
  if (!isProduction) allowPrivateNetwork(app)
  answerErrorsAsGraphQL(app, options.log)

  endConnectionsWhenClosing(app)
  await registerGraphQL(app, options)
  registerHealth(app, { revocations: portcullis.revocations, replica })
  registerMetrics(app, options.metrics)
  app.get('/.well-known/jwks.json', async (_request, reply) => {
    void reply.header('cache-control', 'public, max-age=300')
    return publicJwks(keys)
  })
  registerExplorer(app, { enabled: !isProduction })
  return app
}

/** The policy is put together once, not at each request. */
function secureAnswers(app: FastifyInstance): void {
  const addHeaders = helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
    },
  })
  app.addHook('onRequest', (request, reply, next) => {
    addHeaders(request.raw, reply.raw, (error) => next(error as Error | undefined))
  })
}

async function registerGraphQL(app: FastifyInstance, options: ServerOptions): Promise<void> {
  const { schema, unguarded, compileAfter, portcullis, log } = options
  const { isProduction, revokedTokenStatus, maxLiveConnections } = options
  const documentLimits = createDocumentLimits(MAX_DOCUMENT_SIZE)
  const validationRules = [createRootFieldLimit(MAX_ROOT_FIELDS), documentLimits.rule]
  const formatError = createErrorGate(log, { hidesSchema: isProduction })
  const apollo = new ApolloServer<ServiceContext>({
    schema,
    introspection: !isProduction,
    hideSchemaDetailsFromClientErrors: isProduction,
    includeStacktraceInErrorResponses: false,
    csrfPrevention: { requestHeaders: NOT_OF_A_FOREIGN_PAGE },
    allowBatchedHttpRequests: true,
    stopOnTerminationSignals: false,
    parseOptions: { maxLexicalTokens: MAX_DOCUMENT_TOKENS },
    validationRules,
    formatError,
    plugins: [
      separateBatchedOperations,
      documentLimits.plugin,
      createStatusPlugin({ revokedTokenStatus }),
      createCompiledQueries({
        schema,
        unguarded,
        ...(compileAfter !== undefined && { compileAfter }),
      }),
      ApolloServerPluginLandingPageDisabled(),
      // It would wrap every field, for hints that nobody gives here.
      ApolloServerPluginCacheControlDisabled(),
    ],
    logger: log,
  })
  await apollo.start()
  app.addHook('onClose', () => apollo.stop())

  const live = {
    schema,
    context: ({ ipAddress, userAgent }: LiveConnection) => ({ ipAddress, userAgent }),
    validationRules: isProduction
      ? [...validationRules, NoSchemaIntrospectionCustomRule]
      : validationRules,
    maxTokens: MAX_DOCUMENT_TOKENS,
    formatError,
  }
  const { connections } = portcullis.live
  const readIpAddress = options.trustProxy ? readForwardedAddress : readRemoteAddress
  registerWebSockets(app, {
    path: GRAPHQL_PATH,
    graphql: portcullis.live.webSocketOptions({ ...live, readIpAddress }),
    connections,
    maxConnections: maxLiveConnections,
    pingIntervalMs: options.pingIntervalMs,
    log,
  })
  const streams = portcullis.live.eventStreamOptions({
    ...live,
    readIpAddress: ({ raw }) => readIpAddress(raw),
  })
  const answerWithEvents = createEventStreams(app, streams, log)
  const answerWithJson = fastifyApolloHandler(apollo, {
    context: async (request) => {
      // What came in one turn of the event loop goes on together: each step runs for all of it in a row, while its
      // code and data are at hand. Measured, a third more requests a second.
      await nextTurn()
      return readContext(request, portcullis)
    },
  })

  app.route({
    url: GRAPHQL_PATH,
    method: ['GET', 'POST'],
    exposeHeadRoute: false,
    onRequest: async (request) => refuseMalformedHost(request),
    preHandler: async ({ body }) => refuseLongBatch(body),
    // Answers carry tokens and personal data (RFC 6749 §5.1).
    onSend: async (_request, reply) => {
      void reply.header('cache-control', 'no-store')
    },
    handler: async (request, reply) => {
      if (!wantsEventStream(request)) return answerWithJson.call(app, request, reply)
      refuseForeignPage(request)
      if (connections.size >= maxLiveConnections) throw new BusyError()
      return answerWithEvents(request, reply)
    },
  })
}

/** What Apollo Server does for the other answers. */
function refuseForeignPage({ method, headers }: FastifyRequest): void {
  const [type = ''] = (headers['content-type'] ?? '').split(';')
  const isMeant =
    method === 'POST'
      ? type.trim().toLowerCase() === 'application/json'
      : NOT_OF_A_FOREIGN_PAGE.some((name) => headers[name] !== undefined)
  if (!isMeant) {
    throw new RequestError(
      `Send JSON by POST, or one of these headers: ${NOT_OF_A_FOREIGN_PAGE.join(', ')}`,
    )
  }
}

type Addressed = Pick<IncomingMessage, 'headers'> & {
  readonly socket: { readonly remoteAddress?: string | undefined }
}

function readRemoteAddress({ socket }: Addressed): string | null {
  return socket.remoteAddress ?? null
}

/** As `isNearestProxy` has it for the other requests. */
function readForwardedAddress(request: Addressed): string | null {
  const forwarded = [request.headers['x-forwarded-for'] ?? []].flat().join(',')
  const nearest = forwarded.split(',').at(-1)?.trim()
  if (nearest === undefined || nearest === '') return readRemoteAddress(request)
  return nearest
}

/** RFC 9112 §3.2; Apollo's integration makes a URL of it. Of two hosts a proxy may have taken the other one. */
function refuseMalformedHost({ hostname, raw }: FastifyRequest): void {
  if (!URL.canParse(`http://${hostname}/`))
    throw new RequestError('The Host header is missing or malformed')
  if (listHeader(raw, 'host').length > 1)
    throw new RequestError('The Host header stands there more than once')
}

function refuseLongBatch(body: unknown): void {
  if (Array.isArray(body) && body.length > MAX_BATCH) {
    throw new RequestError(`Send at most ${MAX_BATCH} operations at a time`)
  }
}

/** The operations of a batch run at the same time on one context: each has to find out for itself who calls. */
const separateBatchedOperations: ApolloServerPlugin<ServiceContext> = {
  async requestDidStart({ contextValue, requestIsBatched }) {
    if (requestIsBatched) Object.assign(contextValue, { auth: contextValue.auth.fork() })
  },
}

function readContext(request: FastifyRequest, portcullis: Portcullis): ServiceContext {
  const ipAddress = request.ip
  const authorization = readAuthorization(request.raw)
  return {
    ...portcullis.context({ authorization, ipAddress }),
    ipAddress,
    userAgent: request.headers['user-agent']?.slice(0, 500) ?? null,
  }
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

function readAuthorization(request: IncomingMessage): string[] | undefined {
  if (request.headers.authorization === undefined) return undefined
  return listHeader(request, 'authorization')
}

/** All of them: `headers` would silently keep the first of two, and `headersDistinct` costs more than all else here. */
function listHeader({ rawHeaders }: IncomingMessage, wanted: string): string[] {
  const all: string[] = []
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] as string
    if (name.length === wanted.length && name.toLowerCase() === wanted) {
      all.push(rawHeaders[at + 1] as string)
    }
  }
  return all
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

/** There is no room for one more stream. */
class BusyError extends Error {
  readonly statusCode = 503
  constructor() {
    super('Too many clients are connected; try again')
  }
}

/** The request is at fault before GraphQL reads it. */
class RequestError extends Error {
  readonly statusCode = 400
}

type RequestFault = Error & { readonly statusCode?: number }

/** What goes wrong before GraphQL is answered in its form too, so that clients read one kind of error. */
function answerErrorsAsGraphQL(app: FastifyInstance, log: Logger): void {
  app.setErrorHandler<RequestFault>((error, _request, reply) => answerFault(error, reply, log))

  app.setNotFoundHandler((request, reply) => {
    const [path = ''] = request.url.split('?')
    const allowed = ['GET', 'POST'].filter((method) => app.hasRoute({ method, url: path }))
    const message = `There is no ${request.method} ${path}; GraphQL is at POST /graphql`

    if (allowed.length === 0) return answer(reply, 404, 'NOT_FOUND', message)
    return answer(reply.header('allow', allowed.join(', ')), 405, 'METHOD_NOT_ALLOWED', message)
  })
}

function answerFault(error: RequestFault, reply: FastifyReply, log: Logger): FastifyReply {
  const { statusCode: status = 500, message, stack } = error
  if (error instanceof BusyError) {
    return answer(reply.header('retry-after', '1'), 503, 'SERVICE_UNAVAILABLE', message)
  }
  if (status < 500) return answer(reply, status, 'BAD_REQUEST', message)

  log.error({ err: { message, stack } }, 'internal error')
  return answer(reply, status, 'INTERNAL_SERVER_ERROR', 'Internal server error')
}

function answer(reply: FastifyReply, status: number, code: string, message: string): FastifyReply {
  return reply.code(status).send({ errors: [{ message, extensions: { code } }] })
}
