import type { FastifyInstance } from 'fastify'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { PortcullisError } from '../../errors.ts'
import { countByKind } from '../../live/live-connections.ts'
import type { LiveConnections } from '../../live/live-connections.ts'
import type { LookUp } from '../../revocation/check.ts'
import type { RevocationReplica } from '../../revocation/replica/replica.ts'
import type { Way } from '../../transport/fast-lane/fast-lane.ts'

/** Numbers to watch, of one node. */
export interface Metrics {
  readonly registry: Registry
  readonly observeLookUp: (lookUp: LookUp) => void
  readonly observeCut: (why: PortcullisError) => void
  readonly observeShed: () => void
  readonly observeWay: (way: Way) => void
  /** Has the numbers of open connections read from there. */
  readonly watch: (connections: LiveConnections) => void
}

/**
 * @param replica - `null` where every check reads the database.
 * @param countDroppedLogLines - How many lines of the log could not be written.
 */
export function createMetrics(
  replica: RevocationReplica | null,
  countDroppedLogLines: () => number,
): Metrics {
  const registry = new Registry()
  const registers = [registry]

  const seconds = new Histogram({
    name: 'portcullis_look_up_seconds',
    help: 'How long the database took to answer for a batch of tokens',
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5],
    registers,
  })
  const tokens = new Counter({
    name: 'portcullis_look_up_tokens_total',
    help: 'Tokens that the database was asked about',
    registers,
  })
  const unanswered = new Counter({
    name: 'portcullis_unanswered_tokens_total',
    help: 'Tokens that were refused because the database gave no answer',
    registers,
  })
  const cuts = new Counter({
    name: 'portcullis_live_cuts_total',
    help: 'Live connections that were ended because of their token',
    labelNames: ['reason'],
    registers,
  })
  const shed = new Counter({
    name: 'portcullis_shed_requests_total',
    help: 'Requests that were refused because there were more than this node could serve in time',
    registers,
  })
  const ways = new Counter({
    name: 'portcullis_graphql_requests_total',
    help: 'Plain requests to /graphql by the way in which they were answered: fast, or long',
    labelNames: ['way'],
    registers,
  })
  registerDroppedLogLines(registers, countDroppedLogLines)
  if (replica !== null) registerReplica(registers, replica)

  return {
    registry,
    observeLookUp(lookUp) {
      seconds.observe(lookUp.seconds)
      tokens.inc(lookUp.tokens)
      if (!lookUp.isAnswered) unanswered.inc(lookUp.tokens)
    },
    observeCut: ({ extensions: { code, reason = code } }) => cuts.inc({ reason }),
    observeShed: () => shed.inc(),
    observeWay: (way) => ways.inc({ way }),
    watch: (connections) => registerConnections(registry, connections),
  }
}

function registerConnections(registry: Registry, connections: LiveConnections): void {
  const gauge = new Gauge({
    name: 'portcullis_live_connections',
    help: 'Clients that stay connected',
    labelNames: ['kind'],
    registers: [],
    collect() {
      for (const { kind, connections: count } of countByKind(connections.list())) {
        this.set({ kind }, count)
      }
    },
  })
  registry.registerMetric(gauge)
}

function registerDroppedLogLines(registers: Registry[], count: () => number): void {
  const dropped = new Counter({
    name: 'portcullis_log_lines_dropped_total',
    help: 'Lines of the log that were dropped because standard output could not be written',
    registers,
    collect() {
      this.reset()
      this.inc(count())
    },
  })
  dropped.inc(0)
}

function registerReplica(registers: Registry[], replica: RevocationReplica): void {
  const register = (name: string, help: string, read: () => number): Gauge =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read())
      },
    })

  register('portcullis_replica_entries', 'Keys with an entry in force', () => replica.state.entries)
  register('portcullis_replica_bytes', 'Memory that they take', () => replica.state.bytes)
  register('portcullis_replica_age_seconds', 'How old what the replica knows may be', () => {
    const { ageMs } = replica.state
    return ageMs === null ? NaN : ageMs / 1000
  })
  register('portcullis_replica_in_step', '1 while checks are answered from memory', () =>
    Number(replica.state.state === 'IN_STEP'),
  )
}

/** `/metrics`, for Prometheus. Nothing in it names a person or a token. */
export function registerMetrics(app: FastifyInstance, { registry }: Metrics): void {
  app.get('/metrics', async (_request, reply) => {
    void reply.header('cache-control', 'no-store').type(registry.contentType)
    return registry.metrics()
  })
}
