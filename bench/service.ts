import type { Database } from './postgres.ts'
import { Child } from './processes.ts'
import type { Environment } from './processes.ts'
import type { Scope } from './scope.ts'
import { SECRET, TOKEN_LIFETIME_SECONDS } from './tokens.ts'

export const SERVICE_ENV = {
  HOST: '127.0.0.1',
  PORT: '0',
  JWT_SECRET: SECRET,
  ACCESS_TOKEN_TTL: String(TOKEN_LIFETIME_SECONDS),
  ADMIN_EMAIL: 'admin@bench.example',
  ADMIN_PASSWORD: 'a password of the benchmark',
  LOG_LEVEL: 'warn',
} as const

/** A node of the real service on a database; it ends with the scope. */
export function startService(
  scope: Scope,
  { url }: Database,
  env: Environment = {},
  name = 'portcullis-service',
): Child {
  const service = new Child(name, './contestants/portcullis-service.ts', {
    DATABASE_URL: url,
    ...SERVICE_ENV,
    ...env,
  })
  scope.defer(() => service.stop())
  return service
}
