import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
} from 'node:crypto'
import type { JsonWebKey, KeyObject } from 'node:crypto'
import { findWeakness } from './weak-rsa.ts'

/** One algorithm per key (RFC 8725 §3.1). */
export type Algorithm = 'HS256' | 'RS256' | 'ES256'

/** A key that verifies, and perhaps signs. */
export interface Key {
  readonly kid: string
  readonly algorithm: Algorithm
  readonly verifying: KeyObject
}

/** The key that signs, and all that verify; `kid` is looked up in a fixed map. */
export interface KeyRing {
  readonly signing: Key & { readonly private: KeyObject }
  readonly verifying: ReadonlyMap<string, Key>
}

/** The secret or private key that signs, and those that still verify. */
export interface KeyRingOptions {
  /** HS256 secret of at least 32 bytes, or a PEM private key: RSA of at least 2048 bits signs RS256, P-256 signs ES256. */
  readonly signWith: string
  /** Older secrets, or PEM public or private keys, that still verify. */
  readonly previous?: readonly string[]
}

/**
 * Makes the keys of a node. Nodes that are given the same keys agree on every `kid`.
 *
 * @throws `TypeError` when a secret is too short or a key is of another kind; it never quotes the key.
 * @see {@link https://www.rfc-editor.org/rfc/rfc7638 RFC 7638} the `kid` of an asymmetric key
 */
export function createKeyRing({ signWith, previous = [] }: KeyRingOptions): KeyRing {
  const signing = isPem(signWith) ? readPrivateKey(signWith) : readSecret(signWith)
  const older = previous.map((text) => (isPem(text) ? readPublicKey(text) : readSecret(text)))

  const verifying = new Map<string, Key>()
  for (const key of [signing, ...older]) {
    if (!verifying.has(key.kid)) verifying.set(key.kid, key)
  }
  return { signing, verifying }
}

/** The public keys for `/.well-known/jwks.json` (RFC 7517 §5); secrets are not among them. */
export function publicJwks(ring: KeyRing): { keys: JsonWebKey[] } {
  const keys = [...ring.verifying.values()]
    .filter((key) => key.algorithm !== 'HS256')
    .map(({ kid, algorithm, verifying }) => ({
      ...verifying.export({ format: 'jwk' }),
      kid,
      alg: algorithm,
      use: 'sig',
    }))
  return { keys }
}

/** Tools put attributes before a key. Taken for a secret, a public key would let anyone sign (RFC 8725 §2.1). */
function isPem(text: string): boolean {
  return text.includes('-----BEGIN ')
}

/** A public key as JSON, for SSH, or in DER that was read as text: no secret either. */
function isKeyInAnotherForm(text: string): boolean {
  return /^\s*(\{\s*"|ssh-|ecdsa-|---- BEGIN )|\uFFFD/.test(text)
}

function readSecret(text: string): Key & { private: KeyObject } {
  const bytes = Buffer.from(text, 'utf8')
  if (bytes.length < 32) {
    throw new TypeError(`expected a secret of at least 32 bytes, got ${bytes.length}`)
  }
  if (isKeyInAnotherForm(text)) {
    throw new TypeError('expected a secret or a PEM key, got a key in another form')
  }

  const secret = createSecretKey(bytes)
  const kid = createHmac('sha256', bytes)
    .update('portcullis key id')
    .digest('base64url')
    .slice(0, 16)
  return { kid, algorithm: 'HS256', verifying: secret, private: secret }
}

function readPrivateKey(pem: string): Key & { private: KeyObject } {
  const privateKey = parsePem(() => createPrivateKey(pem), 'private key')
  return { ...toKey(createPublicKey(privateKey)), private: privateKey }
}

function readPublicKey(pem: string): Key {
  return toKey(parsePem(() => createPublicKey(pem), 'public or private key'))
}

function toKey(verifying: KeyObject): Key {
  // First, because a thumbprint is not defined for every kind of key.
  const algorithm = algorithmOf(verifying)
  return { kid: thumbprint(verifying), algorithm, verifying }
}

function parsePem(parse: () => KeyObject, expected: string): KeyObject {
  try {
    return parse()
  } catch {
    throw new TypeError(`expected a PEM ${expected} without a passphrase, got something else`)
  }
}

function algorithmOf(key: KeyObject): Algorithm {
  const { modulusLength = 0, publicExponent = 0n, namedCurve } = key.asymmetricKeyDetails ?? {}

  if (key.asymmetricKeyType === 'rsa' && modulusLength >= 2048) {
    // With 1 anyone can sign, with 3 an attacker of a verifier that is not exact (FIPS 186-5 §A.1.1).
    if (publicExponent < 65_537n) {
      throw new TypeError(
        `expected an RSA key with a public exponent of at least 65537, got ${publicExponent}`,
      )
    }
    const weakness = findWeakness(modulusOf(key))
    if (weakness !== null) throw new TypeError(`expected a sound RSA key, got one with ${weakness}`)
    return 'RS256'
  }
  if (key.asymmetricKeyType === 'ec' && namedCurve === 'prime256v1') return 'ES256'

  const got = [key.asymmetricKeyType, namedCurve ?? (modulusLength || '')].join(' ').trim()
  throw new TypeError(`expected an RSA key of at least 2048 bits or a P-256 key, got ${got}`)
}

function modulusOf(key: KeyObject): bigint {
  const { n = '' } = key.export({ format: 'jwk' })
  return BigInt(`0x${Buffer.from(n, 'base64url').toString('hex')}`)
}

function thumbprint(key: KeyObject): string {
  const { kty, crv, x, y, n, e } = key.export({ format: 'jwk' })
  const members = kty === 'RSA' ? { e, kty, n } : { crv, kty, x, y }
  return createHash('sha256').update(JSON.stringify(members)).digest('base64url')
}
