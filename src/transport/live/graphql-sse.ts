import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import { GraphQLError } from 'graphql'
import type { ExecutionResult, GraphQLFormattedError } from 'graphql'
import type { HandlerOptions, Request } from 'graphql-sse'
import type { PortcullisError } from '../../errors.ts'
import type { LiveOperation, Transport } from '../../live/live-connection.ts'
import { readAuthorization } from '../request-origin.ts'
import type { OriginatingRequest } from '../request-origin.ts'
import { LiveServer, MAX_FAREWELL_MS } from './socket-session.ts'
import type { LiveOptions, LiveParts, LiveSession } from './socket-session.ts'

/** What `graphql-sse/lib/use/http`, `…/express` and `…/fastify` hand on of a request. */
export type EventStreamRequest = Request<OriginatingRequest, EventStreamContext>

/** Where those servers keep the response. */
export type EventStreamContext =
  | { readonly res: ServerResponse }
  | { readonly reply: { readonly raw: ServerResponse } }

/** The options of `graphql-sse`'s `createHandler`. */
export type EventStreamHandlerOptions = HandlerOptions<
  OriginatingRequest,
  EventStreamContext,
  Record<string, unknown>
>

/** How long a client may read nothing, in milliseconds. */
const MAX_SILENCE_MS = 30_000

/**
 * Milliseconds between the end for clients that speak the protocol, and the `error` event for the others (`EventSource`).
 * `graphql-sse`'s client goes at the first; it fails at the second, if both come in one piece.
 */
const ERROR_DELAY_MS = 500

interface Stream {
  readonly session: LiveSession
  readonly operation: LiveOperation
}

/**
 * Makes the handler options of `graphql-sse` that have its streams depend on their tokens: in the distinct connections mode, a
 * stream an operation.
 *
 * A client gives its token in the `Authorization` header. When the token of a subscription that needs it is revoked or expires,
 * the stream ends: with the refusal as its last result and, for a client that accepts nothing but event streams, an `error` event.
 *
 * The hooks that it leaves to you are `onConnect` and `onComplete`.
 *
 * @see {@link https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md GraphQL over Server-Sent Events Protocol}
 */
export function createEventStreamOptions(
  parts: LiveParts,
  options: LiveOptions,
): EventStreamHandlerOptions {
  const server = new LiveServer(parts, options)
  const streams = new WeakMap<object, Stream>()

  return {
    // No reserved streams.
    authenticate: () => null,
    // `begin` did.
    validate: () => [],

    onSubscribe(request, params) {
      const response = responseOf(request)
      const session = server.open(
        'EVENT_STREAM',
        request.raw,
        createTransport(response, request.raw.headers),
      )
      response.once('close', () => session.close())
      endWhenStuck(response)
      // nginx would gather events until they fill a buffer.
      response.setHeader('x-accel-buffering', 'no')

      session.carry(readAuthorization(request.raw))
      const begun = session.begin(params)
      // Its mark of a result is that there is `data`.
      if (!('args' in begun)) return refuse(session.format(begun))
      streams.set(request.raw, { session, operation: begun.operation })
      return begun.args
    },

    onOperation(_context, request, _args, result) {
      const stream = streams.get(request.raw)
      if (!stream || !(Symbol.asyncIterator in result)) return undefined
      stream.session.stream(stream.operation)
      return withFaults(result as AsyncGenerator<ExecutionResult>)
    },

    async onNext(_context, request, result) {
      const stream = streams.get(request.raw)
      if (!stream) return undefined
      await isSent(responseOf(request))
      const { session, operation } = stream
      return (await session.release(operation, result as ExecutionResult)) as ExecutionResult
    },
  }
}

function refuse(errors: readonly GraphQLFormattedError[]): ExecutionResult {
  return { data: undefined, errors } as unknown as ExecutionResult
}

function responseOf({ context }: EventStreamRequest): ServerResponse {
  return 'res' in context ? context.res : context.reply.raw
}

function createTransport(
  response: ServerResponse,
  { accept = '' }: IncomingHttpHeaders,
): Transport {
  return {
    // There is no way back over which a client could send another.
    announceExpiry: () => undefined,
    end(why) {
      if (!response.writable) return
      const result = { errors: [describe(why)] }
      setTimeout(() => response.destroy(), MAX_FAREWELL_MS).unref()
      if (takesEventsForAnswers(accept)) {
        response.end(format('next', { ...result, hasNext: false }) + format('complete'))
        return
      }
      response.write(format('next', result) + format('complete'))
      setTimeout(() => response.end(format('error', result)), ERROR_DELAY_MS)
    },
  }
}

/**
 * Whether a client accepts something else beside event streams, as urql does. It then reads the data of every event as a part of
 * one answer, whatever the event is called, until a part says that no other follows: it would tell of one refusal three times.
 */
function takesEventsForAnswers(accept: string): boolean {
  return accept.trim().toLowerCase() !== 'text/event-stream'
}

function describe({ message, extensions }: PortcullisError): object {
  return { message, extensions }
}

/** A source of events that fails ends the stream with that. */
function withFaults(events: AsyncGenerator<ExecutionResult>): AsyncGenerator<ExecutionResult> {
  let isOver = false
  return {
    async next() {
      if (isOver) return { done: true, value: undefined }
      try {
        return await events.next()
      } catch (error) {
        isOver = true
        const originalError = error instanceof Error ? error : new Error(String(error))
        const fault = new GraphQLError(originalError.message, { originalError })
        return { done: false, value: { errors: [fault] } }
      }
    },
    return: async (value) => events.return(value),
    throw: async (error) => events.throw(error),
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

function format(event: 'next' | 'complete' | 'error', data?: object): string {
  return `event: ${event}\ndata:${data ? ` ${JSON.stringify(data)}` : ''}\n\n`
}

/** A client that does not read must not have events pile up. The empty comment only asks to be told. */
async function isSent(response: ServerResponse): Promise<void> {
  if (response.writableLength === 0) return
  await new Promise<void>((resolve) => {
    response.write(':\n\n', () => resolve())
  })
}

/** Pings are written all the time: who has not taken anything for so long is gone. */
function endWhenStuck(response: ServerResponse): void {
  let sentBefore = -1
  const timer = setInterval(() => {
    const sent = response.socket?.bytesWritten ?? 0
    if (response.writableLength > 0 && sent === sentBefore) response.destroy()
    sentBefore = sent
  }, MAX_SILENCE_MS)
  timer.unref()
  response.once('close', () => clearInterval(timer))
}
