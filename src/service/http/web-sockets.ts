import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { CloseCode, handleProtocols, makeServer } from 'graphql-ws'
import type { ServerOptions } from 'graphql-ws'
import type { Logger } from 'pino'
import { WebSocketServer } from 'ws'
import type { WebSocket } from 'ws'
import type { LiveConnections } from '../../live/live-connections.ts'
import { endWhenFull } from '../../transport/live/graphql-ws.ts'
import type { WebSocketExtra } from '../../transport/live/graphql-ws.ts'
import { logFault } from './http-errors.ts'
import { answerRaw } from './raw-answers.ts'
import { isEachAnswered, opensWebSocket, serveWithoutUpgrade } from './upgrades.ts'

export interface WebSocketsOptions {
  readonly path: string
  /** From `portcullis.live.webSocketOptions`. */
  readonly graphql: ServerOptions<Record<string, unknown> | undefined, WebSocketExtra>
  readonly connections: LiveConnections
  readonly maxConnections: number
  /** Who has not answered a ping when the next is due is gone. */
  readonly pingIntervalMs?: number | undefined
  readonly log: Logger
}

/** RFC 6455 §7.4.1. */
const NOT_UTF_8 = 1007

const MAX_FRAME_BYTES = 256 * 1024

const DEFAULT_PING_INTERVAL_MS = 11_000

/** Some sockets each time: ten thousand pings in one go would hold up all other requests for 0.3 s. Milliseconds. */
const PING_TICK_MS = 100

/** What is made up for when pings come late, in milliseconds. */
const MAX_PING_DELAY_MS = 1000

/** How long clients may take to close when the service stops, in milliseconds. */
const MAX_CLOSING_MS = 1000

/** GraphQL over WebSocket, beside GraphQL over HTTP. */
export function registerWebSockets(app: FastifyInstance, options: WebSocketsOptions): void {
  const { path, graphql, connections, maxConnections, log } = options
  const { pingIntervalMs = DEFAULT_PING_INTERVAL_MS } = options
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_FRAME_BYTES,
    // One that is not ours is closed with 4406; refused here, the client would not hear why.
    handleProtocols: (offered) => handleProtocols(offered) || ([...offered][0] ?? false),
  })
  const protocol = makeServer(graphql)
  const pinger = new Pinger(pingIntervalMs)
  let isClosing = false

  const { server } = app
  server.on('upgrade', (request, socket, head) => {
    // Between two servers of it a connection has no other listener.
    socket.on('error', ignore)
    void isEachAnswered(socket).then(() => {
      if (socket.destroyed) return
      if (opensWebSocket(request, path)) return open(request, socket, head)
      socket.off('error', ignore)
      serveWithoutUpgrade(server, request, socket, head)
    })
  })
  sockets.on('wsClientError', ({ message }, socket) => refuseHandshake(socket, message))

  function open(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const count = Math.max(sockets.clients.size, connections.size)
    if (isClosing || count >= maxConnections) return refuse(socket)
    // What else was offered is declined.
    request.headers.upgrade = 'websocket'
    sockets.handleUpgrade(request, socket, head, (opened) => serve(opened, request))
  }

  function serve(socket: WebSocket, request: IncomingMessage): void {
    // It is closed with the right code by then.
    socket.on('error', () => undefined)
    pinger.add(socket)
    socket.on('ping', () => endWhenFull(socket))

    const onClose = protocol.opened(
      {
        protocol: socket.protocol,
        close: (code, reason) => socket.close(code, reason),
        send: async (text) => send(socket, text),
        onMessage(handle) {
          socket.on('message', (data) => {
            endWhenFull(socket)
            // `ws` has looked at what came as text.
            if (!isUtf8(data as Buffer)) return socket.close(NOT_UTF_8, 'Invalid UTF-8')
            void handle((data as Buffer).toString()).catch((error: unknown) =>
              endWithFault(socket, error, log),
            )
          })
        },
      },
      { socket, request },
    )
    socket.once('close', (code, reason) => {
      onClose(code, String(reason)).catch((error: unknown) => logFault(error, log))
    })
  }

  app.addHook('preClose', async () => {
    isClosing = true
    pinger.stop()
    for (const socket of sockets.clients) socket.close(1001, 'Going away')
    setTimeout(() => {
      for (const socket of sockets.clients) socket.terminate()
    }, MAX_CLOSING_MS).unref()
  })
}

/** Ends sockets whose client is gone: pings every socket in its turn, once an interval, and wants an answer by the next turn. */
class Pinger {
  readonly #groups: ReadonlyArray<Set<WebSocket>>
  /** When each socket without an answer yet was pinged. */
  readonly #pingedAt = new WeakMap<WebSocket, number>()
  readonly #tickMs: number
  readonly #minAnswerMs: number
  #timer: NodeJS.Timeout | undefined
  #dueAt = performance.now()
  #added = 0
  #turn = 0

  constructor(intervalMs: number) {
    const length = Math.ceil(intervalMs / PING_TICK_MS)
    this.#groups = Array.from({ length }, () => new Set())
    this.#tickMs = intervalMs / length
    this.#minAnswerMs = intervalMs / 2
    this.#schedule()
  }

  add(socket: WebSocket): void {
    const group = this.#groups[this.#added % this.#groups.length]
    this.#added += 1
    group?.add(socket)
    socket.on('pong', () => this.#pingedAt.delete(socket))
    socket.once('close', () => group?.delete(socket))
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  /** By the clock, because what many ticks are late would add up. After a pause of the process it does not hurry. */
  #schedule(): void {
    const now = performance.now()
    this.#dueAt = Math.max(this.#dueAt + this.#tickMs, now - MAX_PING_DELAY_MS)
    this.#timer = setTimeout(() => {
      this.#pingNext()
      this.#schedule()
    }, this.#dueAt - now)
  }

  #pingNext(): void {
    this.#turn = (this.#turn + 1) % this.#groups.length
    for (const socket of this.#groups[this.#turn] ?? []) {
      const pingedAt = this.#pingedAt.get(socket)
      if (pingedAt === undefined) this.#ping(socket)
      // After a pause of the process two turns can follow each other at once: the client had no time to answer.
      else if (performance.now() - pingedAt >= this.#minAnswerMs) socket.terminate()
    }
  }

  #ping(socket: WebSocket): void {
    this.#pingedAt.set(socket, performance.now())
    socket.ping()
  }
}

/** Fulfilled when it was handed to the network, so that a client which does not read is sent nothing more. */
async function send(socket: WebSocket, text: string): Promise<void> {
  if (socket.readyState !== socket.OPEN) return
  // A socket that fails is closed, and its close handlers run.
  await new Promise<void>((resolve) => {
    socket.send(text, () => resolve())
  })
}

function endWithFault(socket: WebSocket, error: unknown, log: Logger): void {
  // So `graphql-ws` says that a client sent what only servers send.
  if (error instanceof Error && error.message.startsWith('Unexpected message of type')) {
    socket.close(CloseCode.BadRequest, 'Invalid message received')
    return
  }
  logFault(error, log)
  socket.close(CloseCode.InternalServerError, 'Internal server error')
}

function refuse(socket: Duplex): void {
  answerRaw(socket, {
    status: 503,
    code: 'SERVICE_UNAVAILABLE',
    message: 'Too many clients are connected; try again',
    headers: { 'Retry-After': '1' },
  })
}

/** RFC 6455 §4.4: the version that would do. */
function refuseHandshake(socket: Duplex, message: string): void {
  answerRaw(socket, {
    status: 400,
    code: 'BAD_REQUEST',
    message,
    headers: { 'Sec-WebSocket-Version': '13' },
  })
}

function ignore(): void {}
