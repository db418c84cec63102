import assert from 'node:assert/strict'
import { createHash, createHmac, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import fc from 'fast-check'
import { TokenInvalidError } from '../../src/errors.ts'
import { createKeyRing } from '../../src/token/keys.ts'
import type { Algorithm, KeyRing } from '../../src/token/keys.ts'
import { TokenVerifier } from '../../src/token/verifier.ts'
import type { TokenVerifierOptions } from '../../src/token/verifier.ts'

/** Tokens made by hand: nothing of the code under test writes or signs them. */

/** Where the tests' clock stands, in seconds since the epoch. */
export const NOW = 1_763_800_000.5

/** The longest lifetime accepted in these tests, in seconds. */
export const LIFETIME = 900

export const RULES = { issuer: 'portcullis', audience: 'portcullis', maxLifetimeSeconds: LIFETIME }

/** A key, and how it signs. */
export interface Authority {
  readonly algorithm: Algorithm
  /** A secret, or a PEM private key. */
  readonly signWith: string
  /** The PEM public key; of a secret the secret. */
  readonly verifyWith: string
  readonly kid: string
  sign(input: string): Buffer
}

export function newSecret(text: string): Authority {
  return {
    algorithm: 'HS256',
    signWith: text,
    verifyWith: text,
    kid: createKeyRing({ signWith: text }).signing.kid,
    sign: (input) => createHmac('sha256', text).update(input).digest(),
  }
}

export function newRsaKey(): Authority {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const { e, kty, n } = publicKey.export({ format: 'jwk' })
  return {
    algorithm: 'RS256',
    signWith: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    verifyWith: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    kid: sha256(JSON.stringify({ e, kty, n })),
    sign: (input) => sign('sha256', Buffer.from(input), privateKey),
  }
}

export function newEcKey(): Authority {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { crv, kty, x, y } = publicKey.export({ format: 'jwk' })
  return {
    algorithm: 'ES256',
    signWith: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    verifyWith: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    kid: sha256(JSON.stringify({ crv, kty, x, y })),
    sign: (input) =>
      sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' }),
  }
}

export const hs256 = newSecret('the secret of these tests, longer than 32 bytes')
export const rs256 = newRsaKey()
export const es256 = newEcKey()
export const authorities = [hs256, rs256, es256]

/** A verifier for the tokens of one authority, its clock standing at `NOW`. */
export function verifierOf(
  authority: Authority,
  options: Partial<TokenVerifierOptions> & { readonly previous?: readonly string[] } = {},
): TokenVerifier {
  const { previous = [], ...others } = options
  return new TokenVerifier({
    ...RULES,
    keys: ringOf(authority, previous),
    now: () => NOW,
    ...others,
  })
}

export function ringOf(authority: Authority, previous: readonly string[] = []): KeyRing {
  return createKeyRing({ signWith: authority.signWith, previous })
}

/** JSON that `JSON.stringify` cannot write: `1e999` for instance. */
export class Raw {
  readonly json: string

  constructor(json: string) {
    this.json = json
  }
}

export interface Forgery {
  /** Members to replace; `undefined` leaves one out. */
  readonly header?: Readonly<Record<string, unknown>>
  readonly claims?: Readonly<Record<string, unknown>>
  /** Instead of the JSON of header or claims. */
  readonly rawHeader?: string | Uint8Array
  readonly rawPayload?: string | Uint8Array
  /** Instead of the authority's signature. */
  readonly sign?: (input: string) => Buffer
}

/** Makes a token that is right but for what is asked. */
export function forge(by: Authority, forgery: Forgery = {}): string {
  const { header, claims, rawHeader, rawPayload } = forgery
  const parts = [rawHeader ?? headerOf(by, header), rawPayload ?? claimsOf(claims)]
  return signParts(by, parts.map(base64url).join('.'), forgery.sign)
}

/** Signs an encoded header and payload as they are. */
export function signParts(by: Authority, input: string, signIt = by.sign): string {
  return `${input}.${base64url(signIt(input))}`
}

export function headerOf(by: Authority, changes: Forgery['header'] = {}): string {
  return toJson({ alg: by.algorithm, kid: by.kid, typ: 'at+jwt', ...changes })
}

export function claimsOf(changes: Forgery['claims'] = {}): string {
  return toJson({
    iss: 'portcullis',
    aud: 'portcullis',
    sub: 'ada',
    jti: 'token of ada',
    sid: 'laptop',
    iat: NOW - 60,
    exp: NOW + 840,
    roles: ['USER'],
    ...changes,
  })
}

function toJson(members: Readonly<Record<string, unknown>>): string {
  const written = Object.entries(members)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => {
      return `${JSON.stringify(name)}:${value instanceof Raw ? value.json : JSON.stringify(value)}`
    })
  return `{${written.join(',')}}`
}

export function base64url(content: string | Uint8Array): string {
  return Buffer.from(content as string).toString('base64url')
}

/** Header, payload and signature as they stand in a token. */
export function partsOf(token: string): [header: string, payload: string, signature: string] {
  const [header, payload, signature] = token.split('.')
  return [header!, payload!, signature!]
}

export function decode(part: string): unknown {
  return JSON.parse(Buffer.from(part, 'base64url').toString())
}

/** Every other text that a lenient decoder reads as the same bytes, by the unused bits of the last character. */
export function otherSpellings(part: string): string[] {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return [...alphabet]
    .map((last) => part.slice(0, -1) + last)
    .filter(
      (text) =>
        text !== part && Buffer.from(text, 'base64url').equals(Buffer.from(part, 'base64url')),
    )
}

/** The PEM public key of a JSON Web Key. */
export function pemOf(jwk: object): string {
  return createPublicKey({ key: jwk as never, format: 'jwk' })
    .export({ type: 'spki', format: 'pem' })
    .toString()
}

/**
 * Why a token is refused, in the words of the log.
 *
 * Fails unless every way of asking refuses it, with the one error and the one message there is.
 */
export function refusalOf(verifier: TokenVerifier, text: string): string {
  const [cause, again] = [verifier.verify, verifier.verifyIgnoringExpiry].map((ask) => {
    const error = errorOf(() => ask.call(verifier, text))
    // Plain assertions: properties come here thousands of times.
    assert(error instanceof TokenInvalidError, `expected TokenInvalidError, got ${String(error)}`)
    assert.equal(error.message, 'Sign in again: this token is not valid')
    assert.deepEqual(error.extensions, { code: 'UNAUTHENTICATED', reason: 'TOKEN_INVALID' })
    assert.equal(error.httpStatus, 401)
    return error.cause
  })
  assert.equal(again, cause)
  assert.notEqual(verifier.identify(text)?.kind, 'VERIFIED')
  return cause as string
}

/** What a call throws; `null` when it does not. */
export function errorOf(call: () => unknown): unknown {
  try {
    call()
  } catch (error) {
    return error
  }
  return null
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}

/** Text of any characters: control characters, all scripts, halves of surrogate pairs. */
export function anyText(maxLength = 20): fc.Arbitrary<string> {
  const unit = fc.oneof(fc.integer({ min: 0, max: 0x7f }), fc.integer({ min: 0, max: 0xffff }))
  return fc.array(unit, { maxLength }).map((codes) => String.fromCharCode(...codes))
}
