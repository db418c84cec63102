import { createDeferred } from '../deferred.ts'
import { Connection } from './connection.ts'
import { createJudge, quote } from './judge.ts'
import type { Judge } from './judge.ts'
import type { Heat, Race, RaceResult } from './plan.ts'

/** How long one answer may take, in milliseconds. */
const ANSWER_LIMIT_MS = 10_000

export async function runRace(race: Race): Promise<RaceResult> {
  const writer = new Caller(race.writerPort)
  const reader = new Caller(race.readerPort)
  const isRevoked = createJudge(race.revoked)
  const isAccepted = createJudge(race.accepted)
  const isRefused = createJudge(race.refused)
  const delaysMs: number[] = []
  let wrong = 0
  let firstWrong: string | null = null

  async function run({ revoke, probe }: Heat): Promise<void> {
    await writer.ask(revoke, isRevoked)
    const revokedAt = performance.now()

    for (let isFirst = true; ; isFirst = false) {
      const sentAt = performance.now()
      const isOver = await reader.ask(probe, isRefused, isAccepted)
      if (isOver) {
        delaysMs.push(isFirst ? 0 : sentAt - revokedAt)
        return
      }
      if (sentAt - revokedAt > race.limitMs) throw new Error(`accepted after ${race.limitMs} ms`)
    }
  }

  try {
    for (const heat of race.heats) {
      try {
        await run(heat)
      } catch (error) {
        wrong += 1
        firstWrong ??= (error as Error).message
      }
    }
  } finally {
    writer.close()
    reader.close()
  }
  return { delaysMs, refusedAtOnce: delaysMs.filter((ms) => ms === 0).length, wrong, firstWrong }
}

/** Asks and waits. */
class Caller {
  readonly #connection: Connection
  #settle: ((status: number, data: Buffer, start: number, end: number) => void) | null = null
  #fail: ((error: Error) => void) | null = null

  constructor(port: number) {
    this.#connection = new Connection(
      port,
      (...answer) => this.#settle?.(...answer),
      () => this.#fail?.(new Error('the connection was closed')),
    )
  }

  /** Whether the answer is what was hoped for; if not it must be what else was expected. */
  async ask(request: Uint8Array, hoped: Judge, expected: Judge = () => false): Promise<boolean> {
    const { promise, resolve, reject } = createDeferred<boolean>()
    const timer = setTimeout(() => reject(new Error('no answer')), ANSWER_LIMIT_MS)
    this.#fail = reject
    this.#settle = (...answer) => {
      if (hoped(...answer)) resolve(true)
      else if (expected(...answer)) resolve(false)
      else reject(new Error(quote(...answer)))
    }
    this.#connection.send(request)
    return promise.finally(() => clearTimeout(timer))
  }

  close(): void {
    this.#connection.close()
  }
}
