import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { WebSocketServer } from 'ws'

export interface StubbornServer {
  readonly url: string
  /** The operations that it was sent by HTTP, but for refreshes. */
  readonly asked: string[]
  close(): Promise<void>
}

/**
 * A server that gives new tokens at any time, and refuses all else whatever the token: over HTTP with always the same answer, and
 * WebSockets with `TOKEN_EXPIRED`, when it has acknowledged them.
 */
export async function startStubbornServer(
  answer: object = {},
  mediaType = 'application/graphql-response+json',
): Promise<StubbornServer> {
  const asked: string[] = []
  let issued = 0

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { query } = JSON.parse(await text(request))
    if (query.includes('refresh(')) {
      issued += 1
      const refresh = { accessToken: `access ${issued}`, refreshToken: `refresh ${issued}` }
      response.end(JSON.stringify({ data: { refresh } }))
      return
    }
    asked.push(query)
    response.writeHead(401, { 'content-type': mediaType })
    response.end(JSON.stringify(answer))
  }

  const server = createServer((request, response) => void respond(request, response))
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket) => {
    socket.once('message', () => {
      socket.send(JSON.stringify({ type: 'connection_ack' }))
      socket.once('message', () => socket.close(4403, 'TOKEN_EXPIRED'))
    })
  })

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`,
    asked,
    async close() {
      sockets.close()
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
