import type { ExecutionResult, GraphQLError, GraphQLFormattedError } from 'graphql'
import { headOfErrors } from './wire-errors.ts'
import type { HttpHead, StatusOptions } from './wire-errors.ts'

/** The options of an Apollo Server that decide how it tells errors. */
export interface ResultOptions extends StatusOptions {
  readonly formatError?:
    | ((formatted: GraphQLFormattedError, error: unknown) => GraphQLFormattedError)
    | undefined
  readonly includeStacktraceInErrorResponses?: boolean | undefined
}

/** What was executed outside Apollo Server, as Apollo Server and the status plug-in would answer it. */
export interface DescribedResult {
  readonly head: HttpHead
  /** `undefined` when there are none. */
  readonly errors: readonly GraphQLFormattedError[] | undefined
  readonly data: ExecutionResult['data']
}

const OK: HttpHead = { status: 200, headers: {} }

/** @param result - With `data`, because its variables were as the document declares them. */
export function describeResult(
  { errors, data }: ExecutionResult,
  options: ResultOptions,
): DescribedResult {
  if (errors === undefined) return { head: OK, errors, data }

  const head: OwnHead = { status: undefined, headers: {} }
  const formatted = errors.map((error) => formatError(error, head, options))
  const isResolved = data !== null && data !== undefined
  const ofRefusal = isResolved ? null : headOfErrors(errors, formatted, options)
  return { head: mergeHeads(head, ofRefusal), errors: formatted, data }
}

/** What errors of resolvers say of the head (`extensions.http`). */
interface OwnHead {
  status: number | undefined
  headers: Record<string, string>
}

/** An error that brings its own status keeps it, as with the status plug-in. */
function mergeHeads(own: OwnHead, ofRefusal: HttpHead | null): HttpHead {
  const isOwn = ofRefusal === null || (ofRefusal.status === 500 && own.status !== undefined)
  if (isOwn) return { status: own.status ?? 200, headers: own.headers }
  return { status: ofRefusal.status, headers: { ...own.headers, ...ofRefusal.headers } }
}

/** As Apollo Server does: each error gets a code, and may say what the head is to be. */
function formatError(
  error: GraphQLError,
  head: OwnHead,
  options: ResultOptions,
): GraphQLFormattedError {
  // An error of the compiler has no extensions.
  const { http, ...others } = error.extensions ?? {}
  const extensions: Record<string, unknown> = {
    ...others,
    code: others['code'] ?? INTERNAL_SERVER_ERROR,
  }
  if (isPartialHead(http)) {
    head.status = http.status ?? head.status
    for (const [name, value] of http.headers ?? []) head.headers[name] = value
  } else if (http !== undefined) extensions['http'] = http
  if (options.includeStacktraceInErrorResponses) {
    extensions['stacktrace'] = error.stack?.split('\n')
  }

  const formatted = { ...error.toJSON(), extensions }
  try {
    return options.formatError ? options.formatError(formatted, error) : formatted
  } catch {
    return { message: 'Internal server error', extensions: { code: INTERNAL_SERVER_ERROR } }
  }
}

const INTERNAL_SERVER_ERROR = 'INTERNAL_SERVER_ERROR'

function isPartialHead(
  http: unknown,
): http is { status?: number; headers?: ReadonlyMap<string, string> } {
  if (typeof http !== 'object' || http === null) return false
  const { status, headers } = http as { status?: unknown; headers?: unknown }
  const isStatus = status === undefined || typeof status === 'number'
  return isStatus && (headers === undefined || headers instanceof Map)
}
