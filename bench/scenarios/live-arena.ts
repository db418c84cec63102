import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Bench, Mode } from '../bench.ts'
import type { Stats } from '../contestants/serve.ts'
import { createOurDatabase, settle } from '../fill.ts'
import { post, waitUntilReady } from '../http.ts'
import type { CutResult, LiveCommand, NodeName, Opened, Party } from '../load/live-plan.ts'
import type { Expectation } from '../load/plan.ts'
import { writeRequest } from '../plans.ts'
import type { Database } from '../postgres.ts'
import { Child } from '../processes.ts'
import type { Scope } from '../scope.ts'
import { startService } from '../service.ts'
import { signToken } from '../tokens.ts'

export const SOCKETS_A_SESSION = 10

export const TELL_END = 'subscription { sessionEnded { scope reason revokedAt } }'
export const FOLLOW_JOURNAL =
  'subscription { revocationEvents { kind occurredAt revocation { id scope subject sessionId reason revokedAt } } }'

const LOGOUT = 'mutation { logout { alreadyRevoked } }'
export const LOGGED_OUT: Expectation = {
  statuses: [200],
  body: '{"data":{"logout":{"alreadyRevoked":false}}}',
}

const READY_LIMIT_MS = 30_000
const OPEN_LIMIT_MS = 300_000
const CUT_LIMIT_MS = 20_000

/** Two nodes of the service on one database, and the process that holds the sockets. */
export interface Arena {
  readonly bench: Bench
  readonly database: Database
  readonly nodes: Readonly<Record<NodeName, LiveNode>>
  readonly load: LiveLoad
}

export interface LiveNode {
  readonly service: Child
  readonly port: number
}

export async function openArena(scope: Scope, bench: Bench, mode: Mode): Promise<Arena> {
  const database = await createOurDatabase(scope, bench.postgres, `live-${mode}`)
  await settle(database)
  const start = async (name: string): Promise<LiveNode> => {
    const env = { REVOCATION_CHECK: mode, MONITOR_EVENT_LOOP: '1' }
    const service = startService(scope, database, env, `${name}-${mode}`)
    const port = await service.port()
    await waitUntilReady(port, READY_LIMIT_MS)
    return { service, port }
  }
  const nodes = { 'same node': await start('same-node'), 'other node': await start('other-node') }
  return { bench, database, nodes, load: LiveLoad.start(scope) }
}

/** The process that holds sockets open, and acts on them. */
export class LiveLoad {
  readonly #child: Child

  private constructor(child: Child) {
    this.#child = child
  }

  static start(scope: Scope): LiveLoad {
    const child = new Child('live-load', './load/live.ts')
    scope.defer(() => child.stop())
    return new LiveLoad(child)
  }

  async open(node: NodeName, port: number, parties: readonly Party[]): Promise<Opened> {
    return this.ask({ kind: 'open', opening: { node, port, parties } }, OPEN_LIMIT_MS)
  }

  async ask<Answer>(command: LiveCommand, limitMs?: number): Promise<Answer> {
    return this.#child.ask<Answer>(command, limitMs)
  }
}

/** Sessions with a token each, as sign-ins would have left them. */
export async function createParties(
  database: Database,
  count: number,
  options: Partial<Pick<Party, 'query' | 'sockets'>> & { readonly isAdmin?: boolean } = {},
): Promise<readonly Party[]> {
  const { query = TELL_END, sockets = SOCKETS_A_SESSION, isAdmin = false } = options
  const roles = isAdmin ? ['USER', 'ADMIN'] : ['USER']
  const parties = Array.from({ length: count }, (_, user) => {
    const session = randomUUID()
    return { session, token: signToken(user, session, `subject-${user}`, roles), sockets, query }
  })
  await database.query(
    `insert into session (id, subject, created_at, authenticated_at, last_seen_at, last_issued_at, expires_at)
     select id, 'subject-' || (n - 1), now(), now(), now(), now(), now() + interval '1 day'
     from unnest($1::uuid[]) with ordinality as party (id, n)`,
    [parties.map(({ session }) => session)],
  )
  return parties
}

export function writeLogout({ token: text }: Party): Buffer {
  return writeRequest(LOGOUT, { kind: 'jwt', user: 0, text })
}

/** `logout` on the first node. */
export async function logOut({ nodes, load }: Arena, party: Party): Promise<CutResult> {
  const { port } = nodes['same node']
  const request = writeLogout(party)
  const { session } = party
  const cut = { port, request, answer: LOGGED_OUT, session, limitMs: CUT_LIMIT_MS }
  return load.ask<CutResult>({ kind: 'cut', cut }, 2 * CUT_LIMIT_MS)
}

/** `revokeEveryone` on the first node. */
export async function revokeEveryone({ nodes, load }: Arena): Promise<CutResult> {
  const { port } = nodes['same node']
  const text = signAdminToken()
  const request = writeRequest(
    'mutation { revokeEveryone(reason: "drill") { revocation { scope } } }',
    { kind: 'jwt', user: 0, text },
  )
  const answer = {
    statuses: [200],
    body: '{"data":{"revokeEveryone":{"revocation":{"scope":"EVERYONE"}}}}',
  }
  const cut = { port, request, answer, session: null, limitMs: CUT_LIMIT_MS }
  return load.ask<CutResult>({ kind: 'cut', cut }, 2 * CUT_LIMIT_MS)
}

/** How many clients the node itself counts, those that end with their token. */
export async function countProtected(port: number, sessionId?: string): Promise<number> {
  const filter = sessionId === undefined ? '' : `, filter: { sessionId: "${sessionId}" }`
  const query = `{ connections(first: 1${filter}) { counts { protected } } }`
  const { body } = await post(port, query, { authorization: `Bearer ${signAdminToken()}` })
  const { data } = JSON.parse(body) as {
    data?: { connections: { counts: ReadonlyArray<{ protected: number }> } }
  }
  if (!data) throw new Error(`no count of the connections: ${body.slice(0, 200)}`)
  return data.connections.counts.reduce((sum, { protected: count }) => sum + count, 0)
}

export async function waitForProtected(
  port: number,
  count: number,
  sessionId?: string,
): Promise<void> {
  const deadline = Date.now() + READY_LIMIT_MS
  for (;;) {
    const found = await countProtected(port, sessionId)
    if (found === count) return
    if (Date.now() > deadline) throw new Error(`${found} live connections instead of ${count}`)
    await sleep(50)
  }
}

/** After a collection of garbage. */
export async function readLevel({ service }: LiveNode): Promise<Stats> {
  return service.ask<Stats>({ kind: 'collect' })
}

/** The longest time that the node's event loop is held up while something is done. */
export async function watchLoop<Result>(
  { service }: LiveNode,
  work: () => Promise<Result>,
): Promise<{ readonly result: Result; readonly longestBlockMs: number }> {
  await service.ask({ kind: 'watchLoop' })
  const result = await work()
  const { longestBlockMs } = await service.ask<Stats>({ kind: 'stats' })
  return { result, longestBlockMs }
}

/** Anew each time: `revokeEveryone` takes those of before out of force. */
function signAdminToken(): string {
  return signToken(0, randomUUID(), 'bench-admin', ['USER', 'ADMIN'])
}
