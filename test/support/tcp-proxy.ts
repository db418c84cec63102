import { once } from 'node:events'
import { createServer, connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * What becomes of the bytes between a client and its server.
 *
 * - `pass`: they go through.
 * - `blackhole`: neither side hears of the other, without an error: a partition.
 * - `deaf`: what is asked arrives, and no answer comes back.
 * - `cut`: every connection is reset, and new ones are too.
 */
export type ProxyMode = 'pass' | 'blackhole' | 'deaf' | 'cut'

export interface TcpProxy {
  /** The server's URL, through the proxy. */
  readonly url: string
  /** From now on; with a text, for the connections only that said it in their first message. */
  setMode(mode: ProxyMode, only?: string): void
  /** How long every piece is on its way from now on, in milliseconds, in each direction. */
  setDelay(ms: number): void
  /** Once: the client's next message that holds this text arrives, and from then on the mode is this. */
  setModeAfter(text: string, mode: ProxyMode): Promise<void>
  /** Where new connections lead to from now on. */
  leadTo(serverUrl: string): void
  /** Lets every connection of now fall silent for ever, as a firewall does that forgets them; new ones are new. */
  abandon(): void
  close(): Promise<void>
}

interface Link {
  readonly client: Socket
  readonly server: Socket
  /** What the client said first, which names its user and its application. */
  greeting: string | null
}

/** What is waited for in what clients say. */
interface Trap {
  readonly text: string
  readonly spring: () => void
}

/** A cable between a node and its PostgreSQL that can be pulled. What it held up arrives when it passes again. */
export async function startTcpProxy(serverUrl: string): Promise<TcpProxy> {
  const url = new URL(serverUrl)
  let target = addressOf(serverUrl)
  const links = new Set<Link>()
  const abandoned = new Set<Link>()
  let mode: ProxyMode = 'pass'
  let only: string | undefined
  let delayMs = 0
  let trap: Trap | null = null

  const listener = createServer((client) => {
    const link: Link = { client, server: connect(target), greeting: null }
    links.add(link)
    client.on('data', (chunk) => {
      if (link.greeting === null) {
        link.greeting = chunk.toString('latin1')
        apply(link)
      }
      deliver(chunk, link.server)
      if (trap !== null && chunk.includes(trap.text)) trap.spring()
    })
    link.server.on('data', (chunk) => deliver(chunk, client))
    for (const socket of [client, link.server]) {
      socket.setNoDelay(true)
      // Whatever ended it, `close` follows.
      socket.on('error', () => undefined)
      socket.on('close', () => drop(link))
    }
    apply(link)
  })

  /** What is on its way to whom; nothing overtakes it. */
  const underWay = new WeakMap<Socket, Promise<void>>()

  function deliver(chunk: Buffer, to: Socket): void {
    const before = underWay.get(to)
    if (delayMs === 0 && before === undefined) {
      to.write(chunk)
      return
    }
    const arriving = Promise.all([sleep(delayMs), before]).then(() => {
      if (to.writable) to.write(chunk)
      if (underWay.get(to) === arriving) underWay.delete(to)
    })
    underWay.set(to, arriving)
  }

  function apply(link: Link): void {
    const isMeant = only === undefined || link.greeting?.includes(only) === true
    const linkMode = isMeant ? mode : 'pass'
    if (linkMode === 'cut') {
      link.client.resetAndDestroy()
      return
    }
    if (linkMode === 'blackhole') link.client.pause()
    else link.client.resume()
    if (linkMode === 'pass') link.server.resume()
    else link.server.pause()
  }

  function drop(link: Link): void {
    links.delete(link)
    link.client.destroy()
    link.server.destroy()
  }

  function setMode(next: ProxyMode, nextOnly?: string): void {
    mode = next
    only = nextOnly
    for (const link of links) apply(link)
  }

  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  url.hostname = '127.0.0.1'
  url.port = String((listener.address() as AddressInfo).port)

  return {
    url: url.href,
    setMode,
    setDelay(ms) {
      delayMs = ms
    },
    async setModeAfter(text, next) {
      await new Promise<void>((resolve) => {
        trap = {
          text,
          spring: () => {
            trap = null
            setMode(next)
            resolve()
          },
        }
      })
    },
    leadTo(nextUrl) {
      target = addressOf(nextUrl)
    },
    abandon() {
      for (const link of links) {
        link.client.pause()
        link.server.pause()
        abandoned.add(link)
      }
      links.clear()
    },
    async close() {
      if (!listener.listening) return
      for (const link of [...links, ...abandoned]) drop(link)
      listener.close()
      await once(listener, 'close')
    },
  }
}

function addressOf(serverUrl: string): { host: string; port: number } {
  const { hostname, port } = new URL(serverUrl)
  return { host: hostname, port: Number(port || 5432) }
}
