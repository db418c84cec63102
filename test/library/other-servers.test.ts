import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { createYoga } from 'graphql-yoga'
import mercurius from 'mercurius'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { SESSION_ENDED, stopSubscribers, subscribe, until } from '../support/live.ts'
import type { Subscriber } from '../support/live.ts'
import { createTickingApi } from './ticking-api.ts'
import type { TickingApi } from './ticking-api.ts'

interface RunningServer {
  readonly url: string
  stop(): Promise<void>
}

let api: TickingApi
let server: RunningServer
let uncaught: unknown[] = []
const take = (error: unknown): void => void uncaught.push(error)

async function startYoga({ portcullis, schema }: TickingApi): Promise<RunningServer> {
  const yoga = createYoga({
    schema,
    maskedErrors: false,
    logging: false,
    context: ({ request }) =>
      portcullis.context({ authorization: request.headers.get('authorization') ?? undefined }),
  })
  const http = createServer((request, response) => void yoga(request, response))
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    async stop() {
      http.closeAllConnections()
      http.close()
    },
  }
}

async function startMercurius({ portcullis, schema }: TickingApi): Promise<RunningServer> {
  const app = Fastify()
  await app.register(mercurius, {
    schema,
    context: ({ headers }) => portcullis.context({ authorization: headers.authorization }),
    subscription: {
      onConnect: ({ payload }) => portcullis.context({ authorization: payload.authorization }),
    },
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  return {
    url,
    async stop() {
      app.server.closeAllConnections()
      await app.close()
    },
  }
}

beforeEach(() => {
  api = createTickingApi()
  uncaught = []
  process.on('uncaughtExceptionMonitor', take)
})

afterEach(async () => {
  stopSubscribers()
  await server.stop()
  process.off('uncaughtExceptionMonitor', take)
})

describe('a subscription over Yoga’s own event streams', () => {
  beforeEach(async () => {
    server = await startYoga(api)
  })

  async function openStream(query: string, token: string): Promise<Response> {
    return fetch(`${server.url}/graphql`, {
      method: 'POST',
      headers: {
        accept: 'text/event-stream',
        'content-type': 'application/json',
        authorization: `Bearer ${token}`,
      },
      body: JSON.stringify({ query }),
    })
  }

  it('is told at once that sessionEnded is not served there, and the process lives on', async () => {
    const { token, revoke } = await api.signIn()

    const response = await openStream(SESSION_ENDED, token)

    expect(await response.text()).toContain('serve sessionEnded with live.webSocketOptions')
    await revoke()
    expect(await (await openStream('{ greeting }', token)).text()).toContain('Hello')
    expect(uncaught).toEqual([])
  })

  it.each([
    ['whose field is guarded', 'subscription { guarded { number } }'],
    ['with a guarded field below', 'subscription { open { number secret } }'],
  ])('ends after its first refused event: one %s', async (_which, query) => {
    const { token, revoke } = await api.signIn()
    const response = await openStream(query, token)
    await until(() => api.sources() === 1, 'the source')
    api.tick()
    await until(() => api.waiting() === 1, 'the second event')

    await revoke()
    api.tick()

    const text = await response.text()
    expect(text).toContain('"number":1')
    expect(text.match(/TOKEN_REVOKED/g)).toHaveLength(1)
    expect(text).not.toContain('"number":3')
    expect(api.sources()).toBe(0)
  })

  it('stays while it uses public fields only, whatever becomes of the token', async () => {
    const { token, revoke } = await api.signIn()
    const response = await openStream('subscription { open { number } }', token)
    await until(() => api.sources() === 1, 'the source')

    await revoke()
    api.tick()
    await until(() => api.waiting() === 1, 'the second event')

    expect(api.sources()).toBe(1)
    await response.body?.cancel()
  })
})

describe('a subscription over Mercurius’ own WebSockets', () => {
  beforeEach(async () => {
    server = await startMercurius(api)
  })

  async function open(query: string, token: string): Promise<Subscriber> {
    return subscribe(server, query, { token })
  }

  it('is told at once that sessionEnded is not served there, and the process lives on', async () => {
    const { token, revoke } = await api.signIn()

    const subscriber = await open(SESSION_ENDED, token)
    await revoke()
    subscriber.stop()

    const response = await fetch(`${server.url}/graphql?query={greeting}`)
    expect(await response.json()).toEqual({ data: { greeting: 'Hello' } })
    expect(uncaught).toEqual([])
  })

  it('ends after its first refused event, and so does its source', async () => {
    const { token, revoke } = await api.signIn()
    const subscriber = await open('subscription { guarded { number } }', token)
    await until(() => api.sources() === 1, 'the source')
    api.tick()
    await subscriber.result(0)

    await revoke()
    api.tick()

    await until(() => api.sources() === 0, 'the end of the source')
    expect(JSON.stringify(subscriber.results)).not.toContain('"number":2')
  })
})
