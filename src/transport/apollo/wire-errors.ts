import type {
  ApolloServerPlugin,
  BaseContext,
  GraphQLRequestContextWillSendResponse,
  HTTPGraphQLHead,
} from '@apollo/server'
import type { ExecutionResult, GraphQLError, GraphQLFormattedError, GraphQLSchema } from 'graphql'
import type { Logger } from 'pino'
import { PortcullisError, RevocationUnavailableError } from '../../errors.ts'
import { assertProtected } from '../../graphql/auth-directive.ts'
import type { AuthContext } from '../../graphql/auth-directive.ts'
import { shorten, withoutSuggestions } from '../../graphql/message.ts'
import { KeptAnswers } from './kept-answers.ts'

/** What the caller is told of an error that is not for callers. */
const INTERNAL = {
  message: 'Internal server error',
  extensions: { code: 'INTERNAL_SERVER_ERROR' },
} as const

/**
 * The one gate between an error and the wire: errors of ours pass, errors of the GraphQL document pass, anything else
 * becomes "Internal server error" and goes to the log.
 */
export function createErrorGate(
  log: Logger,
  { hidesSchema }: { readonly hidesSchema: boolean },
): (formatted: GraphQLFormattedError, error: unknown) => GraphQLFormattedError {
  return (formatted, error) => {
    const { locations, path } = formatted
    const place = { ...(locations && { locations }), ...(path && { path }) }

    const original = findOriginal(error)
    if (original === null) return describeDocumentError(formatted, error, hidesSchema)
    if (original instanceof PortcullisError) {
      if (original instanceof RevocationUnavailableError)
        log.warn(describe(original.cause), original.message)
      return { message: original.message, ...place, extensions: original.extensions }
    }

    log.error(describe(original), 'internal error')
    return { ...INTERNAL, ...place }
  }
}

/** What is left to choose about the statuses of refusals. */
export interface StatusOptions {
  /**
   * For a revoked token: what RFC 6750 says, or what tells it from all others.
   *
   * @defaultValue 401
   */
  readonly revokedTokenStatus?: 401 | 403
}

/**
 * Gives an answer in which nothing was resolved the HTTP status and headers of its first error, and keeps a server from
 * starting whose fields with `@auth` are not guarded: `protect` was forgotten, or something took the place of a guard
 * ({@link assertProtected}). A schema that a gateway brings later, and that is not in order, is not served.
 *
 * Answers that depend on their caller are for that caller's cache only, and one that a cache had kept goes out only while
 * its caller's token still admits it.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc6750#section-3 RFC 6750 §3}
 */
export function createStatusPlugin(options: StatusOptions = {}): ApolloServerPlugin {
  const kept = new KeptAnswers()
  const inOrder = new WeakSet<GraphQLSchema>()
  function check(schema: GraphQLSchema): void {
    assertProtected(schema)
    inOrder.add(schema)
  }

  return {
    async serverWillStart({ schema }) {
      check(schema)
      // Apollo writes what this throws to its log, and goes on.
      return { schemaDidLoadOrUpdate: ({ apiSchema }) => check(apiSchema) }
    },

    async requestDidStart() {
      let wasExecuted = false
      return {
        async didResolveOperation({ schema }) {
          if (!inOrder.has(schema)) throw new Error(INTERNAL.message)
        },

        async executionDidStart({ contextValue, overallCachePolicy }) {
          wasExecuted = true
          return {
            async executionDidEnd() {
              const { auth } = contextValue as Partial<AuthContext>
              if (auth?.wasAsked) overallCachePolicy.restrict({ scope: 'PRIVATE' })
            },
          }
        },

        async willSendResponse(request) {
          const { response, errors, requestIsBatched } = request
          const anew = wasExecuted ? null : await answerAnew(request, kept)
          if (requestIsBatched || response.body.kind !== 'single') return
          const { data, errors: formatted } = response.body.singleResult
          const failed = anew?.errors ?? errors
          if ((data !== null && data !== undefined) || !failed || !formatted) return

          setHead(response.http, headOfErrors(failed, formatted, options))
        },
      }
    },
  }
}

/** Has an answer that was kept, and that its caller may not see, be made by the resolvers. */
async function answerAnew(
  request: GraphQLRequestContextWillSendResponse<BaseContext>,
  kept: KeptAnswers,
): Promise<ExecutionResult | null> {
  const { body, http } = request.response
  if (body.kind !== 'single' || body.singleResult.data == null) return null
  const anew = await kept.replace(request)
  if (anew === null) return null

  const { data = null, errors } = anew
  body.singleResult = { data, ...(errors && { errors: errors.map(formatError) }) }
  http.headers.set('cache-control', 'no-store')
  http.headers.delete('age')
  return anew
}

/** What is not for callers is told by its code only. */
function formatError(error: GraphQLError): GraphQLFormattedError {
  const { message, extensions, ...place } = error.toJSON()
  const original = findOriginal(error)
  if (original === null || original instanceof PortcullisError)
    return { message, ...place, ...(extensions && { extensions }) }
  return { ...INTERNAL, ...place }
}

/** The head of an HTTP answer; names of headers are in lower case. */
export interface HttpHead {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
}

/**
 * What an error becomes over HTTP, for answers that are not GraphQL's: `WWW-Authenticate` and `Retry-After` included.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc6750#section-3 RFC 6750 §3}
 */
export function httpHeadOf(
  { httpStatus, extensions, retryAfterSeconds }: PortcullisError,
  { revokedTokenStatus = 401 }: StatusOptions = {},
): HttpHead {
  const { code, reason } = extensions
  const isTokenAtFault =
    reason === 'TOKEN_INVALID' || reason === 'TOKEN_EXPIRED' || reason === 'TOKEN_REVOKED'
  const challenge = isTokenAtFault ? 'Bearer error="invalid_token"' : 'Bearer'

  return {
    status: reason === 'TOKEN_REVOKED' ? revokedTokenStatus : httpStatus,
    headers: {
      ...(code === 'UNAUTHENTICATED' && { 'www-authenticate': challenge }),
      ...(retryAfterSeconds !== null && { 'retry-after': String(retryAfterSeconds) }),
    },
  }
}

/**
 * The head of an answer in which nothing was resolved: that of its first error.
 *
 * @param formatted - The same errors, as the caller is told them.
 * @returns `null` when the error is GraphQL's own.
 */
export function headOfErrors(
  errors: readonly unknown[],
  formatted: readonly GraphQLFormattedError[],
  options: StatusOptions,
): HttpHead | null {
  const original = findOriginal(errors[0])
  if (original instanceof PortcullisError) return httpHeadOf(original, options)
  const isInternal = formatted[0]?.extensions?.['code'] === INTERNAL.extensions.code
  return isInternal ? INTERNAL_HEAD : null
}

const INTERNAL_HEAD: HttpHead = { status: 500, headers: {} }

function setHead(http: HTTPGraphQLHead, head: HttpHead | null): void {
  // An error that brings its own status keeps it: Apollo's about persisted queries have no other code.
  if (head === null || (head === INTERNAL_HEAD && http.status !== undefined)) return
  http.status = head.status
  for (const [name, value] of Object.entries(head.headers)) http.headers.set(name, value)
}

/**
 * What a resolver threw; `null` when GraphQL itself refused the document.
 *
 * Asks for the property and not for the class: a process can hold two copies of the graphql package.
 */
function findOriginal(error: unknown): Error | null {
  let original = error
  while (original instanceof Error && 'originalError' in original) {
    if (original.originalError === undefined || original.originalError === null) return null
    original = original.originalError
  }
  return original instanceof Error
    ? original
    : new Error(`something thrown that is no error: ${typeof original}`)
}

/** An error of the document or its variables, as graphql-js found it. */
function describeDocumentError(
  { message, extensions = {}, ...place }: GraphQLFormattedError,
  error: unknown,
  hidesSchema: boolean,
): GraphQLFormattedError {
  const { code } = extensions
  return {
    // Apollo hides suggestions about the document, and forgets some.
    message: shorten(hidesSchema ? withoutSuggestions(message) : message),
    ...place,
    extensions: {
      ...extensions,
      // Apollo refuses some requests without a code (persisted queries), which is then that of an internal error.
      ...(code === INTERNAL.extensions.code && isOfRequest(error) && { code: 'BAD_REQUEST' }),
    },
  }
}

function isOfRequest(error: unknown): boolean {
  const { extensions } = error as { extensions?: { http?: { status?: number } } }
  const status = extensions?.http?.status ?? 500
  return status >= 400 && status < 500
}

/** Name, code, message and stack; a driver's other properties may quote rows. */
function describe(error: unknown): { err: object } {
  if (!(error instanceof Error)) return { err: { message: String(error) } }
  const { name, message, stack, cause } = error
  const { code } = error as { code?: unknown }
  return {
    err: {
      name,
      code,
      message,
      stack,
      ...(cause instanceof Error && { cause: describe(cause).err }),
    },
  }
}
