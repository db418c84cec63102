import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from 'graphql-ws'
import type { Client } from 'graphql-ws'
import { WebSocket } from 'ws'
import type { TestService } from './service.ts'

/** How a connection ended. */
export interface Closing {
  readonly code: number
  readonly reason: string
}

/** A client of `graphql-ws` with one subscription, and all that it has got. */
export interface Subscriber {
  readonly client: Client
  readonly results: any[]
  readonly pings: any[]
  /** `null` while it is open. */
  readonly closing: Closing | null
  /** Fulfilled with the nth result, counted from 0. */
  result(index?: number): Promise<any>
  closed(): Promise<Closing>
  /** Sends a fresh token over the same connection. */
  reauthenticate(token: string): void
  stop(): void
}

export interface Subscription {
  readonly token?: string | null
  readonly variables?: Record<string, unknown>
}

export const SESSION_ENDED = 'subscription { sessionEnded { scope reason revokedAt } }'

const open = new Set<Subscriber>()

/** Subscribes; the server has begun with it, or refused the connection. */
export async function subscribe(
  service: Pick<TestService, 'url'>,
  query: string,
  { token, variables = {} }: Subscription = {},
): Promise<Subscriber> {
  const results: any[] = []
  const pings: any[] = []
  let closing: Closing | null = null
  let socket: WebSocket | undefined

  const client = createClient({
    url: urlOf(service),
    webSocketImpl: WebSocket,
    retryAttempts: 0,
    lazy: false,
    connectionParams: token ? { authorization: `Bearer ${token}` } : {},
    onNonLazyError: () => undefined,
    on: {
      opened: (opened) => {
        socket = opened as WebSocket
      },
      ping: (_received, payload) => pings.push(payload),
      closed: (event) => {
        const { code, reason } = event as Closing
        closing = { code, reason }
      },
    },
  })
  const stopSubscription = client.subscribe(
    { query, variables },
    { next: (result) => results.push(result), error: () => undefined, complete: () => undefined },
  )

  const subscriber: Subscriber = {
    client,
    results,
    pings,
    get closing() {
      return closing
    },
    async result(index = 0) {
      await until(() => results.length > index, `result ${index} of ${query}`)
      return results[index]
    },
    async closed() {
      await until(() => closing !== null, `the end of ${query}`)
      return closing as Closing
    },
    reauthenticate(fresh) {
      const payload = { authorization: `Bearer ${fresh}` }
      socket?.send(JSON.stringify({ type: 'ping', payload }))
    },
    stop() {
      open.delete(subscriber)
      stopSubscription()
      void client.dispose()
    },
  }
  open.add(subscriber)
  await isBegun(subscriber)
  return subscriber
}

/** Ends what a test left open. */
export function stopSubscribers(): void {
  for (const subscriber of open) subscriber.stop()
}

/** One WebSocket, on which a test says what it likes. */
export interface RawSocket {
  readonly messages: any[]
  send(message: unknown): void
  message(index: number): Promise<any>
  closed(): Promise<Closing>
  readonly socket: WebSocket
}

export async function openRaw(
  service: Pick<TestService, 'url'>,
  { protocol = 'graphql-transport-ws', headers = {} }: { protocol?: string; headers?: object } = {},
): Promise<RawSocket> {
  const socket = new WebSocket(urlOf(service), protocol, { headers: headers as {} })
  const messages: any[] = []
  let closing: Closing | null = null
  socket.on('error', () => undefined)
  socket.on('message', (data) => messages.push(JSON.parse((data as Buffer).toString())))
  socket.on('close', (code, reason) => {
    closing = { code, reason: String(reason) }
  })
  await Promise.race([once(socket, 'open'), once(socket, 'close')])
  return {
    socket,
    messages,
    send: (message) => socket.send(typeof message === 'string' ? message : JSON.stringify(message)),
    async message(index) {
      await until(() => messages.length > index, `message ${index}`)
      return messages[index]
    },
    async closed() {
      await until(() => closing !== null, 'the end')
      return closing as unknown as Closing
    },
  }
}

/** Waits for what a test expects to come soon; the machine may be busy. */
export async function until(
  isSo: () => boolean | Promise<boolean>,
  what: string,
  { withinMs = 15_000 } = {},
): Promise<void> {
  const startedAt = performance.now()
  while (!(await isSo())) {
    if (performance.now() - startedAt > withinMs) throw new Error(`waited in vain for ${what}`)
    await sleep(5)
  }
}

function urlOf({ url }: Pick<TestService, 'url'>): string {
  return `${url.replace('http', 'ws')}/graphql`
}

/**
 * The server takes what comes over a connection in its order, and tokens are looked up in that order too: when somebody's name
 * is answered, what came before was admitted. Schemas without `me` refuse at once: they get a moment.
 */
async function isBegun({ client }: Subscriber): Promise<void> {
  await new Promise<void>((resolve) => {
    client.subscribe(
      { query: '{ me { id } }' },
      { next: () => resolve(), error: () => resolve(), complete: () => resolve() },
    )
  })
  await sleep(100)
}
