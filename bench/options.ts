import { parseArgs } from 'node:util'
import { contestants } from './contestants.ts'

export const SCENARIOS = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k'] as const

export type ScenarioId = (typeof SCENARIOS)[number]

/** How much of everything. */
export interface Amounts {
  readonly rounds: number
  readonly warmUpMs: number
  readonly measureMs: number
  /** Entries in force, in scenarios d and i. */
  readonly entries: number
  /** Revocations, in scenario g. */
  readonly heats: number
  /** Expired entries, in scenario j. */
  readonly expired: number
  /** Open sockets on one node, in scenario k. */
  readonly sockets: number
  /** Sessions that are revoked one after the other, in scenario k. */
  readonly cuts: number
}

export interface Options {
  readonly only: ReadonlySet<ScenarioId>
  readonly contestants: ReadonlySet<string>
  readonly isQuick: boolean
  readonly amounts: Amounts
  /** The folder for results; `null` prints them only. */
  readonly out: string | null
}

export const USAGE = `npm --prefix bench start -- [options]

  --quick                 few and short rounds, small tables; for trying
  --only=a,b              scenarios: ${SCENARIOS.join(', ')}
  --contestants=x,y       any of: ${contestants.map(({ name }) => name).join(', ')}
  --rounds=7              rounds of a at 32 connections; elsewhere it is a part or a multiple of them
  --entries=10000000      entries in force in d and i
  --out=folder            write results.md and results.svg there

A full run writes both into bench/; with any of the other options they are printed only, unless --out says where.`

const FULL: Amounts = {
  rounds: 7,
  warmUpMs: 300,
  measureMs: 1500,
  entries: 10_000_000,
  heats: 1000,
  expired: 1_000_000,
  sockets: 10_000,
  cuts: 200,
}

const QUICK: Amounts = {
  rounds: 2,
  warmUpMs: 300,
  measureMs: 800,
  entries: 100_000,
  heats: 50,
  expired: 20_000,
  sockets: 500,
  cuts: 20,
}

/** @throws `TypeError` that says what was expected. */
export function readOptions(args: readonly string[]): Options | 'help' {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      contestants: { type: 'string' },
      rounds: { type: 'string' },
      entries: { type: 'string' },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return 'help'

  const names = contestants.map(({ name }) => name)
  const base = values.quick ? QUICK : FULL
  const isWhole = [values.only, values.contestants, values.rounds, values.entries].every(
    (value) => value === undefined,
  )
  return {
    only: new Set(readList('--only', values.only, SCENARIOS)),
    contestants: new Set(readList('--contestants', values.contestants, names)),
    isQuick: values.quick,
    amounts: {
      ...base,
      rounds: readNumber('--rounds', values.rounds, base.rounds),
      entries: readNumber('--entries', values.entries, base.entries),
    },
    out: values.out ?? (isWhole && !values.quick ? import.meta.dirname : null),
  }
}

function readList<Name extends string>(
  flag: string,
  text: string | undefined,
  known: readonly Name[],
): readonly Name[] {
  if (text === undefined) return known
  const names = text.split(',')
  const unknown = names.find((name) => !known.includes(name as Name))
  if (unknown !== undefined) {
    throw new TypeError(`${flag}: expected some of ${known.join(', ')}, got ${unknown}`)
  }
  return names as Name[]
}

function readNumber(flag: string, text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new TypeError(`${flag}: expected a number, got ${text}`)
  return Number(text)
}
