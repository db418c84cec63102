import type { Mode } from '../bench.ts'
import type { Stats } from '../contestants/serve.ts'
import type { EventRaceResult, NodeName, Opened } from '../load/live-plan.ts'
import type { StuckFigures } from './live-stuck.ts'

/** What it costs to have sockets open. */
export interface Occupancy {
  readonly opened: Opened
  /** Before, and with all of them; after a collection of garbage. */
  readonly start: Stats
  readonly open: Stats
  readonly longestBlockMs: number
}

export interface CutFigures {
  readonly delaysMs: Readonly<Record<NodeName, readonly number[]>>
  readonly wrong: readonly string[]
  readonly longestBlockMs: number
}

/** `revokeEveryone`, and what is left when all are gone. */
export interface DrillFigures extends CutFigures {
  readonly sockets: number
  /** What the node and the clients computed meanwhile, in milliseconds: what the machine does beside them is not in it. */
  readonly nodeCpuMs: number
  readonly clientCpuMs: number
  /** The longest time that the event loop of the clients was held up. */
  readonly clientBlockMs: number
  readonly after: Stats
}

/** Everything that was measured in one mode. */
export interface LiveFigures extends Occupancy {
  readonly mode: Mode
  /** With all sockets open and nothing to do but pings. */
  readonly idleBlockMs: number
  readonly cuts: CutFigures
  readonly drills: readonly DrillFigures[]
  readonly races: readonly EventRaceResult[]
  readonly stuck: StuckFigures
}

/** @param share - 0.99 for the 99th percentile; 1 for the most. */
export function quantileOf(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}
