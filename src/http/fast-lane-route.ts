import type { FastifyInstance } from 'fastify'
import type { ServiceContext } from '../graphql/context.ts'
import { openFastLane } from './fast-lane.ts'
import type { Headers } from './fast-lane.ts'
import { GRAPHQL_PATH } from './graphql-route.ts'
import type { GraphQLRoute, GraphQLRouteOptions } from './graphql-route.ts'
import type { LoadGate } from './load-gate.ts'
import type { Metrics } from './metrics.ts'
import { readForwardedAddress, readRemoteAddress, readUserAgent } from './request-origin.ts'

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
  // Once all routes stand: the first answer is asked of them.
  app.addHook('onReady', async () => {
    openFastLane<ServiceContext>(app.server, {
      ...parts,
      path: GRAPHQL_PATH,
      schema,
      context: (request, authorization) => ({
        auth: portcullis.context({ authorization, ipAddress: readAddress(request) }).auth,
        ipAddress: readAddress(request),
        userAgent: readUserAgent(request),
      }),
      readHeaders: (origin) => readAnswerHeaders(app, origin),
      isOpen: () => isOpen,
      onAnswer: metrics.observeWay,
    })
  })
}

/** Those that depend on the answer or the connection. */
const ITS_OWN = new Set(['content-type', 'content-length', 'date', 'connection', 'keep-alive'])

/** Asks the server itself for an answer, so that nothing that it adds has to be known here. */
async function readAnswerHeaders(
  app: FastifyInstance,
  origin: string | undefined,
): Promise<Headers> {
  const { headers } = await app.inject({
    method: 'POST',
    url: GRAPHQL_PATH,
    headers: { 'content-type': 'application/json', ...(origin !== undefined && { origin }) },
    payload: { query: '{ __typename }' },
  })
  return Object.fromEntries(
    Object.entries(headers)
      .filter(([name]) => !ITS_OWN.has(name))
      .map(([name, value]) => [name, String(value)]),
  )
}
