import type { ClientOptions, Message } from 'graphql-ws'
import type { AnswerError } from './refusal.ts'
import type { Session } from './session.ts'

/** The options of `createClient` of `graphql-ws` that a session needs. */
export type WebSocketClientOptions = Required<
  Pick<ClientOptions, 'connectionParams' | 'shouldRetry' | 'on'>
>

/**
 * Makes the options of a `graphql-ws` client that have its connection go with a session.
 *
 * When the server says that the token is about to expire, it is refreshed and sent over the same WebSocket; so is every other new
 * token. A WebSocket that was closed because of its token is opened again with a newer one; after `TOKEN_REVOKED`,
 * `TOKEN_INVALID` or a refused refresh the session signs out, and it stays closed, and it is closed when the app signs out. Lost
 * connections are opened again as often as `retryAttempts` says.
 *
 * One call is for one client. More listeners go to `client.on(…)`: an `on` beside these options would take their place.
 */
export function createWebSocketOptions(session: Session): WebSocketClientOptions {
  const connection = new AuthenticatedConnection(session)
  return {
    connectionParams: () => connection.introduce(),
    shouldRetry: (cause) => connection.isWorthRetrying(cause),
    on: {
      connecting: (isRetry) => connection.begin(isRetry),
      connected: (socket) => connection.start(socket as LiveSocket),
      ping: (isReceived, payload) => {
        if (isReceived && payload?.['reason'] === 'TOKEN_EXPIRING') connection.renew()
      },
      pong: (isReceived, payload) => {
        if (isReceived && payload?.['expiresAt']) connection.confirm()
      },
      message: (message) => connection.hear(readErrors(message)),
      closed: (event) => connection.end(event as CloseReason),
    },
  }
}

function readErrors(message: Message): readonly AnswerError[] | undefined {
  if (!('id' in message && 'payload' in message)) return undefined
  const payload = message.payload as { readonly errors?: readonly AnswerError[] } | undefined
  return Array.isArray(payload) ? (payload as readonly AnswerError[]) : payload?.errors
}

/** What is used of a WebSocket. */
interface LiveSocket {
  readonly readyState: number
  send(data: string): void
  close(code: number, reason: string): void
}

interface CloseReason {
  readonly code?: number
  readonly reason?: string
}

const OPEN = 1

/** With which the server closes because of a token, and the reasons that it may give. */
const FORBIDDEN = 4403
const REASONS: ReadonlySet<unknown> = new Set(['TOKEN_EXPIRED', 'TOKEN_REVOKED', 'TOKEN_INVALID'])

/** How often in a row a WebSocket is refused before it stays closed, and for how long it must last to count as a new start. */
const MAX_REFUSALS = 5
const MIN_LIFE_MS = 2000

class SignedOutError extends Error {
  override readonly name = 'SignedOutError'
}

/** Where one client is with its token, over all the sockets that it opens. */
class AuthenticatedConnection {
  readonly #session: Session
  #socket: LiveSocket | null = null
  #startedAt = 0
  #unwatch: () => void = () => undefined
  /** The token that the server was given last. */
  #token: string | null = null
  /** Whether the server has taken it. Until then, what it says may be about the one before. */
  #isConfirmed = false
  #refusals = 0
  #mayRetry = true

  constructor(session: Session) {
    this.#session = session
  }

  begin(isRetry: boolean): void {
    if (!isRetry) this.#token = null
    this.#mayRetry = true
  }

  /** @throws when the one who was signed in is not any more: what ran must not go on without a token. */
  async introduce(): Promise<Record<string, unknown>> {
    const token = await this.#session.findToken()
    const isSignedOut = token === null && this.#token !== null
    this.#token = token
    if (isSignedOut) throw new SignedOutError('Signed out')

    return token === null ? {} : { authorization: `Bearer ${token}` }
  }

  start(socket: LiveSocket): void {
    this.#socket = socket
    this.#startedAt = Date.now()
    this.#isConfirmed = true
    this.#unwatch = this.#session.watch((token) => this.#present(token))
    // It may have come between the two.
    if (this.#session.accessToken !== this.#token) this.#present(this.#session.accessToken)
  }

  renew(): void {
    if (this.#token === null) return
    this.#session.renew(this.#token).then(
      (token) => token !== null && this.#present(token),
      // Then the server closes the socket in the end, and there is another try.
      () => undefined,
    )
  }

  confirm(): void {
    this.#isConfirmed = true
  }

  /** An operation was refused, on a socket that stays. */
  hear(errors: readonly AnswerError[] | undefined): void {
    if (this.#isConfirmed) this.#settle(errors)
  }

  end({ code, reason }: CloseReason): void {
    const isAboutToken = this.#socket === null || this.#isConfirmed
    const lifeMs = this.#socket === null ? 0 : Date.now() - this.#startedAt
    this.#unwatch()
    this.#socket = null
    this.#isConfirmed = false
    if (this.#token !== null && this.#session.accessToken === null) this.#mayRetry = false
    if (code !== FORBIDDEN) return

    this.#refusals = lifeMs < MIN_LIFE_MS ? this.#refusals + 1 : 1
    if (isAboutToken) this.#settle([{ extensions: { reason } }])
    this.#mayRetry =
      REASONS.has(reason) && this.#refusals < MAX_REFUSALS && this.#session.accessToken !== null
  }

  isWorthRetrying(cause: unknown): boolean {
    return this.#mayRetry && !(cause instanceof SignedOutError)
  }

  #settle(errors: readonly AnswerError[] | undefined): void {
    if (this.#token === null) return
    this.#session.handleRefusal(errors, this.#token).catch(() => undefined)
  }

  #present(token: string | null): void {
    const socket = this.#socket
    if (socket?.readyState !== OPEN) return
    if (token === null) return socket.close(FORBIDDEN, 'Signed out')
    if (token === this.#token) return

    this.#token = token
    this.#isConfirmed = false
    const payload = { authorization: `Bearer ${token}` }
    socket.send(JSON.stringify({ type: 'ping', payload }))
  }
}
