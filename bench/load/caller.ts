import { createDeferred } from '../deferred.ts'
import { Connection } from './connection.ts'
import { quote } from './judge.ts'
import type { Judge } from './judge.ts'

/** How long one answer may take, in milliseconds. */
const ANSWER_LIMIT_MS = 10_000

/** Asks and waits. */
export class Caller {
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
