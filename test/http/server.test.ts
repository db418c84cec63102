import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { login, passwordOf, register } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

const ME = '{ me { email } }'
const JSON_TYPE = { 'content-type': 'application/json' }

let service: TestService
let ada: SignIn

beforeAll(async () => {
  service = await startService()
  ada = await register(service, 'ada')
})

afterAll(async () => {
  await service.stop()
})

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: any
}

async function send(path: string, init: RequestInit = {}, on = service): Promise<Answer> {
  const response = await fetch(`${on.url}${path}`, init)
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.includes('json') ?? false
  return {
    status: response.status,
    headers: response.headers,
    body: isJson && text !== '' ? JSON.parse(text) : text,
  }
}

function post(body: unknown, headers: Record<string, string> = {}, on = service): Promise<Answer> {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return send('/graphql', { method: 'POST', headers: { ...JSON_TYPE, ...headers }, body: text }, on)
}

/** Sends bytes that no decent client would, and gives status and body of the answer. */
async function sendRaw(head: readonly string[], body = ''): Promise<{ status: number; body: any }> {
  const socket = connect(Number(new URL(service.url).port), 'localhost')
  const length = body === '' ? [] : [`Content-Length: ${Buffer.byteLength(body)}`]
  socket.write([...head, ...length, 'Connection: close', '', body].join('\r\n'))

  let text = ''
  for await (const chunk of socket) text += String(chunk)
  return {
    status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]),
    body: JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4)),
  }
}

const reasonsOf = ({ body }: { body: any }): unknown[] =>
  body.errors.map(({ extensions }: any) => extensions.reason ?? extensions.code)

describe('the Authorization header', () => {
  // Q37
  it.each(['Bearer ', 'bearer ', 'BEARER ', 'bEaReR    '])(
    'may write its scheme %j',
    async (scheme) => {
      const { body } = await post({ query: ME }, { authorization: scheme + ada.accessToken })

      expect(body).toEqual({ data: { me: { email: 'ada@example.com' } } })
    },
  )

  // Q37
  it.each([
    ['no token', () => 'Bearer'],
    ['a blank token', () => 'Bearer  '],
    ['another scheme', () => `Basic ${ada.accessToken}`],
    ['no scheme', () => ada.accessToken],
    ['two tokens', () => `Bearer ${ada.accessToken} ${ada.accessToken}`],
    ['a list', () => `Bearer ${ada.accessToken}, Bearer ${ada.accessToken}`],
    ['a quoted token', () => `Bearer "${ada.accessToken}"`],
    ['a tab', () => `Bearer\t${ada.accessToken}`],
    ['a parameter', () => `Bearer token=${ada.accessToken}`],
    ['other letters', () => 'Bearer ünïcødé'],
    ['a token of 9 KB', () => `Bearer ${'a'.repeat(9000)}`],
    ['a token of 15 KB', () => `Bearer ${'a'.repeat(7500)}.${'b'.repeat(7500)}.c`],
  ])('with %s is refused, not ignored', async (_what, authorization) => {
    const answer = await post({ query: ME }, { authorization: authorization() })

    expect(answer.status).toBe(401)
    expect(reasonsOf(answer)).toEqual(['TOKEN_INVALID'])
    expect(answer.headers.get('www-authenticate')).toBe('Bearer error="invalid_token"')
  })

  it('that is missing is told apart from one that is wrong', async () => {
    const answer = await post({ query: ME })

    expect(reasonsOf(answer)).toEqual(['TOKEN_MISSING'])
    expect(answer.headers.get('www-authenticate')).toBe('Bearer')
  })

  it.each(['', ' ', ' \t'])('that is empty is as if there were none: %j', async (authorization) => {
    const answer = await post({ query: ME }, { authorization })

    expect(reasonsOf(answer)).toEqual(['TOKEN_MISSING'])
    expect(answer.headers.get('www-authenticate')).toBe('Bearer')
  })

  // Q38
  it.each(['the same', 'another', 'an empty'])(
    'is refused when it comes twice, with %s value',
    async (kind) => {
      const second = { 'the same': `Bearer ${ada.accessToken}`, another: 'Bearer x' }[kind] ?? ''
      const lines = [`Authorization: Bearer ${ada.accessToken}`, `authorization: ${second}`]

      for (const order of [lines, lines.toReversed()]) {
        const answer = await sendRaw(
          ['POST /graphql HTTP/1.1', 'Host: localhost', 'Content-Type: application/json', ...order],
          JSON.stringify({ query: ME }),
        )
        expect(answer.status).toBe(401)
        expect(reasonsOf(answer)).toEqual(['TOKEN_INVALID'])
      }
    },
  )

  it('that is too large for a request is answered 431', async () => {
    const { status } = await sendRaw([
      'POST /graphql HTTP/1.1',
      'Host: localhost',
      `Authorization: Bearer ${'a'.repeat(20_000)}`,
    ])

    expect(status).toBe(431)
  })

  // Q38
  it.each([
    ['the query', () => post2({}, `?access_token=${ada.accessToken}&token=${ada.accessToken}`)],
    [
      'a cookie',
      () => post2({ cookie: `token=${ada.accessToken}; Authorization=Bearer ${ada.accessToken}` }),
    ],
    ['the body', () => post({ query: ME, access_token: ada.accessToken, token: ada.accessToken })],
    [
      'the operation’s extensions',
      () => post({ query: ME, extensions: { authorization: `Bearer ${ada.accessToken}` } }),
    ],
    [
      'a header of another name',
      () =>
        post2({
          'x-authorization': `Bearer ${ada.accessToken}`,
          'x-access-token': ada.accessToken,
        }),
    ],
    ['a header for proxies', () => post2({ 'proxy-authorization': `Bearer ${ada.accessToken}` })],
  ])('is the only way: a token in %s is not looked at', async (_where, ask) => {
    expect(reasonsOf(await ask())).toEqual(['TOKEN_MISSING'])
  })

  function post2(headers: Record<string, string>, search = ''): Promise<Answer> {
    const body = JSON.stringify({ query: ME })
    return send(`/graphql${search}`, {
      method: 'POST',
      headers: { ...JSON_TYPE, ...headers },
      body,
    })
  }
})

describe('a request that is not GraphQL over HTTP', () => {
  // Q48
  it.each(['PUT', 'PATCH', 'DELETE', 'HEAD'])('by %s is answered 405', async (method) => {
    const { status, headers, body } = await send('/graphql', { method })

    expect(status).toBe(405)
    expect(headers.get('allow')).toBe('GET, POST')
    if (method !== 'HEAD') expect(body.errors[0].extensions.code).toBe('METHOD_NOT_ALLOWED')
  })

  // Q48
  it.each([
    ['application/x-www-form-urlencoded', 415],
    ['multipart/form-data; boundary=x', 415],
    ['application/xml', 415],
    ['application/graphql', 415],
    ['text/plain', 400],
    ['text/plain; application/json', 400],
    ['text/plain, application/json', 415],
    ['application/x-www-form-urlencoded; application/json', 415],
    ['multipart/form-data; boundary=x; application/json', 415],
    ['application/jsonp', 415],
    ['application/json-patch+json', 415],
    ['text/json', 415],
    ['nonsense', 415],
  ])('of type %s is answered %i', async (type, status) => {
    const answer = await post({ query: '{ __typename }' }, { 'content-type': type })

    expect(answer.status).toBe(status)
    expect(answer.body.errors[0].extensions.code).toBe('BAD_REQUEST')
    expect(answer.body).not.toHaveProperty('data')
  })

  it('without a type is refused', async () => {
    const { status } = await sendRaw(
      ['POST /graphql HTTP/1.1', 'Host: localhost'],
      '{"query":"{__typename}"}',
    )

    expect(status).toBe(415)
  })

  it.each([
    ['nothing', ''],
    ['half an object', '{"query":'],
    ['text', 'query { me { id } }'],
    ['null', 'null'],
    ['a string', '"{ __typename }"'],
    ['a number', '7'],
    ['an empty list', '[]'],
    ['an empty object', '{}'],
    ['no query', '{"variables":{}}'],
    ['a query that is no text', '{"query":7}'],
    ['an empty query', '{"query":""}'],
    ['a query of blanks', '{"query":" "}'],
    ['variables that are text', '{"query":"{__typename}","variables":"{}"}'],
    ['variables that are a list', '{"query":"{__typename}","variables":[1]}'],
    ['a name that is no text', '{"query":"{__typename}","operationName":{}}'],
    ['a name that no operation has', '{"query":"{__typename}","operationName":"Other"}'],
    ['an object with a prototype', '{"query":"{__typename}","__proto__":{"x":1}}'],
    ['a constructor', '{"query":"{__typename}","constructor":{"prototype":{"x":1}}}'],
    ['a NUL byte', '{"query":"{__typename}\0"}'],
    ['a list of nonsense', '[7,null]'],
    ['deep lists', `${'['.repeat(100_000)}${']'.repeat(100_000)}`],
    [
      'deep variables',
      `{"query":"{__typename","variables":{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}}`,
    ],
    ['a syntax error', '{"query":"{ me { "}'],
    ['an unknown field', '{"query":"{ you }"}'],
  ])('with %s in its body is answered 400 in GraphQL’s form', async (_what, body) => {
    const answer = await post(body)

    expect(answer.status).toBe(400)
    const [error] = [answer.body].flat()[0].errors
    expect(error.message).toEqual(expect.any(String))
    expect(error.extensions.code).toMatch(/^[A-Z_]+$/)
    expect(JSON.stringify(answer.body)).not.toMatch(/node_modules|\.ts\b|at .+:\d+/)
  })

  const SUBSCRIPTION = 'subscription Ended { sessionEnded { reason } }'
  it.each([
    ['alone', { query: SUBSCRIPTION }],
    ['in a batch', [{ query: SUBSCRIPTION }]],
    ['chosen', { query: `${SUBSCRIPTION} query Q { __typename }`, operationName: 'Ended' }],
  ])('with a subscription, %s, is told where to subscribe', async (_how, body) => {
    const answer = await post(body)

    const [only] = [answer.body].flat()
    expect(only.errors[0].message).toMatch(/^Subscribe over a WebSocket/)
    expect(only.errors[0].extensions).toEqual({ code: 'BAD_REQUEST' })
    expect(answer.status).toBe(400)
  })

  it('with a subscription beside the query that is asked for is answered', async () => {
    const query = `${SUBSCRIPTION} query Q { __typename }`
    const answer = await post({ query, operationName: 'Q' })

    expect(answer.body).toEqual({ data: { __typename: 'Query' } })
  })

  it('above 1 MiB is answered 413', async () => {
    const { status, body } = await post({
      query: '{ __typename }',
      padding: 'x'.repeat(1024 * 1024),
    })

    expect(status).toBe(413)
    expect(body.errors[0].extensions.code).toBe('BAD_REQUEST')
  })

  it.each([
    ['malformed', 'HTTP/1.1', 'Host: ['],
    ['of two words', 'HTTP/1.1', 'Host: a b'],
    ['empty', 'HTTP/1.1', 'Host: '],
    ['missing', 'HTTP/1.1', 'Accept: */*'],
  ])('with a Host that is %s is answered 400', async (_what, version, line) => {
    const answer = await sendRaw(
      [`POST /graphql ${version}`, line, 'Content-Type: application/json'],
      '{"query":"{__typename}"}',
    )

    expect(answer.status).toBe(400)
    expect(reasonsOf(answer)).toEqual(['BAD_REQUEST'])
  })

  it.each(['/nothing', '/graphql/', '/graphql/x', '//graphql', '/..%2fgraphql'])(
    'to %s is answered 404, and told where GraphQL is',
    async (path) => {
      const { status, headers, body } = await send(path, { method: 'POST' })

      expect(status).toBe(404)
      expect(body.errors[0].extensions.code).toBe('NOT_FOUND')
      expect(body.errors[0].message).toContain('GraphQL is at POST /graphql')
      expect(headers.get('x-content-type-options')).toBe('nosniff')
    },
  )

  it('with a path that cannot be decoded is answered 400', async () => {
    const answer = await sendRaw(['GET /%zz HTTP/1.1', 'Host: localhost'])

    expect(answer.status).toBe(400)
    expect(reasonsOf(answer)).toEqual(['BAD_REQUEST'])
  })
})

describe('a request that two servers could read in two ways', () => {
  const BODY = '{"query":"{__typename}"}'
  const CHUNKED = `18\r\n${BODY}\r\n0\r\n\r\n`
  const SMUGGLED = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'

  /** The statuses of all answers that come over one connection until it closes. */
  async function statusesOf(bytes: string): Promise<string[]> {
    const socket = connect(Number(new URL(service.url).port), 'localhost')
    socket.write(bytes)

    let text = ''
    for await (const chunk of socket) text += String(chunk)
    return [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => status!)
  }

  // Q48, Q49
  it.each([
    ['a length and chunks', `Content-Length: 24\r\nTransfer-Encoding: chunked`, `0\r\n\r\n`],
    ['chunks and a length', `Transfer-Encoding: chunked\r\nContent-Length: 24`, CHUNKED],
    ['two lengths', 'Content-Length: 24\r\nContent-Length: 25', BODY],
    ['the same length twice', 'Content-Length: 24\r\nContent-Length: 24', BODY],
    ['a list of lengths', 'Content-Length: 24, 24', BODY],
    ['a length with a sign', 'Content-Length: +24', BODY],
    ['a negative length', 'Content-Length: -1', BODY],
    ['a length in hexadecimal', 'Content-Length: 0x18', BODY],
    ['an encoding that is almost chunked', 'Transfer-Encoding: xchunked', CHUNKED],
    ['chunks that are not the last encoding', 'Transfer-Encoding: chunked, identity', CHUNKED],
    ['two encodings', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity', CHUNKED],
    ['a space before the colon', 'Transfer-Encoding : chunked', CHUNKED],
    ['a folded line', 'Transfer-Encoding:\r\n chunked', CHUNKED],
    ['a chunk’s size with a prefix', 'Transfer-Encoding: chunked', `0x${CHUNKED}`],
    ['line feeds alone', 'X: y\nContent-Length: 24', BODY],
    ['a carriage return alone', 'X: y\rContent-Length: 24', BODY],
    ['a NUL byte', 'X: a\0b\r\nContent-Length: 24', BODY],
    ['a line without a colon', 'nonsense\r\nContent-Length: 24', BODY],
  ])('is refused, and nothing after it is read: %s', async (_what, lines, body) => {
    const head = `POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json`

    expect(await statusesOf(`${head}\r\n${lines}\r\n\r\n${body}${SMUGGLED}`)).toEqual(['400'])
    const sound = `${head}\r\nContent-Length: 24\r\n\r\n${BODY}`
    expect(await statusesOf(sound + SMUGGLED)).toEqual(['200', '200'])
  })

  // Q48
  it.each(['localhost', 'evil.example'])(
    'is refused when it has a second host: %s',
    async (host) => {
      for (const hosts of [
        ['localhost', host],
        [host, 'localhost'],
      ]) {
        const lines = hosts.map((name) => `Host: ${name}`)
        const answer = await sendRaw(
          ['POST /graphql HTTP/1.1', ...lines, 'Content-Type: application/json'],
          BODY,
        )
        expect(answer.status).toBe(400)
        expect(answer.body.errors[0].message).toBe('The Host header stands there more than once')
      }
    },
  )

  // Q42, Q48
  it('does not become another by a header: the method and the path are those of its first line', async () => {
    const logout = encodeURIComponent('mutation { logout { alreadyRevoked } }')
    const headers = {
      authorization: `Bearer ${ada.accessToken}`,
      'x-http-method': 'POST',
      'x-http-method-override': 'POST',
      'x-method-override': 'POST',
      'x-original-url': '/healthz',
      'x-rewrite-url': '/healthz',
    }

    expect((await send(`/graphql?query=${logout}&_method=POST`, { headers })).status).toBe(405)
    expect((await post({ query: ME }, { authorization: headers.authorization })).status).toBe(200)
  })

  // Q48
  it.each(['TRACE', 'PROPFIND', 'OPTIONS'])('by %s shows nothing of itself', async (method) => {
    const { status, body } = await sendRaw2(method)

    expect([204, 400, 404, 405]).toContain(status)
    expect(body).not.toContain('canary')
  })

  async function sendRaw2(method: string): Promise<{ status: number; body: string }> {
    const socket = connect(Number(new URL(service.url).port), 'localhost')
    socket.write(
      `${method} /graphql HTTP/1.1\r\nHost: localhost\r\nX-Secret: canary\r\nConnection: close\r\n\r\n`,
    )
    let body = ''
    for await (const chunk of socket) body += String(chunk)
    return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(body)?.[1]), body }
  }

  it('by CONNECT is not answered at all: this is no proxy', async () => {
    expect(await statusesOf('CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n')).toEqual([])
  })
})

describe('a client that is slow', () => {
  // Q43, Q58
  it.each([
    ['its head', 'POST /graphql HTTP/1.1\r\nHost: localhost\r\n', 'X: y\r\n'],
    [
      'its body',
      'POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n',
      ' ',
    ],
    ['nothing', '', ''],
  ])('and sends %s slowly is cut off', async (_what, beginning, drop) => {
    const node = await startService({ database: service.database, requestTimeoutMs: 500 })
    const socket = connect(Number(new URL(node.url).port), 'localhost')
    const drip = setInterval(() => socket.write(drop), 100)
    try {
      socket.on('error', () => undefined)
      socket.write(beginning)
      let text = ''
      const startedAt = performance.now()
      for await (const chunk of socket) text += String(chunk)

      expect(text === '' ? 'HTTP/1.1 408' : text).toMatch(/^HTTP\/1\.1 408/)
      expect(performance.now() - startedAt).toBeLessThan(15_000)
      expect((await send('/healthz', {}, node)).status).toBe(200)
    } finally {
      clearInterval(drip)
      socket.destroy()
      await node.stop()
    }
  })
})

describe('a request that a foreign page could send', () => {
  // Q42
  it.each([
    ['GET without a header of ours', () => send(`/graphql?query=${encodeURIComponent(ME)}`)],
    [
      'POST as text',
      () =>
        post({ query: 'mutation { logout { alreadyRevoked } }' }, { 'content-type': 'text/plain' }),
    ],
  ])('is blocked: %s', async (_what, ask) => {
    const { status, body } = await ask()

    expect(status).toBe(400)
    expect(body.errors[0].message).toContain('Cross-Site Request Forgery')
  })

  it('is let through with an Authorization header, which browsers let no foreign page send', async () => {
    const { body } = await send(`/graphql?query=${encodeURIComponent(ME)}`, {
      headers: { authorization: `Bearer ${ada.accessToken}` },
    })

    expect(body).toEqual({ data: { me: { email: 'ada@example.com' } } })
  })

  // Q42
  it('cannot change anything by GET', async () => {
    const logout = encodeURIComponent('mutation { logout { alreadyRevoked } }')
    const headers = { 'apollo-require-preflight': '1', authorization: `Bearer ${ada.accessToken}` }

    const { status, headers: answered } = await send(`/graphql?query=${logout}`, { headers })

    expect(status).toBe(405)
    expect(answered.get('allow')).toBe('POST')
    expect((await post({ query: ME }, headers)).status).toBe(200)
  })
})

describe('an answer', () => {
  it('comes by GET for a query', async () => {
    const search = new URLSearchParams({
      query: 'query ($skip: Boolean!) { sessions { id @skip(if: $skip) device } }',
      variables: '{"skip":true}',
    })

    const { status, body } = await send(`/graphql?${search.toString()}`, {
      headers: { 'apollo-require-preflight': '1', authorization: `Bearer ${ada.accessToken}` },
    })

    expect({ status, body }).toEqual({
      status: 200,
      body: { data: { sessions: [{ device: null }] } },
    })
  })

  it.each([
    ['application/json', 'application/json; charset=utf-8'],
    ['application/graphql-response+json', 'application/graphql-response+json; charset=utf-8'],
    ['*/*', 'application/json; charset=utf-8'],
    [
      'application/graphql-response+json, application/json;q=0.9',
      'application/graphql-response+json; charset=utf-8',
    ],
  ])('to Accept: %s has the type %s', async (accept, type) => {
    const good = await post({ query: '{ __typename }' }, { accept })
    const refused = await post({ query: ME }, { accept })

    expect([good.status, refused.status]).toEqual([200, 401])
    expect([good.headers, refused.headers].map((headers) => headers.get('content-type'))).toEqual([
      type,
      type,
    ])
  })

  it('of a type that the client does not accept is 406', async () => {
    expect((await post({ query: '{ __typename }' }, { accept: 'image/png' })).status).toBe(406)
  })

  // Q40
  it.each([
    [
      'a login',
      () =>
        post({
          query: `mutation { login(email: "ada@example.com", password: "${passwordOf('ada')}") { accessToken } }`,
        }),
    ],
    ['a refusal', () => post({ query: ME })],
    ['a fault of the request', () => post('{')],
    ['a body that is too large', () => post('x'.repeat(1024 * 1024 + 1))],
    ['a wrong type', () => post('{}', { 'content-type': 'application/xml' })],
  ])('to %s is not cached', async (_what, ask) => {
    expect((await ask()).headers.get('cache-control')).toBe('no-store')
  })

  it.each(['/graphql', '/', '/healthz', '/nothing'])(
    'from %s says how browsers are to treat it',
    async (path) => {
      const { headers } = await send(path)

      expect(headers.get('x-content-type-options')).toBe('nosniff')
      expect(headers.get('referrer-policy')).toBe('no-referrer')
      expect(headers.get('content-security-policy')).toContain("default-src 'none'")
      expect(headers.get('content-security-policy')).toContain("frame-ancestors 'none'")
      expect(headers.get('x-powered-by')).toBeNull()
      expect(headers.get('server')).toBeNull()
    },
  )
})

describe('another origin', () => {
  function preflight(
    origin: string,
    on = service,
    more: Record<string, string> = {},
  ): Promise<Answer> {
    return send(
      '/graphql',
      {
        method: 'OPTIONS',
        headers: {
          origin,
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'authorization,content-type',
          ...more,
        },
      },
      on,
    )
  }

  it.each(['https://studio.apollographql.com', 'http://localhost:3000', 'http://127.0.0.1:5173'])(
    'that developers use may ask: %s',
    async (origin) => {
      const asked = await preflight(origin)
      const answer = await post({ query: ME }, { origin })

      expect(asked.status).toBe(204)
      expect(asked.headers.get('x-content-type-options')).toBe('nosniff')
      expect(asked.headers.get('content-security-policy')).toContain("default-src 'none'")
      expect(asked.headers.get('access-control-allow-origin')).toBe(origin)
      expect(asked.headers.get('access-control-allow-methods')).toBe('GET, POST')
      expect(asked.headers.get('access-control-allow-headers')).toContain('authorization')
      expect(answer.headers.get('access-control-allow-origin')).toBe(origin)
      expect(answer.headers.get('access-control-expose-headers')).toBe(
        'WWW-Authenticate, Retry-After',
      )
      expect(answer.headers.get('vary')).toContain('Origin')
    },
  )

  it('that is a public page may reach this private network, when the browser asks', async () => {
    const asks = { 'access-control-request-private-network': 'true' }
    const allowed = async (origin: string, more = asks): Promise<string | null> =>
      (await preflight(origin, service, more)).headers.get('access-control-allow-private-network')

    expect(await allowed('https://studio.apollographql.com')).toBe('true')
    expect(await allowed('https://studio.apollographql.com', {} as typeof asks)).toBeNull()
    expect(await allowed('https://evil.example')).toBeNull()
  })

  it.each([
    'https://evil.example',
    'https://studio.apollographql.com.evil.example',
    'http://studio.apollographql.com',
    'http://localhost.evil.example',
    'http://localhost:3000.evil.example',
    'https://evil.example/http://localhost:3000',
    'null',
  ])('that is not in the settings is not allowed: %s', async (origin) => {
    for (const { headers } of [await preflight(origin), await post({ query: ME }, { origin })]) {
      expect(headers.get('access-control-allow-origin')).toBeNull()
    }
  })

  // Q48
  it('is the one that the setting names, to the letter, or gets no leave', async () => {
    const node = await startService({
      database: service.database,
      isProduction: true,
      corsOrigins: ['https://app.example.com'],
    })
    const others = [
      'http://app.example.com',
      'https://app.example.com:443',
      'https://app.example.com:8443',
      'https://app.example.com.',
      'https://app.example.com.evil.example',
      'https://evil.example/https://app.example.com',
      'https://evilapp.example.com',
      'https://x.app.example.com',
      'https://example.com',
      'https://app.example.co',
      'https://APP.example.com',
      'https://app_example.com',
      'https://appXexample.com',
      'https://app.example.com@evil.example',
      'https://app.example.com, https://evil.example',
      'null',
      '*',
      'file://',
    ]
    try {
      for (const origin of others) {
        for (const { headers } of [
          await preflight(origin, node),
          await post({ query: ME }, { origin }, node),
        ]) {
          expect([origin, headers.get('access-control-allow-origin')]).toEqual([origin, null])
          expect(headers.get('vary')).toContain('Origin')
        }
      }
    } finally {
      await node.stop()
    }
  })

  it('that the setting names may ask', async () => {
    const node = await startService({
      database: service.database,
      isProduction: true,
      corsOrigins: ['https://app.example.com'],
    })
    try {
      const { headers } = await preflight('https://app.example.com', node)
      expect(headers.get('access-control-allow-origin')).toBe('https://app.example.com')
      for (const origin of ['http://localhost:3000', 'https://studio.apollographql.com']) {
        const { headers: other } = await preflight(origin, node)
        expect(other.get('access-control-allow-origin')).toBeNull()
      }
    } finally {
      await node.stop()
    }
  })
})

describe('production', () => {
  let node: TestService

  beforeAll(async () => {
    node = await startService({ database: service.database, isProduction: true, corsOrigins: [] })
  })

  afterAll(async () => {
    await node.stop()
  })

  // Q44
  it.each(['{ __schema { types { name } } }', '{ __type(name: "Query") { name } }'])(
    'does not describe itself: %s',
    async (query) => {
      expect((await post({ query })).status).toBe(200)

      const { status, body } = await post({ query }, {}, node)

      expect(status).toBe(400)
      expect(body).not.toHaveProperty('data')
      expect(body.errors[0].extensions.code).toBe('GRAPHQL_VALIDATION_FAILED')
    },
  )

  // Q44
  it('makes no suggestions', async () => {
    const query = '{ sesions { id } }'

    expect((await post({ query })).body.errors[0].message).toContain('Did you mean "sessions"')
    const { body } = await post({ query }, {}, node)
    expect(JSON.stringify(body)).not.toContain('Did you mean')
    expect(JSON.stringify(body)).not.toContain('sessions')
  })

  // Q44
  it.each([
    [{ scop: 'TOKEN' }, 'Did you mean "scope"'],
    [{ scope: 'TOKE' }, 'Did you mean the enum value "TOKEN"'],
  ])('makes no suggestions about variables: %j', async (filter, suggestion) => {
    const request = {
      query: 'query ($filter: RevocationFilter) { revocations(filter: $filter) { totalCount } }',
      variables: { filter },
    }

    expect((await post(request)).body.errors[0].message).toContain(suggestion)
    const { status, body } = await post(request, {}, node)
    expect(status).toBe(400)
    expect(JSON.stringify(body)).not.toContain('Did you mean')
  })

  it('allows no origin', async () => {
    for (const origin of ['https://studio.apollographql.com', 'http://localhost:3000']) {
      const { headers } = await post({ query: '{ __typename }' }, { origin }, node)
      expect(headers.get('access-control-allow-origin')).toBeNull()
      expect(headers.get('access-control-allow-private-network')).toBeNull()
    }
  })

  it('has no explorer', async () => {
    const { status, headers } = await send('/', {}, node)

    expect(status).toBe(200)
    expect(headers.get('content-type')).toContain('text/plain')
  })

  // Q36
  it.each(['development', 'production'])('shows no stack trace, nor does %s', async (mode) => {
    const on = mode === 'production' ? node : service
    await service.database.query('alter table session rename to session_away')
    try {
      const { status, body } = await post(
        { query: '{ sessions { id } }' },
        { authorization: `Bearer ${ada.accessToken}` },
        on,
      )
      expect(status).toBe(500)
      expect(body.errors).toMatchObject([
        { message: 'Internal server error', extensions: { code: 'INTERNAL_SERVER_ERROR' } },
      ])
      expect(Object.keys(body.errors[0].extensions)).toEqual(['code'])
    } finally {
      await service.database.query('alter table session_away rename to session')
    }
  })
})

describe('the address of a caller', () => {
  async function addressOf(on: TestService, forwarded: string | null): Promise<string> {
    const headers: Record<string, string> =
      forwarded === null ? {} : { 'x-forwarded-for': forwarded, forwarded: 'for=192.0.2.99' }
    const { data } = await on.graphql(
      `mutation ($password: String!) {
         login(email: "ada@example.com", password: $password) { session { ipAddress } }
       }`,
      { headers, variables: { password: passwordOf('ada') } },
    )
    return data.login.session.ipAddress
  }

  // Q49
  it('is that of the connection, whatever a header says', async () => {
    const own = await addressOf(service, null)

    expect(own).toMatch(/^(127\.0\.0\.1|::1|::ffff:127\.0\.0\.1)$/)
    expect(await addressOf(service, '192.0.2.1')).toBe(own)
  })

  // Q49
  it('is what the nearest proxy says, when the setting trusts it, and nothing left of that', async () => {
    const node = await startService({ database: service.database, trustProxy: true })
    try {
      expect(await addressOf(node, '192.0.2.1')).toBe('192.0.2.1')
      expect(await addressOf(node, '203.0.113.66, 192.0.2.1')).toBe('192.0.2.1')
      expect(await addressOf(node, null)).toBe(await addressOf(service, null))
    } finally {
      await node.stop()
    }
  })

  // Q49
  it('is told without its port, and is the proxy’s own where that names none', async () => {
    const node = await startService({ database: service.database, trustProxy: true })
    const own = await addressOf(service, null)
    const cases = [
      ['192.0.2.1:50123', '192.0.2.1'],
      ['203.0.113.66:1, 192.0.2.1:50123', '192.0.2.1'],
      ['[2001:db8::1]:50123', '2001:db8::1'],
      ['[2001:db8::1]', '2001:db8::1'],
      ['"[2001:db8::1]:50123"', '2001:db8::1'],
      ['2001:db8::1', '2001:db8::1'],
      [' 192.0.2.1 ', '192.0.2.1'],
      ['192.0.2.1:_port', '192.0.2.1'],
      ['203.0.113.66,', own],
      ['203.0.113.66, unknown', own],
      ['203.0.113.66, _hidden', own],
      ['203.0.113.66, ""', own],
      ['203.0.113.66, 192.0.2.300', own],
      ['203.0.113.66, [192.0.2.1]', own],
      ['203.0.113.66, nonsense', own],
    ] as const
    try {
      for (const [forwarded, address] of cases) {
        expect([forwarded, await addressOf(node, forwarded)]).toEqual([forwarded, address])
      }
    } finally {
      await node.stop()
    }
  })
})

describe('limits', () => {
  it('allow ten operations in a batch, and not one more', async () => {
    const operations = (count: number): object[] =>
      Array.from({ length: count }, () => ({ query: '{ __typename }' }))

    const most = await post(operations(10))
    const tooMany = await post(operations(11))

    expect(most.status).toBe(200)
    expect(most.body).toHaveLength(10)
    expect(tooMany.status).toBe(400)
    expect(tooMany.body.errors[0].message).toBe('Send at most 10 operations at a time')
  })

  const many = (count: number, make: (n: number) => string): string =>
    Array.from({ length: count }, (_, n) => make(n)).join(' ')

  // Q43
  it.each([
    ['aliases', `{ ${many(700, (n) => `a${n}: __typename`)} }`],
    ['fields', `{ ${many(2000, () => '__typename')} }`],
    ['selections, 5,000 deep', `${'{ me '.repeat(5000)} ${'}'.repeat(5000)}`],
    ['deep selections', `${'{ me '.repeat(700)} ${'}'.repeat(700)}`],
    ['deep fragments', `{ ${'... { '.repeat(700)} __typename ${'}'.repeat(700)} }`],
    ['deep values', `{ user(id: ${'['.repeat(1000)}${']'.repeat(1000)}) { id } }`],
    ['directives', `{ __typename ${many(500, () => '@include(if: true)')} }`],
    ['variables', `query (${many(600, (n) => `$v${n}: Int`)}) { __typename }`],
    ['a megabyte of aliases', `{ ${many(50_000, (n) => `a${n}: me { id }`)} }`],
  ])('refuse a document of too many %s, with 400', async (_what, query) => {
    const { status, body } = await post({ query }, { authorization: `Bearer ${ada.accessToken}` })

    expect(status).toBe(400)
    expect(body.errors[0].extensions.code).toBe('GRAPHQL_PARSE_FAILED')
  })

  // Q43
  it.each([
    ['aliases', `{ ${many(51, (n) => `a${n}: __typename`)} }`],
    [
      'aliases in fragments',
      `{ ...a ... { ${many(10, (n) => `b${n}: __typename`)} } } fragment a on Query { ${many(41, (n) => `a${n}: __typename`)} }`,
    ],
    [
      'aliases of a mutation',
      `mutation { ${many(51, (n) => `a${n}: logout { alreadyRevoked }`)} }`,
    ],
    [
      'aliases in one of its operations',
      `query A { __typename } query B { ${many(51, (n) => `a${n}: __typename`)} }`,
    ],
  ])('refuse a document of too many %s, before anything runs', async (_what, query) => {
    const headers = { authorization: `Bearer ${ada.accessToken}` }

    const { status, body } = await post({ query, operationName: 'A' }, headers)

    expect(status).toBe(400)
    expect(body.errors).toHaveLength(1)
    expect(body.errors[0].message).toMatch(
      /^Ask for at most 50 fields of (query|mutation) at a time$/,
    )
    expect((await post({ query: ME }, headers)).status).toBe(200)
  })

  const FIELDS = 'Use at most 500 fields in an operation, those of fragments counted at each spread'

  // Q43
  it.each([
    ['fields', `{ me { ${many(500, () => 'id')} } }`, FIELDS],
    [
      'fields written out from fragments: 40 thousand',
      `{ ${many(50, () => 'sessions { ...a }')} } fragment a on Session { ${many(10, () => '...b')} } fragment b on Session { ${many(80, () => 'id')} }`,
      FIELDS,
    ],
    [
      'fields by fragments that double: two to the hundredth',
      `{ me { ...f0 } } ${many(100, (n) => `fragment f${n} on User { ...f${n + 1} ...f${n + 1} }`)} fragment f100 on User { id }`,
      FIELDS,
    ],
    [
      'steps of introspection by fragments: 80 MB of types',
      `{ __schema { types { ${many(50, (n) => `a${n}: fields { ...f }`)} } } } fragment f on __Field { ${many(300, (n) => `x${n}: name`)} }`,
      FIELDS,
    ],
    [
      'aliases',
      `{ me { ${many(101, (n) => `a${n}: id`)} } }`,
      'Use at most 100 aliases in an operation, those of fragments counted at each spread',
    ],
    [
      'directives',
      `{ ${many(26, () => 'me @include(if: true) @skip(if: false) { id }')} }`,
      'Use at most 50 directives in an operation, those of fragments counted at each spread',
    ],
    [
      'fragments',
      `{ me { ${many(51, (n) => `...f${n}`)} } } ${many(51, (n) => `fragment f${n} on User { id }`)}`,
      'Use at most 50 spreads in an operation, those of fragments counted at each spread',
    ],
    [
      'steps',
      `{ __type(name: "Query") { ${'ofType { '.repeat(20)} name ${'}'.repeat(20)} } }`,
      'Nest fields at most 20 deep',
    ],
    [
      'fields in another of its operations',
      `query A { __typename } query B { me { ${many(500, () => 'id')} } }`,
      FIELDS,
    ],
    [
      'fields in a fragment that nothing spreads',
      `query A { __typename } fragment f on User { ${many(501, () => 'id')} }`,
      FIELDS,
    ],
  ])(
    'refuse a document of too many %s, and do not even validate it',
    async (_w, query, message) => {
      const headers = { authorization: `Bearer ${ada.accessToken}` }

      for (const round of [1, 2]) {
        const { status, body } = await post({ query, operationName: 'A' }, headers)
        expect([round, status, body.errors]).toEqual([
          round,
          400,
          [{ message, extensions: { code: 'GRAPHQL_VALIDATION_FAILED' } }],
        ])
        expect(body).not.toHaveProperty('data')
      }
      const [answer] = (await post([{ query }], headers)).body
      expect(answer.errors[0].message).toBe(message)
    },
  )

  // Q43
  it.each([
    ['fields', `{ me { ${many(499, () => 'id')} } }`],
    ['aliases', `{ me { ${many(100, (n) => `a${n}: id`)} } }`],
    ['fragments', `{ me { ${many(50, () => '...f')} } } fragment f on User { id }`],
    ['directives', `{ ${many(25, () => 'me @include(if: true) @skip(if: false) { id }')} }`],
  ])('let through as many %s as they allow', async (_what, query) => {
    const { status, body } = await post({ query }, { authorization: `Bearer ${ada.accessToken}` })

    expect(body).not.toHaveProperty('errors')
    expect(status).toBe(200)
  })

  // Q43
  it.each([
    ['aliases', `{ ${many(50, (n) => `a${n}: me { id }`)} }`],
    ['equal fields', `{ ${many(490, () => 'me { id }')} }`],
    ['nested fragments', `{ ${'... { '.repeat(660)} __typename ${'}'.repeat(660)} }`],
    [
      'fragments in a chain',
      `{ ...f0 } ${many(200, (n) => `fragment f${n} on Query { ...f${n + 1} }`)} fragment f200 on Query { __typename }`,
    ],
    ['fragments in a circle', `{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }`],
    ['nested values', `{ user(id: ${'['.repeat(950)}${']'.repeat(950)}) { id } }`],
    ['unknown fields', `{ ${many(1900, (n) => `field${n}`)} }`],
    [
      'steps of introspection',
      `{ __schema { types { ${'fields { type { '.repeat(9)} name ${'} }'.repeat(9)} } } }`,
    ],
  ])('keep the service awake under as many %s as they allow', async (_what, query) => {
    const asked = post({ query }, { authorization: `Bearer ${ada.accessToken}` })
    const health = await send('/healthz')

    expect(health.status).toBe(200)
    expect([200, 400]).toContain((await asked).status)
  })

  it('let the introspection of tools through', async () => {
    const { getIntrospectionQuery } = await import('graphql')

    const { status, body } = await post({ query: getIntrospectionQuery() })

    expect(status).toBe(200)
    expect(body.data.__schema.queryType.name).toBe('Query')
  })
})

// Q35
describe('a login over a connection that is signed in already', () => {
  it('gives a session and a token of its own', async () => {
    const again = await login(service, 'ada', 'phone')

    expect(again.sessionId).not.toBe(ada.sessionId)
    expect(again.accessToken).not.toBe(ada.accessToken)
  })
})
