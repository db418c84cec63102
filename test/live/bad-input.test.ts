import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { SESSION_ENDED, openRaw, stopSubscribers, subscribe, until } from '../support/live.ts'
import type { RawSocket, Subscriber } from '../support/live.ts'
import { expiredTokenOf, forgedTokenOf, register } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

let service: TestService
let ada: SignIn
/** Whatever is done to others, this one stays. */
let bystander: Subscriber

beforeAll(async () => {
  service = await startService()
  ada = await register(service, 'ada')
  bystander = await subscribe(service, SESSION_ENDED, { token: ada.accessToken })
})

afterAll(async () => {
  expect(bystander.closing).toBe(null)
  expect(service.log.filter(({ level }) => level >= 50)).toEqual([])
  stopSubscribers()
  await service.stop()
})

const INIT = { type: 'connection_init' }

function subscribeMessage(id: string, query: string, more: object = {}): object {
  return { id, type: 'subscribe', payload: { query, ...more } }
}

async function openInitialised(payload: object = {}): Promise<RawSocket> {
  const socket = await openRaw(service)
  socket.send({ ...INIT, payload })
  await socket.message(0)
  return socket
}

describe('a WebSocket that does not keep to the protocol ends with its code', () => {
  it('4406: another subprotocol', async () => {
    const socket = await openRaw(service, { protocol: 'graphql-ws' })

    expect(await socket.closed()).toEqual({ code: 4406, reason: 'Subprotocol not acceptable' })
  })

  it('4408: no connection_init in time', async () => {
    const socket = await openRaw(service)

    expect(await socket.closed()).toEqual({
      code: 4408,
      reason: 'Connection initialisation timeout',
    })
  })

  it.each([
    ['no JSON', '{'],
    ['no object', '[]'],
    ['no type', '{}'],
    ['an unknown type', '{"type":"start"}'],
    ['a subscribe without an id', { type: 'subscribe', payload: { query: '{ __typename }' } }],
    ['a subscribe without a query', { id: '1', type: 'subscribe', payload: {} }],
    ['variables that are no object', subscribeMessage('1', '{ __typename }', { variables: [] })],
    ['a payload that is no object', { type: 'ping', payload: 'x' }],
    ['what only servers send', { type: 'connection_ack' }],
    ['what only servers send, about an operation', { id: '1', type: 'next', payload: {} }],
  ])('4400: %s', async (_what, message) => {
    const socket = await openInitialised()

    socket.send(message)

    expect(await socket.closed()).toEqual({ code: 4400, reason: 'Invalid message received' })
  })

  it('4401: an operation before the acknowledgement', async () => {
    const socket = await openRaw(service)

    socket.send(subscribeMessage('1', '{ __typename }'))

    expect(await socket.closed()).toEqual({ code: 4401, reason: 'Unauthorized' })
  })

  it('4429: a second connection_init', async () => {
    const socket = await openInitialised()

    socket.send(INIT)

    expect(await socket.closed()).toEqual({
      code: 4429,
      reason: 'Too many initialisation requests',
    })
  })

  it('4409: an id that is in use', async () => {
    const socket = await openInitialised({ authorization: `Bearer ${ada.accessToken}` })

    socket.send(subscribeMessage('1', SESSION_ENDED))
    socket.send(subscribeMessage('1', SESSION_ENDED))

    expect(await socket.closed()).toEqual({
      code: 4409,
      reason: 'Subscriber for 1 already exists',
    })
  })

  it('4429: thousands of subscriptions at the same time', async () => {
    const socket = await openInitialised({ authorization: `Bearer ${ada.accessToken}` })

    for (let id = 0; id < 3000; id++) socket.send(subscribeMessage(`${id}`, SESSION_ENDED))

    expect(await socket.closed()).toEqual({ code: 4429, reason: 'Too many operations' })
  })

  it('1009: a huge frame', async () => {
    const socket = await openInitialised()

    socket.send({ type: 'ping', payload: { text: 'x'.repeat(300_000) } })

    expect((await socket.closed()).code).toBe(1009)
  })

  it('1002: a frame that is none', async () => {
    const socket = await openInitialised()
    const { _socket: tcp } = socket.socket as unknown as { _socket: { write(data: Buffer): void } }

    tcp.write(Buffer.from([0xff, 0xff, 0xff, 0xff]))

    expect((await socket.closed()).code).toBe(1002)
  })

  it('may use an id again once its operation has ended', async () => {
    const socket = await openInitialised({ authorization: `Bearer ${ada.accessToken}` })

    for (let round = 0; round < 50; round++) {
      socket.send(subscribeMessage('1', SESSION_ENDED))
      socket.send({ id: '1', type: 'complete' })
    }
    socket.send(subscribeMessage('2', '{ __typename }'))

    await until(() => socket.messages.some(({ id }) => id === '2'), 'the last answer')
    expect(socket.socket.readyState).toBe(WebSocket.OPEN)
    socket.socket.close()
  })
})

describe('a token that will not do ends the connection at once', () => {
  it.each([
    ['garbage', () => 'garbage', 'TOKEN_INVALID'],
    ['a forged token', () => forgedTokenOf(ada), 'TOKEN_INVALID'],
    ['an expired token', () => expiredTokenOf(ada), 'TOKEN_EXPIRED'],
  ])('4403: %s', async (_what, token, reason) => {
    for (const way of ['authorization', 'Authorization', 'header']) {
      const value = `Bearer ${token()}`
      const socket = await openRaw(
        service,
        way === 'header' ? { headers: { authorization: value } } : {},
      )
      socket.send({ ...INIT, ...(way !== 'header' && { payload: { [way]: value } }) })

      expect(await socket.closed()).toEqual({ code: 4403, reason })
      expect(socket.messages).toEqual([])
    }
  })

  it('4403: a revoked token', async () => {
    const grace = await register(service, 'grace')
    await service.graphql('mutation { logout { alreadyRevoked } }', { token: grace.accessToken })

    const socket = await openRaw(service)
    socket.send({ ...INIT, payload: { authorization: `Bearer ${grace.accessToken}` } })

    expect(await socket.closed()).toEqual({ code: 4403, reason: 'TOKEN_REVOKED' })
  })

  // Q38
  it.each([
    ['two tokens', () => ({ authorization: `Bearer ${ada.accessToken}` }), `Bearer two`],
    ['another scheme', () => ({ authorization: 'Basic YTpi' }), undefined],
  ])('4403: %s', async (_what, payload, header) => {
    const socket = await openRaw(service, header ? { headers: { authorization: header } } : {})

    socket.send({ ...INIT, payload: payload() })

    expect(await socket.closed()).toEqual({ code: 4403, reason: 'TOKEN_INVALID' })
  })

  it.each([
    ['nothing', {}],
    ['a number', { authorization: 1 }],
    ['a list', { authorization: ['Bearer x'] }],
  ])('but none at all may stay: %s', async (_what, payload) => {
    const socket = await openInitialised(payload)

    socket.send(subscribeMessage('1', SESSION_ENDED))

    expect(await socket.message(1)).toMatchObject({
      payload: { errors: [{ extensions: { code: 'UNAUTHENTICATED', reason: 'TOKEN_MISSING' } }] },
    })
    socket.socket.close()
  })
})

describe('a document that will not do is answered, and the connection stays', () => {
  // Q43
  it.each([
    ['no GraphQL', '{', 'GRAPHQL_PARSE_FAILED'],
    ['an unknown field', 'subscription { nothing }', 'GRAPHQL_VALIDATION_FAILED'],
    ['too many tokens', `{ ${'__typename '.repeat(2001)} }`, 'GRAPHQL_PARSE_FAILED'],
    [
      'too many root fields',
      `{ ${Array.from({ length: 51 }, (_, n) => `f${n}: __typename`).join(' ')} }`,
      'GRAPHQL_VALIDATION_FAILED',
    ],
    [
      'two subscriptions in one',
      'subscription { sessionEnded { reason } revocationEvents { id } }',
      'GRAPHQL_VALIDATION_FAILED',
    ],
    ['a variable of a wrong type', 'query ($id: ID!) { user(id: $id) { id } }', 'BAD_USER_INPUT'],
  ])('%s', async (_what, query, code) => {
    const socket = await openInitialised({ authorization: `Bearer ${ada.accessToken}` })

    socket.send(subscribeMessage('1', query))

    const { payload } = await socket.message(1)
    const [error] = payload.errors ?? payload
    expect(error.extensions.code).toBe(code)
    expect(socket.socket.readyState).toBe(WebSocket.OPEN)
    socket.socket.close()
  })

  it('names no operation that is not there', async () => {
    const socket = await openInitialised()

    socket.send(subscribeMessage('1', 'query A { __typename }', { operationName: 'B' }))

    expect((await socket.message(1)).payload).toMatchObject([
      { extensions: { code: 'BAD_USER_INPUT' } },
    ])
    socket.socket.close()
  })
})

// Q44
describe('in production', () => {
  let production: TestService
  beforeAll(async () => {
    production = await startService({ isProduction: true })
  })
  afterAll(async () => production.stop())

  async function answerOf(query: string): Promise<any> {
    const socket = await openRaw(production)
    socket.send(INIT)
    await socket.message(0)
    socket.send(subscribeMessage('1', query))
    const { payload } = await socket.message(1)
    socket.socket.close()
    return payload
  }

  async function streamOf(query: string): Promise<string> {
    const response = await fetch(`${production.url}/graphql`, {
      method: 'POST',
      headers: { accept: 'text/event-stream', 'content-type': 'application/json' },
      body: JSON.stringify({ query }),
    })
    return response.text()
  }

  it('the schema cannot be asked for, over either', async () => {
    const query = '{ __schema { queryType { name } } }'

    const [error] = await answerOf(query)
    expect(error.extensions.code).toBe('GRAPHQL_VALIDATION_FAILED')
    const text = await streamOf(query)
    expect(text).toContain('GRAPHQL_VALIDATION_FAILED')
    expect(text).not.toContain('queryType":')
  })

  it('nothing of it is suggested, over either', async () => {
    const query = 'subscription { sessionEnde { reason } }'

    expect((await answerOf(query))[0].message).toBe(
      'Cannot query field "sessionEnde" on type "Subscription".',
    )
    expect(await streamOf(query)).not.toContain('Did you mean')
  })
})

describe('a handshake that is none of ours', () => {
  async function shakeHands(path: string): Promise<string> {
    const { hostname, port } = new URL(service.url)
    const socket = connect(Number(port), hostname)
    socket.write(
      `GET ${path} HTTP/1.1\r\nHost: ${hostname}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    )
    const [data] = (await once(socket, 'data')) as [Buffer]
    socket.destroy()
    return data.toString().split('\r\n')[0] as string
  }

  it('is answered on another path as if it were no handshake', async () => {
    expect(await shakeHands('/')).toBe('HTTP/1.1 200 OK')
    expect(await shakeHands('/graphql/')).toBe('HTTP/1.1 404 Not Found')
    expect(await shakeHands('/graphql?x=1')).toBe('HTTP/1.1 101 Switching Protocols')
  })

  it('is answered with 503 when there is no room', async () => {
    const small = await startService({ maxLiveConnections: 2 })
    const sockets = [await openRaw(small), await openRaw(small)]

    const third = new WebSocket(
      `${small.url.replace('http', 'ws')}/graphql`,
      'graphql-transport-ws',
    )
    const [error] = (await once(third, 'error')) as [Error]
    expect(error.message).toBe('Unexpected server response: 503')

    sockets[0]?.socket.close()
    await sockets[0]?.closed()
    await sleep(20)
    const fourth = await openRaw(small)
    expect(fourth.socket.readyState).toBe(WebSocket.OPEN)
    await small.stop()
  })
})

describe('a client that is not there', () => {
  let pinging: TestService
  let grace: SignIn
  beforeAll(async () => {
    pinging = await startService({ pingIntervalMs: 400 })
    grace = await register(pinging, 'grace')
  })
  afterAll(async () => pinging.stop())

  it('is found by ping: half of a connection', async () => {
    const there = await subscribe(pinging, SESSION_ENDED, { token: grace.accessToken })
    const url = `${pinging.url.replace('http', 'ws')}/graphql`
    const gone = new WebSocket(url, 'graphql-transport-ws', { autoPong: false })
    gone.on('open', () => gone.send(JSON.stringify(INIT)))

    const [code] = (await once(gone, 'close')) as [number]

    expect(code).toBe(1006)
    await sleep(1200)
    expect(there.closing).toBe(null)
  })

  it('is not confused with one that is pinged late and answers after 50 ms', async () => {
    const url = `${pinging.url.replace('http', 'ws')}/graphql`
    const client = new WebSocket(url, 'graphql-transport-ws', { autoPong: false })
    client.on('open', () => client.send(JSON.stringify(INIT)))
    client.on('ping', () => setTimeout(() => client.pong(), 50))
    await once(client, 'message')

    standStill(1500)
    await sleep(900)

    expect(client.readyState).toBe(WebSocket.OPEN)
    client.close()
  })

  it('is found when it talks and does not listen', async () => {
    const socket = await openRaw(service)
    socket.send({ ...INIT })
    await socket.message(0)
    socket.socket.pause()

    const text = 'x'.repeat(100_000)
    for (let count = 0; count < 500 && socket.socket.readyState === WebSocket.OPEN; count++) {
      socket.send({ type: 'ping', payload: { text } })
      await sleep(1)
    }
    socket.socket.resume()

    expect((await socket.closed()).code).toBe(1006)
  })
})

it('ends all connections when it stops, and stops at once', async () => {
  const stopping = await startService()
  const { accessToken } = await register(stopping, 'ada')
  const socket = await subscribe(stopping, SESSION_ENDED, { token: accessToken })

  const startedAt = performance.now()
  await stopping.stop()

  expect(await socket.closed()).toEqual({ code: 1001, reason: 'Going away' })
  expect(performance.now() - startedAt).toBeLessThan(5000)
})

/** Keeps the event loop for so many milliseconds. */
function standStill(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}
