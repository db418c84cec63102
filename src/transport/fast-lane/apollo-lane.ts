/**
 * A fast lane for an Apollo Server of yours, on any HTTP server of Node.
 *
 * @packageDocumentation
 */
import type { IncomingMessage, RequestListener, Server } from 'node:http'
import type { Socket } from 'node:net'
import type { ApolloServerOptions, ApolloServerPlugin, BaseContext } from '@apollo/server'
import type { GraphQLSchema } from 'graphql'
import { assertProtected } from '../../graphql/auth-directive.ts'
import type { AuthContext } from '../../graphql/auth-directive.ts'
import { CompiledQueries, createCompiledQueries } from '../apollo/compiled-queries.ts'
import type { StatusOptions } from '../apollo/wire-errors.ts'
import { createStatusPlugin } from '../apollo/wire-errors.ts'
import { FastLane } from './fast-lane.ts'
import type { Way } from './fast-lane.ts'

export type { Way } from './fast-lane.ts'

/** What {@link createFastLane} has to know of the server. */
export interface FastLaneOptions<Context extends AuthContext> extends StatusOptions {
  /** The schema that the Apollo Server serves: from `portcullis.protect`. */
  readonly schema: GraphQLSchema
  /**
   * Makes the GraphQL context of a request. It returns the context and no promise: what has to be waited for belongs in a
   * resolver. When it throws, or returns a promise, the request goes to your server.
   */
  readonly context: (request: IncomingMessage) => Context
  /**
   * Where GraphQL is served.
   *
   * @defaultValue `'/graphql'`; `startStandaloneServer` serves it everywhere, and its clients ask at `'/'`
   */
  readonly path?: string
  /** The Apollo Server's option of this name. */
  readonly formatError?: ApolloServerOptions<BaseContext>['formatError']
  /**
   * The Apollo Server's option of this name.
   *
   * @defaultValue as Apollo Server's: `true` unless `NODE_ENV` is `production` or `test`
   */
  readonly includeStacktraceInErrorResponses?: boolean
  /** Called for each plain POST to the path, with the way that it takes: `fast`, or `long` to your server. */
  readonly onAnswer?: (way: Way) => void
}

/** Answers hot queries in front of an Apollo Server. */
export interface ApolloFastLane<Context extends AuthContext> {
  /** For the Apollo Server: `createStatusPlugin`, and the plug-in that tells the lane which queries are hot. */
  readonly plugins: ReadonlyArray<ApolloServerPlugin<Context>>

  /** Puts the lane before a listener: an Express app, the handler of Fastify's `serverFactory`. */
  wrap(listener: RequestListener): RequestListener

  /** Puts the lane before the listener of a server; a second time it does nothing. */
  open(server: Server): void

  /** Pass it to `startStandaloneServer` as `context`. That function does not return the HTTP server which it makes. */
  standaloneContext(request: { readonly req: IncomingMessage }): Promise<Context>
}

/**
 * Makes a fast lane: queries that come again and again are answered without Apollo Server and what stands before it.
 *
 * The lane answers a plain POST of JSON with a query that this Apollo Server has executed before, refusals included.
 * Everything else goes to your server. Status and body are those of your server; so are the headers, but for `ETag`.
 * It repeats the headers that two answers of your server in a row had for the same `Origin`; requests with `Authorization` need
 * two callers for that. Where answers differ, the lane answers nothing, and says so in a warning.
 *
 * Middleware, plug-ins of Apollo Server and its options `fieldResolver` and `gateway` are not asked for what the lane answers.
 * Do not put it before a server whose middleware counts, limits or logs requests, or adds to answers.
 *
 * @throws `TypeError` as `portcullis.assertProtected`. An Apollo Server with another schema does not start.
 *
 * @example
 * const lane = createFastLane({ schema, context })
 * const apollo = new ApolloServer({ schema, plugins: [...lane.plugins] })
 * createServer(lane.wrap(app)).listen(4000)
 */
export function createFastLane<Context extends AuthContext>(
  options: FastLaneOptions<Context>,
): ApolloFastLane<Context> {
  const { schema, path = '/graphql', context, onAnswer } = options
  assertProtected(schema)

  const queries = new CompiledQueries({ schema })
  const result = {
    ...options,
    includeStacktraceInErrorResponses:
      options.includeStacktraceInErrorResponses ?? showsStackTraces(),
  }
  let isOpen = true
  const lane = new FastLane<Context>({
    path,
    schema,
    queries,
    result,
    mayNameCallers: true,
    context: (request) => assertReady(context(request)),
    isOpen: () => isOpen,
    onAnswer,
  })

  const opening: ApolloServerPlugin<Context> = {
    async serverWillStart(server) {
      if (server.schema !== schema) {
        throw new TypeError('expected the Apollo Server to serve the schema of its fast lane')
      }
      isOpen = true
      return {
        // A gateway brings others.
        schemaDidLoadOrUpdate({ apiSchema }) {
          if (apiSchema !== schema) isOpen = false
        },
        async drainServer() {
          isOpen = false
        },
      }
    },
  }

  return {
    plugins: [createStatusPlugin(options), createCompiledQueries(queries, result), opening],
    wrap: (listener) => lane.wrap(listener),
    open: (server) => lane.open(server),
    async standaloneContext({ req }) {
      // Node does not document it. Without it every request takes the long way.
      const { server } = req.socket as Socket & { readonly server?: Server }
      if (server) lane.open(server)
      return context(req)
    },
  }
}

/** @throws `TypeError` when a context was promised, which no types keep a caller in JavaScript from. */
function assertReady<Context extends AuthContext>(context: Context): Context {
  if (typeof (context as Partial<PromiseLike<unknown>>).then !== 'function') return context
  throw new TypeError('expected a GraphQL context, got a promise of one')
}

/** Apollo Server's default. */
function showsStackTraces(): boolean {
  // oxlint-disable-next-line node/no-process-env -- the lane is to answer as the server beside it
  const { NODE_ENV } = process.env
  return NODE_ENV !== 'production' && NODE_ENV !== 'test'
}
