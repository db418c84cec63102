/** An instant by two clocks: one cannot be set back, the other goes on while the machine sleeps. */
export interface Moment {
  readonly monotonicMs: number
  readonly wallMs: number
}

export function takeMoment(): Moment {
  return { monotonicMs: performance.now(), wallMs: Date.now() }
}

/** How long ago it was, in milliseconds, by the clock that says more. */
export function msSince({ monotonicMs, wallMs }: Moment): number {
  return Math.max(performance.now() - monotonicMs, Date.now() - wallMs)
}
