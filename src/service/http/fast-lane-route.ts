import type { IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { FastLane } from '../../transport/fast-lane/fast-lane.ts'
import {
  readForwardedAddress,
  readRemoteAddress,
  readUserAgent,
} from '../../transport/request-origin.ts'
import type { ServiceContext } from '../graphql/context.ts'
import { GRAPHQL_PATH } from './graphql-route.ts'
import type { GraphQLRoute, GraphQLRouteOptions } from './graphql-route.ts'
import type { LoadGate } from './load-gate.ts'
import type { Metrics } from './metrics.ts'

interface LaneParts extends GraphQLRoute {
  readonly gate: LoadGate
}

/** Puts the fast lane in front of our own service. */
export function registerFastLane(
  app: FastifyInstance,
  options: GraphQLRouteOptions & { readonly metrics: Metrics },
  parts: LaneParts,
): void {
  const { schema, portcullis, trustProxy, metrics } = options
  const readAddress = trustProxy ? readForwardedAddress : readRemoteAddress

  let isOpen = true
  app.addHook('preClose', async () => {
    isOpen = false
  })
  new FastLane<ServiceContext>({
    ...parts,
    path: GRAPHQL_PATH,
    schema,
    context: (request, authorization) => {
      const ipAddress = readAddress(request)
      const { auth } = portcullis.context({ authorization, ipAddress })
      return new LaneContext(auth, ipAddress, request)
    },
    // Nothing that the service adds depends on the caller.
    mayNameCallers: false,
    isOpen: () => isOpen,
    onAnswer: metrics.observeWay,
  }).open(app.server)
}

/** Node makes `headers` when they are first read, which hot queries do not need. */
class LaneContext implements ServiceContext {
  readonly auth: ServiceContext['auth']
  readonly ipAddress: string | null
  readonly #request: IncomingMessage

  constructor(auth: ServiceContext['auth'], ipAddress: string | null, request: IncomingMessage) {
    this.auth = auth
    this.ipAddress = ipAddress
    this.#request = request
  }

  get userAgent(): string | null {
    return readUserAgent(this.#request)
  }
}
