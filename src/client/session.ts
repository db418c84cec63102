import { findRefusal, findRefusedRefresh } from './refusal.ts'
import type { AnswerError, SignedOut } from './refusal.ts'

/** What a sign-in or a refresh gives. */
export interface Tokens {
  readonly accessToken: string
  /**
   * Not given by an API that has none: then a token that has expired signs out. A refresh that gives none leaves the one before in
   * use.
   */
  readonly refreshToken?: string | undefined
  /** Seconds from now. When given, the token is refreshed shortly before, else when the server refuses it. */
  readonly expiresIn?: number | undefined
}

/** Where an app keeps its tokens. Others may write there too: another tab of the browser. */
export interface TokenStorage {
  read(): Tokens | null
  /** @param tokens - `null` when there are none any more. */
  write(tokens: Tokens | null): void
}

/**
 * Exchanges a refresh token.
 *
 * It must not go through the link or the WebSocket of its own session: they would wait for it. What it throws means "try again
 * later", and the tokens are kept, unless it says what a server answered, and that is no outage: by `errors`, as `RefreshError` has
 * and `CombinedGraphQLErrors` of Apollo Client, or by `status` or `statusCode`, as `ServerError` has. Then the session signs out.
 */
export type Refresh = (refreshToken: string) => Promise<Tokens>

/** How a session works. */
export interface SessionOptions {
  /** Such as {@link createRefresh} makes. Without it, a token that has expired signs out. */
  readonly refresh?: Refresh | undefined
  /**
   * Called once for each sign-in that the server has ended, when the tokens are forgotten already. Not called after
   * {@link Session.signOut}.
   */
  readonly onSignedOut?: ((ending: SignedOut) => void) | undefined
  /** @defaultValue in memory, so that a reload of the page signs out */
  readonly storage?: TokenStorage | undefined
}

/** Told of each new access token, and of `null` when there is none any more. */
export type TokenWatcher = (accessToken: string | null) => void

/** How long before its end a token counts as expired, in milliseconds: at most, and as a part of its life. */
const MAX_MARGIN_MS = 10_000
const MARGIN_SHARE = 1 / 10

/**
 * The tokens of the person who is signed in, and what becomes of them. Everything that sends them shares one session.
 *
 * What is said of a token only ever concerns that token: a late refusal of an older token does not
 * touch the newer one.
 */
export class Session {
  readonly #refresh: Refresh | undefined
  readonly #onSignedOut: (ending: SignedOut) => void
  readonly #storage: TokenStorage
  readonly #watchers = new Set<TokenWatcher>()
  /** By this device's clock, in milliseconds, and for one token. */
  #expiry: { readonly accessToken: string; readonly at: number } | null = null
  #renewal: { readonly of: string; readonly done: Promise<string | null> } | null = null

  constructor({ refresh, onSignedOut, storage }: SessionOptions) {
    this.#refresh = refresh
    this.#onSignedOut = onSignedOut ?? (() => undefined)
    this.#storage = storage ?? createMemoryStorage()
  }

  /** As it is now, expired or not. `null`: signed out. */
  get accessToken(): string | null {
    return this.#storage.read()?.accessToken ?? null
  }

  /** Goes on with the tokens of a sign-in, or of a mutation that gives new ones (`changePassword`). */
  signIn(tokens: Tokens): void {
    this.#keep(tokens)
  }

  /** Forgets the tokens. It asks nothing of the server: call `logout` before. */
  signOut(): void {
    this.#forget()
  }

  /**
   * Finds the token to send now. One that is about to expire, or is being refreshed, is refreshed first.
   *
   * @returns The old token when it cannot be refreshed at the moment, for the server to decide; `null` when signed out.
   */
  async findToken(): Promise<string | null> {
    const tokens = this.#storage.read()
    if (tokens === null) return null
    const isDue = this.#renewal?.of === tokens.accessToken || this.#isExpiring(tokens)
    if (!isDue) return tokens.accessToken

    return this.#renewOnce(tokens).catch(() => this.accessToken)
  }

  /**
   * Gets a token in place of one that has expired. All who ask at the same time share one refresh.
   *
   * @param token - The one that has expired. When there is a newer one of the same person, nothing is asked of the server.
   * @returns `null` when there is none: signed out, another person signed in, or the refresh was refused, which signs out.
   * @throws What `refresh` has thrown, when it may work later.
   */
  async renew(token: string): Promise<string | null> {
    const tokens = this.#storage.read()
    if (tokens?.accessToken !== token) return this.#findSuccessor(token)
    return this.#renewOnce(tokens)
  }

  /**
   * Does what a refused request asks for: refreshes on `TOKEN_EXPIRED`, signs out on `TOKEN_REVOKED` and `TOKEN_INVALID`, and
   * leaves all else alone. For a client that has no link of ours, such as urql.
   *
   * @param errors - Those of the answer.
   * @param token - The one that the request was sent with.
   * @returns What to repeat the request with, once; `null` when that is of no use.
   * @throws As {@link Session.renew}.
   */
  async handleRefusal(
    errors: readonly AnswerError[] | undefined,
    token: string,
  ): Promise<string | null> {
    const refusal = findRefusal(errors)
    if (refusal === null) return null
    if (refusal.reason === 'TOKEN_EXPIRED') return this.renew(token)
    return this.#end(token, refusal)
  }

  /** @returns What ends it. */
  watch(watcher: TokenWatcher): () => void {
    this.#watchers.add(watcher)
    return () => void this.#watchers.delete(watcher)
  }

  async #renewOnce(tokens: Tokens): Promise<string | null> {
    const { accessToken: of } = tokens
    if (this.#renewal?.of === of) return this.#renewal.done

    const done = this.#exchange(tokens)
    const renewal = { of, done }
    this.#renewal = renewal
    try {
      return await done
    } finally {
      if (this.#renewal === renewal) this.#renewal = null
    }
  }

  async #exchange({ accessToken, refreshToken }: Tokens): Promise<string | null> {
    if (!this.#refresh || refreshToken === undefined)
      return this.#end(accessToken, { reason: 'TOKEN_EXPIRED' })

    try {
      const fresh = await this.#refresh(refreshToken)
      // Who has signed in or out meanwhile is right.
      if (this.accessToken !== accessToken) return this.#findSuccessor(accessToken)
      this.#keep({ ...fresh, refreshToken: fresh.refreshToken ?? refreshToken })
      return fresh.accessToken
    } catch (error) {
      const ending = findRefusedRefresh(error)
      if (ending === null) throw error
      return this.#end(accessToken, ending)
    }
  }

  /** Signs out, unless there are newer tokens: of another sign-in, or refreshed by another tab. */
  #end(token: string, ending: SignedOut): string | null {
    if (this.accessToken !== token) return this.#findSuccessor(token)
    this.#forget()
    this.#onSignedOut(ending)
    return null
  }

  /** Nothing that one person has asked for may be repeated as another. */
  #findSuccessor(token: string): string | null {
    const { accessToken } = this
    if (accessToken === null) return null
    const subject = readSubject(token)
    return subject !== null && subject === readSubject(accessToken) ? accessToken : null
  }

  #keep(tokens: Tokens): void {
    const { accessToken, expiresIn } = tokens
    this.#storage.write(tokens)
    this.#expiry = expiresIn === undefined ? null : { accessToken, at: computeExpiry(expiresIn) }
    this.#tell(accessToken)
  }

  #forget(): void {
    this.#storage.write(null)
    this.#expiry = null
    this.#tell(null)
  }

  #tell(accessToken: string | null): void {
    for (const watcher of this.#watchers) watcher(accessToken)
  }

  #isExpiring({ accessToken }: Tokens): boolean {
    const expiry = this.#expiry
    return expiry !== null && expiry.accessToken === accessToken && Date.now() >= expiry.at
  }
}

/** Makes the session of an app. */
export function createSession(options: SessionOptions): Session {
  return new Session(options)
}

function createMemoryStorage(): TokenStorage {
  let kept: Tokens | null = null
  return {
    read: () => kept,
    write: (tokens) => {
      kept = tokens
    },
  }
}

function computeExpiry(expiresIn: number): number {
  const lifeMs = expiresIn * 1000
  return Date.now() + lifeMs - Math.min(MAX_MARGIN_MS, lifeMs * MARGIN_SHARE)
}

/** The person whom a token is of (RFC 7519 §4.1.2), unverified; `null` when it does not say. */
function readSubject(token: string): string | null {
  try {
    const [, payload = ''] = token.split('.')
    const text = atob(payload.replaceAll('-', '+').replaceAll('_', '/'))
    const { sub } = JSON.parse(text) as { readonly sub?: unknown }
    return typeof sub === 'string' ? sub : null
  } catch {
    return null
  }
}
