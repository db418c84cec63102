/**
 * The real service, accounts and sessions and all, as `npm start` runs it; its log goes nowhere.
 *
 * WITH_ACCOUNTS: the benchmark's people have accounts, which `me` reads.
 */
import { randomUUID } from 'node:crypto'
import { devNull } from 'node:os'
import pg from 'pg'
import { destination, pino } from 'pino'
import { startService } from '../../dist/src/service/service.js'
import { readSettings } from '../../dist/src/service/settings.js'
import { users } from '../data.ts'
import { post } from '../http.ts'
import { signToken } from '../tokens.ts'
import { present, requireSetting } from './serve.ts'

await present(async () => {
  const settings = readSettings(process.env)
  const log = pino({ level: settings.logLevel }, destination(devNull))
  const databaseUrl = requireSetting('DATABASE_URL')
  let port = 0

  return {
    listen: async () => {
      if (process.env.WITH_ACCOUNTS !== undefined) await createAccounts(databaseUrl)
      const signWith = requireSetting('JWT_SECRET')
      const { url } = await startService({ ...settings, databaseUrl, signWith }, log)
      port = Number(new URL(url).port)
      return port
    },
    revoke: async (text) => {
      const query = `mutation { revokeToken(token: "${text}") { alreadyRevoked } }`
      const admin = signToken(0, randomUUID(), 'bench-admin', ['USER', 'ADMIN'])
      const { status, body } = await post(port, query, { authorization: `Bearer ${admin}` })
      if (status !== 200 || body.includes('"errors"')) throw new Error(`not revoked: ${body}`)
    },
  }
})

/** Accounts for the benchmark's people. Their password hash is none, because the benchmark signs tokens itself. */
async function createAccounts(connectionString: string): Promise<void> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    await client.query(
      `insert into account (id, email, password_hash, roles, created_at)
       select id, email, 'none', '{USER}', now()
       from unnest($1::uuid[], $2::text[]) as person (id, email)`,
      [users.map(({ id }) => id), users.map(({ email }) => email)],
    )
  } finally {
    await client.end()
  }
}
