import type { OperationDefinitionNode } from 'graphql'
import type { Authentication } from '../caller/authentication.ts'
import { awaitOut } from '../lib/call-out.ts'

/** What ends the sources of events that one caller's operations were given. */
const endings = new WeakMap<Authentication, Set<Ending>>()

interface Ending {
  readonly operation: OperationDefinitionNode
  end(): void
}

const OVER = { done: true, value: undefined } as const

/**
 * Hands on a source of events that {@link endAdmitted} can end.
 *
 * A server that is not ours sends a refused event as a result like any other, and goes on asking for the next one: only the
 * end of the source tells it, and its client, that nothing more comes.
 *
 * @param operation - The one that subscribes, as `info.operation` names it.
 */
export function admitSource<Event>(
  source: AsyncIterable<Event>,
  auth: Authentication,
  operation: OperationDefinitionNode,
): AsyncIterableIterator<Event> {
  const events = source[Symbol.asyncIterator]()
  const waiting = new Set<() => void>()
  const ending = { operation, end }
  let isOver = false

  function end(): void {
    forget()
    // The source may never come to its end.
    void close()
    for (const answer of waiting) answer()
  }

  function forget(): void {
    isOver = true
    endings.get(auth)?.delete(ending)
  }

  /** Servers do not wait for it, so it must not fail. */
  async function close(): Promise<IteratorResult<Event>> {
    return (await awaitOut(async () => events.return?.())) ?? OVER
  }

  async function findNext(): Promise<IteratorResult<Event>> {
    const result = await events.next()
    if (result.done) forget()
    return result
  }

  endings.set(auth, (endings.get(auth) ?? new Set()).add(ending))
  return {
    async next() {
      if (isOver) return OVER
      return new Promise((resolve, reject) => {
        const answer = (): void => resolve(OVER)
        waiting.add(answer)
        findNext()
          .finally(() => waiting.delete(answer))
          .then(resolve, reject)
      })
    },
    async return() {
      forget()
      return close()
    },
    async throw(error) {
      forget()
      await close()
      throw error
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

/** Ends the sources of an operation whose caller is let through no more. */
export function endAdmitted(auth: Authentication, operation: OperationDefinitionNode): void {
  for (const ending of endings.get(auth) ?? []) if (ending.operation === operation) ending.end()
}

export function isSource(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}
