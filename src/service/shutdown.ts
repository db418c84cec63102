import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'

/** Something that runs until it is stopped. */
export interface Part {
  /** Says that it will stop soon, and serves meanwhile. */
  announceStop?(): void
  /** May be called twice. */
  stop(): Promise<void>
  /** A process of its own, which would stay behind. */
  readonly outlivesUs?: boolean
}

export interface ShutdownOptions {
  /** As they were started. */
  readonly parts: readonly Part[]
  /** How long to serve after the signal, so that load balancers have time to look elsewhere. */
  readonly delaySeconds: number
  readonly log: Logger
  /** Ends the process with a status. */
  readonly exit: (status: number) => void
}

/** Ctrl-C reaches npm too, which sends it on: what comes so soon after a signal is the same one. Milliseconds. */
const SAME_SIGNAL_MS = 250

/** How long what would stay behind has for its end when everything is to end at once, in milliseconds. */
const MAX_CUT_MS = 3000

/** SIGTERM and SIGINT end the process in good order; a second one ends it at once, with status 1. */
export function stopOnSignals(options: ShutdownOptions): void {
  let stoppingSince: number | null = null
  const stop = (signal: NodeJS.Signals): void => {
    if (stoppingSince === null) {
      stoppingSince = performance.now()
      void stopInOrder(signal, options)
      return
    }
    if (performance.now() - stoppingSince > SAME_SIGNAL_MS) void stopAtOnce(signal, options)
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
}

async function stopInOrder(
  signal: NodeJS.Signals,
  { parts, delaySeconds, log, exit }: ShutdownOptions,
): Promise<void> {
  log.info({ signal, delaySeconds }, 'stopping')
  const serving = parts.filter((part) => part.announceStop !== undefined)
  for (const part of serving) part.announceStop?.()
  if (serving.length > 0) await sleep(delaySeconds * 1000)

  try {
    await stopAll(parts)
    exit(0)
  } catch (error) {
    log.error({ err: { message: (error as Error).message } }, 'stop failed')
    exit(1)
  }
}

async function stopAtOnce(
  signal: NodeJS.Signals,
  { parts, log, exit }: ShutdownOptions,
): Promise<void> {
  log.warn({ signal }, 'stopping at once: requests under way are cut off')
  const processes = parts.filter(({ outlivesUs }) => outlivesUs)
  await Promise.race([stopAll(processes).catch(() => undefined), sleep(MAX_CUT_MS)])
  exit(1)
}

/** The last that was started goes first. */
export async function stopAll(parts: readonly Part[]): Promise<void> {
  for (const part of parts.toReversed()) await part.stop()
}
