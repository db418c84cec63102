import type { ExecutionResult, GraphQLError, GraphQLFormattedError } from 'graphql'
import { headOfErrors } from './wire-errors.ts'
import type { HttpHead, StatusOptions } from './wire-errors.ts'

export interface ResultOptions extends StatusOptions {
  /** As the server's option of that name. */
  readonly formatError: (formatted: GraphQLFormattedError, error: unknown) => GraphQLFormattedError
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

  const formatted = errors.map((error) => formatError(error, options))
  const isResolved = data !== null && data !== undefined
  const head = isResolved ? null : headOfErrors(errors, formatted, options)
  return { head: head ?? OK, errors: formatted, data }
}

/** Apollo Server gives each error a code. */
function formatError(error: GraphQLError, options: ResultOptions): GraphQLFormattedError {
  const { code = 'INTERNAL_SERVER_ERROR' } = error.extensions ?? {}
  const extensions = { ...error.extensions, code }
  return options.formatError({ ...error.toJSON(), extensions }, error)
}
