import { findRefusedRefresh, readReason } from './refusal.ts'
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
  /** Of HTTP; `null` when it is not known. */
  readonly status: number | null

  constructor(errors: readonly AnswerError[], status: number | null = null) {
    const reasons = errors.length > 0 ? errors.map(readReason).join(', ') : `HTTP ${status}`
    super(`The tokens were not refreshed: ${reasons}`)
    this.errors = errors
    this.status = status
  }
}

const DEFAULT_TIMEOUT_MS = 4000

const REFRESH = `mutation Refresh($refreshToken: String!) {
  refresh(refreshToken: $refreshToken) { accessToken refreshToken expiresIn }
}`

/**
 * Makes a function that exchanges a refresh token by the service's `refresh` mutation.
 *
 * A refresh token works once. When the network, or a proxy, loses the answer it is asked for again at once, because then the same
 * answer is given; later, that would be taken for a theft.
 *
 * @param url - Of the GraphQL endpoint.
 * @returns A function that throws {@link RefreshError} when the answer is anything but new tokens, and what `fetch` throws when
 * there is no answer, twice. With an answer that is no outage (an API without such a mutation, 400, 404, a page of HTML) the
 * session signs out; after 408, 425, 429, 5xx, or no answer it keeps its tokens.
 */
export function createRefresh(url: string | URL, options: RefreshOptions = {}): Refresh {
  return async (refreshToken) => {
    try {
      return await exchange(url, refreshToken, options)
    } catch (error) {
      if (isAnswer(error)) throw error
      return exchange(url, refreshToken, options)
    }
  }
}

/** Whether a server of GraphQL, or none at all, has answered. What a proxy says of its own may be in the place of an answer. */
function isAnswer(error: unknown): boolean {
  if (!(error instanceof RefreshError)) return false
  return error.errors.length > 0 || error.status === 429 || findRefusedRefresh(error) !== null
}

interface RefreshAnswer {
  readonly data?: { readonly refresh?: Partial<Tokens> | null } | null
  readonly errors?: unknown
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
    const { data, errors } = parse(await response.text())
    const tokens = data?.refresh
    if (typeof tokens?.accessToken === 'string') return tokens as Tokens
    throw new RefreshError(Array.isArray(errors) ? errors : [], response.status)
  } finally {
    clearTimeout(timer)
  }
}

/** @returns Nothing when it is no JSON: a page of a proxy, or of another server. */
function parse(text: string): RefreshAnswer {
  try {
    return (JSON.parse(text) ?? {}) as RefreshAnswer
  } catch {
    return {}
  }
}
