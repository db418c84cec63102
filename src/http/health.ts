import type { FastifyInstance, FastifyReply } from 'fastify'
import type { RevocationReplica } from '../revocation/replica.ts'
import type { RevocationStore } from '../revocation/store.ts'

/** Who can say whether this node answers for revocation. */
export interface HealthOptions {
  readonly revocations: RevocationStore
  /** `null` where every check reads the database. */
  readonly replica: RevocationReplica | null
  /** Whether this node is about to stop: it serves, and load balancers are to look elsewhere. */
  readonly isStopping?: (() => boolean) | undefined
}

/** `/healthz`: the process lives. `/readyz`: it can answer for revocation right now. */
export function registerHealth(app: FastifyInstance, options: HealthOptions): void {
  app.get('/healthz', async (_request, reply) => {
    void reply.header('cache-control', 'no-store')
    return { status: 'ok' }
  })

  app.get('/readyz', async (_request, reply) => {
    void reply.header('cache-control', 'no-store')
    const { revocations, isStopping } = options
    const replica = options.replica?.state
    if (isStopping?.()) return refuse(reply, { status: 'stopping', ...(replica && { replica }) })
    if (replica?.state === 'LOADING') return refuse(reply, { status: 'loading', replica })

    try {
      await revocations.ping()
      return { status: 'ready', ...(replica && { replica }) }
    } catch {
      return refuse(reply, { status: 'unavailable', ...(replica && { replica }) })
    }
  })
}

function refuse(reply: FastifyReply, body: object): FastifyReply {
  return reply.code(503).header('retry-after', '1').send(body)
}
