import { once } from 'node:events'
import { connect } from 'node:net'
import type { Socket } from 'node:net'

export interface Answer {
  readonly status: number
  readonly body: string
}

const HEAD_END = '\r\n\r\n'

/**
 * One keep-alive connection with one request under way at the most.
 *
 * Node's own client costs more than the service it would measure; of HTTP this knows what the service answers with.
 */
export class Connection {
  readonly #socket: Socket
  #text = ''
  #onAnswer: ((answer: Answer | null) => void) | null = null
  isOpen = true

  constructor(port: number) {
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.#socket.setEncoding('latin1')
    this.#socket.on('data', (text: string) => this.#read(text))
    this.#socket.on('error', () => undefined)
    this.#socket.on('close', () => {
      this.isOpen = false
      this.#settle(null)
    })
  }

  /** Fulfilled when it is open. */
  async opened(): Promise<void> {
    await once(this.#socket, 'connect')
  }

  /** @param onAnswer - Given `null` when the connection ended first. */
  send(request: string, onAnswer: (answer: Answer | null) => void): void {
    this.#onAnswer = onAnswer
    if (this.isOpen) this.#socket.write(request)
    else this.#settle(null)
  }

  close(): void {
    this.#socket.destroy()
  }

  #read(text: string): void {
    this.#text += text
    const headEnd = this.#text.indexOf(HEAD_END)
    if (headEnd < 0) return
    const head = this.#text.slice(0, headEnd)
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1])
    const body = this.#text.slice(headEnd + HEAD_END.length)
    if (body.length < length) return

    this.#text = ''
    this.#settle({ status: Number(head.slice(9, 12)), body })
  }

  #settle(answer: Answer | null): void {
    const onAnswer = this.#onAnswer
    this.#onAnswer = null
    onAnswer?.(answer)
  }
}

/** A GraphQL request as bytes. */
export function write(operation: object, token?: string): string {
  const body = JSON.stringify(operation)
  return [
    'POST /graphql HTTP/1.1',
    'host: 127.0.0.1',
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    ...(token === undefined ? [] : [`authorization: Bearer ${token}`]),
    '',
    body,
  ].join('\r\n')
}
