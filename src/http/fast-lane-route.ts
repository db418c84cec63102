import type { IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import type { ServiceContext } from '../graphql/context.ts'
import { openFastLane } from './fast-lane.ts'
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
      context: (request, authorization) => {
        const ipAddress = readAddress(request)
        const { auth } = portcullis.context({ authorization, ipAddress })
        return new LaneContext(auth, ipAddress, request)
      },
      readHeaders: (origin) => readAnswerHeaders(app, origin),
      isOpen: () => isOpen,
      onAnswer: metrics.observeWay,
    })
  })
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

/** Those that depend on the answer or the connection. */
const ITS_OWN = new Set(['content-type', 'content-length', 'date', 'connection', 'keep-alive'])

/** Asks the server itself for an answer, so that nothing that it adds has to be known here. */
async function readAnswerHeaders(
  app: FastifyInstance,
  origin: string | undefined,
): Promise<readonly string[]> {
  const { statusCode, headers } = await app.inject({
    method: 'POST',
    url: GRAPHQL_PATH,
    headers: { 'content-type': 'application/json', ...(origin !== undefined && { origin }) },
    payload: { query: '{ __typename }' },
  })
  if (statusCode !== 200) throw new Error(`expected an answer with 200, got ${statusCode}`)

  return Object.entries(headers)
    .filter(([name]) => !ITS_OWN.has(name))
    .flatMap(([name, values]) => [values ?? []].flat().flatMap((value) => [name, String(value)]))
}
