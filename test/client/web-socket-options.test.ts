import { createClient } from 'graphql-ws'
import type { Client, ClientOptions, SubscribePayload } from 'graphql-ws'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { WebSocket } from 'ws'
import { createWebSocketOptions } from '../../src/client/client.ts'
import type { Tokens } from '../../src/client/client.ts'
import { PATIENCE_MS } from '../support/node.ts'
import { claimsOf, expiredTokenOf, forgedTokenOf, login, register } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'
import { createCountedSession } from './app.ts'
import type { App } from './app.ts'
import { startStubbornServer } from './stubborn-server.ts'

/** Seconds that a token lives at the hasty one: its client is told when a third of that is left. */
const HASTY_SECONDS = 3

const ENDED: SubscribePayload = { query: 'subscription { sessionEnded { reason } }' }
const EVENTS: SubscribePayload = {
  query: 'subscription { revocationEvents { revocation { reason } } }',
}

let service: TestService
let hasty: TestService
let url: string

beforeAll(async () => {
  service = await startService()
  hasty = await startService({ accessTokenTtlSeconds: HASTY_SECONDS, database: service.database })
  url = `${service.url}/graphql`
})

afterAll(async () => {
  await hasty.stop()
  await service.stop()
})

interface LiveApp extends Pick<App, 'session' | 'endings' | 'refreshes'> {
  readonly client: Client
  /** The reasons with which its sockets were closed. */
  readonly closed: string[]
  readonly connected: () => number
}

function createLiveApp(
  tokens: Tokens | null,
  at = url,
  options: Partial<ClientOptions> = {},
): LiveApp {
  const counted = createCountedSession(at)
  if (tokens) counted.session.signIn(tokens)

  const client = createClient({
    url: at.replace('http', 'ws'),
    webSocketImpl: WebSocket,
    retryWait: async () => undefined,
    ...options,
    ...createWebSocketOptions(counted.session),
  })
  const closed: string[] = []
  let connected = 0
  client.on('connected', () => {
    connected += 1
  })
  client.on('closed', (event) => closed.push((event as { reason: string }).reason))
  return { ...counted, client, closed, connected: () => connected }
}

interface Feed {
  readonly received: unknown[]
  /** The end, and why. */
  readonly done: Promise<unknown>
  stop(): void
}

function subscribe({ client }: LiveApp, payload: SubscribePayload): Feed {
  const received: unknown[] = []
  let stop = (): void => undefined
  const done = new Promise((resolve) => {
    stop = client.subscribe(payload, {
      next: (result) => received.push(result),
      error: resolve,
      complete: () => resolve('complete'),
    })
  })
  return { received, done, stop: () => stop() }
}

async function waitUntil(isSo: () => boolean): Promise<void> {
  await vi.waitFor(() => expect(isSo()).toBe(true), { timeout: PATIENCE_MS, interval: 20 })
}

/** Waits until the node knows it as one that ends with its token. */
async function isAdmitted(app: LiveApp): Promise<void> {
  const query = `query ($id: ID) {
    connections(filter: { subject: $id }) { edges { node { protected } } }
  }`
  const { accessToken: token } = await login(service, 'admin', 'console')
  const id = claimsOf(app.session.accessToken!)['sub']
  await vi.waitFor(
    async () => {
      const { data } = await service.graphql(query, { token, variables: { id } })
      expect(data.connections.edges).toEqual([{ node: { protected: true } }])
    },
    { timeout: PATIENCE_MS, interval: 100 },
  )
}

describe('a WebSocket of a session', () => {
  it('stays the same over several lives of its token, and misses no event', async () => {
    const admin = await login(hasty, 'admin', 'laptop')
    const app = createLiveApp(admin, `${hasty.url}/graphql`)
    const feed = subscribe(app, EVENTS)

    await waitUntil(() => app.refreshes() === 4)
    const { accessToken: token } = await register(service, 'ada')
    await service.graphql('mutation { logout { alreadyRevoked } }', { token })
    await waitUntil(() => feed.received.length > 0)

    expect(feed.received).toEqual([
      { data: { revocationEvents: { revocation: { reason: 'logout' } } } },
    ])
    expect({ closed: app.closed, connected: app.connected() }).toEqual({ closed: [], connected: 1 })
    feed.stop()
    await feed.done
  })

  it('goes on with a token that something else has refreshed', async () => {
    const app = createLiveApp(await register(service, 'barbara'))
    const feed = subscribe(app, ENDED)
    await isAdmitted(app)
    const pongs: unknown[] = []
    app.client.on('pong', (isReceived, payload) => isReceived && pongs.push(payload))

    await app.session.renew(app.session.accessToken!)
    await waitUntil(() => pongs.length > 0)

    expect(pongs).toEqual([{ expiresAt: expect.any(String) }])
    expect(app.closed).toEqual([])
    feed.stop()
    await feed.done
  })

  it('is opened again with a fresh token when it was refused with TOKEN_EXPIRED', async () => {
    const signIn = await register(service, 'chandra')
    const app = createLiveApp({ ...signIn, accessToken: expiredTokenOf(signIn) })
    const feed = subscribe(app, ENDED)

    await isAdmitted(app)

    expect(app.closed).toEqual(['TOKEN_EXPIRED'])
    expect({ refreshes: app.refreshes(), endings: app.endings }).toEqual({
      refreshes: 1,
      endings: [],
    })
    feed.stop()
    await feed.done
  })

  it('signs out once and stays closed when its token is revoked', async () => {
    const phone = await register(service, 'dorothy')
    const app = createLiveApp(phone)
    const feeds = Array.from({ length: 3 }, () => subscribe(app, ENDED))
    await isAdmitted(app)

    await service.graphql('mutation { logout { alreadyRevoked } }', {
      token: app.session.accessToken,
    })
    const ends = await Promise.all(feeds.map(({ done }) => done))

    for (const end of ends) expect(end).toMatchObject({ reason: 'TOKEN_REVOKED' })
    for (const { received } of feeds) {
      expect(received).toEqual([{ data: { sessionEnded: { reason: 'logout' } } }])
    }
    expect(app.endings).toEqual([{ reason: 'TOKEN_REVOKED', revocation: null }])
    expect({ connected: app.connected(), closed: app.closed }).toEqual({
      connected: 1,
      closed: ['TOKEN_REVOKED'],
    })
  })

  it('signs out once, says why and is closed when a query over it is refused', async () => {
    const app = createLiveApp(await register(service, 'ruth'), url, { lazyCloseTimeout: 60_000 })
    await subscribe(app, { query: '{ __typename }' }).done

    await service.graphql('mutation { logout { alreadyRevoked } }', {
      token: app.session.accessToken,
    })
    const feeds = Array.from({ length: 3 }, () => subscribe(app, { query: '{ me { email } }' }))
    await Promise.all(feeds.map(({ done }) => done))

    expect(app.endings).toEqual([
      { reason: 'TOKEN_REVOKED', revocation: { reason: 'logout', revokedAt: expect.any(Date) } },
    ])
    await waitUntil(() => app.closed.length > 0)
    expect(app.connected()).toBe(1)
  })

  it('signs out, and stays closed, when it is refused with TOKEN_INVALID', async () => {
    const signIn = await register(service, 'edith')
    const app = createLiveApp({ ...signIn, accessToken: forgedTokenOf(signIn) })

    expect(await subscribe(app, ENDED).done).toMatchObject({ reason: 'TOKEN_INVALID' })
    expect(app.endings).toEqual([{ reason: 'TOKEN_INVALID' }])
    expect(app.closed).toEqual(['TOKEN_INVALID'])
  })

  it('stays closed when the refresh is refused', async () => {
    const signIn = await register(service, 'frances')
    await service.graphql('mutation { logout { alreadyRevoked } }', { token: signIn.accessToken })
    const app = createLiveApp({ ...signIn, accessToken: expiredTokenOf(signIn) })

    expect(await subscribe(app, ENDED).done).toMatchObject({ message: 'Signed out' })
    expect(app.endings).toEqual([{ reason: 'INVALID_REFRESH_TOKEN' }])
    expect(app.connected()).toBe(0)
  })

  it('works again after the next sign-in', async () => {
    const signIn = await register(service, 'grace')
    const app = createLiveApp({ ...signIn, accessToken: forgedTokenOf(signIn) })
    await subscribe(app, ENDED).done

    app.session.signIn(await login(service, 'grace', 'phone'))
    const feed = subscribe(app, ENDED)
    await isAdmitted(app)

    expect(app.connected()).toBe(1)
    feed.stop()
    await feed.done
  })

  it('is closed when the app signs out', async () => {
    const app = createLiveApp(await register(service, 'hedy'))
    const feed = subscribe(app, ENDED)
    await isAdmitted(app)

    app.session.signOut()
    await feed.done

    expect({ connected: app.connected(), endings: app.endings }).toEqual({
      connected: 1,
      endings: [],
    })
  })

  it('is opened anew for another person who signs in, and signs no one out', async () => {
    const app = createLiveApp(await register(service, 'ingrid'))
    const feed = subscribe(app, ENDED)
    await isAdmitted(app)

    const other = await register(service, 'joan')
    app.session.signIn(other)
    await isAdmitted(app)

    expect(app.endings).toEqual([])
    expect(app.closed).toEqual(['TOKEN_INVALID'])
    feed.stop()
    await feed.done
  })

  it('carries public operations without a token', async () => {
    const app = createLiveApp(null)
    const feed = subscribe(app, { query: '{ __typename }' })

    expect(await feed.done).toBe('complete')
    expect(feed.received).toEqual([{ data: { __typename: 'Query' } }])
  })
})

describe('a WebSocket at a server that takes every token and then calls it expired', () => {
  it('never loops: it is opened five times', async () => {
    const server = await startStubbornServer()
    try {
      const app = createLiveApp({ accessToken: 'access 0', refreshToken: 'refresh 0' }, server.url)

      expect(await subscribe(app, ENDED).done).toMatchObject({ reason: 'TOKEN_EXPIRED' })
      expect(app.connected()).toBe(5)
      expect(app.endings).toEqual([])
    } finally {
      await server.close()
    }
  })
})
