import { once } from 'node:events'
import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connectTo, exchange, readAnswers } from '../support/raw-http.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

let service: TestService

beforeAll(async () => {
  service = await startService()
})

afterAll(async () => {
  await service.stop()
})

const BODY = '{"query":"{__typename}"}'
const ANSWER = '{"data":{"__typename":"Query"}}\n'
/** As Java's HttpClient and `curl --http2` ask. */
const H2C =
  'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n'
const LAST = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
const HANDSHAKE =
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n'

function post(
  headers: string,
  body = BODY,
  framing = `Content-Length: ${body.length}\r\n`,
): string {
  return `POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${headers}${framing}\r\n${body}`
}

function get(path: string, headers: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`
}

describe('an upgrade that is not ours is ignored, and its request is answered (RFC 9110 §7.8)', () => {
  it.each([
    ['h2c', H2C],
    ['h2c in capitals', 'Connection: UPGRADE\r\nUpgrade: H2C\r\n'],
    ['several protocols', 'Connection: upgrade\r\nUpgrade: h2c, TLS/1.0, IRC/6.9\r\n'],
    ['several lines', 'Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: TLS/1.0\r\n'],
    ['a WebSocket by POST', `Connection: upgrade\r\nUpgrade: websocket\r\n${HANDSHAKE}`],
    ['an empty one', 'Connection: upgrade\r\nUpgrade: \r\n'],
    ['one that the connection does not name', 'Upgrade: h2c\r\n'],
    ['what looks like a WebSocket', 'Connection: upgrade\r\nUpgrade: websockets\r\n'],
  ])('with a body, and the connection stays: %s', async (_what, headers) => {
    const [answer, next, ...others] = await exchange(service, post(headers) + post(headers) + LAST)

    expect([answer?.status, answer?.text]).toEqual([200, ANSWER])
    expect(answer?.headers['x-content-type-options']).toBe('nosniff')
    expect([next?.status, next?.text]).toEqual([200, ANSWER])
    expect(others.map(({ status, text }) => [status, text])).toEqual([[200, '{"status":"ok"}']])
  })

  it.each([
    ['/healthz', H2C, 200],
    ['/readyz', H2C, 200],
    ['/metrics', H2C, 200],
    ['/', H2C, 200],
    ['/nothing', H2C, 404],
    ['/graphql', H2C, 400],
    ['/healthz', `Connection: upgrade\r\nUpgrade: websocket\r\n${HANDSHAKE}`, 200],
    ['/nothing', `Connection: upgrade\r\nUpgrade: websocket\r\n${HANDSHAKE}`, 404],
    ['/graphql/', `Connection: upgrade\r\nUpgrade: websocket\r\n${HANDSHAKE}`, 404],
  ])('without a body: GET %s', async (path, headers, status) => {
    const answers = await exchange(service, get(path, headers) + get(path, headers) + LAST)

    expect(answers.map((answer) => answer.status)).toEqual([status, status, 200])
    const [{ text } = { text: '' }] = answers
    if (status >= 400) expect(JSON.parse(text).errors[0].extensions.code).toMatch(/^[A-Z_]+$/)
  })

  it('by HTTP/1.0 also where a WebSocket would be ours', async () => {
    const asked = get('/graphql', `Connection: upgrade\r\nUpgrade: websocket\r\n${HANDSHAKE}`)
    const [answer] = await exchange(service, asked.replace('HTTP/1.1', 'HTTP/1.0'))

    expect(answer?.status).toBe(400)
  })

  it('whose body comes in chunks, and piece by piece', async () => {
    const socket = connectTo(service)
    let text = ''
    socket.on('data', (piece) => (text += String(piece)))
    const bytes = post(
      H2C,
      `8\r\n${BODY.slice(0, 8)}\r\n10\r\n${BODY.slice(8)}\r\n0\r\n\r\n`,
      'Transfer-Encoding: chunked\r\n',
    )
    for (const byte of bytes + LAST) {
      socket.write(byte)
      await nextTurn()
    }
    await once(socket, 'close')

    expect(readAnswers(text).map((answer) => answer.text)).toEqual([ANSWER, '{"status":"ok"}'])
  })

  it('after the answers to what came before it on its connection', async () => {
    const slow = post(
      '',
      '{"query":"mutation { login(email: \\"ada@example.com\\", password: \\"none of hers\\") { tokenType } }"}',
    )
    const answers = await exchange(service, slow + slow + get('/healthz', H2C) + post(H2C) + LAST)

    expect(answers.map(({ status }) => status)).toEqual([401, 401, 200, 200, 200])
    expect(answers[3]?.text).toBe(ANSWER)
  })

  it('whose client waits for leave to send its body', async () => {
    const socket = connectTo(service)
    socket.write(
      post(`${H2C}Expect: 100-continue\r\nConnection: close\r\n`, '', 'Content-Length: 24\r\n'),
    )
    const [leave] = (await once(socket, 'data')) as [Buffer]
    expect(String(leave)).toBe('HTTP/1.1 100 Continue\r\n\r\n')
    socket.write(BODY)
    let text = ''
    socket.on('data', (piece) => (text += String(piece)))
    await once(socket, 'close')

    expect(readAnswers(text).map((answer) => answer.text)).toEqual([ANSWER])
  })

  it('with more headers than are read is refused whole: its length may stand behind them', async () => {
    const many = Array.from({ length: 1000 }, () => 'a:b\r\n').join('')
    const answers = await exchange(service, post(H2C + many) + LAST)

    expect(answers.map(({ status }) => status)).toEqual([431])
  })

  it('as Node’s own client sends it, also on a connection that is kept', async () => {
    const { Agent } = await import('node:http')
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const ask = async (): Promise<string> => {
      const asked = request(`${service.url}/graphql`, {
        agent,
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          connection: 'Upgrade, HTTP2-Settings',
          upgrade: 'h2c',
          'http2-settings': 'AAMAAABk',
        },
      })
      asked.end(BODY)
      const [answer] = (await once(asked, 'response')) as [IncomingMessage]
      let text = ''
      for await (const piece of answer) text += String(piece)
      return text
    }

    expect(await ask()).toBe(ANSWER)
    expect(await ask()).toBe(ANSWER)
    agent.destroy()
  })
})

describe('a WebSocket', () => {
  it.each([
    ['alone', 'websocket'],
    ['in capitals', 'WebSocket'],
    ['beside other protocols', 'h2c, websocket'],
    ['before other protocols', 'websocket, h2c'],
  ])('is taken up %s', async (_how, protocols) => {
    const socket = connectTo(service)
    socket.write(
      get(
        '/graphql?x=1',
        `Connection: keep-alive, Upgrade\r\nUpgrade: ${protocols}\r\n${HANDSHAKE}`,
      ),
    )
    const [data] = (await once(socket, 'data')) as [Buffer]
    socket.destroy()

    expect(String(data)).toMatch(/^HTTP\/1\.1 101 /)
  })

  it.each([
    ['no key', HANDSHAKE.replace(/Sec-WebSocket-Key.*\r\n/, '')],
    ['another version', HANDSHAKE.replace('13', '7')],
  ])('whose handshake has %s is refused in GraphQL’s form', async (_what, handshake) => {
    const bytes = get('/graphql', `Connection: Upgrade\r\nUpgrade: websocket\r\n${handshake}`)
    const [answer] = await exchange(service, bytes)

    expect(answer?.status).toBe(400)
    expect(JSON.parse(answer?.text ?? '').errors[0].extensions).toEqual({ code: 'BAD_REQUEST' })
    expect(answer?.headers).toMatchObject({
      'sec-websocket-version': '13',
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
    })
  })

  it('for which there is no room is refused in GraphQL’s form', async () => {
    const full = await startService({ database: service.database, maxLiveConnections: 0 })
    const bytes = get('/graphql', `Connection: Upgrade\r\nUpgrade: websocket\r\n${HANDSHAKE}`)
    const [answer] = await exchange(full, bytes)
    await full.stop()

    expect(answer?.status).toBe(503)
    expect(JSON.parse(answer?.text ?? '').errors[0].extensions).toEqual({
      code: 'SERVICE_UNAVAILABLE',
    })
    expect(answer?.headers).toMatchObject({ 'retry-after': '1', 'x-frame-options': 'SAMEORIGIN' })
  })
})
