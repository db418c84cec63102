/** What is right for an answer: its status, and its body to the byte or by what it must and must not hold. */
export interface Expectation {
  readonly statuses: readonly number[]
  /** Without the white space at its end. */
  readonly body?: string
  readonly includes?: string
  readonly excludes?: string
}

/** Requests that are ready to be written to a socket. */
export interface Plan {
  readonly requests: readonly PlannedRequest[]
  readonly expectations: readonly Expectation[]
}

export interface PlannedRequest {
  readonly bytes: Uint8Array
  /** Index into the plan's expectations. */
  readonly expects: number
}

/** A closed loop: every connection sends its next request when the last was answered. */
export interface Job {
  readonly port: number
  readonly plan: number
  readonly connections: number
  readonly warmUpMs: number
  readonly durationMs: number
  /** Send every request once and end when all were answered. */
  readonly once?: boolean
}

export interface JobResult {
  /** Answers that came while it was measured. */
  readonly answers: number
  /** Answers in all, those of the warm-up too. */
  readonly answersInAll: number
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
  readonly wrong: number
  readonly firstWrong: string | null
  readonly brokenConnections: number
  /** CPU seconds of this process for a second of the clock. */
  readonly loadCpu: number
}

/** Revokes on one node, and asks another until it refuses. */
export interface Race {
  readonly writerPort: number
  readonly readerPort: number
  readonly heats: readonly Heat[]
  readonly revoked: Expectation
  readonly accepted: Expectation
  readonly refused: Expectation
  /** How long a node may go on accepting before the heat is lost, in milliseconds. */
  readonly limitMs: number
}

export interface Heat {
  readonly revoke: Uint8Array
  readonly probe: Uint8Array
}

export interface RaceResult {
  /** Milliseconds from the mutation's answer to the sending of the request that was refused. */
  readonly delaysMs: readonly number[]
  /** Heats in which the very first request was refused. */
  readonly refusedAtOnce: number
  readonly wrong: number
  readonly firstWrong: string | null
}

export type LoadCommand =
  | { readonly kind: 'plan'; readonly plan: Plan }
  | { readonly kind: 'run'; readonly job: Job }
  | { readonly kind: 'stop' }
  | { readonly kind: 'race'; readonly race: Race }
