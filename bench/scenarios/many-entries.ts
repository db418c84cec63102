/** (d): whether entries in force slow the check. */
import { MODES } from '../bench.ts'
import type { Bench, Filled, Mode, Section } from '../bench.ts'
import { addRevocations, createOurDatabase, settle } from '../fill.ts'
import { formatCount, formatMs, formatRatio, formatSpread } from '../format.ts'
import type { Plan } from '../load/plan.ts'
import { alternate, ratioOf, spreadOf } from '../measure.ts'
import type { Series } from '../measure.ts'
import { findOurs, notThere, startNode } from '../ours.ts'
import { planValid } from '../plans.ts'
import type { Runner } from '../runner.ts'
import { withScope } from '../scope.ts'
import type { Scope } from '../scope.ts'
import { describeWrong } from './throughput.ts'

const CONNECTIONS = 32

/** How many times more rounds than elsewhere: the two should be so near that few would say nothing. */
const MORE_ROUNDS = 1.5

export async function createFilled(scope: Scope, bench: Bench): Promise<Filled> {
  const { entries } = bench.options.amounts
  const empty = await createOurDatabase(scope, bench.postgres, 'empty')
  const full = await createOurDatabase(scope, bench.postgres, 'full')
  bench.say(`filling a table with ${formatCount(entries)} entries`)
  await addRevocations(full, entries, '1 day')
  await settle(empty)
  bench.say('filled')
  return { empty, full, entries }
}

export async function measureWithManyEntries(bench: Bench, filled: Filled): Promise<Section> {
  const rows: string[][] = []
  const notes: string[] = []
  for (const mode of MODES) {
    const measured = await measureMode(bench, filled, mode)
    if (measured === null) notes.push(notThere(mode))
    else rows.push(...measured)
  }
  return {
    id: 'd',
    title: `As (a), with ${formatCount(filled.entries)} entries in force`,
    tables: [
      {
        columns: [
          `${CONNECTIONS} connections`,
          'answers/s: median (min–max)',
          'against the empty table',
          'p50 ms',
          'p99 ms',
          'wrong answers',
        ],
        rows,
      },
    ],
    notes: [...notes, 'Two databases on one server, a node on each, loaded in turn.'],
  }
}

interface Side {
  readonly runner: Runner
  readonly plan: Plan
  readonly label: string
}

async function measureMode(
  bench: Bench,
  filled: Filled,
  mode: Mode,
): Promise<readonly string[][] | null> {
  const spec = findOurs(bench, mode)
  if (spec === null) return null

  return withScope(async (scope) => {
    const start = async (label: string, database: Filled['empty']): Promise<Side> => {
      const runner = await startNode(scope, spec, database)
      return { label, runner, plan: planValid(spec, 'me', runner.credentials.valid) }
    }
    const empty = await start(`${mode}, no entries`, filled.empty)
    const full = await start(`${mode}, ${formatCount(filled.entries)} entries`, filled.full)

    const series = await measureSides(bench, [empty, full])
    const [base, loaded] = [series.get(empty)!, series.get(full)!]
    bench.findings.numbers.set(`entries:${mode}`, ratioOf(loaded, base).median)
    return [toRow(empty, base, base), toRow(full, loaded, base)]
  })
}

async function measureSides(
  { options, load, say }: Bench,
  sides: readonly Side[],
): Promise<ReadonlyMap<Side, Series>> {
  const { rounds, warmUpMs, measureMs } = options.amounts
  const job = { connections: CONNECTIONS, warmUpMs, durationMs: measureMs }
  for (const { runner, plan } of sides) await load.run(runner, plan, job)

  return alternate(Math.ceil(MORE_ROUNDS * rounds), sides, async ({ runner, plan, label }) => {
    const sample = await load.run(runner, plan, job)
    say(`(d) ${label}: ${formatCount(sample.perSecond)}/s`)
    return sample
  })
}

function toRow({ label }: Side, series: Series, base: Series): string[] {
  return [
    label,
    formatSpread(spreadOf(series.map(({ perSecond }) => perSecond)), formatCount),
    formatSpread(ratioOf(series, base), formatRatio),
    formatMs(spreadOf(series.map(({ p50Ms }) => p50Ms)).median),
    formatMs(spreadOf(series.map(({ p99Ms }) => p99Ms)).median),
    describeWrong(series),
  ]
}
