import { once } from 'node:events'
import { connect } from 'node:net'
import type { Socket } from 'node:net'

/** One answer, as it stood on the wire. */
export interface RawAnswer {
  readonly status: number
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
}

export function connectTo({ url }: { readonly url: string }): Socket {
  const socket = connect(Number(new URL(url).port), 'localhost')
  socket.on('error', () => undefined)
  return socket
}

/**
 * Sends bytes that no decent client would, and gives all answers that come until the connection closes.
 *
 * @param options - `toTheEnd`: gives one answer with all bytes as its text, for a body without a length.
 */
export async function exchange(
  service: { readonly url: string },
  bytes: string | Uint8Array,
  { toTheEnd = false }: { readonly toTheEnd?: boolean } = {},
): Promise<RawAnswer[]> {
  const socket = connectTo(service)
  socket.write(bytes)
  const pieces: Buffer[] = []
  socket.on('data', (piece: Buffer) => pieces.push(piece))
  await once(socket, 'close')
  const text = Buffer.concat(pieces).toString()
  return toTheEnd ? [{ status: 0, headers: {}, text }] : readAnswers(text)
}

/** Answers with a length, one after the other. */
export function readAnswers(text: string): RawAnswer[] {
  const answers: RawAnswer[] = []
  let rest = text
  while (rest !== '') {
    const headEnd = rest.indexOf('\r\n\r\n')
    if (headEnd < 0) throw new Error(`no answer: ${rest}`)
    const [first = '', ...lines] = rest.slice(0, headEnd).split('\r\n')
    const headers = Object.fromEntries(
      lines.map((line) => {
        const [name = '', ...value] = line.split(': ')
        return [name.toLowerCase(), value.join(': ')]
      }),
    )
    const end = headEnd + 4 + Number(headers['content-length'] ?? 0)
    answers.push({
      status: Number(first.split(' ')[1]),
      headers,
      text: rest.slice(headEnd + 4, end),
    })
    rest = rest.slice(end)
  }
  return answers
}
