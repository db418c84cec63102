import { randomBytes } from 'node:crypto'
import { startInMemory, startOnPostgres } from './start.ts'
import type { OwnApiSettings } from './start.ts'

const { DATABASE_URL, PORT = '4001', JWT_SECRET } = process.env

const settings: OwnApiSettings = {
  port: Number(PORT),
  // Made up at every start, so tokens do not survive one; nodes that share a database need the same.
  secret: JWT_SECRET ?? randomBytes(32).toString('hex'),
  log: (event) => console.log(JSON.stringify(event)),
}

const api = DATABASE_URL
  ? await startOnPostgres(DATABASE_URL, settings)
  : await startInMemory(settings)

console.log(`Orders are taken at ${api.url}`)
console.log(`Subscriptions are served at ${api.liveUrl}`)
console.log(`Revocations are kept in ${DATABASE_URL ? 'PostgreSQL' : 'memory'}`)
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void api.stop())
}
