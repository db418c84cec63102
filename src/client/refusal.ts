/** An error of an answer, as the GraphQL specification has it. */
export interface AnswerError {
  readonly message?: string | undefined
  readonly path?: ReadonlyArray<string | number> | undefined
  readonly extensions?: Readonly<Record<string, unknown>> | undefined
}

/** Why a token was revoked, as its holder is told. */
export interface RevocationNotice {
  /** Such as `logout_all_devices`, or what an admin wrote. */
  readonly reason: string
  readonly revokedAt: Date
}

/** Why nothing more can be done with the tokens of a sign-in. */
export type SignedOut =
  | {
      readonly reason: 'TOKEN_REVOKED'
      /** `null` where the server had no room to say: when it closed a WebSocket. */
      readonly revocation: RevocationNotice | null
    }
  | {
      readonly reason: 'INVALID_REFRESH_TOKEN'
      /** Given when another client used the tokens of the session: `refresh_token_reuse`. */
      readonly revocation?: RevocationNotice
    }
  | { readonly reason: (typeof OTHER_REASONS)[number] }

/** `TOKEN_EXPIRED` signs out only where there is no way to refresh. */
const OTHER_REASONS = ['TOKEN_INVALID', 'TOKEN_EXPIRED', 'ACCOUNT_SUSPENDED'] as const

const REASONS_OF_TOKENS: ReadonlySet<string> = new Set([
  'TOKEN_EXPIRED',
  'TOKEN_REVOKED',
  'TOKEN_INVALID',
])

/** Finds what an answer says of the token that its request was sent with; `null`: nothing bad. */
export function findRefusal(errors: readonly AnswerError[] | undefined): SignedOut | null {
  const refused = errors?.find((error) => REASONS_OF_TOKENS.has(readReason(error)))
  return refused ? describe(refused) : null
}

/**
 * Finds in what a refresh has thrown that there is no use in trying again; `null`: there may be.
 *
 * A server that could not be reached, or says "later", may answer otherwise soon. Any other answer would be the same for ever: the
 * API has no such mutation, or nothing answers there. Then it is as if there were no way to refresh.
 */
export function findRefusedRefresh(thrown: unknown): SignedOut | null {
  const { errors, status } = readAnswer(thrown)
  for (const error of errors) {
    const ending = describe(error)
    if (ending !== null) return ending
  }

  const isAnswered = errors.length > 0 || status !== null
  if (!isAnswered || isOutageStatus(status) || errors.some(isOutage)) return null
  return { reason: 'TOKEN_EXPIRED' }
}

/** What was answered, as `RefreshError` has it, or the errors of Apollo Client: `CombinedGraphQLErrors`, `ServerError`. */
interface Answer {
  readonly errors: readonly AnswerError[]
  /** Of HTTP; `null` when it is not known. */
  readonly status: number | null
}

function readAnswer(thrown: unknown): Answer {
  const {
    errors,
    status,
    statusCode = status,
  } = (thrown ?? {}) as Readonly<Record<string, unknown>>
  return {
    // An `AggregateError` of the network holds errors that no server has answered.
    errors: Array.isArray(errors) && errors.every(isAnswerError) ? errors : [],
    status: typeof statusCode === 'number' ? statusCode : null,
  }
}

function isAnswerError(error: unknown): error is AnswerError {
  if (typeof error !== 'object' || error === null) return false
  return !(error instanceof Error) || 'extensions' in error
}

/** Request Timeout, Too Early and Too Many Requests, besides the faults of servers (RFC 9110 §15, 8470, 6585). */
function isOutageStatus(status: number | null): boolean {
  return status !== null && (status >= 500 || [408, 425, 429].includes(status))
}

const OUTAGE_CODE =
  /INTERNAL|UNAVAILABLE|TIMEOUT|TIMED_OUT|RATE_LIMIT|TOO_MANY|THROTTLED|OVERLOADED|DOWNSTREAM/

/** Without a code, an error with a path is of a resolver that failed, and one without of a request that was refused. */
function isOutage({ extensions, path }: AnswerError): boolean {
  const { code } = extensions ?? {}
  return typeof code === 'string' ? OUTAGE_CODE.test(code) : path !== undefined
}

/** @returns `REVOCATION_UNAVAILABLE` and the like, which have no reason, by their code. */
export function readReason({ extensions }: AnswerError): string {
  const { reason, code } = extensions ?? {}
  return String(reason ?? code)
}

function describe(error: AnswerError): SignedOut | null {
  const given = readReason(error)
  if (given === 'TOKEN_REVOKED') {
    return { reason: 'TOKEN_REVOKED', revocation: readNotice(error.extensions?.['revocation']) }
  }
  if (given === 'INVALID_REFRESH_TOKEN') {
    const revocation = readNotice(error.extensions?.['revocation'])
    return { reason: given, ...(revocation && { revocation }) }
  }
  const reason = OTHER_REASONS.find((known) => known === given)
  return reason === undefined ? null : { reason }
}

function readNotice(revocation: unknown): RevocationNotice | null {
  const { reason, revokedAt } = (revocation ?? {}) as Readonly<Record<string, unknown>>
  if (typeof reason !== 'string' || typeof revokedAt !== 'string') return null
  return { reason, revokedAt: new Date(revokedAt) }
}
