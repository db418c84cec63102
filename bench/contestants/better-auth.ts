/** better-auth: the session is looked up in PostgreSQL at every request, behind Apollo Server on Fastify. */
import { betterAuth } from 'better-auth'
import type { BetterAuthOptions } from 'better-auth'
import { getMigrations } from 'better-auth/db/migration'
import type { FastifyRequest } from 'fastify'
import pg from 'pg'
import { users } from '../data.ts'
import { SECRET, SESSION_COUNT, sessionTokenOf } from '../tokens.ts'
import { listenWithFastify } from './apollo-fastify.ts'
import type { CallerContext } from './auth-directive.ts'
import { present, requireSetting } from './serve.ts'

const pool = new pg.Pool({ connectionString: requireSetting('DATABASE_URL'), max: 10 })

/**
 * Joins are what its guide names for speed, together with the cookie cache. That one stays off: until its time is over
 * a revoked session lives on, as the same documentation says.
 *
 * @see {@link https://www.better-auth.com/docs/guides/optimizing-for-performance}
 * @see {@link https://www.better-auth.com/docs/concepts/session-management#cookie-cache}
 */
const options = {
  database: pool,
  baseURL: 'http://127.0.0.1',
  secret: SECRET,
  advanced: { database: { joins: true } },
  logger: { disabled: true },
  telemetry: { enabled: false },
  rateLimit: { enabled: false },
} satisfies BetterAuthOptions

await present(async () => {
  const { runMigrations } = await getMigrations(options)
  await runMigrations()
  await addSessions()
  const auth = betterAuth(options)

  const findCaller = async ({ headers }: FastifyRequest): Promise<CallerContext['caller']> => {
    if (headers.cookie === undefined) return null
    const found = await auth.api.getSession({ headers: new Headers({ cookie: headers.cookie }) })
    return found && { id: found.user.id }
  }
  return {
    listen: async () => listenWithFastify(findCaller),
    revoke: async (cookie) => {
      const token = decodeURIComponent(cookie).split('.')[0]
      const { internalAdapter } = await auth.$context
      await internalAdapter.deleteSession(token as string)
    },
  }
})

/** Its tables are its own; what stands in them is what a sign-in would have left. */
async function addSessions(): Promise<void> {
  await pool.query(
    `insert into "user" (id, name, email, "emailVerified", "createdAt", "updatedAt")
     select id, email, email, true, now(), now() from unnest($1::text[], $2::text[]) as u(id, email)`,
    [users.map(({ id }) => id), users.map(({ email }) => email)],
  )
  const numbers = Array.from({ length: SESSION_COUNT }, (_, index) => index)
  await pool.query(
    `insert into session (id, token, "userId", "expiresAt", "createdAt", "updatedAt")
     select token, token, "userId", now() + interval '7 days', now(), now()
     from unnest($1::text[], $2::text[]) as s(token, "userId")`,
    [numbers.map(sessionTokenOf), numbers.map((n) => users[n % users.length]!.id)],
  )
  await pool.query('analyze')
}
