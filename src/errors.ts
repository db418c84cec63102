import type { Revocation } from './contract.ts'

/** The code that every GraphQL client knows. Released codes keep their meaning. */
export type ErrorCode =
  | 'UNAUTHENTICATED'
  | 'FORBIDDEN'
  | 'BAD_USER_INPUT'
  | 'RATE_LIMITED'
  | 'REVOCATION_UNAVAILABLE'

/** What an error says on the wire besides its message; graphql-js copies it into the answer. */
export type ErrorExtensions = { readonly code: ErrorCode; readonly reason?: string } & Readonly<
  Record<string, unknown>
>

/**
 * An error meant for the caller.
 *
 * The message and `extensions` are answered as they are and hold nothing secret; `cause` is for the log.
 */
export abstract class PortcullisError extends Error {
  readonly extensions: ErrorExtensions

  /** The HTTP status of an answer in which nothing was resolved. */
  readonly httpStatus: number

  /** Seconds after which trying again makes sense, for `Retry-After`; `null` when it does not. */
  readonly retryAfterSeconds: number | null = null

  constructor(
    httpStatus: number,
    extensions: ErrorExtensions,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
    this.name = new.target.name
    this.httpStatus = httpStatus
    this.extensions = extensions
  }
}

abstract class UnauthenticatedError extends PortcullisError {
  constructor(reason: string, message: string, details?: object, options?: ErrorOptions) {
    super(401, { code: 'UNAUTHENTICATED', reason, ...details }, message, options)
  }
}

/** The request carries no token. */
export class TokenMissingError extends UnauthenticatedError {
  constructor() {
    super('TOKEN_MISSING', 'Sign in: this request carries no token')
  }
}

/** The token is malformed, forged, of another kind or for another audience; `cause` says which. */
export class TokenInvalidError extends UnauthenticatedError {
  constructor(detail: string) {
    super('TOKEN_INVALID', 'Sign in again: this token is not valid', {}, { cause: detail })
  }
}

/** The token is authentic, and its time is over. */
export class TokenExpiredError extends UnauthenticatedError {
  constructor() {
    super('TOKEN_EXPIRED', 'This token has expired: refresh it')
  }
}

/** The token is authentic and unexpired, and was revoked. */
export class TokenRevokedError extends UnauthenticatedError {
  readonly revocation: Revocation

  constructor(revocation: Revocation) {
    super('TOKEN_REVOKED', 'Sign in again: this token was revoked', {
      revocation: tellHolder(revocation),
    })
    this.revocation = revocation
  }
}

/** E-mail and password do not belong together; it does not tell whether the account exists. */
export class InvalidCredentialsError extends UnauthenticatedError {
  constructor() {
    super('INVALID_CREDENTIALS', 'E-mail or password is wrong')
  }
}

/**
 * The refresh token is unknown, used, expired, or its session has ended. When that was because two clients used its
 * tokens, both are told: `refresh_token_reuse`.
 */
export class InvalidRefreshTokenError extends UnauthenticatedError {
  constructor(revocation: Pick<Revocation, 'reason' | 'revokedAt'> | null = null) {
    super('INVALID_REFRESH_TOKEN', 'Sign in again: this refresh token is not valid', {
      ...(revocation && { revocation: tellHolder(revocation) }),
    })
  }
}

/** What the holder of a revoked token is told. */
function tellHolder({ reason, revokedAt }: Pick<Revocation, 'reason' | 'revokedAt'>): object {
  return { reason, revokedAt: revokedAt.toISOString() }
}

/** The caller is known and lacks a role. */
export class RoleRequiredError extends PortcullisError {
  constructor(role: string) {
    super(403, { code: 'FORBIDDEN', reason: 'ROLE_REQUIRED' }, `This needs the role ${role}`)
  }
}

/** The caller is known and may do this, but signed in too long ago: a token is no proof that its owner is there. */
export class ReauthenticationRequiredError extends PortcullisError {
  constructor() {
    super(
      403,
      { code: 'FORBIDDEN', reason: 'REAUTHENTICATION_REQUIRED' },
      'Sign in again: this asks for a recent login',
    )
  }
}

/** The credentials are right and the account is suspended. */
export class AccountSuspendedError extends PortcullisError {
  constructor() {
    super(403, { code: 'FORBIDDEN', reason: 'ACCOUNT_SUSPENDED' }, 'This account is suspended')
  }
}

/** What can be wrong with an argument. */
export type InputFault =
  | 'EMPTY'
  | 'TOO_SHORT'
  | 'TOO_LONG'
  | 'OUT_OF_RANGE'
  | 'FORBIDDEN_CHARACTERS'
  | 'INVALID_EMAIL'
  | 'EMAIL_TAKEN'
  | 'COMMON_PASSWORD'
  | 'MALFORMED_TOKEN'
  | 'MALFORMED_CURSOR'
  | 'UNKNOWN_ID'
  | 'ONE_ARGUMENT_REQUIRED'
  | 'ACCOUNT_SUSPENDED'
  | 'NOT_RESTORABLE'
  | 'LAST_ADMIN'

/** An argument of the call must be mended; `extensions.argument` names it. */
export class BadInputError extends PortcullisError {
  constructor(argument: string, reason: InputFault, message: string) {
    super(400, { code: 'BAD_USER_INPUT', reason, argument }, message)
  }
}

/** Too many failed attempts. */
export class RateLimitedError extends PortcullisError {
  override readonly retryAfterSeconds: number

  constructor(retryAfterSeconds: number, what = 'attempts') {
    super(429, { code: 'RATE_LIMITED' }, `Too many ${what}; try again in ${retryAfterSeconds} s`)
    this.retryAfterSeconds = retryAfterSeconds
  }
}

/** The store could not say whether a token is revoked, or could not revoke: the request is refused. */
export class RevocationUnavailableError extends PortcullisError {
  override readonly retryAfterSeconds: number = 1

  constructor(cause: unknown) {
    super(503, { code: 'REVOCATION_UNAVAILABLE' }, 'Cannot check tokens at the moment; try again', {
      cause,
    })
  }
}
