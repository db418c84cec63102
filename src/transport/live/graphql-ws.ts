import type { IncomingMessage } from 'node:http'
import { GraphQLError } from 'graphql'
import { CloseCode, MessageType } from 'graphql-ws'
import type { ServerOptions, SubscribePayload } from 'graphql-ws'
import { PortcullisError, RevocationUnavailableError } from '../../errors.ts'
import type { LiveOperation, Transport } from '../../live/live-connection.ts'
import { readAuthorization } from '../request-origin.ts'
import { LiveServer, MAX_FAREWELL_MS } from './socket-session.ts'
import type { LiveOptions, LiveParts, LiveSession } from './socket-session.ts'

/** How WebSockets are served. */
export interface WebSocketOptions extends LiveOptions {
  /**
   * How many operations a WebSocket may run at the same time: at one more it is closed, with 4429.
   *
   * @defaultValue 100
   */
  readonly maxOperations?: number | undefined
}

/** What is used of a WebSocket: those of `ws` and of `@fastify/websocket` have it. */
export interface LiveWebSocket {
  readonly bufferedAmount: number
  send(data: string): void
  close(code: number, reason: string): void
  terminate(): void
  once(event: 'close', listener: () => void): unknown
}

/** What `graphql-ws/use/ws` and `graphql-ws/use/@fastify/websocket` tell of a connection. */
export interface WebSocketExtra {
  readonly socket: LiveWebSocket
  readonly request: IncomingMessage
}

type Params = Record<string, unknown> | undefined
type Options = ServerOptions<Params, WebSocketExtra>

const DEFAULT_MAX_OPERATIONS = 100

/** What may wait to be sent, in bytes. */
const MAX_BUFFERED_BYTES = 1024 * 1024

/**
 * Makes the server options of `graphql-ws` that have its connections depend on their tokens.
 *
 * A client gives its token in `connectionParams.authorization`, or in the handshake's `Authorization` header. A bad one closes
 * the socket with 4403 and the reason of the refusal; so does a revocation, or the expiry, of a token that a subscription needs.
 * Before a token expires the client is told by a `ping` with `{ reason: 'TOKEN_EXPIRING', expiresAt }`; it goes on when it sends
 * a `ping` with `{ authorization: 'Bearer <fresh token>' }`, and `pong` tells what became of that.
 *
 * The hooks that it leaves to you are `onPong`, `onDisconnect` and `onClose`.
 *
 * @see {@link https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md GraphQL over WebSocket Protocol}
 */
export function createWebSocketOptions(parts: LiveParts, options: WebSocketOptions): Options {
  const { maxOperations = DEFAULT_MAX_OPERATIONS } = options
  const server = new LiveServer(parts, options)
  const sessions = new WeakMap<object, LiveSession>()
  // By message: an id of the protocol may be used again before its first operation has ended.
  const operations = new WeakMap<SubscribePayload, LiveOperation>()

  return {
    async onConnect(context) {
      const { socket, request } = context.extra
      const session = server.open('WEBSOCKET', request, createTransport(socket))
      // Not `onClose`, which waits for sources of events that may not end.
      socket.once('close', () => session.close())
      sessions.set(context, session)
      return isAdmitted(session, findCredentials(request, context.connectionParams))
    },

    async onPing(context, payload) {
      endWhenFull(context.extra.socket)

      const session = sessions.get(context)
      const authorization = payload?.['authorization']
      if (!session || !payload || typeof authorization !== 'string') return
      if (authorization.trim() === '') return
      // What is left in the payload is what `pong` says.
      delete payload['authorization']
      Object.assign(payload, await renew(session, authorization))
    },

    onSubscribe(context, _id, payload) {
      const session = sessions.get(context) as LiveSession
      if (session.connection.operations.size >= maxOperations) {
        context.extra.socket.close(CloseCode.TooManyInitialisationRequests, 'Too many operations')
        return [new GraphQLError('Too many operations')]
      }

      const begun = session.begin(payload)
      if (!('args' in begun)) return begun
      operations.set(payload, begun.operation)
      return begun.args
    },

    onOperation(context, _id, payload, _args, result) {
      const operation = operations.get(payload)
      if (operation && Symbol.asyncIterator in result) sessions.get(context)?.stream(operation)
    },

    async onNext(context, _id, payload, _args, result) {
      const operation = operations.get(payload)
      return operation && sessions.get(context)?.release(operation, result)
    },

    onError(context, _id, _payload, errors) {
      return sessions.get(context)?.format(errors)
    },

    onComplete(context, _id, payload) {
      const operation = operations.get(payload)
      if (operation) sessions.get(context)?.finish(operation)
    },
  }
}

function createTransport(socket: LiveWebSocket): Transport {
  return {
    announceExpiry(expiresAt) {
      const payload = { reason: 'TOKEN_EXPIRING', expiresAt: expiresAt.toISOString() }
      socket.send(JSON.stringify({ type: MessageType.Ping, payload }))
    },
    end({ extensions: { code, reason = code } }) {
      socket.close(CloseCode.Forbidden, reason)
      setTimeout(() => socket.terminate(), MAX_FAREWELL_MS).unref()
    },
  }
}

/** Of a client that sends and does not read, what it is answered would pile up. */
export function endWhenFull(socket: Pick<LiveWebSocket, 'bufferedAmount' | 'terminate'>): void {
  if (socket.bufferedAmount > MAX_BUFFERED_BYTES) socket.terminate()
}

/**
 * All that there are: a client that gives two tokens is refused, as over HTTP. Nothing is none, and the same token in the
 * handshake and in `connectionParams` is one.
 */
function findCredentials(request: IncomingMessage, params: Params): readonly string[] {
  const given = Object.entries(params ?? {})
    .filter(([name]) => /^authorization$/i.test(name))
    .map(([, value]) => value)
  const all = [...(readAuthorization(request) ?? []), ...given]
    .filter((text) => typeof text === 'string')
    .map((text) => text.trim())
    .filter((text) => text !== '')
  const byToken = new Map(all.map((text) => [text.replace(/^bearer +/i, 'Bearer '), text]))
  return [...byToken.values()]
}

async function isAdmitted(
  session: LiveSession,
  authorization: readonly string[],
): Promise<boolean> {
  try {
    await session.present(authorization)
    return true
  } catch (error) {
    // What needs the token is refused meanwhile; the rest works.
    if (error instanceof RevocationUnavailableError) return true
    if (!(error instanceof PortcullisError)) throw error
    session.connection.transport.end(error)
    return false
  }
}

/** @returns For `pong`: until when the new token is good or, when that cannot be known now, why not. */
async function renew(session: LiveSession, authorization: string): Promise<object> {
  try {
    const token = await session.present(authorization)
    return { expiresAt: token && new Date(token.expiresAt * 1000).toISOString() }
  } catch (error) {
    if (!(error instanceof PortcullisError)) throw error
    if (!(error instanceof RevocationUnavailableError)) session.connection.transport.end(error)
    return { errors: [{ message: error.message, extensions: error.extensions }] }
  }
}
