import { randomUUID } from 'node:crypto'
import type { IResolvers } from '@graphql-tools/utils'
import type { GraphQLSchema } from 'graphql'
import { Authentication } from './caller/authentication.ts'
import type { Caller } from './caller/authentication.ts'
import type { Demand } from './caller/demand.ts'
import type { PortcullisError } from './errors.ts'
import { applyAuthDirective, assertProtected } from './graphql/auth-directive.ts'
import type { AuthContext } from './graphql/auth-directive.ts'
import { createLiveResolvers } from './graphql/resolvers/live-resolvers.ts'
import { createRevocationResolvers } from './graphql/resolvers/revocation-resolvers.ts'
import type { RevocationResolverOptions } from './graphql/resolvers/revocation-resolvers.ts'
import { authTypeDefs, liveTypeDefs, revocationTypeDefs } from './graphql/type-defs.ts'
import { LiveConnections } from './live/live-connections.ts'
import { createRevocationCheck } from './revocation/check.ts'
import type { LookUp, RevocationCheck } from './revocation/check.ts'
import type { RevocationStore } from './revocation/ports.ts'
import { unlessAhead } from './revocation/store-clock.ts'
import { startSweeper } from './revocation/sweeper.ts'
import type { Sweeper, SweeperOptions } from './revocation/sweeper.ts'
import { shieldLog } from './security-event.ts'
import type { SecurityLog } from './security-event.ts'
import type { Installation, Token } from './token/claims.ts'
import type { KeyRing } from './token/keys.ts'
import { createTokenSigner } from './token/signer.ts'
import type { SignedToken, TokenGrant, TokenSigner } from './token/signer.ts'
import { TokenVerifier } from './token/verifier.ts'
import { createEventStreamOptions } from './transport/live/graphql-sse.ts'
import { createWebSocketOptions } from './transport/live/graphql-ws.ts'
import type { WebSocketOptions } from './transport/live/graphql-ws.ts'
import type { LiveOptions } from './transport/live/socket-session.ts'

/** What {@link createPortcullis} is made of: keys, names, and where revocations are kept. */
export interface PortcullisOptions extends Pick<
  RevocationResolverOptions,
  'findOpaqueToken' | 'readSubject' | 'assertRestorable' | 'reauthentication'
> {
  /** The same on every node ({@link createKeyRing}). */
  readonly keys: KeyRing
  /** Put into `iss`, and required of it. */
  readonly issuer: string
  /** Put into `aud`, and required of it. */
  readonly audience: string
  /** The same database for every node. */
  readonly store: RevocationStore
  /**
   * How long an access token lives, in seconds, and the longest that one may; the same on every node. When it is lowered,
   * tokens that were issued for longer are `TOKEN_EXPIRED` at once.
   *
   * Never more than the store's `maxTokenLifetimeSeconds`, because the store forgets a revocation when the last token
   * that it can hit has expired.
   *
   * @defaultValue the store's `maxTokenLifetimeSeconds`: 900 (15 minutes), unless the store was told otherwise
   */
  readonly tokenLifetimeSeconds?: number
  /**
   * The database that tokens belong to: put into their `db`, and required of it, so that another installation with the
   * same keys and names, such as a copy for tests, takes none of them. Tokens without `db` are accepted when they were
   * issued within a day of its `since`.
   *
   * @defaultValue none: `db` is not looked at
   */
  readonly installation?: Installation | undefined
  /** Told who signed out, who revoked what, and whose revoked token was refused; if it throws, no answer changes. */
  readonly log?: SecurityLog | undefined
  /** Told of every look-up in the store, for statistics. */
  readonly onLookUp?: ((lookUp: LookUp) => void) | undefined
  /** Told of each live connection that ends because of its token, for statistics. */
  readonly onCut?: ((why: PortcullisError) => void) | undefined
}

/** One request's raw material. */
export interface RequestCredentials {
  /** The header's value; a list when the client sent it more than once. */
  readonly authorization: string | readonly string[] | undefined
  /** For the security log. */
  readonly ipAddress?: string | null | undefined
}

/** Whom {@link Portcullis.issue} makes a token for. */
export interface IssueGrant extends Pick<TokenGrant, 'subject' | 'notAfter' | 'authenticatedAt'> {
  /**
   * What `@auth(requires:)` is compared with.
   *
   * @defaultValue `['USER']`, which is what a bare `@auth` asks for
   */
  readonly roles?: readonly string[]
  /**
   * The sign-in that the token belongs to, which is what `logout` ends: the same for all tokens of one device.
   *
   * @defaultValue a new one
   */
  readonly sessionId?: string
}

/** An access token, and the session that it belongs to. */
export interface IssuedToken extends SignedToken {
  readonly sessionId: string
}

/** What has WebSockets and event streams end with their tokens. */
export interface Live {
  /** SDL of the subscriptions and of the query for live connections. */
  readonly typeDefs: string
  /** Resolvers for them. */
  readonly resolvers: IResolvers
  /** The connections that are open on this node. */
  readonly connections: LiveConnections

  /**
   * Makes the options of `graphql-ws`' `useServer` or `makeHandler`.
   *
   * @throws `TypeError` as {@link Portcullis.assertProtected}.
   */
  webSocketOptions(options: WebSocketOptions): ReturnType<typeof createWebSocketOptions>

  /**
   * Makes the options of `graphql-sse`'s `createHandler`.
   *
   * @throws `TypeError` as {@link Portcullis.assertProtected}.
   */
  eventStreamOptions(options: LiveOptions): ReturnType<typeof createEventStreamOptions>
}

/** Everything that a GraphQL server needs to have its tokens checked and revoked. */
export interface Portcullis {
  /** SDL of the directives and of the revocation queries and mutations. */
  readonly typeDefs: readonly string[]
  /** Resolvers of the revocation queries and mutations. */
  readonly resolvers: IResolvers
  /** Verifies; it asks no store, so what it accepts may be revoked ({@link Portcullis.authenticate} tells). */
  readonly tokens: TokenVerifier
  /** The store, for revocations that begin in code of yours. */
  readonly revocations: RevocationStore
  /** Whether a token is revoked, batched with everything that is asked at the same time. */
  readonly check: RevocationCheck
  /** Signs without I/O; `issuedAt` must come from the store. */
  readonly sign: TokenSigner
  /** For subscriptions: nothing of it is at work until you use it. */
  readonly live: Live

  /**
   * Issues an access token, at an instant that no earlier revocation reaches. Call it when your login succeeded.
   *
   * @throws {@link RevocationUnavailableError} when the store cannot draw that instant.
   * @throws `TypeError` when the subject is no text, or `authenticatedAt` no instant: that would make a token that is
   * refused later.
   */
  issue(grant: IssueGrant): Promise<IssuedToken>

  /**
   * Makes `@auth` hold in an executable schema. Do last what makes the schema: a resolver that is set afterwards takes the
   * guard's place.
   *
   * @throws `TypeError` that lists all that is wrong with the directives, in SDL and `extensions` alike, by coordinates such
   * as `Query.me`.
   */
  protect(schema: GraphQLSchema): GraphQLSchema

  /**
   * Makes sure that every field with `@auth` carries its guard. `createStatusPlugin`, `live.webSocketOptions` and
   * `live.eventStreamOptions` do it at the start; on another server, call it when that is ready.
   *
   * @example
   * app.addHook('onReady', async () => portcullis.assertProtected(app.graphql.schema)) // Mercurius
   *
   * @throws `TypeError` that names every field whose guard is not there: `protect` was forgotten, or something has replaced
   * or wrapped a resolver after it.
   */
  assertProtected(schema: GraphQLSchema): void

  /** One request's part of the GraphQL context. It does nothing until a protected field asks. */
  context(request: RequestCredentials): AuthContext

  /**
   * Finds out who calls, outside GraphQL: for a REST route, an upload, a WebSocket's handshake.
   *
   * @param demand - Roles, states, and perhaps a recent login asked for; by default the role `USER` and an active token, as with a bare `@auth`.
   * @throws {@link PortcullisError} as a refused field; {@link httpHeadOf} and its `extensions` make the answer.
   */
  authenticate(request: RequestCredentials, demand?: Partial<Demand>): Promise<Caller>

  /**
   * Removes what can be forgotten from the store, every minute or so, until it is stopped; without it the tables grow
   * for ever. It keeps no process alive. Stop it before you close the store's database.
   */
  startSweeper(options?: Partial<Omit<SweeperOptions, 'sweeps'>>): Sweeper
}

const SWEEP_INTERVAL_MS = 60_000

/** No tokens have ever lived longer than a year; one that says so was not issued in earnest. */
const FORMER_LIFETIME_SECONDS = 366 * 24 * 60 * 60

/**
 * Puts the parts together for one node. It opens nothing, so there is nothing to close.
 *
 * @throws `TypeError` when an option is of no use: better at the start than at the first request.
 *
 * @example
 * const portcullis = createPortcullis({ keys, issuer, audience, store })
 * const schema = portcullis.protect(makeExecutableSchema({
 *   typeDefs: [...portcullis.typeDefs, typeDefs],
 *   resolvers: [portcullis.resolvers, resolvers],
 * }))
 */
export function createPortcullis(options: PortcullisOptions): Portcullis {
  const { keys, issuer, audience, store } = options
  const log = options.log && shieldLog(options.log)
  const { tokenLifetimeSeconds = store.maxTokenLifetimeSeconds } = options
  assertName('issuer', issuer)
  assertName('audience', audience)
  assertLifetime(tokenLifetimeSeconds, store.maxTokenLifetimeSeconds)
  assertAges(options.reauthentication)

  const tokens = new TokenVerifier({
    keys,
    issuer,
    audience,
    maxLifetimeSeconds: tokenLifetimeSeconds,
    formerLifetimeSeconds: FORMER_LIFETIME_SECONDS,
    installation: options.installation,
    now: () => store.now(),
  })
  const sign = createTokenSigner({
    keys,
    issuer,
    audience,
    lifetimeSeconds: tokenLifetimeSeconds,
    installation: options.installation,
  })
  const check = createRevocationCheck(store, { onLookUp: options.onLookUp })
  const rulesOut = (token: Token): boolean => store.rulesOut?.(token) ?? false

  const context = ({ authorization, ipAddress = null }: RequestCredentials): AuthContext => ({
    auth: new Authentication({
      authorization,
      ipAddress,
      tokens,
      check,
      rulesOut,
      ...(log && { log }),
    }),
  })

  const connections = new LiveConnections({ store, log, onCut: options.onCut })
  const parts = { connections, tokens, check, context }

  return {
    typeDefs: [authTypeDefs, revocationTypeDefs],
    resolvers: createRevocationResolvers({ ...options, log, tokens, revocations: store, check }),
    tokens,
    revocations: store,
    check,
    sign,
    context,
    protect: applyAuthDirective,
    assertProtected,
    live: {
      typeDefs: liveTypeDefs,
      resolvers: createLiveResolvers({ revocations: store, connections }),
      connections,
      webSocketOptions(live) {
        store.follow?.()
        return createWebSocketOptions(parts, live)
      },
      eventStreamOptions(live) {
        store.follow?.()
        return createEventStreamOptions(parts, live)
      },
    },

    async issue({ sessionId = randomUUID(), roles = ['USER'], ...grant }) {
      assertName('subject', grant.subject)
      assertInstant('authenticatedAt', grant.authenticatedAt)
      const issuedAt = await store.issueInstant(grant.subject)
      return { ...sign({ ...grant, roles, sessionId, issuedAt }), sessionId }
    },

    async authenticate(request, demand = {}) {
      const { requires = ['USER'], accepts = ['ACTIVE'], ...others } = demand
      return context(request).auth.authenticate({ requires, accepts, ...others })
    },

    startSweeper({ intervalMs = SWEEP_INTERVAL_MS, onError = warn, ...others } = {}) {
      const sweeps = [unlessAhead(store, (limit) => store.deleteExpired(limit))]
      return startSweeper({ ...others, sweeps, intervalMs, onError })
    },
  }
}

function assertName(option: string, name: unknown): void {
  if (typeof name === 'string' && name !== '') return
  throw new TypeError(
    `expected ${option} to be a name, got ${name === '' ? 'an empty one' : typeof name}`,
  )
}

function assertAges(rules: PortcullisOptions['reauthentication']): void {
  for (const [option, seconds] of Object.entries(rules ?? {})) {
    if (Number.isFinite(seconds) && seconds > 0) continue
    throw new TypeError(
      `expected reauthentication.${option} to be a positive number, got ${seconds}`,
    )
  }
}

function assertInstant(option: string, instant: Date | undefined): void {
  if (instant === undefined || Number.isFinite(instant.getTime())) return
  throw new TypeError(`expected ${option} to be a Date, got an invalid one`)
}

function assertLifetime(seconds: number, max: number): void {
  if (!(Number.isFinite(seconds) && seconds > 0)) {
    throw new TypeError(`expected tokenLifetimeSeconds to be a positive number, got ${seconds}`)
  }
  if (seconds > max) {
    throw new TypeError(
      `expected tokenLifetimeSeconds to be at most the ${max} that the store remembers, got ${seconds}`,
    )
  }
}

function warn(error: unknown): void {
  const detail = error instanceof Error ? error.message : String(error)
  process.emitWarning('Portcullis could not remove what can be forgotten, and will try again', {
    type: 'PortcullisWarning',
    detail,
  })
}
