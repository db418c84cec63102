import { performance } from 'node:perf_hooks'

export interface LoadGateOptions {
  /**
   * How long requests may take on average before they are too many, in milliseconds.
   *
   * @defaultValue 200
   */
  readonly maxLatencyMs?: number | undefined
  /** How many of the requests under way wait for something that has a bound of its own. */
  readonly countAside?: () => number
  /** Told when it begins to refuse, and when that is over. */
  readonly onChange?: (isShedding: boolean) => void
}

/** How often it looks, in milliseconds. */
const LOOK_MS = 100

/** Over how long it averages, in milliseconds: one pause says nothing. */
const MEMORY_MS = 500

/** How long there must have been too much before anything is refused, and nothing refused until that is over. */
const PATIENCE_MS = 1000

/** So few requests under way are never too many, however slow the machine is at the moment. */
const FEW = 100

/** A process that does nothing for more than a tenth of the time is not what its requests wait for. */
const BUSY = 0.9

/**
 * Refuses what a node cannot serve in time, so that it serves the rest.
 *
 * There is too much when, for a second, many requests take too long while the event loop has hardly a moment's rest: so
 * neither a pause, nor a database that is slow or away, has anything refused. Then no more are taken on than are served
 * within the time that they may take (Little's law): that many may be under way, more while it takes less, and fewer else.
 */
export class LoadGate {
  readonly #maxLatencyMs: number
  readonly #countAside: () => number
  readonly #onChange: (isShedding: boolean) => void
  #underWay = 0
  #changedAt = performance.now()
  #recent: Activity = { ms: 0, busyMs: 0, requestMs: 0, served: 0 }
  #requestMs = 0
  #served = 0
  #refused = 0
  #lookedAt = performance.now()
  #utilization = performance.eventLoopUtilization()
  #overloadedSince: number | null = null
  #refusedAt: number | null = null
  #room = Infinity
  readonly #timer = setInterval(() => this.#look(), LOOK_MS).unref()

  constructor({
    maxLatencyMs = 200,
    countAside = () => 0,
    onChange = () => undefined,
  }: LoadGateOptions) {
    this.#maxLatencyMs = maxLatencyMs
    this.#countAside = countAside
    this.#onChange = onChange
  }

  /** Whether there is room for one more request. */
  hasRoom(): boolean {
    if (this.#room === Infinity || this.#underWay - this.#countAside() < this.#room) return true
    this.#refused += 1
    return false
  }

  begin(): void {
    this.#count(1)
  }

  end(): void {
    this.#count(-1)
    this.#served += 1
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** What each of the requests under way has waited meanwhile. */
  #count(change: number): void {
    const now = performance.now()
    this.#requestMs += Math.max(0, this.#underWay - this.#countAside()) * (now - this.#changedAt)
    this.#changedAt = now
    this.#underWay += change
  }

  #look(): void {
    this.#count(0)
    const now = this.#changedAt
    const utilization = performance.eventLoopUtilization()
    const { active: busyMs } = performance.eventLoopUtilization(utilization, this.#utilization)
    const ms = now - this.#lookedAt
    this.#recent = add(this.#recent, {
      ms,
      busyMs,
      requestMs: this.#requestMs,
      served: this.#served,
    })
    if (this.#refused > 0) this.#refusedAt = now

    this.#lookedAt = now
    this.#utilization = utilization
    this.#requestMs = 0
    this.#served = 0
    this.#refused = 0
    this.#judge(now)
  }

  #judge(now: number): void {
    const { ms, busyMs, requestMs, served } = this.#recent
    const isBusy = busyMs > BUSY * ms
    const isSlow = requestMs > this.#maxLatencyMs * served
    const isCrowded = requestMs > FEW * ms
    this.#overloadedSince = isBusy && isSlow && isCrowded ? (this.#overloadedSince ?? now) : null

    if (this.#refusedAt !== null) {
      if (now - this.#refusedAt > PATIENCE_MS) this.#stopRefusing()
      else this.#room = Math.max(FEW, this.#room * clamp((this.#maxLatencyMs * served) / requestMs))
    } else if (this.#overloadedSince !== null && now - this.#overloadedSince > PATIENCE_MS) {
      this.#refusedAt = now
      this.#room = Math.max(FEW, (served / ms) * this.#maxLatencyMs)
      this.#onChange(true)
    }
  }

  #stopRefusing(): void {
    this.#refusedAt = null
    this.#overloadedSince = null
    this.#room = Infinity
    this.#onChange(false)
  }
}

/** In small steps, because what is done shows half a second later. */
function clamp(factor: number): number {
  return Math.min(1.1, Math.max(0.9, factor))
}

/** Of some time: how long it was, how much of it the event loop worked, and how long all requests took together. */
interface Activity {
  readonly ms: number
  readonly busyMs: number
  readonly requestMs: number
  readonly served: number
}

function add(before: Activity, latest: Activity): Activity {
  const kept = Math.exp(-latest.ms / MEMORY_MS)
  return {
    ms: kept * before.ms + latest.ms,
    busyMs: kept * before.busyMs + latest.busyMs,
    requestMs: kept * before.requestMs + latest.requestMs,
    served: kept * before.served + latest.served,
  }
}
