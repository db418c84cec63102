import { createHash, randomUUID } from 'node:crypto'
import type { Bench, Section, Table } from '../bench.ts'
/** (f): logouts a second on the real service, against pgbench with the statements of a logout. */
import type { StatementCount } from '../contestants/serve.ts'
import { createOurDatabase, settle } from '../fill.ts'
import { formatCount, formatMs, formatRatio, formatSpread } from '../format.ts'
import type { JobResult, Plan } from '../load/plan.ts'
import { spreadOf } from '../measure.ts'
import { findPgbench } from '../pgbench.ts'
import type { Pgbench } from '../pgbench.ts'
import { writeRequest } from '../plans.ts'
import type { Database } from '../postgres.ts'
import type { Child } from '../processes.ts'
import { withScope } from '../scope.ts'
import { startService } from '../service.ts'
import { signToken } from '../tokens.ts'
import { describeWrong } from './throughput.ts'

const CLIENTS = 64

/** How many sessions are there for a second of logouts: more than can be ended in it. */
const SESSIONS_PER_SECOND = 6000

/** Numbers of sessions, far enough apart that nobody ends another's. */
const BLOCK = 10_000_000

/** What is needed for a round. */
interface Arena {
  readonly bench: Bench
  readonly database: Database
  readonly service: Child
  readonly port: number
  readonly pgbench: Pgbench
  readonly seconds: number
}

interface Round {
  readonly service: JobResult
  readonly extended: number
  readonly prepared: number
}

export async function measureLogouts(bench: Bench): Promise<Section> {
  return withScope(async (scope) => {
    const database = await createOurDatabase(scope, bench.postgres, 'logouts')
    const service = startService(scope, database)
    const arena: Arena = {
      bench,
      database,
      service,
      port: await service.port(),
      pgbench: await findPgbench(),
      seconds: bench.options.isQuick ? 2 : 5,
    }

    const rounds: Round[] = []
    const count = Math.max(2, Math.ceil(bench.options.amounts.rounds / 2))
    await runRound(arena, 0)
    for (let round = 1; round <= count; round += 1) rounds.push(await runRound(arena, round))
    const tables = [toTable(bench, rounds), await measureAllDevices(arena)]
    return {
      id: 'f',
      title: `Logouts, ${CLIENTS} connections, each of a session of its own`,
      tables,
      notes: [
        'The service: `mutation { logout }` over HTTP, tokens verified and checked, every answer verified and, at the end, every row.',
        'pgbench: one transaction a logout (what stands; entry and journal line; the session’s end), 64 clients, statements parsed each time (`extended`) or prepared once (`prepared`). The goal is held against the faster.',
      ],
    }
  })
}

async function runRound(arena: Arena, round: number): Promise<Round> {
  const { bench, database, pgbench, seconds } = arena
  const first = (block: number): number => (3 * round + block) * BLOCK
  const pgbenchOptions = { url: database.url, clients: CLIENTS, seconds }
  const sessions = seconds * SESSIONS_PER_SECOND

  for (const block of [0, 1, 2]) await addSessions(database, first(block), sessions)
  await settle(database)
  const service = await logOut(arena, first(0), sessions)
  const extended = await pgbench.run({ ...pgbenchOptions, protocol: 'extended', first: first(1) })
  const prepared = await pgbench.run({ ...pgbenchOptions, protocol: 'prepared', first: first(2) })
  bench.say(
    `(f) service ${formatCount(service.perSecond)}/s, pgbench ${formatCount(extended)}/s and, prepared, ${formatCount(prepared)}/s`,
  )
  return { service, extended, prepared }
}

/** What so many sign-ins would have left, without their refresh tokens. */
async function addSessions(database: Database, first: number, count: number): Promise<void> {
  await database.query(
    `insert into session (id, subject, created_at, authenticated_at, last_seen_at, last_issued_at, expires_at)
     select md5('session' || n)::uuid, 'subject-' || n, now(), now(), now(), now(), now() + interval '1 day'
     from generate_series($1::bigint, $2::bigint) as n`,
    [first, first + count - 1],
  )
}

function sessionIdOf(n: number): string {
  const hex = createHash('md5').update(`session${n}`).digest('hex')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

async function logOut(
  { bench, database, port, seconds }: Arena,
  first: number,
  count: number,
): Promise<JobResult> {
  const plan: Plan = {
    requests: Array.from({ length: count }, (_, index) => ({
      bytes: requestOf(
        'mutation { logout { alreadyRevoked revocation { reason } } }',
        first + index,
      ),
      expects: 0,
    })),
    expectations: [
      {
        statuses: [200],
        body: '{"data":{"logout":{"alreadyRevoked":false,"revocation":{"reason":"logout"}}}}',
      },
    ],
  }
  const job = { connections: CLIENTS, warmUpMs: 500, durationMs: seconds * 1000, once: true }
  const result = await bench.load.runAt(port, plan, job)
  await verifyRows(database, first, count, result.answersInAll)
  return result
}

function requestOf(query: string, n: number): Buffer {
  const text = signToken(0, sessionIdOf(n), `subject-${n}`)
  return writeRequest(query, { kind: 'jwt', user: 0, text })
}

/** Every answer stands for a session that has ended, an entry, and a line of the journal. */
async function verifyRows(
  database: Database,
  first: number,
  count: number,
  answers: number,
): Promise<void> {
  const [row] = await database.query<{ complete: number }>(
    `select count(*)::integer as complete
     from generate_series($1::bigint, $2::bigint) as n
     join session on session.id = md5('session' || n)::uuid and ended_at is not null
     join revocation on session_id = session.id::text and scope = 'SESSION'
     join revocation_event on revocation_id = revocation.id and kind = 'REVOKED'`,
    [first, first + count - 1],
  )
  // What was under way at the end was done and not answered.
  const complete = row?.complete ?? 0
  if (complete < answers || complete > answers + CLIENTS) {
    throw new Error(`${answers} logouts were answered, ${complete} stand in the database`)
  }
}

function toTable({ findings }: Bench, rounds: readonly Round[]): Table {
  const service = spreadOf(rounds.map((round) => round.service.perSecond))
  const extended = spreadOf(rounds.map((round) => round.extended))
  const prepared = spreadOf(rounds.map((round) => round.prepared))
  const against = (base: 'extended' | 'prepared'): ReturnType<typeof spreadOf> =>
    spreadOf(rounds.map((round) => round.service.perSecond / round[base]))

  findings.numbers.set('logouts:extended', against('extended').median)
  findings.numbers.set('logouts:prepared', against('prepared').median)
  return {
    columns: [
      '',
      'logouts/s: median (min–max)',
      'service against it',
      'p50 ms',
      'p99 ms',
      'wrong answers',
    ],
    rows: [
      [
        'the service',
        formatSpread(service, formatCount),
        '',
        formatMs(spreadOf(rounds.map((round) => round.service.p50Ms)).median),
        formatMs(spreadOf(rounds.map((round) => round.service.p99Ms)).median),
        describeWrong(rounds.map((round) => round.service)),
      ],
      [
        'pgbench, extended',
        formatSpread(extended, formatCount),
        formatSpread(against('extended'), formatRatio),
        '',
        '',
        '',
      ],
      [
        'pgbench, prepared',
        formatSpread(prepared, formatCount),
        formatSpread(against('prepared'), formatRatio),
        '',
        '',
        '',
      ],
    ],
  }
}

const PEOPLE = 50

/** `logoutAllDevices`, one after the other, of people with one session and with a thousand. */
async function measureAllDevices(arena: Arena): Promise<Table> {
  const rows: string[][] = []
  for (const sessions of [1, 1000]) rows.push(await logOutEverywhere(arena, sessions))
  return {
    columns: [
      'logoutAllDevices of somebody with',
      'p50 ms',
      'p99 ms',
      'statements for one',
      'wrong answers',
    ],
    rows,
  }
}

async function logOutEverywhere(
  { bench, database, service, port }: Arena,
  sessions: number,
): Promise<string[]> {
  const people = Array.from({ length: PEOPLE }, () => randomUUID())
  await database.query(
    `insert into session (id, subject, created_at, authenticated_at, last_seen_at, last_issued_at, expires_at)
     select gen_random_uuid(), subject, now(), now(), now(), now(), now() + interval '1 day'
     from unnest($1::text[]) as subject, generate_series(1, $2::integer)`,
    [people, sessions],
  )
  await settle(database)

  const plan: Plan = {
    requests: people.map((subject) => {
      const text = signToken(0, randomUUID(), subject)
      const query = 'mutation { logoutAllDevices { endedSessions } }'
      return { bytes: writeRequest(query, { kind: 'jwt', user: 0, text }), expects: 0 }
    }),
    expectations: [
      { statuses: [200], body: `{"data":{"logoutAllDevices":{"endedSessions":${sessions}}}}` },
    ],
  }
  await service.ask({ kind: 'count' })
  const job = { connections: 1, warmUpMs: 0, durationMs: 60_000, once: true }
  const result = await bench.load.runAt(port, plan, job)
  const { statements } = await service.ask<StatementCount>({ kind: 'counted' })

  bench.findings.numbers.set(`allDevices:${sessions}`, result.p50Ms)
  return [
    sessions === 1 ? 'one session' : `${formatCount(sessions)} sessions`,
    formatMs(result.p50Ms),
    formatMs(result.p99Ms),
    (statements / PEOPLE).toFixed(1),
    describeWrong([result]),
  ]
}
