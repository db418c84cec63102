/** (h): how many statements PostgreSQL gets. */
import type { Bench, Lineup, Section } from '../bench.ts'
import type { StatementCount } from '../contestants/serve.ts'
import { formatCount } from '../format.ts'
import { planValid } from '../plans.ts'
import type { Runner } from '../runner.ts'
import { describeWrong } from './throughput.ts'

const CONNECTIONS = 64

const LIMIT_MS = 60_000

export async function countStatements(bench: Bench, { runners, absent }: Lineup): Promise<Section> {
  const counted = runners.filter(({ spec }) => spec.needs.includes('postgres'))
  const rows: string[][] = []
  for (const runner of counted) {
    rows.push(await countFor(bench, runner))
  }
  return {
    id: 'h',
    title: `Statements sent to PostgreSQL, ${CONNECTIONS} connections`,
    tables: [
      {
        columns: [
          '',
          'requests',
          'statements',
          'per 1,000 requests',
          'beside them, the replica’s reads',
          'wrong answers',
        ],
        rows,
      },
    ],
    notes: [
      'Counted in the server’s process, at the driver: every statement, `begin` and `commit` too. A replica reads the journal four times a second, whatever is asked; these reads have a column of their own.',
      'Those who ask Redis send PostgreSQL nothing.',
      ...absent.map(({ spec, why }) => `${spec.name} ${why.split('\n')[0]}.`),
    ],
  }
}

async function countFor(
  { options, load, findings, say }: Bench,
  runner: Runner,
): Promise<string[]> {
  const { requests, expectations } = planValid(runner.spec, 'me', runner.credentials.valid)
  const times = options.isQuick ? 3 : 10
  // Each once, so that none is left under way when the counting ends.
  const plan = { requests: Array.from({ length: times }, () => requests).flat(), expectations }
  const job = { connections: CONNECTIONS, warmUpMs: 0, durationMs: LIMIT_MS, once: true }

  await runner.ask({ kind: 'count' })
  const result = await load.run(runner, plan, job)
  const { statements, ofFeed } = await runner.ask<StatementCount>({ kind: 'counted' })

  const perThousand = (1000 * statements) / result.answersInAll
  findings.numbers.set(`statements:${runner.spec.name}`, perThousand)
  say(`(h) ${runner.spec.name}: ${perThousand.toFixed(1)} statements per 1,000 requests`)
  return [
    runner.spec.name,
    formatCount(result.answersInAll),
    formatCount(statements),
    perThousand.toFixed(1),
    formatCount(ofFeed),
    describeWrong([result]),
  ]
}
