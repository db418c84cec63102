import { ApolloLink } from '@apollo/client'
import { Kind, OperationTypeNode } from 'graphql'
import type { SelectionNode } from 'graphql'
import { catchError, concatAll, concatMap, from, map, of, takeWhile, throwError } from 'rxjs'
import type { Observable } from 'rxjs'
import { findRefusal } from './refusal.ts'
import type { AnswerError } from './refusal.ts'
import type { Session } from './session.ts'

type Result = ApolloLink.Result

/** What came back, as a result or as an error of the links behind. */
interface Answer {
  readonly errors: readonly AnswerError[]
  readonly data: unknown
  readonly handOn: Observable<Result>
}

/**
 * Makes the link that sends a session's token and does what refusals ask for. It goes before the `HttpLink`, or whatever takes
 * its place, and owns the `Authorization` header.
 *
 * On `TOKEN_EXPIRED` the session is refreshed and the operation sent again, once; a mutation only when nothing of it has run.
 * On `TOKEN_REVOKED` and `TOKEN_INVALID` the session signs out. All other answers go to the caller as they are, a second
 * `TOKEN_EXPIRED` and `REVOCATION_UNAVAILABLE` among them. When the refresh fails and may work later, so does the operation,
 * with the same error.
 */
export function createAuthLink(session: Session): ApolloLink {
  return new ApolloLink((operation, forward) => {
    function send(token: string | null, isRepeated: boolean): Observable<Result> {
      operation.setContext(({ headers }) => ({ headers: authorize(headers, token) }))

      return forward(operation).pipe(
        map(readResult),
        catchError((error: unknown) => of(readFailure(error))),
        // What follows a refusal in its answer goes with it.
        takeWhile((answer) => !isRefused(answer), true),
        concatMap((answer) => {
          if (token === null || !isRefused(answer)) return answer.handOn
          return from(react(answer, token, isRepeated)).pipe(concatAll())
        }),
      )
    }

    async function react(
      answer: Answer,
      token: string,
      isRepeated: boolean,
    ): Promise<Observable<Result>> {
      const mayRepeat = !isRepeated && isRepeatable(operation, answer)
      // Another refresh would be the beginning of a loop.
      if (isRepeated && isExpired(answer)) return answer.handOn

      try {
        const fresh = await session.handleRefusal(answer.errors, token)
        if (fresh !== null && mayRepeat) return send(fresh, true)
      } catch (failure) {
        if (mayRepeat && !answer.data) throw failure
      }
      return answer.handOn
    }

    return from(session.findToken()).pipe(concatMap((token) => send(token, false)))
  })
}

function authorize(headers: unknown, token: string | null): object {
  const others = Object.entries((headers ?? {}) as Record<string, unknown>).filter(
    // A link before this one may send the same operation again, with the header of the last time.
    ([name]) => name.toLowerCase() !== 'authorization',
  )
  return { ...Object.fromEntries(others), ...(token && { authorization: `Bearer ${token}` }) }
}

function readResult(result: Result): Answer {
  const { data, errors = [] } = result
  return { data, errors, handOn: of(result) }
}

/** A refusal may come as an error: `ServerError` has the answer as text, `CombinedGraphQLErrors` its errors. */
function readFailure(error: unknown): Answer {
  const handOn = throwError(() => error)
  const { bodyText, errors = [] } = (error ?? {}) as Failure
  const answer = typeof bodyText === 'string' ? parse(bodyText) : { errors, data: null }
  return { errors: Array.isArray(answer.errors) ? answer.errors : [], data: answer.data, handOn }
}

interface Failure {
  readonly bodyText?: unknown
  readonly errors?: readonly AnswerError[]
}

function parse(text: string): Partial<Pick<Answer, 'errors' | 'data'>> {
  try {
    return (JSON.parse(text) ?? {}) as object
  } catch {
    return {}
  }
}

function isRefused({ errors }: Answer): boolean {
  return findRefusal(errors) !== null
}

function isExpired({ errors }: Answer): boolean {
  return findRefusal(errors)?.reason === 'TOKEN_EXPIRED'
}

/**
 * Whether sending an operation again does nothing twice: of a mutation each field at the root must have been refused, since
 * only then no resolver ran; that `data` is `null` says less.
 */
function isRepeatable(
  { operationType, query, operationName }: ApolloLink.Operation,
  { errors, data }: Answer,
): boolean {
  if (operationType !== OperationTypeNode.MUTATION) return true
  if (data == null && errors.every(({ path }) => path === undefined)) return true

  const refused = new Set(
    errors
      .filter((error) => error.path?.length === 1 && findRefusal([error]) !== null)
      .map(({ path }) => path?.[0]),
  )
  const mutation = query.definitions
    .filter((definition) => definition.kind === Kind.OPERATION_DEFINITION)
    .find(({ name }) => operationName === undefined || name?.value === operationName)
  const fields = mutation?.selectionSet.selections ?? []
  const isRefusedField = (field: SelectionNode): boolean =>
    field.kind === Kind.FIELD && refused.has((field.alias ?? field.name).value)
  return fields.length > 0 && fields.every(isRefusedField)
}
