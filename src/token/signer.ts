import { randomBytes } from 'node:crypto'
import jwt from 'jsonwebtoken'
import type { Installation } from './claims.ts'
import type { KeyRing } from './keys.ts'

/** What every token of a signer has in common. */
export interface TokenSignerOptions {
  readonly keys: KeyRing
  readonly issuer: string
  readonly audience: string
  readonly lifetimeSeconds: number
  /** Put into `db`. */
  readonly installation?: Installation | undefined
}

/** Whom a new token is for. */
export interface TokenGrant {
  readonly subject: string
  readonly sessionId: string
  readonly roles: readonly string[]
  /** From the store's clock (`RevocationStore.issueInstant`), so that cut-offs and issue times are told apart. */
  readonly issuedAt: Date
  /** When the person proved to be there, for acts that ask for a recent login; at the latest `issuedAt`. */
  readonly authenticatedAt?: Date
  /** The token does not outlive this instant. */
  readonly notAfter?: Date
}

/** A signed access token. */
export interface SignedToken {
  readonly text: string
  readonly tokenId: string
  /** Seconds until it expires. */
  readonly expiresIn: number
}

/** Signs an access token. */
export type TokenSigner = (grant: TokenGrant) => SignedToken

/**
 * Makes the function that signs access tokens (RFC 9068), each with a `jti` of 128 random bits.
 *
 * `iat` carries milliseconds: a NumericDate may have a fraction (RFC 7519 §2).
 */
export function createTokenSigner(options: TokenSignerOptions): TokenSigner {
  const { issuer, audience, lifetimeSeconds, installation } = options
  const { kid, algorithm, private: privateKey } = options.keys.signing

  return ({ subject, sessionId, roles, issuedAt, authenticatedAt, notAfter }) => {
    const iat = issuedAt.getTime() / 1000
    const latest = notAfter === undefined ? Infinity : notAfter.getTime() / 1000
    const exp = Math.min(iat + lifetimeSeconds, latest)
    const tokenId = createTokenId()

    const payload = {
      iss: issuer,
      aud: audience,
      sub: subject,
      jti: tokenId,
      sid: sessionId,
      iat,
      exp,
      ...(authenticatedAt && { auth_time: Math.min(authenticatedAt.getTime() / 1000, iat) }),
      roles,
      ...(installation && { db: installation.id }),
    }
    const header = { alg: algorithm, kid, typ: 'at+jwt' }
    const text = jwt.sign(payload, privateKey, { algorithm, header })
    return { text, tokenId, expiresIn: Math.floor(exp - iat) }
  }
}

/** 128 random bits, written like a UUID; a UUID of version 4 has six fewer. */
function createTokenId(): string {
  const hex = randomBytes(16).toString('hex')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
