import type { FastifyInstance, FastifyReply } from 'fastify'
import type { RevocationStore } from '../../revocation/ports.ts'
import type { RevocationReplica } from '../../revocation/replica/replica.ts'

/** Who can say whether this node answers for revocation. */
export interface HealthOptions {
  readonly revocations: RevocationStore
  /** `null` where every check reads the database. */
  readonly replica: RevocationReplica | null
  /** Whether this node is about to stop: it serves, and load balancers are to look elsewhere. */
  readonly isStopping?: (() => boolean) | undefined
}

/** For how long it stands that the database has answered, in milliseconds. That it did not is not remembered. */
const MEMORY_MS = 10

/** `/healthz`: the process lives. `/readyz`: it can answer for revocation right now. */
export function registerHealth(app: FastifyInstance, options: HealthOptions): void {
  const ping = shareAnswers(() => options.revocations.ping())

  app.get('/healthz', async (_request, reply) => {
    void reply.header('cache-control', 'no-store')
    return { status: 'ok' }
  })

  app.get('/readyz', async (_request, reply) => {
    void reply.header('cache-control', 'no-store')
    const { isStopping } = options
    const replica = options.replica?.state
    if (isStopping?.()) return refuse(reply, { status: 'stopping', ...(replica && { replica }) })
    if (replica?.state === 'LOADING') return refuse(reply, { status: 'loading', replica })

    try {
      await ping()
      return { status: 'ready', ...(replica && { replica }) }
    } catch (error) {
      const reason = isReadOnly(error) ? { reason: 'READ_ONLY' } : {}
      return refuse(reply, { status: 'unavailable', ...reason, ...(replica && { replica }) })
    }
  })
}

/** Who asks meanwhile gets the same answer: however many ask, they take one connection of the pool. */
function shareAnswers(ask: () => Promise<void>): () => Promise<void> {
  let shared: Promise<void> | null = null
  const forget = (): void => {
    shared = null
  }
  return () => {
    shared ??= ask().then(
      () => void setTimeout(forget, MEMORY_MS).unref(),
      (error: unknown) => {
        forget()
        throw error
      },
    )
    return shared
  }
}

function isReadOnly(error: unknown): boolean {
  const { cause } = error as { readonly cause?: { readonly code?: unknown } }
  return cause?.code === '25006'
}

function refuse(reply: FastifyReply, body: object): FastifyReply {
  return reply.code(503).header('retry-after', '1').send(body)
}
