import { setImmediate as nextTurn } from 'node:timers/promises'
import { ApolloServer } from '@apollo/server'
import type { ApolloServerPlugin } from '@apollo/server'
import {
  ApolloServerPluginCacheControlDisabled,
  ApolloServerPluginLandingPageDisabled,
} from '@apollo/server/plugin/disabled'
import { fastifyApolloHandler } from '@as-integrations/fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { GraphQLError, NoSchemaIntrospectionCustomRule, OperationTypeNode } from 'graphql'
import type { GraphQLSchema, ValidationRule } from 'graphql'
import type { Logger } from 'pino'
import { createRootFieldLimit } from '../../graphql/root-field-limit.ts'
import type { LiveConnection } from '../../live/live-connection.ts'
import type { Portcullis } from '../../portcullis.ts'
import { CompiledQueries, createCompiledQueries } from '../../transport/apollo/compiled-queries.ts'
import {
  MAX_DOCUMENT_SIZE,
  MAX_DOCUMENT_TOKENS,
  MAX_ROOT_FIELDS,
  MAX_VALIDATION_ERRORS,
  createDocumentLimits,
} from '../../transport/apollo/document-limits.ts'
import type { ResultOptions } from '../../transport/apollo/graphql-answer.ts'
import { createErrorGate, createStatusPlugin } from '../../transport/apollo/wire-errors.ts'
import type { LiveOptions } from '../../transport/live/socket-session.ts'
import {
  readAuthorization,
  readForwardedAddress,
  readRemoteAddress,
  readUserAgent,
} from '../../transport/request-origin.ts'
import type { ServiceContext } from '../graphql/context.ts'
import { createEventStreams, wantsEventStream } from './event-streams.ts'
import { createRequestReader, refuseMalformed } from './graphql-requests.ts'
import { BusyError, RequestError } from './http-errors.ts'
import {
  refuseContentCoding,
  refuseMalformedHost,
  refuseUndecodableSearch,
} from './request-head.ts'
import { registerWebSockets } from './web-sockets.ts'

export interface GraphQLRouteOptions {
  readonly schema: GraphQLSchema
  /** How often a document is executed before it is compiled; 2 if not given. */
  readonly compileAfter?: number
  readonly portcullis: Portcullis
  readonly log: Logger
  readonly isProduction: boolean
  readonly revokedTokenStatus: 401 | 403
  /** How many clients may stay connected. */
  readonly maxLiveConnections: number
  /** How often those over WebSockets are asked whether they are there; 11 seconds if not given. */
  readonly pingIntervalMs?: number
  /** Whether one proxy stands in front, whose word on the caller's address is taken. */
  readonly trustProxy: boolean
}

export const GRAPHQL_PATH = '/graphql'

/**
 * Without asking first, a browser lets no foreign page send these: so a request that has one of them was meant. The last
 * is for clients such as urql, which send their queries by GET.
 */
const NOT_OF_A_FOREIGN_PAGE = [
  'apollo-require-preflight',
  'x-apollo-operation-name',
  'authorization',
]

/** What a short cut needs to answer as the route does. */
export interface GraphQLRoute {
  readonly queries: CompiledQueries
  readonly result: ResultOptions
}

/** GraphQL at one path: over HTTP, as server-sent events, and over WebSockets, with the same limits and errors. */
export async function registerGraphQL(
  app: FastifyInstance,
  options: GraphQLRouteOptions,
): Promise<GraphQLRoute> {
  const { portcullis, log, isProduction, maxLiveConnections, trustProxy } = options
  const readIpAddress = trustProxy ? readForwardedAddress : readRemoteAddress
  const documentLimits = createDocumentLimits(MAX_DOCUMENT_SIZE)
  const rules = {
    validationRules: [createRootFieldLimit(MAX_ROOT_FIELDS), documentLimits.rule],
    formatError: createErrorGate(log, { hidesSchema: isProduction }),
  }

  const { revokedTokenStatus } = options
  const route = {
    queries: new CompiledQueries(options),
    result: { formatError: rules.formatError, revokedTokenStatus },
  }

  const apollo = createApollo(options, rules, [
    refuseSubscriptions,
    createRequestReader(options.schema),
    documentLimits.plugin,
    createStatusPlugin({ revokedTokenStatus }),
    createCompiledQueries(route.queries, route.result),
  ])
  await apollo.start()
  app.addHook('onClose', () => apollo.stop())
  const answerWithJson = fastifyApolloHandler(apollo, {
    context: async (request) => {
      // What came in one turn of the event loop goes on together: each step runs for all of it in a row, while its
      // code and data are at hand. Measured, a third more requests a second.
      await nextTurn()
      return readContext(request, portcullis, readIpAddress)
    },
  })

  const live = createLiveOptions(options, rules, readIpAddress)
  const { connections } = portcullis.live
  registerWebSockets(app, {
    path: GRAPHQL_PATH,
    graphql: portcullis.live.webSocketOptions(live),
    connections,
    maxConnections: maxLiveConnections,
    pingIntervalMs: options.pingIntervalMs,
    log,
  })
  const answerWithEvents = createEventStreams(app, portcullis.live.eventStreamOptions(live), log)

  app.route({
    url: GRAPHQL_PATH,
    method: ['GET', 'POST'],
    exposeHeadRoute: false,
    onRequest: async (request) => {
      refuseMalformedHost(request)
      refuseUndecodableSearch(request)
      refuseContentCoding(request)
    },
    preHandler: async (request) => refuseMalformed(request),
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
  return route
}

interface Rules {
  readonly validationRules: readonly ValidationRule[]
  readonly formatError: ReturnType<typeof createErrorGate>
}

function createApollo(
  options: GraphQLRouteOptions,
  { validationRules, formatError }: Rules,
  plugins: ReadonlyArray<ApolloServerPlugin<ServiceContext>>,
): ApolloServer<ServiceContext> {
  const { schema, log, isProduction } = options
  return new ApolloServer<ServiceContext>({
    schema,
    introspection: !isProduction,
    hideSchemaDetailsFromClientErrors: isProduction,
    includeStacktraceInErrorResponses: false,
    csrfPrevention: { requestHeaders: NOT_OF_A_FOREIGN_PAGE },
    allowBatchedHttpRequests: true,
    stopOnTerminationSignals: false,
    parseOptions: { maxLexicalTokens: MAX_DOCUMENT_TOKENS },
    validationRules: [...validationRules],
    validationOptions: { maxErrors: MAX_VALIDATION_ERRORS },
    formatError,
    plugins: [
      ...plugins,
      ApolloServerPluginLandingPageDisabled(),
      // It would wrap every field, for hints that this schema does not give.
      ApolloServerPluginCacheControlDisabled(),
    ],
    logger: log,
  })
}

function createLiveOptions(
  { schema, isProduction }: GraphQLRouteOptions,
  { validationRules, formatError }: Rules,
  readIpAddress: typeof readRemoteAddress,
): LiveOptions {
  return {
    schema,
    context: ({ ipAddress, userAgent }: LiveConnection) => ({ ipAddress, userAgent }),
    validationRules: isProduction
      ? [...validationRules, NoSchemaIntrospectionCustomRule]
      : validationRules,
    maxTokens: MAX_DOCUMENT_TOKENS,
    formatError,
    readIpAddress,
  }
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

/** One answer cannot hold them; Apollo would execute their fields as if they were a query's. */
const refuseSubscriptions: ApolloServerPlugin<ServiceContext> = {
  requestDidStart: async () => ({
    async didResolveOperation({ operation }) {
      if (operation?.operation !== OperationTypeNode.SUBSCRIPTION) return
      throw new GraphQLError(
        'Subscribe over a WebSocket (graphql-ws), or over server-sent events with Accept: text/event-stream',
        { extensions: { code: 'BAD_REQUEST', http: { status: 400 } } },
      )
    },
  }),
}

function readContext(
  { raw }: FastifyRequest,
  portcullis: Portcullis,
  readIpAddress: typeof readRemoteAddress,
): ServiceContext {
  const ipAddress = readIpAddress(raw)
  return {
    auth: portcullis.context({ authorization: readAuthorization(raw), ipAddress }).auth,
    ipAddress,
    userAgent: readUserAgent(raw),
  }
}
