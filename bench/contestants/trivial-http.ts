/** A bare HTTP server that looks its answers up in a map: what the load process can drive at the most. */
import { createServer } from 'node:http'
import { answerTo, operations, users } from '../data.ts'
import type { Operation } from '../data.ts'
import { listenOn, present } from './serve.ts'

const answers = new Map(
  Object.entries(operations).map(([operation, query]) => [
    JSON.stringify({ query }),
    Buffer.from(answerTo(operation as Operation, users[0]!)),
  ]),
)

await present(async () => {
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8')
    request.on('data', (text: string) => {
      body += text
    })
    request.on('end', () => {
      const answer = answers.get(body) ?? Buffer.from('{}')
      response.writeHead(200, {
        'content-type': 'application/json',
        'content-length': answer.length,
      })
      response.end(answer)
    })
  })

  return {
    listen: async () => listenOn(server),
    revoke: async () => {
      throw new Error('it refuses nothing')
    },
  }
})
