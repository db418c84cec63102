import { hash } from 'node:crypto'
import jwt from 'jsonwebtoken'
import { TokenExpiredError, TokenInvalidError } from '../errors.ts'
import { isIssuedInFuture, livesLonger, readClaims } from './claims.ts'
import type { ClaimRules, Token } from './claims.ts'
import type { Key, KeyRing } from './keys.ts'
import { VerifiedTokens } from './verified-tokens.ts'

/** What a token has to be, by which keys and whose clock. */
export interface TokenVerifierOptions extends ClaimRules {
  readonly keys: KeyRing
  /** Seconds since the epoch, by the database's clock. */
  readonly now: () => number
}

/** What could be made of the text of a token that is to be revoked or looked up. */
export type IdentifiedToken =
  | { readonly kind: 'VERIFIED'; readonly token: Token; readonly isExpired: boolean }
  | { readonly kind: 'UNVERIFIED'; readonly digest: string }

/** Longer texts are refused unread. */
export const MAX_TOKEN_LENGTH = 8192

/** A header may hold these and whatever is ignorable; each of the others is an attack or not understood. */
const REFUSED_HEADERS = ['crit', 'b64', 'jku', 'jwk', 'x5u', 'x5c', 'enc', 'zip']

/**
 * Decides whether a text is a token of ours. No I/O, nothing of HTTP or GraphQL; but for the clock, and for remembering
 * whose signature holds, it is pure.
 */
export class TokenVerifier {
  readonly #options: TokenVerifierOptions
  readonly #verified = new VerifiedTokens()

  constructor(options: TokenVerifierOptions) {
    this.#options = options
  }

  /**
   * Verifies signature, claims and expiry.
   *
   * @throws {@link TokenInvalidError} when it is not an authentic token of ours.
   * @throws {@link TokenExpiredError} when it is one, and its time is over.
   */
  verify(text: string): Token {
    const token = this.verifyIgnoringExpiry(text)
    if (this.isExpired(token)) throw new TokenExpiredError()
    return token
  }

  /**
   * Verifies everything but expiry: whose token was this?
   *
   * @throws {@link TokenInvalidError} when it is not an authentic token of ours.
   */
  verifyIgnoringExpiry(text: string): Token {
    const known = this.#verified.find(text)
    // After the clock was set back it may be too early for a token that was verified before.
    if (known !== undefined && !isIssuedInFuture(known.issuedAt, this.#options.now())) return known

    return this.#read(text)
  }

  /** Whether its time is over, or it was issued for longer than a token may live today. */
  isExpired(token: Token): boolean {
    const { now, maxLifetimeSeconds } = this.#options
    return token.expiresAt <= now() || livesLonger(token, maxLifetimeSeconds)
  }

  /** How long ago the person proved to be there, in seconds; for ever, when the token does not say. */
  loginAgeOf({ authenticatedAt = -Infinity }: Token): number {
    return this.#options.now() - authenticatedAt
  }

  /**
   * Tells what a text is, for acts that take a token as an argument.
   *
   * @returns `null` when it has not even the form of a JWT.
   */
  identify(text: string): IdentifiedToken | null {
    const signingInput = findSigningInput(text)
    if (signingInput === null) return null

    try {
      const token = this.verifyIgnoringExpiry(text)
      return { kind: 'VERIFIED', token, isExpired: this.isExpired(token) }
    } catch (error) {
      if (!(error instanceof TokenInvalidError)) throw error
      return { kind: 'UNVERIFIED', digest: digestOf(signingInput) }
    }
  }

  #read(text: string): Token {
    const parts = splitToken(text)
    const header = parseObject(parts.header, 'header')
    const key = this.#keyFor(header)

    verifySignature(text, key)
    const payload = parseObject(parts.payload, 'payload')
    const claims = readClaims(payload, this.#options, this.#options.now())
    if (typeof claims === 'string') throw new TokenInvalidError(claims)

    // Requests share it.
    const token = Object.freeze({ ...claims, digest: digestOf(parts.signingInput) })
    if (payload['nbf'] === undefined) this.#verified.add(text, token)
    return token
  }

  #keyFor(header: Record<string, unknown>): Key {
    const { alg, kid, typ } = header

    const refused = REFUSED_HEADERS.find((name) => Object.hasOwn(header, name))
    if (refused !== undefined) throw new TokenInvalidError(`header ${refused} is not accepted`)
    if (typeof typ !== 'string' || !/^(application\/)?at\+jwt$/i.test(typ)) {
      throw new TokenInvalidError('typ is not at+jwt')
    }

    const { signing, verifying } = this.#options.keys
    const key = kid === undefined ? signing : verifying.get(kid as string)
    if (key === undefined) throw new TokenInvalidError('kid is not known')
    if (alg !== key.algorithm) throw new TokenInvalidError('alg is not that of the key')
    return key
  }
}

function verifySignature(text: string, key: Key): void {
  try {
    jwt.verify(text, key.verifying, {
      algorithms: [key.algorithm],
      ignoreExpiration: true,
      ignoreNotBefore: true,
    })
  } catch {
    throw new TokenInvalidError('the signature does not hold')
  }
}

interface TokenParts {
  readonly header: string
  readonly payload: string
  readonly signingInput: string
}

/**
 * Splits a compact JWS, and refuses every spelling but one.
 *
 * Base64url leaves unused bits at the end of a part: without the check for canonical form one signature has
 * several texts (RFC 4648 §3.5).
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7515#section-2 RFC 7515 §2}
 */
function splitToken(text: string): TokenParts {
  const signingInput = findSigningInput(text)
  if (signingInput === null) throw new TokenInvalidError('it has not the form of a JWT')

  const [header = '', payload = '', signature = ''] = text.split('.')
  for (const part of [header, payload, signature]) {
    if (Buffer.from(part, 'base64url').toString('base64url') !== part) {
      throw new TokenInvalidError('it is not canonical base64url')
    }
  }
  return { header, payload, signingInput }
}

function findSigningInput(text: string): string | null {
  if (text.length > MAX_TOKEN_LENGTH) return null
  if (!/^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/.test(text)) return null
  return text.slice(0, text.lastIndexOf('.'))
}

function digestOf(signingInput: string): string {
  return hash('sha256', signingInput, 'hex')
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A JSON object in UTF-8; of members that stand twice the last counts (RFC 7519 §4). */
function parseObject(part: string, name: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(utf8.decode(Buffer.from(part, 'base64url')))
  } catch {
    throw new TokenInvalidError(`the ${name} is not JSON`)
  }

  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TokenInvalidError(`the ${name} is not an object`)
  }
  return value as Record<string, unknown>
}
