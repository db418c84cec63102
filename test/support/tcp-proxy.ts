import { once } from 'node:events'
import { createServer, connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'

/**
 * What becomes of the bytes between a client and its server.
 *
 * - `pass`: they go through.
 * - `blackhole`: neither side hears of the other, and nobody is told: a partition.
 * - `deaf`: what is asked arrives, and no answer comes back.
 * - `cut`: every connection is reset, and new ones are too.
 */
export type ProxyMode = 'pass' | 'blackhole' | 'deaf' | 'cut'

export interface TcpProxy {
  /** The server's URL, through the proxy. */
  readonly url: string
  setMode(mode: ProxyMode): void
  /** Lets every connection of now fall silent for ever, as a firewall does that forgets them; new ones are new. */
  abandon(): void
  close(): Promise<void>
}

interface Link {
  readonly client: Socket
  readonly server: Socket
}

/** A cable between a node and its PostgreSQL that can be pulled. What it held up arrives when it passes again. */
export async function startTcpProxy(serverUrl: string): Promise<TcpProxy> {
  const url = new URL(serverUrl)
  const target = { host: url.hostname, port: Number(url.port || 5432) }
  const links = new Set<Link>()
  const abandoned = new Set<Link>()
  let mode: ProxyMode = 'pass'

  const listener = createServer((client) => {
    const link = { client, server: connect(target) }
    links.add(link)
    client.on('data', (chunk) => link.server.write(chunk))
    link.server.on('data', (chunk) => client.write(chunk))
    for (const socket of [client, link.server]) {
      socket.setNoDelay(true)
      // Whatever ended it, `close` follows.
      socket.on('error', () => undefined)
      socket.on('close', () => drop(link))
    }
    apply(link)
  })

  function apply(link: Link): void {
    if (mode === 'cut') {
      link.client.resetAndDestroy()
      return
    }
    if (mode === 'blackhole') link.client.pause()
    else link.client.resume()
    if (mode === 'pass') link.server.resume()
    else link.server.pause()
  }

  function drop(link: Link): void {
    links.delete(link)
    link.client.destroy()
    link.server.destroy()
  }

  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  url.hostname = '127.0.0.1'
  url.port = String((listener.address() as AddressInfo).port)

  return {
    url: url.href,
    setMode(next) {
      mode = next
      for (const link of links) apply(link)
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
