import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bench, Lineup, Section, Table } from './bench.ts'
import { drawChart } from './chart.ts'
import { contestants } from './contestants.ts'
import { judgeGoals } from './goals.ts'
import { versionOf } from './machine.ts'
import type { Machine } from './machine.ts'

export interface ReportInput {
  readonly bench: Bench
  readonly sections: readonly Section[]
  readonly lineup: Lineup | null
  readonly machine: Machine
}

/** Writes what was measured, or prints it when no folder was named. */
export async function writeReport(input: ReportInput): Promise<void> {
  const { options, findings, say } = input.bench
  const text = createReport(input)
  if (options.out === null) {
    process.stdout.write(text)
    return
  }
  await mkdir(options.out, { recursive: true })
  await writeFile(join(options.out, 'results.md'), text)
  await writeFile(join(options.out, 'results.svg'), drawChart(findings))
  say('wrote results.md and results.svg')
}

function createReport({ bench, sections, lineup, machine }: ReportInput): string {
  const { rounds, warmUpMs, measureMs } = bench.options.amounts
  const ordered = sections.toSorted((one, other) => one.id.localeCompare(other.id))
  return [
    '# Results of the benchmark\n',
    'Made by the benchmark itself; [README.md](README.md) says what is measured and how.\n',
    writeTable({ columns: ['', ''], rows: machine }),
    `Rounds: ${rounds} in (a) at 32 connections, elsewhere fewer or more of them; contestants in turn in each; ${warmUpMs} ms to warm up, ${measureMs} ms measured. Medians, with the range of the rounds. Ratios are taken in each round, and the median of those is shown.\n`,
    '![Answers a second](results.svg)\n',
    '## Goals\n',
    writeGoals(bench),
    ...ordered.map(writeSection),
    '## Contestants\n',
    writeContestants(bench, lineup),
  ].join('\n')
}

function writeGoals({ findings }: Bench): string {
  return writeTable({
    columns: ['', 'goal', 'measured', 'verdict'],
    rows: judgeGoals(findings).map(({ what, goal, measured, verdict }) => [
      what,
      goal,
      measured,
      verdict,
    ]),
  })
}

function writeSection({ id, title, tables, notes, failure }: Section): string {
  return [
    `## (${id}) ${title}\n`,
    ...(failure === undefined ? [] : [`Not measured. ${failure.split('\n')[0]}\n`]),
    ...tables.map(writeTable),
    ...notes.map((note) => `${note}\n`),
  ].join('\n')
}

function writeContestants({ options }: Bench, lineup: Lineup | null): string {
  const rows = contestants
    .filter(({ name }) => options.contestants.has(name))
    .map((spec) => [
      spec.name,
      spec.what,
      spec.packages.map((name) => `${name} ${versionOf(name)}`).join(', '),
      lineup === null
        ? ''
        : (lineup.absent.find((one) => one.spec === spec)?.why.split('\n')[0] ?? 'admitted'),
    ])
  return writeTable({ columns: ['contestant', 'what', 'versions', 'check'], rows })
}

function writeTable({ columns, rows }: Table): string {
  const lines = [
    columns,
    columns.map((_, index) => (index === 0 ? '---' : isNumeric(rows, index) ? '---:' : '---')),
    ...rows,
  ]
  return `${lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n')}\n`
}

function isNumeric(rows: Table['rows'], column: number): boolean {
  return (
    rows.some((row) => row[column] !== '') &&
    rows.every((row) => /^[\d.,]*( \([\d.,]+–[\d.,]+\))?$/.test(row[column] ?? ''))
  )
}
