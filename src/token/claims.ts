/** The verified content of a token (RFC 7519 §4, RFC 9068 §2.2). Times are seconds since the epoch, with fractions. */
export interface TokenClaims {
  readonly issuer: string
  readonly subject: string
  readonly tokenId: string
  readonly sessionId: string
  readonly issuedAt: number
  readonly expiresAt: number
  /** When the person last proved to be there (`auth_time`, RFC 9068 §2.2.1), if the issuer says so. */
  readonly authenticatedAt?: number
  readonly roles: readonly string[]
}

/** A token that was verified: its claims, and the SHA-256 of its signing input in hexadecimal. */
export interface Token extends TokenClaims {
  readonly digest: string
}

/** The database that tokens belong to: the same keys may be in use beside another one. */
export interface Installation {
  /** Carried by tokens as `db`. */
  readonly id: string
  /** When it got its id: tokens that were issued before carry none. */
  readonly since: Date
}

/** How long after {@link Installation.since} a node of release 0.1 may still issue tokens without the mark, in seconds. */
const UNMARKED_SECONDS = 24 * 60 * 60

/** What a token must be for us to accept it. */
export interface ClaimRules {
  /** Required exactly of `iss`. */
  readonly issuer: string
  /** Required to be `aud`, or among it. */
  readonly audience: string
  /** The longest `exp - iat` accepted, in seconds. */
  readonly maxLifetimeSeconds: number
  /**
   * The longest `exp - iat` that was ever accepted, in seconds: a token that lives longer than one may today is expired,
   * not invalid, so that its client refreshes it.
   *
   * @defaultValue `maxLifetimeSeconds`
   */
  readonly formerLifetimeSeconds?: number
  /** Required of `db`; not given, `db` is not looked at. */
  readonly installation?: Installation | undefined
}

/**
 * How far ahead of our clock `iat` and `nbf` may be, in seconds.
 *
 * Both clocks are the database's, so this covers only a clock that was set back. Expiry has no leeway.
 */
export const MAX_CLOCK_SKEW_SECONDS = 60

const YEAR_10000 = 253_402_300_800

/**
 * Reads the claims of a token whose signature holds, and checks all of them but expiry.
 *
 * @param payload - The parsed payload.
 * @param now - Seconds since the epoch.
 * @returns The claims, or what is wrong with them in a few words.
 * @see {@link https://www.rfc-editor.org/rfc/rfc8725#section-3 RFC 8725 §3}
 */
export function readClaims(
  payload: Record<string, unknown>,
  rules: ClaimRules,
  now: number,
): TokenClaims | string {
  const { iss, aud, sub, jti, sid, iat, exp, nbf, db, auth_time: authTime, roles = [] } = payload

  if (iss !== rules.issuer) return 'iss is not ours'
  if (!isAudience(aud, rules.audience)) return 'aud is not ours'
  if (!isName(sub)) return 'sub is missing or not a plain string'
  if (!isName(jti)) return 'jti is missing or not a plain string'
  if (!isName(sid)) return 'sid is missing or not a plain string'
  if (!isNumericDate(iat)) return 'iat is missing or not a time'
  if (!isNumericDate(exp)) return 'exp is missing or not a time'
  if (nbf !== undefined && !isNumericDate(nbf)) return 'nbf is not a time'
  if (authTime !== undefined && !isNumericDate(authTime)) return 'auth_time is not a time'
  if (!Array.isArray(roles) || roles.length > 64 || !roles.every(isName)) return 'roles is no list'

  if (!isOfInstallation(db, iat, rules.installation)) return 'db is not ours'
  if (exp <= iat) return 'exp is not after iat'
  const { maxLifetimeSeconds, formerLifetimeSeconds = maxLifetimeSeconds } = rules
  const longest = Math.max(maxLifetimeSeconds, formerLifetimeSeconds)
  if (livesLonger({ issuedAt: iat, expiresAt: exp }, longest)) return 'exp is too far from iat'
  if (isIssuedInFuture(iat, now)) return 'iat is in the future'
  if (nbf !== undefined && nbf > now + MAX_CLOCK_SKEW_SECONDS) return 'nbf is in the future'
  // A sign-in cannot be later than the token that tells of it.
  if (authTime !== undefined && authTime > iat + 0.001) return 'auth_time is after iat'

  return {
    issuer: iss,
    subject: sub,
    tokenId: jti,
    sessionId: sid,
    issuedAt: iat,
    expiresAt: exp,
    ...(authTime !== undefined && { authenticatedAt: authTime }),
    roles: Object.freeze(roles),
  }
}

/** Whether a token was issued for more than so many seconds. */
export function livesLonger(
  { issuedAt, expiresAt }: Pick<TokenClaims, 'issuedAt' | 'expiresAt'>,
  seconds: number,
): boolean {
  // A millisecond more, because neither number need be exact in binary.
  return expiresAt - issuedAt > seconds + 0.001
}

/** @param iat - Seconds since the epoch, as `now`. */
export function isIssuedInFuture(iat: number, now: number): boolean {
  return iat > now + MAX_CLOCK_SKEW_SECONDS
}

function isOfInstallation(
  db: unknown,
  iat: number,
  installation: Installation | undefined,
): boolean {
  if (installation === undefined || db === installation.id) return true
  return db === undefined && iat <= installation.since.getTime() / 1000 + UNMARKED_SECONDS
}

function isAudience(aud: unknown, ours: string): boolean {
  return aud === ours || (Array.isArray(aud) && aud.length <= 64 && aud.includes(ours))
}

/** One to 255 characters, none a control character or half of a surrogate pair: PostgreSQL keeps neither. */
function isName(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    value.length > 0 &&
    value.length <= 255 &&
    !/[\p{Cc}\p{Cs}]/u.test(value)
  )
}

function isNumericDate(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value < YEAR_10000
}
