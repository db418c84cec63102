import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { GRAPHQL_TRANSPORT_WS_PROTOCOL } from 'graphql-ws'
import { WebSocket } from 'ws'
import { createDeferred } from '../deferred.ts'
import type { StuckParty } from './live-plan.ts'

const PING_BYTES = 32 * 1024

/** How long it takes until the subscription stands, in milliseconds. */
const SETTLE_MS = 300

/** Opens the sockets of a party that behaves well at first. */
export async function stick(party: StuckParty): Promise<void> {
  await Promise.all(Array.from({ length: party.sockets }, () => stickOne(party)))
}

async function stickOne({ how, port, token, query }: StuckParty): Promise<void> {
  const proxy = how === 'half-open' ? await startProxy(port) : null
  const socket = new WebSocket(
    `ws://127.0.0.1:${proxy?.port ?? port}/graphql`,
    GRAPHQL_TRANSPORT_WS_PROTOCOL,
  )
  // It is cut off in ways that a client may call an error.
  socket.on('error', () => undefined)
  await once(socket, 'open')
  const send = (message: object): void => socket.send(JSON.stringify(message))
  const acknowledged = createDeferred<void>()
  socket.once('message', () => acknowledged.resolve())
  send({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } })
  await acknowledged.promise
  send({ type: 'subscribe', id: '1', payload: { query } })
  await sleep(SETTLE_MS)

  switch (how) {
    case 'half-open':
      proxy?.swallow()
      return
    case 'stops reading':
      socket.pause()
      return
    case 'pings and never reads':
      socket.pause()
      void flood(socket)
  }
}

/** Every ping is answered with what it holds. */
async function flood(socket: WebSocket): Promise<void> {
  const ping = JSON.stringify({ type: 'ping', payload: { text: 'x'.repeat(PING_BYTES) } })
  while (socket.readyState === WebSocket.OPEN) {
    await new Promise((resolve) => {
      socket.send(ping, resolve)
    })
    await sleep(1)
  }
}

interface Proxy {
  readonly port: number
  /** From now on what either side sends is lost, and neither hears that the other has gone. */
  swallow(): void
}

async function startProxy(target: number): Promise<Proxy> {
  const sockets: Socket[] = []
  const server = createServer((client) => {
    const upstream = connect(target, '127.0.0.1')
    sockets.push(client, upstream)
    for (const socket of [client, upstream]) socket.on('error', () => undefined)
    client.pipe(upstream)
    upstream.pipe(client)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    swallow() {
      for (const socket of sockets) socket.unpipe().resume()
    },
  }
}
