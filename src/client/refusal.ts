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

/** Finds in what a refresh has thrown that there is no use in trying again; `null`: there may be. */
export function findRefusedRefresh(thrown: unknown): SignedOut | null {
  const { errors } = (thrown ?? {}) as { readonly errors?: unknown }
  if (!Array.isArray(errors)) return null

  for (const error of errors as readonly AnswerError[]) {
    const ending = describe(error)
    if (ending !== null) return ending
  }
  return null
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
