import { STATUS_CODES } from 'node:http'
import type { ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { formatFault } from './http-errors.ts'
import type { FaultCode } from './http-errors.ts'
import { SECURITY_HEADERS } from './security-headers.ts'

/** A refusal where there is no response object to write to. */
export interface RawAnswer {
  readonly status: number
  readonly code: FaultCode
  readonly message: string
  readonly headers?: Readonly<Record<string, string>>
}

/** A connection, and the answer that Node writes to it at the moment. */
type Connection = Duplex & { readonly _httpMessage?: ServerResponse | null }

/** How long a client may go on sending after it was refused, in milliseconds: a reset would take the answer from it. */
const LINGER_MS = 1000

/** Answers in GraphQL's form, and closes the connection. */
export function answerRaw(socket: Duplex, { status, code, message, headers }: RawAnswer): void {
  const body = JSON.stringify(formatFault(code, message))
  const lines = [
    ...SECURITY_HEADERS,
    ...Object.entries(headers ?? {}),
    ['Cache-Control', 'no-store'],
    ['Content-Type', 'application/json; charset=utf-8'],
    ['Content-Length', Buffer.byteLength(body)],
    ['Connection', 'close'],
  ].map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`)

  socket.resume()
  const timer = setTimeout(() => socket.destroy(), LINGER_MS)
  socket.once('close', () => clearTimeout(timer))
}

/** Answers what Node's parser refuses. An answer that has begun cannot become another one. */
export function answerUnreadable({ code }: NodeJS.ErrnoException, socket: Connection): void {
  const hasBegun = socket._httpMessage?.headersSent === true
  if (code === 'ECONNRESET' || hasBegun) socket.destroy()
  else if (socket.writable) answerRaw(socket, describeUnreadable(code))
}

function describeUnreadable(reason: string | undefined): RawAnswer {
  const code = 'BAD_REQUEST'
  switch (reason) {
    case 'HPE_HEADER_OVERFLOW':
      return { status: 431, code, message: 'Send at most 16 KiB of headers' }
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return { status: 413, code, message: 'Send at most 16 KiB of chunk extensions' }
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return { status: 408, code, message: 'The request did not arrive in time' }
    case undefined:
    default:
      return { status: 400, code, message: 'This is not an HTTP/1.1 request' }
  }
}
