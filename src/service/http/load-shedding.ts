import type { OutgoingHttpHeaders } from 'node:http'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Logger } from 'pino'
import { wantsEventStream } from './event-streams.ts'
import { formatFault } from './http-errors.ts'
import { LoadGate } from './load-gate.ts'

export interface LoadSheddingOptions {
  /** The route whose requests are refused; health and metrics are always answered. */
  readonly path: string
  /** How many requests may be under way while the event loop has no rest; 500 if not given. */
  readonly maxUnderWay?: number | undefined
  /** How many of the requests under way wait in a line that has a bound of its own. */
  readonly countAside?: (() => number) | undefined
  readonly onShed: () => void
  readonly log: Logger
}

/** Made once. */
const BODY = JSON.stringify(
  formatFault('SERVICE_UNAVAILABLE', 'Too many requests at the moment; try again'),
)

const HEADERS = {
  'content-type': 'application/json; charset=utf-8',
  'content-length': Buffer.byteLength(BODY),
  'cache-control': 'no-store',
  'retry-after': '1',
}

/**
 * Refuses requests while there are more than this node can serve in time.
 *
 * An error that is thrown and answered in the usual way costs as much as an answer: so this writes bytes, before anything
 * else is done, but for what lets pages of other origins read them.
 */
export function shedLoad(app: FastifyInstance, options: LoadSheddingOptions): LoadGate {
  const { path, maxUnderWay, countAside, onShed, log } = options
  const gate = new LoadGate({
    maxUnderWay,
    countAside,
    onChange: (isShedding) =>
      isShedding ? log.warn('overloaded: requests are refused') : log.info('no longer overloaded'),
  })
  app.addHook('onClose', async () => gate.stop())

  app.addHook('onRequest', (request, reply, next) => {
    if (request.routeOptions.url !== path || gate.hasRoom()) return next()
    onShed()
    reply.hijack()
    const { origin } = request.headers
    reply.raw.writeHead(503, origin === undefined ? HEADERS : withAllowance(reply))
    reply.raw.end(BODY)
  })
  // Once its body is there: how long that takes is up to the client. A stream stays.
  app.addHook('preHandler', (request, reply, next) => {
    if (request.routeOptions.url === path && !wantsEventStream(request)) {
      gate.begin()
      reply.raw.once('close', () => gate.end())
    }
    next()
  })
  return gate
}

/** What lets a page of another origin read the answer. */
function withAllowance(reply: FastifyReply): OutgoingHttpHeaders {
  return { ...(reply.getHeaders() as OutgoingHttpHeaders), ...HEADERS }
}
