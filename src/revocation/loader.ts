import DataLoader from 'dataloader'
import { RevocationUnavailableError } from '../errors.ts'
import { within } from '../time-limit.ts'
import type { Token } from '../token/claims.ts'
import type { Revocation } from './revocation.ts'
import type { RevocationStore } from './store.ts'

/** Asks whether a token is revoked; the answer is never older than the question. */
export type RevocationCheck = (token: Token) => Promise<Revocation | null>

/** The bounds of one look-up. */
export interface RevocationLoaderOptions {
  /** The most tokens in one statement. */
  readonly maxBatchSize?: number
  /** How long one statement may take, in milliseconds. A check waits for two of them at the most. */
  readonly timeoutMs?: number
}

/**
 * Makes the check of a node: whatever is asked at the same time, by any field of any request, goes in one statement.
 *
 * While a statement is under way, new questions gather for the next one; that bounds both the statements per second
 * and the wait. Nothing is cached, because an answer given again could be older than a revocation.
 *
 * @returns A function that throws {@link RevocationUnavailableError} when the store gives no answer in time.
 */
export function createRevocationCheck(
  store: Pick<RevocationStore, 'findFor'>,
  { maxBatchSize = 1000, timeoutMs = 400 }: RevocationLoaderOptions = {},
): RevocationCheck {
  const gathered: Array<() => void> = []
  let underWay = 0

  const loader = new DataLoader<Token, Revocation | null>(
    async (tokens) => {
      try {
        return await find(store, tokens, timeoutMs)
      } catch (error) {
        const cause = error instanceof RevocationUnavailableError ? error.cause : error
        return tokens.map(() => new RevocationUnavailableError(cause))
      } finally {
        underWay -= 1
        dispatchGathered()
      }
    },
    { cache: false, maxBatchSize, batchScheduleFn: gather },
  )

  function gather(dispatch: () => void): void {
    gathered.push(dispatch)
    // After this turn's sockets were read, so that their requests go together.
    if (gathered.length === 1) setImmediate(dispatchGathered)
  }

  /** All at once, even what one batch does not hold: else the last would wait for more than two statements. */
  function dispatchGathered(): void {
    if (underWay > 0) return
    const batches = gathered.splice(0)
    underWay = batches.length
    for (const dispatch of batches) dispatch()
  }

  return (token) => loader.load(token)
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
