import type { Expectation } from './plan.ts'

export type NodeName = 'same node' | 'other node'

/** The sockets of one session: tabs of one browser. */
export interface Party {
  readonly session: string
  readonly token: string
  readonly sockets: number
  readonly query: string
}

export interface Opening {
  readonly node: NodeName
  readonly port: number
  readonly parties: readonly Party[]
}

/** How many are open now, and how long that took. */
export interface Opened {
  readonly open: number
  readonly elapsedMs: number
  readonly firstFailure: string | null
}

/** A mutation, and whose sockets it has to close. */
export interface Cut {
  readonly port: number
  readonly request: Uint8Array
  readonly answer: Expectation
  /** `null`: everybody's. */
  readonly session: string | null
  readonly limitMs: number
}

export interface CutResult {
  /** Milliseconds from the mutation's answer to the closing of each socket; 0 for those that closed before it came. */
  readonly delaysMs: Readonly<Record<NodeName, readonly number[]>>
  /** Sockets that stayed, closed for another reason or unheard, or did not have to close. */
  readonly wrong: readonly string[]
}

/** A stream of events on two nodes which is cut while it flows fast. */
export interface EventRace {
  readonly ports: Readonly<Record<NodeName, number>>
  readonly party: Omit<Party, 'sockets'>
  readonly revoke: Uint8Array
  readonly revoked: Expectation
  /** Mutations that make the events, on both nodes in turn. */
  readonly noise: readonly Uint8Array[]
  readonly noiseConnections: number
  /** How long it flows before the cut, in milliseconds. */
  readonly flowMs: number
}

export interface EventRaceResult {
  readonly eventsPerSecond: number
  /** What made the events. */
  readonly revocationsPerSecond: number
  readonly streams: Readonly<Record<NodeName, CutStream>>
}

export interface CutStream {
  readonly events: number
  /** Events that came in a later turn of the client's event loop than the answer: what was sent before comes in the same. */
  readonly late: number
  /** How long after the answer the last of them came, in milliseconds. */
  readonly latestMs: number
  readonly closedMs: number
  readonly closing: string
}

/** What a client does that is no good. */
export type Misbehaviour = 'stops reading' | 'pings and never reads' | 'half-open'

export interface StuckParty extends Party {
  readonly how: Misbehaviour
  readonly port: number
}

/** Of the process of the clients. */
export interface ClientStats {
  readonly cpuMs: number
  /** Since `watchLoop`. */
  readonly longestBlockMs: number
}

export type LiveCommand =
  | { readonly kind: 'open'; readonly opening: Opening }
  | { readonly kind: 'cut'; readonly cut: Cut }
  | { readonly kind: 'raceEvents'; readonly race: EventRace }
  | { readonly kind: 'count' }
  | { readonly kind: 'watchLoop' }
  | { readonly kind: 'stats' }
  | { readonly kind: 'describeLost' }
  | { readonly kind: 'close' }
  | { readonly kind: 'stick'; readonly party: StuckParty }
  | { readonly kind: 'makeNoise'; readonly port: number; readonly requests: readonly Uint8Array[] }
  | { readonly kind: 'stopNoise' }
