import type { ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { OperationTypeNode, getOperationAST, parse } from 'graphql'
import { createHandler } from 'graphql-sse'
import type { Logger } from 'pino'
import {
  MAX_DOCUMENT_CHARACTERS,
  MAX_DOCUMENT_TOKENS,
} from '../../transport/apollo/document-limits.ts'
import type { EventStreamHandlerOptions } from '../../transport/live/graphql-sse.ts'
import { logFault } from './http-errors.ts'

/**
 * Whether a client wants its answer as server-sent events. Some (urql) accept them beside JSON whatever they ask: they get
 * them for subscriptions, for which there is no other answer.
 */
export function wantsEventStream({ headers: { accept = '' }, body }: FastifyRequest): boolean {
  if (!/event-stream/i.test(accept)) return false
  const accepted = listAccepted(accept)
  if (!accepted.includes('text/event-stream')) return false
  return !accepted.some((type) => /json|^\*\/\*$/.test(type)) || isSubscription(body)
}

/** The types that a client accepts, in lower case. A weight of zero says that it does not (RFC 9110 §12.4.2). */
function listAccepted(accept: string): string[] {
  return accept
    .toLowerCase()
    .split(',')
    .filter((range) => !/;\s*q\s*=\s*0(\.0*)?\s*(;|$)/.test(range))
    .map((range) => range.split(';')[0]?.trim() ?? '')
}

/** Makes the handler for such requests, from `portcullis.live.eventStreamOptions`. */
export function createEventStreams(
  app: FastifyInstance,
  options: EventStreamHandlerOptions,
  log: Logger,
): (request: FastifyRequest, reply: FastifyReply) => Promise<void> {
  const handle = createHandler(options)
  const open = new Set<ServerResponse>()
  app.addHook('preClose', async () => {
    for (const response of open) response.end()
  })

  return async (request, reply) => {
    const [body, { status, headers: { connection: _ofNode, ...headers } = {} }] = await handle({
      method: request.method,
      url: request.url,
      headers: {
        // It knows no other spelling.
        get: (name) => (name === 'accept' ? 'text/event-stream' : readHeader(request, name)),
      },
      body: request.body as Record<string, unknown>,
      raw: request.raw,
      context: { res: reply.raw },
    })

    if (body === null || body === undefined || typeof body === 'string') {
      await reply
        .code(status)
        .headers(headers)
        .send(body ?? '')
      return
    }
    reply.hijack()
    open.add(reply.raw)
    reply.raw.once('close', () => open.delete(reply.raw))
    reply.raw.writeHead(status, {
      ...(reply.getHeaders() as Record<string, string>),
      ...headers,
      'cache-control': 'no-store',
    })
    await pipe(body, reply.raw).catch((error: unknown) => logFault(error, log))
    reply.raw.end()
  }
}

function isSubscription(body: unknown): boolean {
  const { query, operationName } = (body ?? {}) as { query?: unknown; operationName?: unknown }
  if (typeof query !== 'string' || query.length > MAX_DOCUMENT_CHARACTERS) return false
  if (!query.includes('subscription')) return false
  try {
    const name = typeof operationName === 'string' && operationName !== '' ? operationName : null
    return (
      getOperationAST(parse(query, { maxLexicalTokens: MAX_DOCUMENT_TOKENS }), name)?.operation ===
      OperationTypeNode.SUBSCRIPTION
    )
  } catch {
    return false
  }
}

function readHeader({ headers }: FastifyRequest, name: string): string | undefined {
  const value = headers[name]
  return Array.isArray(value) ? value.join(', ') : value
}

/** One piece at a time: a client that does not read is written no more. */
async function pipe(body: AsyncGenerator<string, void>, response: ServerResponse): Promise<void> {
  const stop = (): void => void body.return()
  response.once('close', stop)
  for await (const piece of body) {
    if (!response.writable) break
    await new Promise<void>((resolve) => {
      response.write(piece, () => resolve())
    })
  }
  response.off('close', stop)
}
