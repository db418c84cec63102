import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { register } from '../support/people.ts'
import { connectTo, exchange, readAnswers } from '../support/raw-http.ts'
import type { RawAnswer } from '../support/raw-http.ts'
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
const CLOSE = 'Connection: close\r\n'

/** As every answer of ours that is a refusal. */
function expectGraphQLForm(answer: RawAnswer | undefined, status: number): void {
  expect(answer?.status).toBe(status)
  expect(answer?.headers).toMatchObject({
    'content-type': 'application/json; charset=utf-8',
    'x-content-type-options': 'nosniff',
    'content-security-policy': "default-src 'none';frame-ancestors 'none'",
    'referrer-policy': 'no-referrer',
  })
  expect(JSON.parse(answer?.text ?? '')).toEqual({
    errors: [{ message: expect.any(String), extensions: { code: 'BAD_REQUEST' } }],
  })
}

describe('what Node’s parser refuses is refused in GraphQL’s form', () => {
  it.each([
    ['headers above 16 KiB', 431, `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`],
    ['a URL above 16 KiB', 431, `GET /${'x'.repeat(20_000)} HTTP/1.1\r\nHost: a\r\n\r\n`],
    ['no HTTP', 400, 'nonsense\r\n\r\n'],
    ['TLS', 400, '\u0016\u0003\u0001\u0002\0\u0001\0'],
    ['HTTP/2', 400, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['HTTP/3', 400, 'GET / HTTP/3.0\r\nHost: a\r\n\r\n'],
    ['a line without a colon', 400, 'GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n'],
    [
      'two lengths',
      400,
      'POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}',
    ],
    [
      'chunk extensions above 16 KiB',
      413,
      `POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2;a=${'x'.repeat(20_000)}\r\n{}\r\n0\r\n\r\n`,
    ],
    ['HTTP/1.1 without a Host', 400, `GET /healthz HTTP/1.1\r\n${CLOSE}\r\n`],
    [
      'HTTP/1.1 without a Host, with a body',
      400,
      `POST /graphql HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 24\r\n${CLOSE}\r\n${BODY}`,
    ],
  ])('%s: %i', async (_what, status, bytes) => {
    const answers = await exchange(service, Buffer.from(bytes, 'latin1'))

    expect(answers).toHaveLength(1)
    expectGraphQLForm(answers[0], status)
    expect(answers[0]?.headers['connection']).toBe('close')
    expect((await fetch(`${service.url}/healthz`)).status).toBe(200)
  })

  it('an expectation that cannot be met: 417', async () => {
    const bytes = `POST /graphql HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 24\r\n${CLOSE}\r\n${BODY}`
    const [answer] = await exchange(service, bytes)

    expectGraphQLForm(answer, 417)
  })

  it('a request that does not arrive in time: 408', async () => {
    const node = await startService({ database: service.database, requestTimeoutMs: 500 })
    const [answer] = await exchange(node, 'POST /graphql HTTP/1.1\r\nHost: a\r\n')
    await node.stop()

    expectGraphQLForm(answer, 408)
  })

  it('and an answer that has begun does not become another', async () => {
    const socket = connectTo(service)
    let text = ''
    socket.on('data', (piece) => (text += String(piece)))
    const { accessToken } = await register(service, 'ada')
    const body = JSON.stringify({ query: 'subscription { sessionEnded { reason } }' })
    socket.write(
      [
        'POST /graphql HTTP/1.1',
        'Host: a',
        'Accept: text/event-stream',
        'Content-Type: application/json',
        `Content-Length: ${body.length}`,
        `Authorization: Bearer ${accessToken}`,
        '',
        body,
      ].join('\r\n'),
    )
    await sleep(200)
    socket.write('nonsense\r\n\r\n')
    await once(socket, 'close')

    expect(text).toMatch(/^HTTP\/1\.1 200 OK/)
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1)
  })
})

describe('a request by HTTP/1.0', () => {
  it.each([
    ['/healthz', `GET /healthz HTTP/1.0\r\n\r\n`],
    ['/readyz', `GET /readyz HTTP/1.0\r\n\r\n`],
    ['/', `GET / HTTP/1.0\r\n\r\n`],
    [
      '/graphql',
      `POST /graphql HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n${BODY}`,
    ],
    [
      '/graphql by GET',
      `GET /graphql?query={__typename} HTTP/1.0\r\nApollo-Require-Preflight: 1\r\n\r\n`,
    ],
  ])('needs no Host (RFC 9112 §3.2): %s', async (_path, bytes) => {
    const [answer] = await exchange(service, bytes)

    expect(answer?.status).toBe(200)
  })

  it('with a Host that is malformed is refused as by HTTP/1.1', async () => {
    const bytes = `POST /graphql HTTP/1.0\r\nHost: [\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n${BODY}`

    expectGraphQLForm((await exchange(service, bytes))[0], 400)
  })
})

describe('OPTIONS without an origin, or without a method to ask for', () => {
  it.each([
    ['/graphql', 'GET, POST, OPTIONS'],
    ['/graphql?x=1', 'GET, POST, OPTIONS'],
    ['/healthz', 'GET, HEAD, OPTIONS'],
    ['/', 'GET, HEAD, OPTIONS'],
    ['*', 'GET, HEAD, POST, OPTIONS'],
  ])('says what there is at %s', async (path, allow) => {
    for (const more of [
      '',
      'Origin: http://localhost:3000\r\n',
      'Access-Control-Request-Method: POST\r\n',
    ]) {
      const bytes = `OPTIONS ${path} HTTP/1.1\r\nHost: a\r\n${more}${CLOSE}\r\n`
      const [answer] = await exchange(service, bytes)

      expect([answer?.status, answer?.headers['allow'], answer?.text]).toEqual([204, allow, ''])
      expect(answer?.headers['x-content-type-options']).toBe('nosniff')
    }
  })

  it('is answered 404 where there is nothing', async () => {
    const response = await fetch(`${service.url}/nothing`, { method: 'OPTIONS' })

    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'NOT_FOUND' } }] })
  })
})

describe('a body that cannot be read is answered 415, with what can', () => {
  const send = (
    headers: Record<string, string>,
    body: string | Uint8Array<ArrayBuffer> = BODY,
  ): Promise<Response> =>
    fetch(`${service.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body,
    })

  it.each([
    'gzip',
    'br',
    'deflate',
    'zstd',
    'x-gzip',
    'compress',
    'nonsense',
    'identity, gzip',
    'aws-chunked',
  ])('of the coding %s, be it true or not (RFC 9110 §15.5.16)', async (coding) => {
    const { gzipSync } = await import('node:zlib')
    for (const body of [BODY, gzipSync(BODY)]) {
      const response = await send({ 'content-encoding': coding }, body)

      expect(response.status).toBe(415)
      expect(response.headers.get('accept-encoding')).toBe('identity')
      expect(response.headers.get('cache-control')).toBe('no-store')
      expect(await response.json()).toEqual({
        errors: [
          {
            message: 'Send the body as it is, without Content-Encoding',
            extensions: { code: 'BAD_REQUEST' },
          },
        ],
      })
    }
  })

  it.each(['identity', 'Identity', ''])('but for one that changes nothing: %j', async (coding) => {
    expect((await send({ 'content-encoding': coding })).status).toBe(200)
  })

  it.each([
    'application/xml',
    'application/x-www-form-urlencoded',
    'nonsense',
    'application/graphql',
  ])('of the type %s', async (type) => {
    const response = await send({ 'content-type': type })

    expect(response.status).toBe(415)
    expect(response.headers.get('accept')).toBe('application/json')
    const { errors } = (await response.json()) as { errors: [{ message: string }] }
    expect(errors[0].message).toBe('Send JSON, with Content-Type: application/json')
  })

  it('of no type', async () => {
    const bytes = `POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Length: 24\r\n${CLOSE}\r\n${BODY}`
    const [answer] = await exchange(service, bytes)

    expectGraphQLForm(answer, 415)
    expect(answer?.headers['accept']).toBe('application/json')
  })
})

it('readAnswers tells answers apart', () => {
  expect(
    readAnswers('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 204 No\r\n\r\n'),
  ).toEqual([
    { status: 200, headers: { 'content-length': '1' }, text: 'a' },
    { status: 204, headers: {}, text: '' },
  ])
})
