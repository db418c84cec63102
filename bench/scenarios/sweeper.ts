/** (j): what checks notice of the sweeper at work. */
import { setTimeout as sleep } from 'node:timers/promises'
import { MODES } from '../bench.ts'
import type { Bench, Mode, Section } from '../bench.ts'
import { addRevocations, createOurDatabase } from '../fill.ts'
import { formatCount, formatMs, formatRatio } from '../format.ts'
import type { JobResult } from '../load/plan.ts'
import { spreadOf } from '../measure.ts'
import { findOurs, notThere, startNode } from '../ours.ts'
import { planValid } from '../plans.ts'
import type { Runner } from '../runner.ts'
import { withScope } from '../scope.ts'
import { describeWrong } from './throughput.ts'

const CONNECTIONS = 32
const ROUNDS = 2
const SWEEP_LIMIT_MS = 120_000

/** One sweep, and the checks before it and meanwhile. */
interface Round {
  readonly before: JobResult
  readonly during: JobResult
  readonly sweepMs: number
}

export async function measureSweeper(bench: Bench): Promise<Section> {
  const rows: string[][] = []
  const notes: string[] = []
  for (const mode of MODES) {
    const measured = await measureMode(bench, mode)
    if (measured === null) notes.push(notThere(mode))
    else rows.push(...measured)
  }
  return {
    id: 'j',
    title: `The sweeper removes ${formatCount(bench.options.amounts.expired)} expired entries while checks run`,
    tables: [
      {
        columns: [
          `${CONNECTIONS} connections`,
          'answers/s before',
          'during',
          'p99 ms before',
          'during',
          'p99, during against before',
          'sweep, s',
          'wrong answers',
        ],
        rows,
      },
    ],
    notes,
  }
}

async function measureMode(bench: Bench, mode: Mode): Promise<readonly string[][] | null> {
  const spec = findOurs(bench, mode)
  if (spec === null) return null

  return withScope(async (scope) => {
    const database = await createOurDatabase(scope, bench.postgres, `sweep-${mode}`)
    const runner = await startNode(scope, spec, database)
    const rounds: Round[] = []
    for (let round = 0; round < (bench.options.isQuick ? 1 : ROUNDS); round += 1) {
      bench.say(`(j) ${mode}: adding expired entries`)
      await addRevocations(database, bench.options.amounts.expired, '-2 days')
      rounds.push(await runRound(bench, runner))
    }

    const ratio = spreadOf(rounds.map(({ before, during }) => during.p99Ms / before.p99Ms)).median
    bench.findings.numbers.set(`sweep:${mode}`, ratio)
    bench.say(`(j) ${mode}: p99 ${formatRatio(ratio)} times that without the sweeper`)
    return rounds.map((round) => toRow(mode, round))
  })
}

async function runRound({ load, options }: Bench, runner: Runner): Promise<Round> {
  const plan = planValid(runner.spec, 'me', runner.credentials.valid)
  const { warmUpMs, measureMs } = options.amounts
  const job = { connections: CONNECTIONS, warmUpMs, durationMs: 2 * measureMs }
  const before = await load.runAt(runner.port, plan, job)

  const running = load.runAt(runner.port, plan, { ...job, durationMs: SWEEP_LIMIT_MS })
  await sleep(warmUpMs)
  const sweepMs = await runner.ask<number>({ kind: 'sweep' }, SWEEP_LIMIT_MS)
  await load.stopLoop()
  return { before, during: await running, sweepMs }
}

function toRow(mode: Mode, { before, during, sweepMs }: Round): string[] {
  return [
    mode,
    formatCount(before.perSecond),
    formatCount(during.perSecond),
    formatMs(before.p99Ms),
    formatMs(during.p99Ms),
    formatRatio(during.p99Ms / before.p99Ms),
    (sweepMs / 1000).toFixed(1),
    describeWrong([before, during]),
  ]
}
