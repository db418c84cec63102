import { readReason } from './refusal.ts'
import type { AnswerError } from './refusal.ts'
import type { Refresh, Tokens } from './session.ts'

/** How to ask for new tokens. */
export interface RefreshOptions {
  /**
   * How long the server may take, in milliseconds, before it is asked once more.
   *
   * @defaultValue 4000: within the 5 seconds in which the service takes a repeated refresh for a lost answer
   */
  readonly timeoutMs?: number | undefined
  /** @defaultValue the one of the browser, or of Node */
  readonly fetch?: typeof fetch | undefined
}

/** What a server answered instead of new tokens. */
export class RefreshError extends Error {
  override readonly name = 'RefreshError'
  readonly errors: readonly AnswerError[]

  constructor(errors: readonly AnswerError[]) {
    super(`The tokens were not refreshed: ${errors.map(readReason).join(', ')}`)
    this.errors = errors
  }
}

const DEFAULT_TIMEOUT_MS = 4000

const REFRESH = `mutation Refresh($refreshToken: String!) {
  refresh(refreshToken: $refreshToken) { accessToken refreshToken expiresIn }
}`

/**
 * Makes a function that exchanges a refresh token by the service's `refresh` mutation.
 *
 * A refresh token works once. When the network loses the answer it is asked for again at once, because then the same answer is
 * given; later, that would be taken for a theft.
 *
 * @param url - Of the GraphQL endpoint.
 * @returns A function that throws {@link RefreshError} when the server answers with errors, and what `fetch` throws when it does not
 * answer, twice.
 */
export function createRefresh(url: string | URL, options: RefreshOptions = {}): Refresh {
  return async (refreshToken) => {
    try {
      return await exchange(url, refreshToken, options)
    } catch (error) {
      if (error instanceof RefreshError) throw error
      return exchange(url, refreshToken, options)
    }
  }
}

interface RefreshAnswer {
  readonly data?: { readonly refresh: Tokens | null } | null
  readonly errors?: readonly AnswerError[]
}

async function exchange(
  url: string | URL,
  refreshToken: string,
  { timeoutMs = DEFAULT_TIMEOUT_MS, fetch: send = fetch }: RefreshOptions,
): Promise<Tokens> {
  const canceller = new AbortController()
  const timer = setTimeout(() => canceller.abort(), timeoutMs)

  try {
    const response = await send(url, {
      method: 'POST',
      headers: {
        accept: 'application/graphql-response+json, application/json',
        'content-type': 'application/json',
      },
      body: JSON.stringify({ query: REFRESH, variables: { refreshToken } }),
      signal: canceller.signal,
    })
    const { data, errors } = (await response.json()) as RefreshAnswer
    if (data?.refresh) return data.refresh
    throw new RefreshError(errors ?? [])
  } finally {
    clearTimeout(timer)
  }
}
