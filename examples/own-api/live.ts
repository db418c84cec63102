import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { GraphQLSchema } from 'graphql'
import { createHandler } from 'graphql-sse/lib/use/http'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocketServer } from 'ws'
// In a project of yours: from 'portcullis'
import type { Portcullis } from '../../src/index.ts'

export interface Live {
  readonly url: string
  stop(): Promise<void>
}

/** Subscriptions over WebSockets and event streams. Two lines of it are Portcullis'. */
export async function startLive(portcullis: Portcullis, schema: GraphQLSchema): Promise<Live> {
  const answerWithEvents = createHandler(portcullis.live.eventStreamOptions({ schema }))
  const server = createServer((request, response) => void answerWithEvents(request, response))

  const sockets = new WebSocketServer({ server })
  const { dispose } = useServer(portcullis.live.webSocketOptions({ schema }), sockets)

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      await dispose()
      server.closeAllConnections()
      server.close()
    },
  }
}
