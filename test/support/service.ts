import { Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { inject } from 'vitest'
import type { ReplicaState } from '../../src/revocation/replica/replica.ts'
import { startService as start } from '../../src/service/service.ts'
import type { ServiceSettings } from '../../src/service/service.ts'
import { readSettings } from '../../src/service/settings.ts'
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
  readonly timeoutMs?: number
}

/** A node as its clients see it. */
export interface Served {
  readonly url: string
  readonly admin: typeof ADMIN
  /** Sends one operation as JSON over HTTP. */
  graphql(query: string, ask?: Ask): Promise<GraphQLAnswer>
}

export interface TestService extends Served {
  readonly database: TestDatabase
  /** The lines of the log, parsed, as they come. */
  readonly log: ReadonlyArray<Record<string, any>>
  stop(): Promise<void>
}

export interface TestServiceOptions extends Partial<ServiceSettings> {
  /** Another node's database, to share; its maker drops it. */
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
    // There documents are compiled from the first time on, else most tests would not meet that.
    ...(inject('revocationCheck') === 'replica' && { maxStalenessMs: 200, compileAfter: 0 }),
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

  const replica = settings.maxStalenessMs === null ? null : new KnownReplica(service.url, database)
  // What is to be tested is the replica, not what stands in for it while it loads.
  await replica?.isLoaded()

  return {
    url: service.url,
    admin: ADMIN,
    database,
    log,
    async graphql(query, ask) {
      await replica?.hasHeardOfOthers()
      const answer = await sendGraphQL(service.url, query, ask)
      if (query.trimStart().startsWith('mutation')) replica?.tellOthers()
      return answer
    },
    async stop() {
      await service.stop()
      await dropOwn()
    },
  }
}

/** What a node of a database did last, and when. */
interface Act {
  readonly by: string
  readonly at: number
}

const lastActs = new WeakMap<TestDatabase, Act>()

/**
 * A node with a replica may learn a little later of what another one answered: the tests wait until it has, and so
 * test what it knows then. Of what it answered itself it must know at once. How late it may be is tested elsewhere.
 */
class KnownReplica {
  readonly #url: string
  readonly #database: TestDatabase
  #heardOf: Act | undefined

  constructor(url: string, database: TestDatabase) {
    this.#url = url
    this.#database = database
  }

  async isLoaded(): Promise<void> {
    while ((await this.#readAge()) === null) await sleep(5)
  }

  tellOthers(): void {
    lastActs.set(this.#database, { by: this.#url, at: performance.now() })
  }

  async hasHeardOfOthers(): Promise<void> {
    const last = lastActs.get(this.#database)
    if (last === undefined || last === this.#heardOf || last.by === this.#url) return
    for (;;) {
      const askedAt = performance.now()
      const age = await this.#readAge()
      // Out of step it asks the database, and that knows.
      if (age === null || age < askedAt - last.at) break
      await sleep(2)
    }
    this.#heardOf = last
  }

  /** How old what the replica knows may be; `null` while it is of no use. */
  async #readAge(): Promise<number | null> {
    const response = await fetch(`${this.#url}/readyz`)
    const { replica } = (await response.json()) as { replica: ReplicaState }
    return replica.state === 'IN_STEP' ? replica.ageMs : null
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

/** @throws when there is no answer within the time limit. */
export async function sendGraphQL(
  url: string,
  query: string,
  { token, variables, headers, timeoutMs }: Ask = {},
): Promise<GraphQLAnswer> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(token && { authorization: `Bearer ${token}` }),
      ...headers,
    },
    body: JSON.stringify({ query, variables }),
    ...(timeoutMs !== undefined && { signal: AbortSignal.timeout(timeoutMs) }),
  })
  const { data, errors = [] } = (await response.json()) as Partial<GraphQLAnswer>
  return { status: response.status, headers: response.headers, data, errors }
}
