import { setImmediate as nextTurn } from 'node:timers/promises'
import { TokenRevokedError } from '../errors.ts'
import type { PortcullisError } from '../errors.ts'
import type { LiveConnection } from './live-connection.ts'

/** Connections that are ended in one turn of the event loop, so that others get on. */
const ENDINGS_A_TURN = 50

/**
 * Those that may be closing at a time, because what clients answer is all read in one turn when it comes at once. A client
 * that takes longer than so many milliseconds is not waited for.
 */
const MAX_CLOSING = 500
const MAX_CLOSING_MS = 100

/**
 * Ends connections one after the other: in slices, so that others get on, and in two steps, so that a client hears why over
 * its own subscription before its connection is closed.
 */
export class CloseQueue {
  #waiting: LiveConnection[] = []
  #isUnderWay = false
  /** Told to close, and waited for. */
  readonly #closing = new Set<LiveConnection>()
  /** Closed before their turn, or in it. */
  readonly #closed = new WeakSet<LiveConnection>()
  #makeRoom: () => void = () => undefined

  /** @param connection - Says why in `ending`. */
  add(connection: LiveConnection): void {
    this.#waiting.push(connection)
    if (!this.#isUnderWay) void this.#endAll()
  }

  /** A connection was closed, by either side. */
  remove(connection: LiveConnection): void {
    this.#closed.add(connection)
    this.#closing.delete(connection)
    if (this.#closing.size < MAX_CLOSING) this.#makeRoom()
  }

  async #endAll(): Promise<void> {
    this.#isUnderWay = true
    // The mutation that revokes is answered first.
    await nextTurn()
    while (this.#waiting.length > 0) {
      const slice = this.#waiting.slice(0, ENDINGS_A_TURN)
      this.#waiting = this.#waiting.slice(ENDINGS_A_TURN)
      for (const connection of slice) bidFarewell(connection)
      await nextTurn()
      for (const connection of slice) {
        if (!this.#closed.has(connection)) this.#closing.add(connection)
        connection.transport.end(connection.ending as PortcullisError)
      }
      await nextTurn()
      if (this.#closing.size >= MAX_CLOSING) await this.#waitForRoom()
    }
    this.#closing.clear()
    this.#isUnderWay = false
  }

  async #waitForRoom(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.#closing.clear()
        resolve()
      }, MAX_CLOSING_MS)
      this.#makeRoom = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.#makeRoom = () => undefined
  }
}

function bidFarewell({ operations, ending }: LiveConnection): void {
  if (!(ending instanceof TokenRevokedError)) return
  for (const operation of operations) operation.tell(ending.revocation)
}
