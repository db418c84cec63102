import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { answerRaw } from './raw-answers.ts'

/** The socket of a request, and the answer that Node writes to it at the moment. */
type Connection = Duplex & {
  readonly _httpMessage?: ServerResponse | null
  setTimeout?(ms: number): unknown
}

/** Node drops headers beyond this number without a word. */
const MAX_HEADERS = 1000

/** What a request says of protocols that it offers to go over to (RFC 9110 §7.8, RFC 7540 §3.2.1). */
const ABOUT_UPGRADES = new Set(['upgrade', 'http2-settings'])

/**
 * Whether a request opens a WebSocket at this path; other protocols may be offered beside it.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc6455#section-4.1 RFC 6455 §4.1}
 */
export function opensWebSocket(request: IncomingMessage, path: string): boolean {
  const { method, httpVersionMajor, httpVersionMinor, url, headers } = request
  return (
    method === 'GET' &&
    (httpVersionMajor > 1 || httpVersionMinor > 0) &&
    url?.split('?')[0] === path &&
    splitList(headers.upgrade ?? '').some((protocol) => protocol.toLowerCase() === 'websocket')
  )
}

/** Fulfilled when everything that came before on a connection is answered; answers keep the order of requests. */
export async function isEachAnswered(socket: Connection): Promise<void> {
  for (;;) {
    const answer = socket._httpMessage
    if (!answer || socket.destroyed) return
    await new Promise<void>((resolve) => {
      answer.once('close', () => resolve())
    })
  }
}

/**
 * Has a request answered as if it had offered no upgrade (RFC 9110 §7.8).
 *
 * Node before version 25 lets no server decline an upgrade as it should: it has given up the connection by now, and left
 * the body unread. So the request goes back to where it came from, without its offer, and the connection to the server as
 * if it were new.
 */
export function serveWithoutUpgrade(
  server: Server,
  request: IncomingMessage,
  socket: Connection,
  rest: Uint8Array,
): void {
  if (request.rawHeaders.length >= 2 * MAX_HEADERS) {
    answerRaw(socket, {
      status: 431,
      code: 'BAD_REQUEST',
      message: `Send at most ${MAX_HEADERS} headers`,
    })
    return
  }
  socket.unshift(Buffer.concat([formatHead(request), rest]))
  // That of a connection without a request.
  socket.setTimeout?.(0)
  server.emit('connection', socket)
}

/** The bytes of a request's head but for its offer. Node reads heads as Latin-1. */
function formatHead({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  let head = `${method} ${url} HTTP/${httpVersion}\r\n`
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = (rawHeaders[at] as string).toLowerCase()
    const value = rawHeaders[at + 1] as string
    if (ABOUT_UPGRADES.has(name)) continue
    head += `${name}: ${name === 'connection' ? withoutUpgrade(value) : value}\r\n`
  }
  return Buffer.from(`${head}\r\n`, 'latin1')
}

function withoutUpgrade(connection: string): string {
  return splitList(connection)
    .filter((option) => !ABOUT_UPGRADES.has(option.toLowerCase()))
    .join(', ')
}

function splitList(text: string): string[] {
  return text.split(',').map((member) => member.trim())
}
