/** The benchmark: what it needs, the scenarios one after the other, and what came of them. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Bench, Filled, Lineup, Section } from './bench.ts'
import { callTogether } from './lineup.ts'
import { describeMachine } from './machine.ts'
import { USAGE, readOptions } from './options.ts'
import type { Options, ScenarioId } from './options.ts'
import { openPostgres } from './postgres.ts'
import { stopAllChildren } from './processes.ts'
import { openRedis } from './redis-server.ts'
import type { Redis } from './redis-server.ts'
import { writeReport } from './report.ts'
import { Load } from './runner.ts'
import { measureLive } from './scenarios/live.ts'
import { measureLogouts } from './scenarios/logouts.ts'
import { createFilled, measureWithManyEntries } from './scenarios/many-entries.ts'
import { measureMemory } from './scenarios/memory.ts'
import { measureOtherNode } from './scenarios/other-node.ts'
import { countStatements } from './scenarios/statements.ts'
import { measureSweeper } from './scenarios/sweeper.ts'
import {
  measureList,
  measureManyFields,
  measureOneField,
  measureWithRevoked,
} from './scenarios/throughput.ts'
import { closeAllScopes, refuseScopes, withScope } from './scope.ts'
import type { Scope } from './scope.ts'

/** The whole run ends by itself, whatever hangs. */
const RUN_LIMIT_MS = 45 * 60_000

/** How long the run may take to clean up behind itself when it was stopped. */
const CLEAN_UP_MS = 10_000

type Scenario<Given> = (bench: Bench, given: Given) => Promise<Section>

/** With all contestants, which run side by side and are loaded one at a time. */
const WITH_LINEUP: ReadonlyArray<readonly [ScenarioId, Scenario<Lineup>]> = [
  ['a', measureOneField],
  ['b', measureList],
  ['c', measureManyFields],
  ['e', measureWithRevoked],
  ['h', countStatements],
]

const WITH_FILLED: ReadonlyArray<readonly [ScenarioId, Scenario<Filled>]> = [
  ['d', measureWithManyEntries],
  ['i', measureMemory],
]

const ALONE: ReadonlyArray<readonly [ScenarioId, Scenario<undefined>]> = [
  ['f', measureLogouts],
  ['g', measureOtherNode],
  ['j', measureSweeper],
  ['k', measureLive],
]

async function main(options: Options): Promise<void> {
  const startedAt = new Date()
  const timer = setTimeout(() => void stop('the run took too long', 1), RUN_LIMIT_MS)

  await withScope(async (scope) => {
    const bench = await openBench(scope, options)
    let lineup = null as Lineup | null
    const sections = [
      ...(await runGroup(bench, WITH_LINEUP, async (group) => {
        lineup = await callTogether(group, bench)
        return lineup
      })),
      ...(await runGroup(bench, WITH_FILLED, (group) => createFilled(group, bench))),
      ...(await runGroup(bench, ALONE, async () => undefined)),
    ]
    const machine = describeMachine(bench, startedAt)
    await writeReport({ bench, sections, lineup, machine })
  })
  clearTimeout(timer)
}

async function openBench(scope: Scope, options: Options): Promise<Bench> {
  const startedAt = performance.now()
  const say = (text: string): void => {
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(0).padStart(5)
    process.stderr.write(`${seconds} s  ${text}\n`)
  }
  const postgres = await openPostgres(scope)
  const redis = await openRedis(scope).catch((error: unknown): Redis | null => {
    say(`without Redis: ${(error as Error).message}`)
    return null
  })
  const findings = { series: new Map(), numbers: new Map() }
  return { options, postgres, redis, load: Load.start(scope), findings, say }
}

/** Makes what a group of scenarios shares, if any of them is wanted, and runs them. Each may fail without the others. */
async function runGroup<Given>(
  bench: Bench,
  group: ReadonlyArray<readonly [ScenarioId, Scenario<Given>]>,
  prepare: (scope: Scope) => Promise<Given>,
): Promise<readonly Section[]> {
  const wanted = group.filter(([id]) => bench.options.only.has(id))
  if (wanted.length === 0) return []

  return withScope(async (scope) => {
    const given = prepare(scope)
    const sections: Section[] = []
    for (const [id, run] of wanted) {
      try {
        sections.push(await run(bench, await given))
      } catch (error) {
        if (isStopping) throw error
        const failure = (error as Error).message
        bench.say(`(${id}) failed: ${failure}`)
        sections.push({ id, title: 'failed', tables: [], notes: [], failure })
      }
    }
    return sections
  })
}

let run: Promise<void> = Promise.resolve()
let isStopping = false

/** Ends the processes; the run then fails and cleans up behind itself. If that takes too long it is done from here. */
async function stop(why: string, code: number): Promise<void> {
  if (isStopping) return
  isStopping = true
  process.stderr.write(`\nstopping: ${why}\n`)
  refuseScopes()
  await stopAllChildren()
  await Promise.race([run, sleep(CLEAN_UP_MS)])
  await closeAllScopes()
  process.exit(code)
}

process.on('SIGINT', () => void stop('interrupted', 130))
process.on('SIGTERM', () => void stop('terminated', 143))

try {
  const options = readOptions(process.argv.slice(2))
  if (options === 'help') {
    process.stdout.write(`${USAGE}\n`)
  } else {
    run = main(options).catch(fail)
    await run
  }
} catch (error) {
  fail(error)
}

function fail(error: unknown): void {
  if (isStopping) return
  process.stderr.write(`${error instanceof TypeError ? error.message : (error as Error).stack}\n`)
  process.exitCode = 1
}
