import type { Revocation } from '../contract.ts'
import { RevocationUnavailableError } from '../errors.ts'
import { createBatched } from '../lib/batch.ts'
import type { BatchOptions } from '../lib/batch.ts'
import { within } from '../lib/time-limit.ts'
import type { Token } from '../token/claims.ts'
import type { RevocationStore } from './ports.ts'

/** Asks whether a token is revoked; the answer is never older than the question. */
export type RevocationCheck = (token: Token) => Promise<Revocation | null>

/** The bounds of one look-up. */
export interface RevocationLoaderOptions extends BatchOptions {
  /** How long one statement may take, in milliseconds. A check waits for two of them at the most. */
  readonly timeoutMs?: number
  /** Told of every look-up, for statistics. */
  readonly onLookUp?: ((lookUp: LookUp) => void) | undefined
}

/** One statement, as statistics see it. */
export interface LookUp {
  /** How many tokens were asked about. */
  readonly tokens: number
  readonly seconds: number
  /** Whether the store answered; otherwise all of them were refused. */
  readonly isAnswered: boolean
}

/**
 * Makes the check of a node: whatever is asked at the same time, by any field of any request, goes in one statement.
 *
 * What the store can rule out from memory is not asked at all. Nothing is cached, because an answer given again could
 * be older than a revocation.
 *
 * @returns A function that throws {@link RevocationUnavailableError} when the store gives no answer in time.
 */
export function createRevocationCheck(
  store: Pick<RevocationStore, 'findFor' | 'rulesOut'>,
  { timeoutMs = 400, onLookUp, ...options }: RevocationLoaderOptions = {},
): RevocationCheck {
  const lookUp = createBatched<Token, Revocation | null>(async (tokens) => {
    const startedAt = performance.now()
    const report = (isAnswered: boolean): void => {
      const seconds = (performance.now() - startedAt) / 1000
      onLookUp?.({ tokens: tokens.length, seconds, isAnswered })
    }

    try {
      const found = await find(store, tokens, timeoutMs)
      report(true)
      return found
    } catch (error) {
      report(false)
      const cause = error instanceof RevocationUnavailableError ? error.cause : error
      return tokens.map(() => new RevocationUnavailableError(cause))
    }
  }, options)

  return async (token) => (store.rulesOut?.(token) ? null : lookUp(token))
}

async function find(
  store: Pick<RevocationStore, 'findFor'>,
  tokens: readonly Token[],
  timeoutMs: number,
): Promise<ReadonlyArray<Revocation | null>> {
  const found = await within(timeoutMs, store.findFor(tokens))
  if (found?.length !== tokens.length) {
    throw new TypeError(
      `Expected findFor to answer for ${tokens.length} tokens, got ${found?.length}`,
    )
  }
  return found
}
