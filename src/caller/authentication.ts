import type { Revocation } from '../contract.ts'
import {
  ReauthenticationRequiredError,
  RoleRequiredError,
  TokenExpiredError,
  TokenInvalidError,
  TokenMissingError,
  TokenRevokedError,
} from '../errors.ts'
import type { RevocationCheck } from '../revocation/check.ts'
import type { SecurityLog } from '../security-event.ts'
import { readBearerToken } from '../token/bearer.ts'
import type { Token } from '../token/claims.ts'
import type { TokenVerifier } from '../token/verifier.ts'
import { USER } from './demand.ts'
import type { Demand, TokenState } from './demand.ts'

/** Who sends this request: claims that were verified and, unless the field accepts otherwise, are not revoked. */
export type Caller = Token

/** One request's credentials, and the parts that judge them. */
export interface AuthenticationOptions {
  /** The request's `Authorization` header. */
  readonly authorization: string | readonly string[] | undefined
  readonly tokens: TokenVerifier
  readonly check: RevocationCheck
  /** Whether it is certain from memory alone that a token is not revoked (`RevocationStore.rulesOut`). */
  readonly rulesOut?: (token: Token) => boolean
  readonly ipAddress?: string | null
  readonly log?: SecurityLog
}

/**
 * One request's authentication. Nothing is done until a protected field asks; then the token is verified and looked up
 * once, and the caller is known to all later fields without a promise.
 */
export class Authentication {
  readonly #options: AuthenticationOptions
  #authorization: AuthenticationOptions['authorization']
  #wasAsked = false
  #token: Token | Error | undefined
  #revocationCheck: ReturnType<RevocationCheck> | undefined
  #caller: Caller | null = null
  #lastMet: Demand | null = null
  #isRefusalLogged = false

  constructor(options: AuthenticationOptions) {
    this.#options = options
    this.#authorization = options.authorization
  }

  /** Where the request comes from, for the security log. */
  get ipAddress(): string | null {
    return this.#options.ipAddress ?? null
  }

  /** The caller, once a check found the token active; `null` before. */
  get caller(): Caller | null {
    return this.#caller
  }

  /** Whether anything has asked who calls. */
  get wasAsked(): boolean {
    return this.#wasAsked
  }

  /** Whether the caller is known already, or can be without waiting, and meets a demand. */
  isMet(demand: Demand): boolean {
    // A list asks the same a thousand times.
    if (demand === this.#lastMet) return true

    this.#wasAsked = true
    this.#caller ??= this.#findAtOnce()
    const isMet =
      this.#caller !== null &&
      demand.accepts.includes('ACTIVE') &&
      findMissingRole(this.#caller, demand) === undefined &&
      this.#isRecent(this.#caller, demand)
    if (isMet) this.#lastMet = demand
    return isMet
  }

  /**
   * Finds out who calls.
   *
   * @throws {@link TokenMissingError}, {@link TokenInvalidError}, {@link TokenExpiredError}, {@link TokenRevokedError}
   * when the token will not do; {@link RoleRequiredError} when it lacks a role; {@link ReauthenticationRequiredError}
   * when its login is too old; {@link RevocationUnavailableError} when the store cannot say.
   */
  async authenticate(demand: Demand = USER): Promise<Caller> {
    this.#wasAsked = true
    const token = this.#verify()
    await this.#admit(token, demand.accepts)

    const missing = findMissingRole(token, demand)
    if (missing !== undefined) throw new RoleRequiredError(missing)
    if (!this.#isRecent(token, demand)) throw new ReauthenticationRequiredError()
    return token
  }

  /** Forgets what was found out: what runs next is checked anew, for the request itself may have revoked its token. */
  startAnew(): void {
    this.#revocationCheck = undefined
    this.#caller = null
    this.#lastMet = null
  }

  /** Goes on with other credentials: the client has refreshed its token. */
  renew(authorization: AuthenticationOptions['authorization']): void {
    this.#authorization = authorization
    this.#token = undefined
    this.startAnew()
  }

  /** The same credentials with nothing found out yet: for an operation that runs beside this one. */
  fork(): Authentication {
    return new Authentication({ ...this.#options, authorization: this.#authorization })
  }

  /** What is at fault, or cannot be told at once, is left to {@link authenticate}. */
  #findAtOnce(): Caller | null {
    const { tokens, rulesOut } = this.#options
    if (rulesOut === undefined) return null
    const token = this.#read()
    return !(token instanceof Error) && !tokens.isExpired(token) && rulesOut(token) ? token : null
  }

  #isRecent(token: Token, { maxLoginAgeSeconds }: Demand): boolean {
    if (maxLoginAgeSeconds === undefined) return true
    return this.#options.tokens.loginAgeOf(token) <= maxLoginAgeSeconds
  }

  #verify(): Token {
    const token = this.#read()
    if (token instanceof Error) throw token
    return token
  }

  /** Once, whatever comes of it. */
  #read(): Token | Error {
    if (this.#token === undefined) {
      try {
        const text = readBearerToken(this.#authorization)
        if (text === null) throw new TokenMissingError()
        this.#token = this.#options.tokens.verifyIgnoringExpiry(text)
      } catch (error) {
        this.#token = error as Error
      }
    }
    return this.#token
  }

  async #admit(token: Token, accepts: readonly TokenState[]): Promise<void> {
    if (this.#options.tokens.isExpired(token)) {
      if (accepts.includes('EXPIRED')) return
      throw new TokenExpiredError()
    }
    if (accepts.includes('ACTIVE') && accepts.includes('REVOKED')) return

    this.#revocationCheck ??= this.#options.check(token)
    const revocation = await this.#revocationCheck
    if (revocation === null) {
      this.#caller = token
      if (!accepts.includes('ACTIVE'))
        throw new TokenInvalidError('an active token is not accepted')
      return
    }

    if (accepts.includes('REVOKED')) return
    this.#logRefusal(token, revocation)
    throw new TokenRevokedError(revocation)
  }

  /** Once a request, however many of its fields are refused. */
  #logRefusal({ subject, sessionId, tokenId }: Token, { id: revocationId }: Revocation): void {
    if (this.#isRefusalLogged) return
    this.#isRefusalLogged = true

    const { ipAddress } = this
    this.#options.log?.({
      event: 'revoked_token_refused',
      subject,
      sessionId,
      tokenId,
      revocationId,
      ipAddress,
    })
  }
}

function findMissingRole({ roles }: Token, { requires }: Demand): string | undefined {
  if (roles.includes('ADMIN')) return undefined
  return requires.find((role) => !roles.includes(role))
}

/** Whether there is a caller who may see what is for admins only. */
export function isAdmin(caller: Caller | null): boolean {
  return caller?.roles.includes('ADMIN') ?? false
}
