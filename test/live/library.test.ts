import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeExecutableSchema } from '@graphql-tools/schema'
import { createHandler } from 'graphql-sse/lib/use/http'
import { useServer } from 'graphql-ws/use/ws'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { WebSocketServer } from 'ws'
import { MemoryRevocationStore, createKeyRing, createPortcullis } from '../../src/index.ts'
import type { AuthContext, JournalWatcher, Portcullis, RevocationStore } from '../../src/index.ts'
import { createGate } from '../support/gate.ts'
import type { Gate } from '../support/gate.ts'
import { openRaw, stopSubscribers, subscribe, until } from '../support/live.ts'
import { SECRET } from '../support/service.ts'

/** A team's own server, over the servers of `graphql-ws` and `graphql-sse` as their documentation has them. */
interface World {
  readonly url: string
  readonly portcullis: Portcullis
  readonly store: RevocationStore
  /** Sends an event to all that are subscribed. */
  tick(): void
  /** Opens when a slow field may be resolved. */
  gate: Gate
  /** Subscriptions whose source of events was not ended. */
  readonly sources: Set<unknown>
  stop(): Promise<void>
}

const typeDefs = `
  type Query { greeting: String! @public }
  type Tick { number: Int! @public secret: String! @auth slow: Int! @public }
  type Subscription {
    open: Tick! @public
    guarded: Tick! @auth
    asking: Tick! @public
    broken: Tick! @public
    endless: Tick! @auth
  }`

async function createWorld(change: (store: RevocationStore) => RevocationStore): Promise<World> {
  const store = change(new MemoryRevocationStore())
  const portcullis = createPortcullis({
    keys: createKeyRing({ signWith: SECRET }),
    issuer: 'https://ticks.example',
    audience: 'ticks',
    store,
  })
  const listeners = new Set<() => void>()
  const sources = new Set<unknown>()
  const world = { gate: createGate() }

  const source = (name: string): object => ({
    async *subscribe(_parent: unknown, _args: object, { auth }: AuthContext) {
      if (name === 'asking') await auth.authenticate()
      sources.add(listeners)
      try {
        for (let number = 1; ; number++) {
          await new Promise<void>((resolve) => {
            listeners.add(resolve)
          })
          if (name === 'broken') throw new Error('a secret of the database')
          yield { [name]: { number, secret: 'for Ada' } }
        }
      } finally {
        sources.delete(listeners)
      }
    },
  })
  const schema = portcullis.protect(
    makeExecutableSchema({
      typeDefs: [...portcullis.typeDefs, portcullis.live.typeDefs, typeDefs],
      resolvers: [
        portcullis.resolvers,
        portcullis.live.resolvers,
        {
          Query: { greeting: () => 'Hello' },
          Tick: {
            async slow() {
              await world.gate.opened
              return 1
            },
          },
          Subscription: {
            open: source('open'),
            guarded: source('guarded'),
            asking: source('asking'),
            broken: source('broken'),
            endless: {
              subscribe: async function* never() {
                await createGate().opened
                yield 1
              },
            },
          },
        },
      ],
    }),
  )

  const answerWithEvents = createHandler(portcullis.live.eventStreamOptions({ schema }))
  const server: Server = createServer(
    (request, response) => void answerWithEvents(request, response),
  )
  const sockets = new WebSocketServer({ server, path: '/graphql' })
  const webSockets = useServer(portcullis.live.webSocketOptions({ schema }), sockets)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  return Object.assign(world, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    portcullis,
    store,
    sources,
    tick() {
      const waiting = [...listeners]
      listeners.clear()
      for (const wake of waiting) wake()
    },
    async stop() {
      await webSockets.dispose()
      server.closeAllConnections()
      server.close()
    },
  })
}

let world: World
let token: string
let sessionId: string

async function start(
  change: (store: RevocationStore) => RevocationStore = (given) => given,
): Promise<void> {
  world = await createWorld(change)
  const issued = await world.portcullis.issue({ subject: 'ada' })
  token = issued.text
  sessionId = issued.sessionId
}

beforeEach(async () => start())

afterEach(async () => {
  world.gate.open()
  stopSubscribers()
  await world.stop()
})

async function revoke(): Promise<void> {
  const target = { scope: 'SESSION', sessionId, subject: 'ada' } as const
  await world.store.revoke({ target, reason: 'lost', by: null })
}

/** A store that answers no look-up while the outage is on. */
function withOutage(store: RevocationStore, outage: { readonly isOn: boolean }): RevocationStore {
  const findFor = store.findFor.bind(store)
  return Object.assign(store, {
    findFor: async (tokens: Parameters<typeof findFor>[0]) => {
      if (outage.isOn) throw new Error('away')
      return findFor(tokens)
    },
  })
}

const REVOKED = { code: 4403, reason: 'TOKEN_REVOKED' }
const ticksOf = (results: readonly any[]): unknown[] => results.map(({ data }) => data)

describe("a team's own subscription over graphql-ws", () => {
  // Q50
  it.each([
    ['that is guarded', 'subscription { guarded { number } }', { guarded: { number: 1 } }],
    ['with a guarded field', 'subscription { open { secret } }', { open: { secret: 'for Ada' } }],
    [
      'whose resolver asks who calls',
      'subscription { asking { number } }',
      { asking: { number: 1 } },
    ],
    [
      'that is guarded in a fragment',
      'subscription { open { ...x } } fragment x on Tick { secret }',
      { open: { secret: 'for Ada' } },
    ],
  ])('ends with its token: one %s', async (_what, query, data) => {
    const subscriber = await subscribe(world, query, { token })
    await until(() => world.sources.size === 1, 'the source')
    world.tick()
    expect((await subscriber.result()).data).toEqual(data)

    await revoke()
    world.tick()

    expect(await subscriber.closed()).toEqual(REVOKED)
    expect(subscriber.results).toHaveLength(1)
  })

  it('stays when it is public, whatever becomes of the token', async () => {
    const subscriber = await subscribe(world, 'subscription { open { number } }', { token })
    await until(() => world.sources.size === 1, 'the source')

    await revoke()
    world.tick()

    await subscriber.result()
    expect(ticksOf(subscriber.results)).toEqual([{ open: { number: 1 } }])
    expect(subscriber.closing).toBe(null)
  })

  // Q01
  it('holds back an event that was on its way when the token was revoked', async () => {
    const subscriber = await subscribe(world, 'subscription { guarded { number slow } }', { token })
    await until(() => world.sources.size === 1, 'the source')
    world.tick()
    await sleep(20)

    await revoke()
    world.gate.open()

    expect(await subscriber.closed()).toEqual(REVOKED)
    expect(subscriber.results).toEqual([])
  })

  it('ends at the next event when the node was not told of the revocation', async () => {
    await world.stop()
    await start((store) => Object.assign(store, { watch: () => () => undefined }))
    const subscriber = await subscribe(world, 'subscription { guarded { number } }', { token })
    await until(() => world.sources.size === 1, 'the source')

    await revoke()
    expect(subscriber.closing).toBe(null)
    world.tick()

    expect(await subscriber.closed()).toEqual(REVOKED)
    expect(subscriber.results).toEqual([])
  })

  // Q04
  it('gets no event while its token cannot be checked, and loses none', async () => {
    await world.stop()
    const outage = { isOn: false }
    await start((store) => withOutage(store, outage))
    const subscriber = await subscribe(world, 'subscription { guarded { number } }', { token })
    await until(() => world.sources.size === 1, 'the source')

    outage.isOn = true
    world.tick()
    await sleep(200)
    expect(subscriber.results).toEqual([])
    outage.isOn = false

    expect(await subscriber.result()).toEqual({ data: { guarded: { number: 1 } } })
  })

  it('is asked about when news may have been missed', async () => {
    await world.stop()
    let watcher: JournalWatcher | undefined
    const outage = { isOn: false }
    await start((store) =>
      Object.assign(withOutage(store, outage), {
        watch: (given: JournalWatcher) => {
          watcher = given
          return () => undefined
        },
      }),
    )
    const subscriber = await subscribe(world, 'subscription { guarded { number } }', { token })
    const other = await world.portcullis.issue({ subject: 'grace' })
    const stays = await subscribe(world, 'subscription { guarded { number } }', {
      token: other.text,
    })
    await until(() => world.sources.size > 0, 'the sources')
    await revoke()

    outage.isOn = true
    watcher?.missed()
    await sleep(50)
    expect(subscriber.closing).toBe(null)
    outage.isOn = false

    expect(await subscriber.closed()).toEqual(REVOKED)
    expect(stays.closing).toBe(null)
  })

  it('is forgotten when it is closed, even if its source does not end', async () => {
    const subscriber = await subscribe(world, 'subscription { endless { number } }', { token })
    expect(world.portcullis.live.connections.size).toBe(1)

    subscriber.stop()

    await until(() => world.portcullis.live.connections.size === 0, 'the end')
  })

  it('ends with the error of its source', async () => {
    const socket = await openRaw(world)
    socket.send({ type: 'connection_init' })
    await socket.message(0)
    socket.send({
      id: '1',
      type: 'subscribe',
      payload: { query: 'subscription { broken { number } }' },
    })
    await until(() => world.sources.size === 1, 'the source')

    world.tick()

    expect(await socket.message(1)).toMatchObject({
      id: '1',
      type: 'error',
      payload: [{ extensions: { code: 'INTERNAL_SERVER_ERROR' } }],
    })
    expect(socket.socket.readyState).toBe(socket.socket.OPEN)
    socket.socket.close()
  })
})

describe("a team's own subscription over graphql-sse", () => {
  async function openStream(query: string, authorization = `Bearer ${token}`): Promise<Response> {
    const response = await fetch(`${world.url}/graphql`, {
      method: 'POST',
      headers: { accept: 'text/event-stream', 'content-type': 'application/json', authorization },
      body: JSON.stringify({ query }),
    })
    return response
  }

  // Q50
  it('ends with its token', async () => {
    const response = await openStream('subscription { guarded { number } }')
    await until(() => world.sources.size === 1, 'the source')
    world.tick()
    await sleep(20)

    await revoke()
    world.tick()

    const text = await response.text()
    expect(text.match(/^event: \w+/gm)).toEqual([
      'event: next',
      'event: next',
      'event: complete',
      'event: error',
    ])
    expect(text).toContain('"guarded":{"number":1}')
    expect(text).not.toContain('"number":2')
    expect(text.match(/TOKEN_REVOKED/g)).toHaveLength(2)
    await until(() => world.portcullis.live.connections.size === 0, 'the end')
  })

  it('ends with the error of its source', async () => {
    const response = await openStream('subscription { broken { number } }')
    await until(() => world.sources.size === 1, 'the source')
    world.tick()

    expect(await response.text()).toContain('INTERNAL_SERVER_ERROR')
  })

  it('knows no reserved streams', async () => {
    const response = await fetch(`${world.url}/graphql`, { method: 'PUT' })

    expect(response.status).toBe(404)
  })
})
