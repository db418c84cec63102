import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { createKeyRing, publicJwks } from '../../src/token/keys.ts'
import { errorOf, es256, hs256, newEcKey, newSecret, pemOf, ringOf, rs256 } from './forge.ts'

/** The example of RFC 7638 §3.1, and that of RFC 9449 §6.1. */
const RFC_KEYS = [
  {
    what: 'RFC 7638',
    algorithm: 'RS256',
    kid: 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs',
    jwk: {
      kty: 'RSA',
      n: `0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw`,
      e: 'AQAB',
    },
  },
  {
    what: 'RFC 9449',
    algorithm: 'ES256',
    kid: '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I',
    jwk: {
      kty: 'EC',
      crv: 'P-256',
      x: 'l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs',
      y: '9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA',
    },
  },
]

/** The secrets here are long runs of letters, so that a message that quotes one is found out. */
function faultOf(options: Parameters<typeof createKeyRing>[0]): string {
  const error = errorOf(() => createKeyRing(options))
  expect(error).toBeInstanceOf(TypeError)
  expect((error as TypeError).cause).toBeUndefined()

  const { message } = error as TypeError
  for (const text of [options.signWith, ...(options.previous ?? [])]) {
    for (const line of text
      .split('\n')
      .filter((piece) => piece.length >= 8 && !piece.startsWith('-'))) {
      expect(message).not.toContain(line.slice(0, 8))
    }
  }
  return message
}

function pem(key: KeyObject, type: 'pkcs8' | 'spki' | 'sec1' | 'pkcs1' = 'pkcs8'): string {
  return key.export({ type, format: 'pem' }).toString()
}

describe('a secret', () => {
  // Q32
  it.each([
    ['nothing', '', 0],
    ['one character', 'x', 1],
    ['31 bytes', 'x'.repeat(31), 31],
    ['16 characters of two bytes, but for one', 'ü'.repeat(15), 30],
  ])('is refused when it is %s', (_what, secret, length) => {
    const message = `expected a secret of at least 32 bytes, got ${length}`

    expect(faultOf({ signWith: secret })).toBe(message)
    expect(faultOf({ signWith: hs256.signWith, previous: [secret] })).toBe(message)
  })

  // Q32
  it.each([
    ['32 bytes', 'x'.repeat(32)],
    ['16 characters of two bytes', 'ü'.repeat(16)],
    ['4,000 bytes', 'x'.repeat(4000)],
  ])('signs HS256 when it has %s', (_what, secret) => {
    const { signing, verifying } = createKeyRing({ signWith: secret })

    expect(signing.algorithm).toBe('HS256')
    expect([...verifying.keys()]).toEqual([signing.kid])
  })

  it('has the same kid on every node, another for another secret, and does not show in it', () => {
    const { kid } = ringOf(hs256).signing

    expect(createKeyRing({ signWith: hs256.signWith }).signing.kid).toBe(kid)
    expect(newSecret(`${hs256.signWith}.`).kid).not.toBe(kid)
    expect(kid).toMatch(/^[\w-]{16}$/)
  })

  it.each([
    ['an SSH public key', 'ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ ada@laptop'],
    ['an SSH public key on P-256', 'ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHA ada@laptop'],
    [
      'an SSH public key of RFC 4716',
      '---- BEGIN SSH2 PUBLIC KEY ----\nAAAAB3NzaC1yc2EAAAADAQABAAABAQ\n',
    ],
    ['a JSON Web Key', JSON.stringify(RFC_KEYS[0]!.jwk)],
    ['a set of JSON Web Keys', `\n  { "keys": [${JSON.stringify(RFC_KEYS[0]!.jwk)}] }`],
    [
      'a key in DER, read as text',
      createPublicKey(rs256.verifyWith).export({ type: 'spki', format: 'der' }).toString(),
    ],
    [
      'a key on P-256 in DER, read as text',
      createPublicKey(es256.verifyWith).export({ type: 'spki', format: 'der' }).toString(),
    ],
  ])('is refused when it is no secret but %s: it may be public', (_what, text) => {
    const message = 'expected a secret or a PEM key, got a key in another form'

    expect(faultOf({ signWith: text })).toBe(message)
    expect(faultOf({ signWith: hs256.signWith, previous: [text] })).toBe(message)
  })
})

describe('an asymmetric key', () => {
  it.each([
    ['RSA of 2048 bits', rs256.signWith, 'RS256'],
    ['P-256', es256.signWith, 'ES256'],
    [
      'P-256 in SEC 1',
      pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey, 'sec1'),
      'ES256',
    ],
  ])('has one algorithm: %s', (_what, signWith, algorithm) => {
    const { signing, verifying } = createKeyRing({ signWith })

    expect(signing.algorithm).toBe(algorithm)
    expect(signing.private.type).toBe('private')
    expect(verifying.get(signing.kid)?.verifying.type).toBe('public')
  })

  it.each(RFC_KEYS)(
    'has the thumbprint of RFC 7638 as its kid: the example of $what',
    ({ jwk, kid, algorithm }) => {
      const ring = createKeyRing({ signWith: hs256.signWith, previous: [pemOf(jwk)] })

      expect(ring.verifying.get(kid)?.algorithm).toBe(algorithm)
    },
  )

  it('has the same kid in every form of PEM, private and public', () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const forms = [
      pem(privateKey),
      pem(privateKey, 'pkcs1'),
      pem(publicKey, 'spki'),
      pem(publicKey, 'pkcs1'),
      `\n\n${pem(publicKey, 'spki')}\n`,
      pem(publicKey, 'spki').replaceAll('\n', '\r\n'),
    ]
    const ring = createKeyRing({ signWith: hs256.signWith, previous: forms })

    expect(ring.verifying.size).toBe(2)
    expect(
      [...ring.verifying.values()].every(({ verifying }) => verifying.type !== 'private'),
    ).toBe(true)
  })

  // Q22
  it.each([
    ['public', rs256.verifyWith],
    ['private', rs256.signWith],
  ])('is a key, and no secret, whatever stands before it in its file: %s', (_what, key) => {
    const text = `Bag Attributes\n    friendlyName: last year's\nKey Attributes: <No Attributes>\n${key}`
    const { verifying } = createKeyRing({ signWith: hs256.signWith, previous: [text] })

    expect(verifying.get(rs256.kid)?.algorithm).toBe('RS256')
    expect([...verifying.values()].filter(({ algorithm }) => algorithm === 'HS256')).toHaveLength(1)
  })

  const { privateKey: rsa1024 } = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const { privateKey: pss } = generateKeyPairSync('rsa-pss', { modulusLength: 2048 })
  const curve = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).privateKey

  // Q22
  it.each([
    ['RSA of 1024 bits', rsa1024, 'rsa 1024'],
    ['RSA for PSS only', pss, 'rsa-pss 2048'],
    ['P-384', curve('P-384'), 'ec secp384r1'],
    ['P-521', curve('P-521'), 'ec secp521r1'],
    ['secp256k1', curve('secp256k1'), 'ec secp256k1'],
    ['a curve without a name in JWK', curve('brainpoolP256r1'), 'ec brainpoolP256r1'],
    ['Ed25519', generateKeyPairSync('ed25519').privateKey, 'ed25519'],
    ['Ed448', generateKeyPairSync('ed448').privateKey, 'ed448'],
    ['X25519', generateKeyPairSync('x25519').privateKey, 'x25519'],
    [
      'DSA',
      generateKeyPairSync('dsa', { modulusLength: 1024, divisorLength: 160 }).privateKey,
      'dsa 1024',
    ],
  ])('is refused when it is %s', (_what, key, got) => {
    const message = `expected an RSA key of at least 2048 bits or a P-256 key, got ${got}`

    expect(faultOf({ signWith: pem(key) })).toBe(message)
    expect(faultOf({ signWith: hs256.signWith, previous: [pem(key)] })).toBe(message)
    expect(
      faultOf({ signWith: hs256.signWith, previous: [pem(createPublicKey(key), 'spki')] }),
    ).toBe(message)
  })

  // Q22, Q32
  it.each([1, 3, 17])('is refused when it is RSA with the public exponent %i', (exponent) => {
    const message = `expected an RSA key with a public exponent of at least 65537, got ${exponent}`
    const { n } = createPublicKey(rs256.verifyWith).export({ format: 'jwk' })
    const e = Buffer.from([exponent]).toString('base64url')
    const weak = createPublicKey({ key: { kty: 'RSA', n: n!, e }, format: 'jwk' })

    expect(faultOf({ signWith: hs256.signWith, previous: [pem(weak, 'spki')] })).toBe(message)
    if (exponent < 3) return
    const { privateKey } = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      publicExponent: exponent,
    })
    expect(faultOf({ signWith: pem(privateKey) })).toBe(message)
  })

  it('is refused when a passphrase protects it', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const encrypted = privateKey
      .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'sesame' })
      .toString()

    expect(faultOf({ signWith: encrypted })).toContain('without a passphrase')
    expect(faultOf({ signWith: hs256.signWith, previous: [encrypted] })).toContain(
      'without a passphrase',
    )
  })

  it('is refused for signing when it is public', () => {
    expect(faultOf({ signWith: rs256.verifyWith })).toBe(
      'expected a PEM private key without a passphrase, got something else',
    )
  })

  it.each([
    ['nothing in it', '-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n'],
    ['no end', es256.signWith.slice(0, 100)],
    ['a hole', es256.signWith.replace(/\n.{20}/, '\n')],
    ['another label', es256.signWith.replaceAll('PRIVATE KEY', 'LETTER OF LOVE')],
    [
      'letters that are no base64',
      '-----BEGIN PUBLIC KEY-----\n(garbage of some length)\n-----END PUBLIC KEY-----\n',
    ],
    [
      'a request for a certificate',
      '-----BEGIN CERTIFICATE REQUEST-----\nMIIBAAAA\n-----END CERTIFICATE REQUEST-----\n',
    ],
  ])('is refused with %s', (_what, text) => {
    expect(faultOf({ signWith: text })).toMatch(/^expected a PEM .*, got something else$/)
    expect(faultOf({ signWith: hs256.signWith, previous: [text] })).toMatch(
      /^expected a PEM .*, got something else$/,
    )
  })
})

describe('publicJwks', () => {
  it('lists the public keys of the ring, the one that signs first', () => {
    const ec = createPublicKey(es256.verifyWith).export({ format: 'jwk' })
    const rsa = createPublicKey(rs256.verifyWith).export({ format: 'jwk' })
    const { keys } = publicJwks(ringOf(es256, [rs256.signWith, hs256.signWith]))

    expect(keys).toEqual([
      { kty: 'EC', crv: 'P-256', x: ec.x, y: ec.y, kid: es256.kid, alg: 'ES256', use: 'sig' },
      { kty: 'RSA', n: rsa.n, e: 'AQAB', kid: rs256.kid, alg: 'RS256', use: 'sig' },
    ])
  })

  // Q36
  it('holds no private member of any key', () => {
    const { keys } = publicJwks(
      ringOf(newEcKey(), [rs256.signWith, es256.signWith, hs256.signWith]),
    )

    expect(keys).toHaveLength(3)
    for (const name of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']) {
      expect(keys.some((key) => name in key)).toBe(false)
    }
  })

  it('is empty when all keys are secrets', () => {
    expect(publicJwks(ringOf(hs256, ['the secret of last year, of 32 bytes and more']))).toEqual({
      keys: [],
    })
  })
})
