/**
 * Makes a source of events that ends at once when its reader wants no more. A generator alone would first finish
 * its wait, which may never end.
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
