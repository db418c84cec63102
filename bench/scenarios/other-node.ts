/** (g): how long after a revocation's answer another node goes on accepting the token. */
import { randomUUID } from 'node:crypto'
import { MODES } from '../bench.ts'
import type { Bench, Mode, Section } from '../bench.ts'
import { USER_COUNT, operations } from '../data.ts'
import { createOurDatabase, settle } from '../fill.ts'
import { formatCount, formatMs } from '../format.ts'
import type { Heat, JobResult, Race, RaceResult } from '../load/plan.ts'
import { findOurs, notThere, startNode } from '../ours.ts'
import { expectData, planValid, refusal, writeRequest } from '../plans.ts'
import { Load } from '../runner.ts'
import type { Runner } from '../runner.ts'
import { withScope } from '../scope.ts'
import { signToken } from '../tokens.ts'
import { describeWrong } from './throughput.ts'

const CONNECTIONS = 32
const LOGOUT = 'mutation { logout { alreadyRevoked } }'

/** How long a node may go on accepting before it counts as wrong, in milliseconds. */
const LIMIT_MS = 5000

const RACE_LIMIT_MS = 240_000

export async function measureOtherNode(bench: Bench): Promise<Section> {
  const rows: string[][] = []
  const notes: string[] = []
  for (const mode of MODES) {
    const row = await measureMode(bench, mode)
    if (row === null) notes.push(notThere(mode))
    else rows.push(row)
  }
  return {
    id: 'g',
    title: 'From a revocation on one node to the refusal on another',
    tables: [
      {
        columns: [
          `${formatCount(bench.options.amounts.heats)} revocations`,
          'refused at once',
          'p50 ms',
          'p99 ms',
          'max ms',
          'wrong',
          'load beside it, answers/s',
          'its wrong answers',
        ],
        rows,
      },
    ],
    notes: [
      ...notes,
      `\`logout\` on node 1; then node 2, which has ${CONNECTIONS} other connections to serve, is asked with that token again and again. The time is from the mutation’s answer to the sending of the request that was refused; 0 when that was the first.`,
    ],
  }
}

async function measureMode(bench: Bench, mode: Mode): Promise<string[] | null> {
  const spec = findOurs(bench, mode)
  if (spec === null) return null

  return withScope(async (scope) => {
    const database = await createOurDatabase(scope, bench.postgres, `race-${mode}`)
    await settle(database)
    const node1 = await startNode(scope, spec, database)
    const node2 = await startNode(scope, spec, database)
    const runner = Load.start(scope)

    const background = startBackground(bench, node2)
    const race = await runner.race(createRace(bench, node1, node2))
    await bench.load.stopLoop()
    return toRow(bench, mode, race, await background)
  })
}

async function startBackground({ load }: Bench, node: Runner): Promise<JobResult> {
  const plan = planValid(node.spec, 'me', node.credentials.valid)
  const job = { connections: CONNECTIONS, warmUpMs: 500, durationMs: RACE_LIMIT_MS }
  return load.runAt(node.port, plan, job)
}

/** All heats are one person's devices; each logout ends one of them. */
function createRace({ options }: Bench, node1: Runner, node2: Runner): Race {
  const user = USER_COUNT - 1
  const heats = Array.from({ length: options.amounts.heats }, (): Heat => {
    const credential = { kind: 'jwt', user, text: signToken(user, randomUUID()) } as const
    return {
      revoke: writeRequest(LOGOUT, credential),
      probe: writeRequest(operations.me, credential),
    }
  })
  return {
    writerPort: node1.port,
    readerPort: node2.port,
    heats,
    revoked: { statuses: [200], body: '{"data":{"logout":{"alreadyRevoked":false}}}' },
    accepted: expectData(node2.spec, 'me', user),
    refused: { ...refusal, includes: 'TOKEN_REVOKED' },
    limitMs: LIMIT_MS,
  }
}

function toRow({ findings, say }: Bench, mode: Mode, race: RaceResult, load: JobResult): string[] {
  const sorted = race.delaysMs.toSorted((one, other) => one - other)
  const at = (share: number): number =>
    sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
  findings.numbers.set(`delayP99:${mode}`, at(0.99))
  findings.numbers.set(`delayMax:${mode}`, race.wrong > 0 ? Infinity : at(1))
  say(`(g) ${mode}: p50 ${formatMs(at(0.5))}, p99 ${formatMs(at(0.99))}, max ${formatMs(at(1))} ms`)
  return [
    mode,
    formatCount(race.refusedAtOnce),
    formatMs(at(0.5)),
    formatMs(at(0.99)),
    formatMs(at(1)),
    race.firstWrong === null ? '0' : `${race.wrong} (${race.firstWrong.slice(0, 80)})`,
    formatCount(load.perSecond),
    describeWrong([load]),
  ]
}
