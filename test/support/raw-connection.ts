import { connect } from 'node:net'
import type { Socket } from 'node:net'

/** An answer as it came over the wire, but for what no two answers share. */
export interface RawAnswer {
  readonly status: number
  /** `name: value`, names in lower case, sorted; without `date`. */
  readonly headers: readonly string[]
  readonly body: string
}

/** A connection on which requests are written as bytes. */
export class RawConnection {
  readonly #socket: Socket
  #received = Buffer.alloc(0)
  #isEnded = false
  #wake = (): void => undefined

  constructor(url: string) {
    const { hostname, port } = new URL(url)
    this.#socket = connect(Number(port), hostname)
    this.#socket.setNoDelay(true)
    this.#socket.on('data', (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk])
      this.#wake()
    })
    const end = (): void => {
      this.#isEnded = true
      this.#wake()
    }
    this.#socket.on('close', end).on('error', end)
  }

  write(bytes: string | Uint8Array): void {
    this.#socket.write(bytes)
  }

  /** @returns The next answer; `null` when the connection ends before it is whole. */
  async read(): Promise<RawAnswer | null> {
    for (;;) {
      const answer = this.#take()
      if (answer !== null || this.#isEnded) return answer
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  destroy(): void {
    this.#socket.destroy()
  }

  #take(): RawAnswer | null {
    const headEnd = this.#received.indexOf('\r\n\r\n')
    if (headEnd === -1) return null
    const [first = '', ...lines] = this.#received.toString('latin1', 0, headEnd).split('\r\n')
    const length = Number(lines.find((line) => /^content-length:/i.test(line))?.slice(15) ?? 0)
    const end = headEnd + 4 + length
    if (this.#received.length < end) return null

    const body = this.#received.toString('utf8', headEnd + 4, end)
    this.#received = this.#received.subarray(end)
    const headers = lines
      .map((line) => line.replace(/^[^:]+/, (name) => name.toLowerCase()))
      .filter((line) => !line.startsWith('date:'))
      .toSorted()
    return { status: Number(first.split(' ')[1]), headers, body }
  }
}

/** Writes a POST of JSON. */
export function writePost(
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>> = {},
  path = '/graphql',
): Buffer {
  const bytes = Buffer.from(body)
  const all = {
    host: 'localhost',
    'content-type': 'application/json',
    'content-length': String(bytes.length),
    ...headers,
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`)
  return Buffer.concat([
    Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`),
    bytes,
  ])
}

/** Sends one request on a connection of its own. */
export async function sendRaw(url: string, bytes: Uint8Array): Promise<RawAnswer | null> {
  const connection = new RawConnection(url)
  try {
    connection.write(bytes)
    return await connection.read()
  } finally {
    connection.destroy()
  }
}
