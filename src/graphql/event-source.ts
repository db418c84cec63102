/**
 * Makes a source of events that ends at once when nobody wants more. A generator alone would first have to come to the end of
 * what it is waiting for, which may be never.
 *
 * @param generate - Waits for nothing any more once its signal is aborted.
 */
export function createEventSource<Event>(
  generate: (signal: AbortSignal) => AsyncGenerator<Event, void>,
): AsyncIterableIterator<Event> {
  const ending = new AbortController()
  const generator = generate(ending.signal)
  return {
    next: async () => generator.next(),
    async return() {
      ending.abort(null)
      return generator.return()
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

/** Something to wait for that may happen before, between or during two waits. */
export class Bell {
  #isRung = false
  #wake: () => void = () => undefined

  ring(): void {
    this.#isRung = true
    this.#wake()
  }

  /** Fulfilled when it was rung since the last wait, or when the time is over. */
  async wait(maxMs: number): Promise<void> {
    if (!this.#isRung) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, maxMs)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    this.#isRung = false
  }
}
