/** The plain reading of the job: Apollo Server, an `@auth` directive, jsonwebtoken, one TypeORM query a request. */
import { DataSource, EntitySchema } from 'typeorm'
import type { Repository } from 'typeorm'
import { listenWithFastify } from './apollo-fastify.ts'
import type { CallerContext } from './auth-directive.ts'
import { readBearer, verifyToken } from './jwt.ts'
import { present, requireSetting } from './serve.ts'

interface BlacklistedToken {
  readonly jti: string
  readonly reason: string
  readonly expiresAt: Date
}

const BlacklistedTokenEntity = new EntitySchema<BlacklistedToken>({
  name: 'BlacklistedToken',
  tableName: 'blacklisted_token',
  columns: {
    jti: { type: 'text', primary: true },
    reason: { type: 'text' },
    expiresAt: { name: 'expires_at', type: 'timestamp with time zone' },
  },
})

await present(async () => {
  const dataSource = new DataSource({
    type: 'postgres',
    url: requireSetting('DATABASE_URL'),
    entities: [BlacklistedTokenEntity],
    synchronize: true,
    poolSize: 10,
  })
  await dataSource.initialize()
  const blacklist = dataSource.getRepository(BlacklistedTokenEntity)

  return {
    listen: async () =>
      listenWithFastify(async ({ headers }) => findCaller(blacklist, headers.authorization)),
    revoke: async (text) => {
      const { jti, exp = 0 } = verifyToken(text)
      await blacklist.insert({ jti, reason: 'benchmark', expiresAt: new Date(exp * 1000) })
    },
  }
})

async function findCaller(
  blacklist: Repository<BlacklistedToken>,
  header: string | undefined,
): Promise<CallerContext['caller']> {
  const text = readBearer(header)
  if (text === null) return null
  try {
    const { sub, jti } = verifyToken(text)
    return (await blacklist.existsBy({ jti })) ? null : { id: sub }
  } catch {
    return null
  }
}
