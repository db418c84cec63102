import { createClient } from 'graphql-sse'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { SESSION_ENDED, until } from '../support/live.ts'
import { register } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { exchange } from '../support/raw-http.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

let database: TestDatabase
let here: TestService
let there: TestService

beforeAll(async () => {
  database = await createDatabase()
  here = await startService({ database })
  there = await startService({ database })
})

afterAll(async () => {
  await Promise.all([here.stop(), there.stop()])
  await database.drop()
})

let people = 0
let ada: SignIn
beforeEach(async () => {
  people += 1
  ada = await register(here, `ada${people}`)
})

interface Stream {
  readonly response: Response
  /** All that came, as the names of events and what they carry. */
  readonly events: Array<{ event: string; data: any }>
  readonly ended: Promise<void>
  stop(): void
}

async function openStream(
  { url }: TestService,
  query: string,
  { token, headers = {} }: { token?: string; headers?: Record<string, string> } = {},
): Promise<Stream> {
  const stopping = new AbortController()
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'text/event-stream',
      ...(token && { authorization: `Bearer ${token}` }),
      ...headers,
    },
    body: JSON.stringify({ query }),
    signal: stopping.signal,
  })
  const events: Stream['events'] = []
  return {
    response,
    events,
    ended: readEvents(response, events).catch(() => undefined),
    stop: () => stopping.abort(),
  }
}

async function readEvents(response: Response, events: Stream['events']): Promise<void> {
  let text = ''
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    text += piece
    const frames = text.split('\n\n')
    text = frames.pop() as string
    for (const frame of frames) {
      const [, event, data] = /^event: (\w+)\ndata: ?(.*)$/.exec(frame) ?? []
      if (event) events.push({ event, data: data ? JSON.parse(data) : null })
    }
  }
}

const REFUSAL = {
  errors: [
    {
      message: 'Sign in again: this token was revoked',
      extensions: {
        code: 'UNAUTHENTICATED',
        reason: 'TOKEN_REVOKED',
        revocation: { reason: 'logout', revokedAt: expect.any(String) },
      },
    },
  ],
}

describe('an event stream', () => {
  // Q01, Q50
  it('ends on every node when its token is revoked, and says why', async () => {
    const streams = [
      await openStream(here, SESSION_ENDED, { token: ada.accessToken }),
      await openStream(there, SESSION_ENDED, { token: ada.accessToken }),
    ]
    const grace = await register(here, `grace${people}`)
    const other = await openStream(there, SESSION_ENDED, { token: grace.accessToken })

    await here.graphql('mutation { logout { alreadyRevoked } }', { token: ada.accessToken })

    for (const { events, ended } of streams) {
      await ended
      expect(events).toEqual([
        {
          event: 'next',
          data: {
            data: {
              sessionEnded: { scope: 'SESSION', reason: 'logout', revokedAt: expect.any(String) },
            },
          },
        },
        { event: 'next', data: REFUSAL },
        { event: 'complete', data: null },
        { event: 'error', data: REFUSAL },
      ])
    }
    expect(other.events).toEqual([])
    other.stop()
  })

  // Q40
  it('is kept by no cache', async () => {
    const { response, stop } = await openStream(here, SESSION_ENDED, { token: ada.accessToken })

    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    expect(response.headers.get('cache-control')).toBe('no-store')
    expect(response.headers.get('content-security-policy')).toContain("default-src 'none'")
    stop()
  })

  it('is held up by no proxy, and ends with its connection where the client wants that', async () => {
    const { response, stop } = await openStream(here, SESSION_ENDED, { token: ada.accessToken })
    expect(response.headers.get('x-accel-buffering')).toBe('no')
    stop()

    const body = JSON.stringify({ query: '{ me { email } }' })
    for (const version of ['1.1', '1.0']) {
      // nginx speaks HTTP/1.0 unless it is told otherwise: there is no other end than the connection's.
      const [answer] = await exchange(
        here,
        `POST /graphql HTTP/${version}\r\nHost: a\r\nConnection: close\r\nAccept: text/event-stream\r\n` +
          `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
        { toTheEnd: true },
      )
      expect(answer?.text).toMatch(/\r\nconnection: close\r\n/i)
      expect(answer?.text).toContain('event: complete')
    }
  })

  const QUERY = '{ __typename }'
  const JSON_TYPE = 'application/json; charset=utf-8'
  const EVENTS = 'text/event-stream; charset=utf-8'
  it.each([
    ['text/event-stream', QUERY, EVENTS],
    ['TEXT/Event-Stream', QUERY, EVENTS],
    ['text/event-stream;q=0.1', QUERY, EVENTS],
    ['text/event-stream; charset=utf-8', QUERY, EVENTS],
    ['text/event-stream, application/json;q=0', QUERY, EVENTS],
    ['text/event-stream, */*;q=0.0', QUERY, EVENTS],
    ['application/json, text/event-stream', QUERY, JSON_TYPE],
    ['application/json, text/event-stream', SESSION_ENDED, EVENTS],
    ['application/json, text/event-stream;q=0', SESSION_ENDED, JSON_TYPE],
    ['*/*, text/event-stream;q=0.000', SESSION_ENDED, JSON_TYPE],
    ['text/event-stream;q=0, */*', QUERY, JSON_TYPE],
    ['text/event-stream; Q=0 , application/json', SESSION_ENDED, JSON_TYPE],
    ['application/json, text/event-streams', SESSION_ENDED, JSON_TYPE],
  ])('is for Accept: %s and %s answered as %s', async (accept, query, type) => {
    const { response, stop } = await openStream(here, query, { headers: { accept } })

    expect(response.headers.get('content-type')).toBe(type)
    stop()
  })

  it('is not what a client gets that refuses it and accepts nothing else', async () => {
    const { response, stop } = await openStream(here, QUERY, {
      headers: { accept: 'text/event-stream;q=0' },
    })

    expect(response.status).toBe(406)
    stop()
  })

  it('ends when its token expires', async () => {
    const shortLived = await startService({ accessTokenTtlSeconds: 1 })
    const { accessToken } = await register(shortLived, 'ada')

    const { events, ended } = await openStream(shortLived, SESSION_ENDED, { token: accessToken })
    await ended

    expect(events.map(({ event }) => event)).toEqual(['next', 'complete', 'error'])
    expect(events[0]?.data.errors).toMatchObject([{ extensions: { reason: 'TOKEN_EXPIRED' } }])
    await shortLived.stop()
  })

  it('refuses in the stream what it would refuse in an answer', async () => {
    const missing = await openStream(here, SESSION_ENDED)
    const invalid = await openStream(here, SESSION_ENDED, { token: 'garbage' })
    const unknown = await openStream(here, 'subscription { nothing }')

    const reasonsOf = async ({ events, ended }: Stream): Promise<unknown> => {
      await ended
      return events.map(({ event, data }) => [event, data?.errors[0].extensions])
    }
    expect(await reasonsOf(missing)).toEqual([
      ['next', { code: 'UNAUTHENTICATED', reason: 'TOKEN_MISSING' }],
      ['complete', undefined],
    ])
    expect(await reasonsOf(invalid)).toEqual([
      ['next', { code: 'UNAUTHENTICATED', reason: 'TOKEN_INVALID' }],
      ['complete', undefined],
    ])
    expect(await reasonsOf(unknown)).toEqual([
      ['next', { code: 'GRAPHQL_VALIDATION_FAILED' }],
      ['complete', undefined],
    ])
  })

  it('carries queries and mutations too', async () => {
    const { events, ended } = await openStream(here, '{ me { id } }', { token: ada.accessToken })
    await ended

    expect(events).toEqual([
      { event: 'next', data: { data: { me: { id: ada.userId } } } },
      { event: 'complete', data: null },
    ])
  })

  it('tells a client of graphql-sse why, and that it is over', async () => {
    const client = createClient({
      url: `${here.url}/graphql`,
      headers: { authorization: `Bearer ${ada.accessToken}` },
      retryAttempts: 0,
    })
    const results: any[] = []
    let end = ''
    client.subscribe(
      { query: SESSION_ENDED },
      {
        next: (result) => results.push(result),
        error: (error) => (end = `error: ${String(error)}`),
        complete: () => (end = 'complete'),
      },
    )
    await untilConnected(1)

    await here.graphql('mutation { logout { alreadyRevoked } }', { token: ada.accessToken })

    await until(() => end !== '', 'the end')
    expect(end).toBe('complete')
    expect(results).toMatchObject([{ data: { sessionEnded: { reason: 'logout' } } }, REFUSAL])
  })

  it('goes to urql, which accepts it beside JSON, for subscriptions only', async () => {
    const accept =
      'application/graphql-response+json, application/json, text/event-stream, multipart/mixed'
    const headers = { accept }

    const query = await openStream(here, '{ me { id } }', { token: ada.accessToken, headers })
    const events = await openStream(here, SESSION_ENDED, { token: ada.accessToken, headers })

    expect(query.response.headers.get('content-type')).toContain('json')
    expect(events.response.headers.get('content-type')).toContain('text/event-stream')
    events.stop()
  })

  it('is forgotten when the client is gone', async () => {
    const { stop } = await openStream(here, SESSION_ENDED, { token: ada.accessToken })
    await untilConnected(1)

    stop()

    await untilConnected(0)
    expect(await countStreams()).toBe(0)
  })

  it('ends when the service stops', async () => {
    const stopping = await startService()
    const { accessToken } = await register(stopping, 'ada')
    const { ended } = await openStream(stopping, SESSION_ENDED, { token: accessToken })

    await stopping.stop()

    expect(await ended).toBe(undefined)
  })

  it('is refused with 503 when there is no room', async () => {
    const small = await startService({ maxLiveConnections: 1 })
    const { accessToken: token } = await register(small, 'ada')
    const first = await openStream(small, SESSION_ENDED, { token })

    const { response, ended } = await openStream(small, SESSION_ENDED, { token })
    await ended

    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe('1')
    first.stop()
    await small.stop()
  })
})

describe('what a foreign page can send without asking', () => {
  // Q42
  it.each([
    ['a query by GET', 'GET', {}, 400],
    ['a form', 'POST', { 'content-type': 'application/x-www-form-urlencoded' }, 415],
    ['text', 'POST', { 'content-type': 'text/plain' }, 400],
    ['text that says JSON', 'POST', { 'content-type': 'text/plain;a=application/json' }, 400],
  ])('gets no stream: %s', async (_what, method, headers, status) => {
    const query = encodeURIComponent('{ __typename }')
    const response = await fetch(
      `${here.url}/graphql${method === 'GET' ? `?query=${query}` : ''}`,
      {
        method,
        headers: { accept: 'text/event-stream', ...headers },
        ...(method === 'POST' && { body: '{"query":"{ __typename }"}' }),
      },
    )

    expect(response.status).toBe(status)
    expect(response.headers.get('content-type')).toContain('json')
    await response.text()
  })

  // Q42
  it('does nothing by GET, for any caller', async () => {
    const query = encodeURIComponent('mutation { logout { alreadyRevoked } }')
    const response = await fetch(`${here.url}/graphql?query=${query}`, {
      headers: { accept: 'text/event-stream', authorization: `Bearer ${ada.accessToken}` },
    })

    expect(response.status).toBe(405)
    expect(response.headers.get('allow')).toBe('POST')
    await response.text()
  })
})

async function countStreams(): Promise<number> {
  const metrics = await (await fetch(`${here.url}/metrics`)).text()
  return Number(/portcullis_live_connections\{kind="EVENT_STREAM"\} (\d+)/.exec(metrics)?.[1])
}

async function untilConnected(count: number): Promise<void> {
  await until(async () => (await countStreams()) === count, `${count} event streams`)
}
