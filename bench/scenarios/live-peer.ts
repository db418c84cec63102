/** What everybody has today, for (k): the token is looked at when the socket is opened. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Bench } from '../bench.ts'
import type { Stats } from '../contestants/serve.ts'
import type { Party } from '../load/live-plan.ts'
import { Child } from '../processes.ts'
import { withScope } from '../scope.ts'
import { signToken } from '../tokens.ts'
import { LiveLoad, SOCKETS_A_SESSION, TELL_END, readLevel } from './live-arena.ts'
import type { Occupancy } from './live-figures.ts'

const NAME = 'apollo-graphql-ws'
const REVOKED = 20

/** How long its sockets are given to close, in milliseconds. */
const PATIENCE_MS = 5000

export interface PeerFigures extends Occupancy {
  readonly name: string
  readonly revoked: number
  /** Of those, how many stayed open. */
  readonly stayed: number
}

/** @returns `null` without Redis. */
export async function measurePeer({ redis, options }: Bench): Promise<PeerFigures | null> {
  if (redis === null) return null

  return withScope(async (scope) => {
    const service = new Child(NAME, './contestants/apollo-graphql-ws.ts', {
      REDIS_URL: redis.url,
      REDIS_PREFIX: `${redis.prefix}${NAME}:`,
      MONITOR_EVENT_LOOP: '1',
    })
    scope.defer(() => service.stop())
    const node = { service, port: await service.port() }
    const load = LiveLoad.start(scope)
    await load.open('same node', node.port, createTokens(REVOKED))
    await load.ask({ kind: 'close' })

    const start = await readLevel(node)
    const parties = createTokens(options.amounts.sockets / SOCKETS_A_SESSION)
    await service.ask({ kind: 'watchLoop' })
    const opened = await load.open('same node', node.port, parties)
    const { longestBlockMs } = await service.ask<Stats>({ kind: 'stats' })
    const open = await readLevel(node)

    for (const { token } of parties.slice(0, REVOKED)) {
      await service.ask({ kind: 'revoke', credential: token })
    }
    await sleep(PATIENCE_MS)
    const left = await load.ask<number>({ kind: 'count' })
    await assertRefuses(load, node.port, parties[0]!)
    const revoked = Math.min(REVOKED, parties.length) * SOCKETS_A_SESSION
    const stayed = revoked - (opened.open - left)
    return { name: NAME, opened, start, open, longestBlockMs, revoked, stayed }
  })
}

function createTokens(count: number): readonly Party[] {
  return Array.from({ length: count }, (_, user) => {
    const session = randomUUID()
    const token = signToken(user, session, `subject-${user}`)
    return { session, token, sockets: SOCKETS_A_SESSION, query: TELL_END }
  })
}

async function assertRefuses(load: LiveLoad, port: number, party: Party): Promise<void> {
  const { firstFailure } = await load.open('same node', port, [{ ...party, sockets: 1 }])
  if (firstFailure === null) throw new Error(`${NAME} opens a socket with a revoked token`)
}
