import { connect } from 'node:net'
import type { Socket } from 'node:net'

/** Told of an answer: its body lies in `data` from `start` to `end`, and only until the function returns. */
export type OnAnswer = (status: number, data: Buffer, start: number, end: number) => void

const READ_BYTES = 128 * 1024
const HEAD_END = Buffer.from('\r\n\r\n')

/** One keep-alive connection that has at most one request under way. Its parser knows as much of HTTP as it needs. */
export class Connection {
  readonly #socket: Socket
  readonly #onAnswer: OnAnswer
  #pieces: Buffer[] = []
  #length = 0
  /** How many bytes the answer under way has; 0 while that is not known. */
  #wanted = 0

  constructor(port: number, onAnswer: OnAnswer, onClose: () => void) {
    this.#onAnswer = onAnswer
    this.#socket = connect({
      port,
      host: '127.0.0.1',
      noDelay: true,
      onread: {
        buffer: Buffer.allocUnsafe(READ_BYTES),
        callback: (bytes, buffer) => this.#read(buffer.subarray(0, bytes) as Buffer),
      },
    })
    this.#socket.on('error', () => undefined)
    this.#socket.on('close', onClose)
  }

  send(request: Uint8Array): void {
    this.#socket.write(request)
  }

  close(): void {
    this.#socket.removeAllListeners('close')
    this.#socket.destroy()
  }

  #read(data: Buffer): boolean {
    if (this.#length === 0 && this.#tryAnswer(data)) return true

    this.#pieces.push(Buffer.from(data))
    this.#length += data.length
    if (this.#pieces.length > 1 && this.#length >= this.#wanted) {
      this.#tryAnswer(Buffer.concat(this.#pieces))
    }
    return true
  }

  #tryAnswer(data: Buffer): boolean {
    const headEnd = data.indexOf(HEAD_END)
    if (headEnd < 0) return false

    const head = data.toString('latin1', 0, headEnd)
    const start = headEnd + HEAD_END.length
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
    if (length === undefined) return this.#tryChunked(head, data, start)

    const end = start + Number(length)
    this.#wanted = end
    if (data.length < end) return false
    this.#finish(head, data, start, end)
    return true
  }

  #tryChunked(head: string, data: Buffer, start: number): boolean {
    const body = decodeChunks(data, start)
    if (body === null) return false
    this.#finish(head, body, 0, body.length)
    return true
  }

  #finish(head: string, data: Buffer, start: number, end: number): void {
    this.#pieces = []
    this.#length = 0
    this.#wanted = 0
    this.#onAnswer(Number(head.slice(9, 12)), data, start, end)
  }
}

/** `null` while the last chunk is not there (RFC 9112 §7.1). */
function decodeChunks(data: Buffer, start: number): Buffer | null {
  const chunks: Buffer[] = []
  let at = start
  for (;;) {
    const lineEnd = data.indexOf('\r\n', at)
    if (lineEnd < 0) return null
    const size = Number.parseInt(data.toString('latin1', at, lineEnd), 16)
    const chunkEnd = lineEnd + 2 + size
    if (data.length < chunkEnd + 2) return null
    if (size === 0) return Buffer.concat(chunks)
    chunks.push(data.subarray(lineEnd + 2, chunkEnd))
    at = chunkEnd + 2
  }
}
