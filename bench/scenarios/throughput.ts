/** (a), (b), (c), (e): how many answers a second, and how long they take. */
import type { Bench, Lineup, Section, Table } from '../bench.ts'
import type { Operation } from '../data.ts'
import { formatCount, formatMs, formatRatio, formatSpread } from '../format.ts'
import type { Plan } from '../load/plan.ts'
import { alternate, ratioOf, spreadOf } from '../measure.ts'
import type { Series } from '../measure.ts'
import type { ScenarioId } from '../options.ts'
import { planValid, planWithRevoked } from '../plans.ts'
import type { Runner, Sample } from '../runner.ts'

/** One contestant with one kind of request. */
interface Entry {
  readonly runner: Runner
  readonly label: string
  readonly plan: Plan
}

interface Setting {
  /** Under which the findings are kept. */
  readonly key: string
  readonly title: string
  readonly connections: number
  readonly entries: readonly Entry[]
  /** The first to be measured, and the one that most goals look at: longer warm-up, more rounds. */
  readonly isFirst?: boolean
}

/** Everything is compared with this one. */
const BASE = 'portcullis-signature-only'

export async function measureOneField(bench: Bench, lineup: Lineup): Promise<Section> {
  const entries = entriesOf(lineup.runners, 'me')
  return measureSettings(bench, lineup, 'a', '`{ me { id email roles } }`', [
    { key: 'a32', title: '32 connections', connections: 32, entries, isFirst: true },
    { key: 'a256', title: '256 connections', connections: 256, entries },
  ])
}

export async function measureList(bench: Bench, lineup: Lineup): Promise<Section> {
  const servers = serversOf(lineup)
  const guarded = entriesOf(servers, 'items')
  const unguarded = entriesOf(servers, 'plainItems')
    .filter(({ runner }) => runner.spec.role !== 'peer')
    .map((entry) => ({ ...entry, label: `${entry.label}, unguarded list` }))
  return measureSettings(
    bench,
    lineup,
    'b',
    '1,000 guarded objects: `{ items { id name price } }`',
    [
      {
        key: 'b',
        title: '8 connections',
        connections: 8,
        entries: guarded.flatMap((entry) => [
          entry,
          ...unguarded.filter(({ runner }) => runner === entry.runner),
        ]),
      },
    ],
  )
}

export async function measureManyFields(bench: Bench, lineup: Lineup): Promise<Section> {
  const entries = entriesOf(serversOf(lineup), 'twentyFields')
  return measureSettings(bench, lineup, 'c', '20 protected root fields by alias', [
    { key: 'c', title: '32 connections', connections: 32, entries },
  ])
}

export async function measureWithRevoked(bench: Bench, lineup: Lineup): Promise<Section> {
  const entries = lineup.runners
    .filter(({ spec }) => spec.refuses === 'both')
    .map((runner) => ({
      runner,
      label: runner.spec.name,
      plan: planWithRevoked(runner.spec, runner.credentials.valid, runner.credentials.revoked),
    }))
  return measureSettings(bench, lineup, 'e', 'As (a), 5% of the requests with revoked tokens', [
    { key: 'e', title: '32 connections; every refusal verified', connections: 32, entries },
  ])
}

/** Without the one that only shows what the load can drive, and the real service, whose schema is another. */
function serversOf({ runners }: Lineup): readonly Runner[] {
  return runners.filter(({ spec }) => spec.role !== 'load' && spec.role !== 'service')
}

function entriesOf(runners: readonly Runner[], operation: Operation): readonly Entry[] {
  return runners.map((runner) => ({
    runner,
    label: runner.spec.name,
    plan: planValid(runner.spec, operation, runner.credentials.valid),
  }))
}

async function measureSettings(
  bench: Bench,
  { absent }: Lineup,
  id: ScenarioId,
  title: string,
  settings: readonly Setting[],
): Promise<Section> {
  const tables: Table[] = []
  for (const setting of settings) {
    const series = await measureSetting(bench, setting)
    bench.findings.series.set(setting.key, series)
    tables.push(createTable(setting, series))
  }
  const notes = absent.map(({ spec, why }) => `${spec.name} ${why.split('\n')[0]}.`)
  return { id, title, tables, notes }
}

async function measureSetting(
  { options, load, say }: Bench,
  { key, title, connections, entries, isFirst = false }: Setting,
): Promise<ReadonlyMap<string, Series>> {
  const { warmUpMs, measureMs } = options.amounts
  const rounds = isFirst ? options.amounts.rounds : Math.ceil(options.amounts.rounds * 0.7)
  const run = async ({ runner, plan, label }: Entry, durationMs: number): Promise<Sample> => {
    const sample = await load.run(runner, plan, { connections, warmUpMs, durationMs })
    say(`(${key}) ${label}: ${formatCount(sample.perSecond)}/s, ${sample.wrong} wrong`)
    return sample
  }

  say(`(${key}) ${title}: a round to warm up, then ${rounds}`)
  for (const entry of entries) await run(entry, isFirst ? 2 * measureMs : measureMs / 2)
  const series = await alternate(rounds, entries, (entry) => run(entry, measureMs))
  return new Map([...series].map(([{ label }, samples]) => [label, samples]))
}

function createTable({ title }: Setting, series: ReadonlyMap<string, Series>): Table {
  const base = series.get(BASE)
  const rows = [...series].map(([label, samples]) => [
    label,
    formatSpread(spreadOf(samples.map(({ perSecond }) => perSecond)), formatCount),
    base ? formatSpread(ratioOf(samples, base), formatRatio) : '',
    formatMs(spreadOf(samples.map(({ p50Ms }) => p50Ms)).median),
    formatMs(spreadOf(samples.map(({ p99Ms }) => p99Ms)).median),
    formatRatio(spreadOf(samples.map(({ serverCpu }) => serverCpu)).median),
    formatRatio(spreadOf(samples.map(({ loadCpu }) => loadCpu)).median),
    describeWrong(samples),
  ])
  return {
    columns: [
      title,
      'answers/s: median (min–max)',
      'against signature only',
      'p50 ms',
      'p99 ms',
      'CPU of the server',
      'CPU of the load',
      'wrong answers',
    ],
    rows,
  }
}

export function describeWrong(
  samples: ReadonlyArray<Pick<Sample, 'wrong' | 'firstWrong' | 'brokenConnections'>>,
): string {
  const wrong = samples.reduce((sum, sample) => sum + sample.wrong, 0)
  const broken = samples.reduce((sum, sample) => sum + sample.brokenConnections, 0)
  const first = samples.find(({ firstWrong }) => firstWrong !== null)?.firstWrong
  const said = first ? ` (${first.replaceAll('|', '¦').replaceAll('\n', ' ').slice(0, 80)})` : ''
  return `${wrong}${said}${broken > 0 ? `, ${broken} connections broken` : ''}`
}
