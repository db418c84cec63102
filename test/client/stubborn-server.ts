import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface StubbornServer {
  readonly url: string
  /** The operations that it was sent, but for refreshes. */
  readonly asked: string[]
  close(): Promise<void>
}

/** A server that gives new tokens at any time, and answers all else with the same refusal whatever the token. */
export async function startStubbornServer(
  answer: object,
  mediaType = 'application/graphql-response+json',
): Promise<StubbornServer> {
  const asked: string[] = []
  let issued = 0
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += String(chunk)
    const { query } = JSON.parse(body)
    if (query.includes('refresh(')) {
      issued += 1
      const refresh = { accessToken: `access ${issued}`, refreshToken: `refresh ${issued}` }
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ data: { refresh } }))
      return
    }
    asked.push(query)
    response.writeHead(401, { 'content-type': mediaType })
    response.end(JSON.stringify(answer))
  })

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`,
    asked,
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
