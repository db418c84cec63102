import type { ContestantSpec } from './contestants.ts'
import type { Series } from './measure.ts'
import type { Options, ScenarioId } from './options.ts'
import type { Database, Postgres } from './postgres.ts'
import type { Redis } from './redis-server.ts'
import type { Load, Runner } from './runner.ts'

/** What every scenario is given. */
export interface Bench {
  readonly options: Options
  /** `null` when there is none. */
  readonly redis: Redis | null
  readonly postgres: Postgres
  readonly load: Load
  readonly findings: Findings
  /** Says on the terminal what goes on. */
  say(text: string): void
}

/** Numbers that the goals and the chart are made of. */
export interface Findings {
  /** By measurement (`a32`, `b`, ...), then by contestant. */
  readonly series: Map<string, ReadonlyMap<string, Series>>
  readonly numbers: Map<string, number>
}

/** Who takes part, and why others do not. */
export interface Lineup {
  readonly runners: readonly Runner[]
  readonly absent: ReadonlyArray<{ readonly spec: ContestantSpec; readonly why: string }>
}

/** Two databases of our schema: one with entries in force, one with none. */
export interface Filled {
  readonly empty: Database
  readonly full: Database
  readonly entries: number
}

export interface Table {
  readonly columns: readonly string[]
  readonly rows: ReadonlyArray<readonly string[]>
}

/** What a scenario has to say. */
export interface Section {
  readonly id: ScenarioId
  readonly title: string
  readonly tables: readonly Table[]
  readonly notes: readonly string[]
  /** Why it has no numbers. */
  readonly failure?: string
}

/** Whose replica is looked at in a scenario that is ours alone. */
export const MODES = ['database', 'replica'] as const

export type Mode = (typeof MODES)[number]
