import { Writable } from 'node:stream'
import { pino } from 'pino'
import { startService as start } from '../../src/service.ts'
import type { ServiceSettings } from '../../src/service.ts'
import { readSettings } from '../../src/settings.ts'
import { createDatabase } from './database.ts'
import type { TestDatabase } from './database.ts'
import { startTcpProxy } from './tcp-proxy.ts'
import type { TcpProxy } from './tcp-proxy.ts'

export const SECRET = 'a test secret of more than 32 bytes, known to all'

export const ADMIN = { email: 'admin@example.com', password: 'the admin of the tests' }

export interface GraphQLAnswer {
  readonly status: number
  readonly headers: Headers
  readonly data: any
  readonly errors: ReadonlyArray<{ message: string; path?: readonly unknown[]; extensions: any }>
}

export interface Ask {
  readonly token?: string | null
  readonly variables?: object
  readonly headers?: Readonly<Record<string, string>>
}

export interface TestService {
  readonly url: string
  readonly admin: typeof ADMIN
  readonly database: TestDatabase
  /** The lines of the log, parsed, as they come. */
  readonly log: ReadonlyArray<Record<string, any>>
  /** Sends one operation as JSON over HTTP. */
  graphql(query: string, ask?: Ask): Promise<GraphQLAnswer>
  stop(): Promise<void>
}

export interface TestServiceOptions extends Partial<ServiceSettings> {
  /** Another node's database, to share; whoever made it drops it. */
  readonly database?: TestDatabase
}

/** Starts a real node on a free port, with a database of its own unless one is given. */
export async function startService({
  database: given,
  ...overrides
}: TestServiceOptions = {}): Promise<TestService> {
  const database = given ?? (await createDatabase())
  const log: Array<Record<string, unknown>> = []
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().trim().split('\n')) log.push(JSON.parse(line))
      done()
    },
  })

  const settings: ServiceSettings = {
    ...readSettings({
      PORT: '0',
      JWT_SECRET: SECRET,
      ADMIN_EMAIL: ADMIN.email,
      ADMIN_PASSWORD: ADMIN.password,
    }),
    signWith: SECRET,
    databasePoolSize: 5,
    ...overrides,
    databaseUrl: overrides.databaseUrl ?? database.url,
  }
  const dropOwn = async (): Promise<void> => {
    if (!given) await database.drop()
  }
  const service = await start(settings, pino({ base: undefined }, sink)).catch(
    async (error: unknown) => {
      await dropOwn()
      throw error
    },
  )

  return {
    url: service.url,
    admin: ADMIN,
    database,
    log,
    graphql: (query, ask) => sendGraphQL(service.url, query, ask),
    async stop() {
      await service.stop()
      await dropOwn()
    },
  }
}

/** Starts a node whose cable to its database can be pulled. */
export async function startServiceOnCable(): Promise<TestService & { readonly cable: TcpProxy }> {
  const database = await createDatabase()
  const cable = await startTcpProxy(database.url)
  const service = await startService({ database, databaseUrl: cable.url })

  return {
    ...service,
    cable,
    async stop() {
      await service.stop()
      await cable.close()
      await database.drop()
    },
  }
}

async function sendGraphQL(
  url: string,
  query: string,
  { token, variables, headers }: Ask = {},
): Promise<GraphQLAnswer> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(token && { authorization: `Bearer ${token}` }),
      ...headers,
    },
    body: JSON.stringify({ query, variables }),
  })
  const { data, errors = [] } = (await response.json()) as Partial<GraphQLAnswer>
  return { status: response.status, headers: response.headers, data, errors }
}
