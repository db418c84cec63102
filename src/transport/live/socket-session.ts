import { GraphQLError, OperationTypeNode, getOperationAST } from 'graphql'
import type { ExecutionArgs, ExecutionResult, GraphQLFormattedError } from 'graphql'
import type { Authentication } from '../../caller/authentication.ts'
import { TokenExpiredError, TokenInvalidError, TokenRevokedError } from '../../errors.ts'
import { assertProtected } from '../../graphql/auth-directive.ts'
import type { AuthContext } from '../../graphql/auth-directive.ts'
import { VariableCheck } from '../../graphql/variables.ts'
import { LiveOperation } from '../../live/live-connection.ts'
import type { LiveConnection, LiveConnectionKind, Transport } from '../../live/live-connection.ts'
import type { LiveConnections } from '../../live/live-connections.ts'
import type { RevocationCheck } from '../../revocation/check.ts'
import { readBearerToken } from '../../token/bearer.ts'
import type { Token } from '../../token/claims.ts'
import type { TokenVerifier } from '../../token/verifier.ts'
import { readRemoteAddress, readUserAgent } from '../request-origin.ts'
import type { OriginatingRequest } from '../request-origin.ts'
import { LiveDocuments } from './live-documents.ts'
import type { LiveDocumentsOptions } from './live-documents.ts'

/** The parts of a node that live connections are served with. */
export interface LiveParts {
  readonly connections: LiveConnections
  readonly tokens: TokenVerifier
  readonly check: RevocationCheck
  readonly context: (request: {
    readonly authorization: Authorization
    readonly ipAddress: string | null
  }) => AuthContext
}

/** How operations on live connections are executed. */
export interface LiveOptions extends LiveDocumentsOptions {
  /** Your part of an operation's GraphQL context; `auth` and `operation` are added to it. */
  readonly context?: ((connection: LiveConnection) => object) | undefined
  /**
   * Where a client comes from.
   *
   * @defaultValue the other end of its TCP connection
   */
  readonly readIpAddress?: ((request: OriginatingRequest) => string | null) | undefined
  /** As Apollo Server's; by default errors go out as they are. */
  readonly formatError?:
    | ((formatted: GraphQLFormattedError, error: unknown) => GraphQLFormattedError)
    | undefined
}

/** What a client wants to have executed. */
export interface LiveRequest {
  readonly query: string
  readonly operationName?: string | null | undefined
  readonly variables?: Readonly<Record<string, unknown>> | null | undefined
}

/** An operation, and what to hand to `execute` or `subscribe`. */
export interface LiveExecution {
  readonly operation: LiveOperation
  readonly args: ExecutionArgs & { readonly contextValue: Record<string, unknown> }
}

/** How long a client may take to hear that its connection ends, in milliseconds. */
export const MAX_FAREWELL_MS = 2000

type Authorization = string | readonly string[] | undefined

/** What live connections of one server have in common. */
export class LiveServer {
  readonly parts: LiveParts
  readonly options: LiveOptions
  readonly documents: LiveDocuments
  readonly variables: VariableCheck

  /** @throws `TypeError` when a field with `@auth` is not guarded ({@link assertProtected}). */
  constructor(parts: LiveParts, options: LiveOptions) {
    assertProtected(options.schema)
    this.parts = parts
    this.options = options
    this.documents = new LiveDocuments(options)
    this.variables = new VariableCheck(options.schema)
  }

  open(kind: LiveConnectionKind, request: OriginatingRequest, transport: Transport): LiveSession {
    const { readIpAddress = readRemoteAddress } = this.options
    const ipAddress = readIpAddress(request)
    const userAgent = readUserAgent(request)
    const about = { kind, transport, ipAddress, userAgent }
    return new LiveSession(this, this.parts.connections.open(about))
  }
}

/** One live connection, whatever carries it: its credentials, what runs on it, and what may still be sent. */
export class LiveSession {
  readonly connection: LiveConnection
  readonly #server: LiveServer
  readonly #running = new Map<LiveOperation, Authentication>()
  /** Subscriptions that were admitted: what follows are events. */
  readonly #streaming = new Set<LiveOperation>()
  #authorization: Authorization
  #end: () => void = () => undefined
  readonly #ended = new Promise<void>((resolve) => {
    this.#end = resolve
  })

  constructor(server: LiveServer, connection: LiveConnection) {
    this.#server = server
    this.connection = connection
  }

  /** Takes credentials as they come: what needs them is refused when they will not do. */
  carry(authorization: Authorization): void {
    this.#authorization = authorization
    const { connections, tokens } = this.#server.parts
    try {
      const text = readBearerToken(authorization)
      if (text !== null) connections.admit(this.connection, tokens.verify(text))
    } catch {
      // Then nothing depends on it.
    }
  }

  /**
   * Takes credentials that have to be good; fresh ones take the place of those before, in what runs already too.
   *
   * @returns `null` when there are none.
   * @throws {@link TokenInvalidError}, {@link TokenExpiredError} or {@link TokenRevokedError} when they will not do;
   * `RevocationUnavailableError` when that cannot be known: they are taken, and what needs them is refused.
   */
  async present(authorization: Authorization): Promise<Token | null> {
    const { connections, tokens, check } = this.#server.parts
    const text = readBearerToken(authorization)
    if (text === null) return null

    const token = tokens.verify(text)
    const { token: before } = this.connection
    if (before !== null && before.subject !== token.subject) {
      throw new TokenInvalidError('it is of another subject than the one before')
    }

    // Before the check, so that a revocation that comes meanwhile finds it.
    connections.admit(this.connection, token)
    this.#authorization = authorization
    for (const auth of this.#running.values()) auth.renew(authorization)

    const revocation = await check(token)
    if (revocation !== null) throw new TokenRevokedError(revocation)
    return token
  }

  /** @returns What is wrong with the request, when it may not be executed. */
  begin({ query, operationName, variables }: LiveRequest): LiveExecution | readonly GraphQLError[] {
    const { documents, options, parts } = this.#server
    const read = documents.read(query)
    if (!('document' in read)) return read
    // An empty name is none, as Apollo's clients send it.
    const name = operationName === '' ? null : operationName
    const definition = getOperationAST(read.document, name)
    if (!definition) return [new GraphQLError('Name one of the operations in the document')]
    const fault = this.#server.variables.findFault(read.document, definition, variables ?? {})
    if (fault) return [fault]

    const { ipAddress } = this.connection
    const { auth } = parts.context({ authorization: this.#authorization, ipAddress })
    const isSubscription = definition.operation === OperationTypeNode.SUBSCRIPTION
    const operation = new LiveOperation(() => isSubscription && (read.isGuarded || auth.wasAsked))
    this.connection.operations.add(operation)
    this.#running.set(operation, auth)

    const args = {
      schema: options.schema,
      document: read.document,
      operationName: name ?? null,
      variableValues: variables ?? null,
      contextValue: { ...options.context?.(this.connection), auth, operation },
    }
    return { operation, args }
  }

  /** A subscription was admitted: what comes of it from now on are events. */
  stream(operation: LiveOperation): void {
    this.#streaming.add(operation)
  }

  finish(operation: LiveOperation): void {
    this.#running.delete(operation)
    this.#streaming.delete(operation)
    this.connection.operations.delete(operation)
  }

  /**
   * The last gate before a result is sent. An event is held back when its connection is about to end, until it has; and one that
   * was refused because of the token ends it.
   */
  async release(operation: LiveOperation, result: ExecutionResult): Promise<LiveResult> {
    if (this.#streaming.has(operation)) {
      const refusal = findRefusal(result)
      if (refusal) this.#server.parts.connections.cut(this.connection, refusal)
      if (this.connection.ending && !operation.isFarewell) await this.#ended
    }
    const { errors, ...rest } = result
    return { ...rest, ...(errors && { errors: this.format(errors) }) }
  }

  /** As they go over the wire. */
  format(errors: readonly GraphQLError[]): readonly GraphQLFormattedError[] {
    const { formatError } = this.#server.options
    return errors.map((error) => {
      const formatted = {
        ...error.toJSON(),
        extensions: { code: codeOf(error), ...error.extensions },
      }
      return formatError?.(formatted, error) ?? formatted
    })
  }

  /** Forgets the connection: it is closed. */
  close(): void {
    this.#end()
    this.#server.parts.connections.remove(this.connection)
  }
}

/** As Apollo Server says it. What has no path was refused before anything ran: because of its variables. */
function codeOf({ originalError }: GraphQLError): string {
  return originalError ? 'INTERNAL_SERVER_ERROR' : 'BAD_USER_INPUT'
}

type LiveResult = Omit<ExecutionResult, 'errors'> & {
  readonly errors?: readonly GraphQLFormattedError[]
}

function findRefusal({
  errors = [],
}: ExecutionResult): TokenRevokedError | TokenExpiredError | null {
  for (const { originalError } of errors) {
    if (originalError instanceof TokenRevokedError) return originalError
    if (originalError instanceof TokenExpiredError) return originalError
  }
  return null
}
