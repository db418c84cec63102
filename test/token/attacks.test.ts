import assert from 'node:assert/strict'
import {
  constants,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  privateEncrypt,
  sign,
} from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TokenExpiredError, TokenInvalidError } from '../../src/errors.ts'
import { isRevokedBy } from '../../src/revocation/revocation.ts'
import {
  createRefreshToken,
  formatRefreshToken,
  parseRefreshToken,
} from '../../src/service/session/refresh-token.ts'
import { MAX_TOKEN_LENGTH } from '../../src/token/verifier.ts'
import {
  anyText,
  authorities,
  base64url,
  claimsOf,
  errorOf,
  es256,
  forge,
  headerOf,
  hs256,
  newEcKey,
  newRsaKey,
  newSecret,
  NOW,
  otherSpellings,
  partsOf,
  refusalOf,
  rs256,
  signParts,
  verifierOf,
} from './forge.ts'
import type { Authority } from './forge.ts'

const NO_FORM = 'it has not the form of a JWT'
const NOT_CANONICAL = 'it is not canonical base64url'
const BAD_SIGNATURE = 'the signature does not hold'
const WRONG_ALGORITHM = 'alg is not that of the key'
const UNKNOWN_KID = 'kid is not known'
const WRONG_TYP = 'typ is not at+jwt'

const strangers = {
  HS256: newSecret('the secret of somebody else, of 32 bytes and more'),
  RS256: newRsaKey(),
  ES256: newEcKey(),
}

describe.each(authorities)('with $algorithm', (authority) => {
  const verifier = verifierOf(authority)
  const stranger = strangers[authority.algorithm]
  const valid = forge(authority)
  const [header, payload, signature] = partsOf(valid)

  const otherAlgorithms = [
    ['none', 'None', 'NONE', 'nOnE', 'none ', ' none', 'none\0', 'ｎｏｎｅ', ''],
    ['HS256', 'HS384', 'HS512', 'HS1', 'hs256', 'Hs256', 'HS256 ', 'HS-256'],
    ['RS256', 'RS384', 'RS512', 'rs256', 'PS256', 'PS384', 'PS512', 'RSA-SHA256'],
    ['ES256', 'ES384', 'ES512', 'es256', 'ES256K', 'EdDSA', 'Ed25519'],
    ['dir', 'A128KW', 'RSA-OAEP', 'PBES2-HS256+A128KW', '__proto__', 'constructor'],
    [undefined, null, 0, true, {}, [], ['none'], [authority.algorithm], { alg: 'none' }],
  ]
    .flat()
    .filter((alg) => alg !== authority.algorithm)

  // Q22
  it.each(otherAlgorithms)('refuses alg %j, signed or not', (alg) => {
    const input = [headerOf(authority, { alg }), claimsOf()].map(base64url).join('.')

    expect(refusalOf(verifier, signParts(authority, input))).toBe(WRONG_ALGORITHM)
    expect(refusalOf(verifier, `${input}.`)).toBe(NO_FORM)
    expect(refusalOf(verifier, input)).toBe(NO_FORM)
    expect(refusalOf(verifier, `${input}.AA`)).toBe(WRONG_ALGORITHM)
  })

  // Q22, Q23
  it('refuses another key under our kid, and under its own', () => {
    expect(refusalOf(verifier, forge(authority, { sign: stranger.sign }))).toBe(BAD_SIGNATURE)
    expect(refusalOf(verifier, forge(stranger))).toBe(UNKNOWN_KID)
    expect(refusalOf(verifier, forge(stranger, { header: { kid: undefined } }))).toBe(BAD_SIGNATURE)
  })

  // Q24
  it.each([
    'unknown',
    '',
    ' ',
    '__proto__',
    'constructor',
    'hasOwnProperty',
    'toString',
    'size',
    '0',
    '../../../../dev/null',
    '/etc/passwd',
    'file:///dev/null',
    'https://evil.example/key.pem',
    `x' union select 'secret' --`,
    '$(id)',
    `${authority.kid} `,
    ` ${authority.kid}`,
    `${authority.kid}\0`,
    authority.kid.slice(0, -1),
    `${authority.kid}.pem`,
    null,
    0,
    true,
    [],
    [authority.kid],
    {},
    { kid: authority.kid },
  ])('refuses kid %j', (kid) => {
    expect(refusalOf(verifier, forge(authority, { header: { kid } }))).toBe(UNKNOWN_KID)
  })

  // Q25
  it.each([
    ['crit', ['exp']],
    ['crit', ['b64']],
    ['crit', ['https://evil.example/ext']],
    ['crit', []],
    ['crit', 'exp'],
    ['crit', null],
    ['b64', false],
    ['b64', true],
  ])('refuses header %s: %j', (name, value) => {
    const token = forge(authority, { header: { [name]: value } })

    expect(refusalOf(verifier, token)).toBe(`header ${name} is not accepted`)
  })

  // Q25
  it('refuses a payload that is not encoded, as b64: false would have it', () => {
    const changes = { b64: false, crit: ['b64'] }
    const input = `${base64url(headerOf(authority, changes))}.${claimsOf()}`

    expect(refusalOf(verifier, signParts(authority, input))).toBe(NO_FORM)
  })

  // Q23
  it.each([
    ['jku', 'https://evil.example/jwks.json'],
    ['x5u', 'https://evil.example/cert.pem'],
    ['jwk', { kty: 'oct', k: 'AA' }],
    ['jwk', null],
    ['x5c', ['MIIB']],
    ['enc', 'A128GCM'],
    ['zip', 'DEF'],
  ])('refuses header %s: %j, though the signature holds', (name, value) => {
    const token = forge(authority, { header: { [name]: value } })

    expect(refusalOf(verifier, token)).toBe(`header ${name} is not accepted`)
  })

  // Q30
  it.each([
    undefined,
    null,
    '',
    'JWT',
    'jwt',
    'at-jwt',
    'at+jwt ',
    ' at+jwt',
    'at+jwt\n',
    'at+jwt; charset=utf-8',
    'application/jwt',
    'applıcation/at+jwt',
    'text/at+jwt',
    'xat+jwt',
    'id+jwt',
    'rt+jwt',
    'logout+jwt',
    'secevent+jwt',
    'JOSE',
    true,
    ['at+jwt'],
    { typ: 'at+jwt' },
  ])('refuses typ %j', (typ) => {
    expect(refusalOf(verifier, forge(authority, { header: { typ } }))).toBe(WRONG_TYP)
  })

  it.each(['at+jwt', 'AT+JWT', 'application/at+jwt', 'Application/AT+JWT'])(
    'accepts typ %j',
    (typ) => {
      expect(verifier.verify(forge(authority, { header: { typ } })).subject).toBe('ada')
    },
  )

  // Q26
  it.each<[what: string, text: string]>([
    ['nothing', ''],
    ['a space', ' '],
    ['a dot', '.'],
    ['two dots', '..'],
    ['three dots', '...'],
    ['one part', header],
    ['two parts', `${header}.${payload}`],
    ['an empty signature', `${header}.${payload}.`],
    ['an empty payload', `${header}..${signature}`],
    ['an empty header', `.${payload}.${signature}`],
    ['a dot at the end', `${valid}.`],
    ['a dot at the beginning', `.${valid}`],
    ['a doubled dot', `${header}..${payload}.${signature}`],
    ['four parts', `${valid}.${signature}`],
    ['five parts, as a JWE', `${header}.AAAA.${payload}.${signature}.AAAA`],
    ['five parts, as a JWE with a direct key', `${header}..AAAA.${payload}.${signature}`],
    ['a space at the end', `${valid} `],
    ['a space at the beginning', ` ${valid}`],
    ['a line break at the end', `${valid}\n`],
    ['a line break at the beginning', `\r\n${valid}`],
    ['a line break within', `${header}.${payload}\n.${signature}`],
    ['lines folded', valid.replaceAll(/(.{64})/g, '$1\r\n')],
    ['a tab within', valid.replace('.', '\t.')],
    ['a NUL at the end', `${valid}\0`],
    ['a NUL and more at the end', `${valid}\0.admin`],
    ['a byte order mark', `\ufeff${valid}`],
    ['a zero-width space', `${valid}\u200b`],
    ['a dot that only looks the same', `${header}․${payload}․${signature}`],
    ['full-width dots', `${header}．${payload}．${signature}`],
    ['dots encoded for a URL', `${header}%2e${payload}%2e${signature}`],
    ['the signature padded', `${valid}=`],
    ['the signature padded twice', `${valid}==`],
    ['the signature padded for a URL', `${valid}%3D`],
    ['the header padded', `${header}=.${payload}.${signature}`],
    ['the payload padded', `${header}.${payload}==.${signature}`],
    ['the scheme before it', `Bearer ${valid}`],
    ['quotes around it', `"${valid}"`],
    ['another after a comma', `${valid},${valid}`],
    ['the JSON form of a JWS', JSON.stringify({ protected: header, payload, signature })],
    ['half of a surrogate pair', `${valid}\ud83c`],
    ['an emoji', `🏰.🏰.🏰`],
  ])('refuses the form: %s', (_what, text) => {
    expect(refusalOf(verifier, text)).toBe(NO_FORM)
  })

  // Q26
  it('refuses the alphabet of standard base64, which decodes to the same', () => {
    const text = forgeUntil(authority, (token) => /[-_]/.test(partsOf(token)[2]))
    const [, , urlSafe] = partsOf(text)
    const standard = urlSafe.replaceAll('-', '+').replaceAll('_', '/')

    expect(Buffer.from(standard, 'base64')).toEqual(Buffer.from(urlSafe, 'base64url'))
    expect(refusalOf(verifier, text.replace(urlSafe, standard))).toBe(NO_FORM)
  })

  // Q05, Q26
  it('refuses every other spelling of the signature, which decodes to the same', () => {
    const spellings = otherSpellings(signature)

    expect(spellings.length).toBeGreaterThanOrEqual(3)
    for (const spelling of spellings) {
      expect(refusalOf(verifier, `${header}.${payload}.${spelling}`)).toBe(NOT_CANONICAL)
    }
  })

  // Q05, Q26
  it.each(['header', 'payload'])(
    'refuses every other spelling of the %s, even if signed so',
    (part) => {
      const isHeader = part === 'header'
      const roomy = forgeUntil(authority, (token) => {
        return partsOf(token)[isHeader ? 0 : 1].length % 4 !== 0
      })
      const [head, body] = partsOf(roomy)
      const spellings = otherSpellings(isHeader ? head : body)

      expect(spellings.length).toBeGreaterThanOrEqual(3)
      for (const spelling of spellings) {
        const input = isHeader ? `${spelling}.${body}` : `${head}.${spelling}`
        expect(refusalOf(verifier, signParts(authority, input))).toBe(NOT_CANONICAL)
        expect(refusalOf(verifier, `${input}.${partsOf(roomy)[2]}`)).toBe(NOT_CANONICAL)
      }
    },
  )

  // Q05, Q26
  it.each(['header', 'payload'])(
    'refuses a character too many after the %s, even if signed so',
    (part) => {
      const isHeader = part === 'header'
      const full = forgeUntil(authority, (token) => {
        return partsOf(token)[isHeader ? 0 : 1].length % 4 === 0
      })
      const [head, body] = partsOf(full)
      const input = isHeader ? `${head}A.${body}` : `${head}.${body}A`

      expect(refusalOf(verifier, signParts(authority, input))).toBe(NOT_CANONICAL)
    },
  )

  it('refuses a part of another token in the place of its own', () => {
    const other = forge(authority, { claims: { sub: 'eve', roles: ['ADMIN'] } })
    const [, eve, signatureOfEve] = partsOf(other)

    expect(refusalOf(verifier, `${header}.${eve}.${signature}`)).toBe(BAD_SIGNATURE)
    expect(refusalOf(verifier, `${header}.${payload}.${signatureOfEve}`)).toBe(BAD_SIGNATURE)
    expect(refusalOf(verifier, `${header}.${payload}.${payload}`)).toBe(BAD_SIGNATURE)
  })

  it.each<[what: string, change: (signature: Buffer) => Uint8Array]>([
    ['its first byte missing', (bytes) => bytes.subarray(1)],
    ['its last byte missing', (bytes) => bytes.subarray(0, -1)],
    ['its second half missing', (bytes) => bytes.subarray(0, bytes.length / 2)],
    ['one byte only', (bytes) => bytes.subarray(0, 1)],
    ['a byte more', (bytes) => Buffer.concat([bytes, Buffer.from([0])])],
    ['a zero before it', (bytes) => Buffer.concat([Buffer.from([0]), bytes])],
    ['twice itself', (bytes) => Buffer.concat([bytes, bytes])],
    ['zeros', (bytes) => Buffer.alloc(bytes.length)],
    ['ones', (bytes) => Buffer.alloc(bytes.length, 0xff)],
    ['its bytes in reverse', (bytes) => Uint8Array.from(bytes).toReversed()],
    ['as long as fits', () => Buffer.alloc(5500, 1)],
  ])('refuses a signature that is %s', (_what, change) => {
    const token = forge(authority, { sign: (input) => Buffer.from(change(authority.sign(input))) })

    expect(refusalOf(verifier, token)).toBe(BAD_SIGNATURE)
  })

  const notObjects: Array<[what: string, content: string | Buffer]> = [
    ['a list', '[]'],
    ['a list of an object', `[${claimsOf()}]`],
    ['a text', '"portcullis"'],
    ['null', 'null'],
    ['true', 'true'],
    ['a number', '1763800000'],
  ]

  const notJson: Array<[what: string, content: string | Buffer]> = [
    ['no JSON', 'portcullis'],
    ['a space', ' '],
    ['the beginning of an object', '{'],
    ['an object and more', `${claimsOf()}{}`],
    ['an object and a NUL', `${claimsOf()}\0`],
    ['an object after a byte order mark', `\ufeff${claimsOf()}`],
    ['an object in UTF-16', Buffer.from(claimsOf(), 'utf16le')],
    ['an object in UTF-16 with its mark', Buffer.from(`\ufeff${claimsOf()}`, 'utf16le')],
    ['an object in quotes of the wrong kind', `{'sub':'ada'}`],
    ['an object with a comma too many', '{"sub":"ada",}'],
    ['an object with a comment', '{"sub":"ada"/* root */}'],
    ['an object with a line break in a text', '{"sub":"a\nda"}'],
    ['an object with a byte that is no UTF-8', joined('{"sub":"', [0xff], '"}')],
    ['an object with a cut UTF-8 sequence', joined('{"sub":"', [0xe2, 0x82], '"}')],
    ['an object with an overlong slash', joined('{"sub":"', [0xc0, 0xaf], '"}')],
    ['an object with an encoded surrogate', joined('{"sub":"', [0xed, 0xa0, 0x80], '"}')],
    ['an object in Latin-1', Buffer.from('{"sub":"André"}', 'latin1')],
    ['brackets, 2,500 deep, that nothing closes', '['.repeat(2500)],
    ['a form', 'sub=ada&exp=9999999999'],
    ['XML', '<token><sub>ada</sub></token>'],
  ]

  // Q31
  describe.each(['header', 'payload'] as const)('refuses a %s that is', (part) => {
    const put = (content: string | Buffer) =>
      forge(authority, part === 'header' ? { rawHeader: content } : { rawPayload: content })

    it.each(notObjects)('%s', (_what, content) => {
      expect(refusalOf(verifier, put(content))).toBe(`the ${part} is not an object`)
    })

    it.each(notJson)('%s', (_what, content) => {
      expect(refusalOf(verifier, put(content))).toBe(`the ${part} is not JSON`)
    })
  })

  // Q31
  it('refuses a token within a token', () => {
    const asText = forge(authority, { header: { cty: 'JWT' }, rawPayload: valid })
    const asJson = forge(authority, { header: { cty: 'JWT' }, rawPayload: JSON.stringify(valid) })

    expect(refusalOf(verifier, asText)).toBe('the payload is not JSON')
    expect(refusalOf(verifier, asJson)).toBe('the payload is not an object')
  })

  // Q31
  it('reads the last of two members of one name, in a check as in a revocation', () => {
    const rawPayload = claimsOf().replace('{', '{"sub":"eve","jti":"token of eve",')
    const text = forge(authority, { rawPayload })
    const identified = verifier.identify(text)

    expect(verifier.verify(text)).toMatchObject({ subject: 'ada', tokenId: 'token of ada' })
    expect(identified).toMatchObject({ kind: 'VERIFIED', token: verifier.verify(text) })
  })

  // Q22, Q31
  it('reads the last of two members of one name in the header too', () => {
    const ours = `"alg":"${authority.algorithm}"`
    const noneFirst = headerOf(authority).replace(ours, `"alg":"none",${ours}`)
    const noneLast = headerOf(authority).replace(ours, `${ours},"\\u0061lg":"none"`)

    expect(verifier.verify(forge(authority, { rawHeader: noneFirst })).subject).toBe('ada')
    expect(refusalOf(verifier, forge(authority, { rawHeader: noneLast }))).toBe(WRONG_ALGORITHM)
  })

  // Q24
  it('takes nothing from a member called __proto__', () => {
    const rawHeader = `{"__proto__":${headerOf(authority)}}`
    const rawPayload = `{"__proto__":${claimsOf()}}`

    expect(refusalOf(verifier, forge(authority, { rawHeader }))).toBe(WRONG_TYP)
    expect(refusalOf(verifier, forge(authority, { rawPayload }))).toBe('iss is not ours')
    expect({}).not.toHaveProperty('sub')
  })

  it('bears deep nesting in what it ignores', () => {
    const deep = `${'['.repeat(2000)}${']'.repeat(2000)}`
    const rawPayload = claimsOf().replace('{', `{"deep":${deep},`)

    expect(verifier.verify(forge(authority, { rawPayload })).subject).toBe('ada')
  })

  it(`reads ${MAX_TOKEN_LENGTH} characters and not one more`, () => {
    const longest = forgeOfLength(authority, MAX_TOKEN_LENGTH)

    expect(verifier.verify(longest).subject).toBe('ada')
    expect(refusalOf(verifier, forgeOfLength(authority, MAX_TOKEN_LENGTH + 1))).toBe(NO_FORM)
  })

  it.each<[what: string, text: () => string]>([
    ['a token of 10 million characters', () => `${header}.${'A'.repeat(10_000_000)}.${signature}`],
    ['10 million dots', () => '.'.repeat(10_000_000)],
    ['8,192 characters without a dot', () => 'A'.repeat(8192)],
    [
      '8,192 characters with the wrong one at the end',
      () => `${'A'.repeat(4000)}.${'A'.repeat(4190)}!`,
    ],
    ['brackets as deep as fit', () => forge(authority, { rawPayload: '['.repeat(5400) })],
    ['a kid as long as fits', () => forge(authority, { header: { kid: 'k'.repeat(5400) } })],
    [
      'digits as many as fit',
      () => forge(authority, { rawPayload: `{"exp":${'9'.repeat(5400)}}` }),
    ],
    [
      'members as many as fit',
      () => forge(authority, { rawPayload: `{${'"a":1,'.repeat(900)}"a":1}` }),
    ],
  ])('refuses %s at once', (_what, make) => {
    const text = make()
    const start = performance.now()
    refusalOf(verifier, text)

    expect(performance.now() - start).toBeLessThan(500)
  })
})

describe('a key that is public', () => {
  const rsa = createPublicKey(rs256.verifyWith)
  const ec = createPublicKey(es256.verifyWith)
  const published = [
    ['RSA, SPKI PEM', rs256, rs256.verifyWith],
    ['RSA, SPKI PEM without its last line break', rs256, rs256.verifyWith.trim()],
    ['RSA, SPKI PEM with CRLF', rs256, rs256.verifyWith.replaceAll('\n', '\r\n')],
    ['RSA, PKCS #1 PEM', rs256, rsa.export({ type: 'pkcs1', format: 'pem' })],
    ['RSA, SPKI DER', rs256, rsa.export({ type: 'spki', format: 'der' })],
    ['RSA, JWK', rs256, JSON.stringify(rsa.export({ format: 'jwk' }))],
    ['RSA, modulus', rs256, rsa.export({ format: 'jwk' }).n!],
    ['RSA, kid', rs256, rs256.kid],
    ['P-256, SPKI PEM', es256, es256.verifyWith],
    ['P-256, SPKI DER', es256, ec.export({ type: 'spki', format: 'der' })],
    ['P-256, JWK', es256, JSON.stringify(ec.export({ format: 'jwk' }))],
    ['nothing', rs256, ''],
  ] as const

  // Q22
  it.each(published)('makes no HMAC secret: %s', (_form, authority, secret) => {
    const token = forge(authority, {
      header: { alg: 'HS256' },
      sign: (input) => createHmac('sha256', secret).update(input).digest(),
    })

    expect(refusalOf(verifierOf(authority), token)).toBe(WRONG_ALGORITHM)
    expect(refusalOf(verifierOf(authority, { previous: [hs256.signWith] }), token)).toBe(
      WRONG_ALGORITHM,
    )
  })

  // Q22
  it.each([
    ['RS256', 'HS256', rs256, hs256],
    ['RS256', 'ES256', rs256, es256],
    ['ES256', 'RS256', es256, rs256],
    ['ES256', 'HS256', es256, hs256],
    ['HS256', 'RS256', hs256, rs256],
    ['HS256', 'ES256', hs256, es256],
  ])('keeps its algorithm beside others: %s under the kid of %s', (alg, _kid, by, other) => {
    const verifier = verifierOf(other, { previous: [by.verifyWith] })
    const header = { alg, kid: other.kid }

    expect(verifier.verify(forge(by)).subject).toBe('ada')
    expect(refusalOf(verifier, forge(by, { header }))).toBe(WRONG_ALGORITHM)
    expect(refusalOf(verifier, forge(by, { header: { ...header, alg: other.algorithm } }))).toBe(
      BAD_SIGNATURE,
    )
  })
})

describe('a key that the token brings', () => {
  // Q23
  it('is not used, and nothing is fetched', async () => {
    let connections = 0
    const server = createServer((_request, response) => response.end('{"keys":[]}'))
    server.on('connection', () => connections++)
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`

    const evil = strangers.RS256
    const jwk = createPublicKey(evil.verifyWith).export({ format: 'jwk' })
    const refusals = [
      { jku: url },
      { x5u: url },
      { jwk },
      { x5c: ['MIIB'] },
      { iss: url },
      { kid: url },
    ].map((header) =>
      refusalOf(verifierOf(rs256), forge(evil, { header: { kid: rs256.kid, ...header } })),
    )
    await new Promise((resolve) => {
      setTimeout(resolve, 50)
    })
    await new Promise((resolve) => {
      server.close(resolve)
    })

    expect(refusals).toEqual([
      'header jku is not accepted',
      'header x5u is not accepted',
      'header jwk is not accepted',
      'header x5c is not accepted',
      BAD_SIGNATURE,
      UNKNOWN_KID,
    ])
    expect(connections).toBe(0)
  })
})

describe('an ECDSA signature', () => {
  const verifier = verifierOf(es256)
  const order = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551')
  const key = createPrivateKey(es256.signWith)

  it('is refused in DER', () => {
    const inDer = forge(es256, { sign: (input) => sign('sha256', Buffer.from(input), key) })

    expect(refusalOf(verifier, inDer)).toBe(BAD_SIGNATURE)
  })

  it.each([
    ['r = s = 0', 0n, 0n],
    ['r = 0', 0n, 1n],
    ['s = 0', 1n, 0n],
    ['r = s = n', order, order],
    ['r = s = 1', 1n, 1n],
    ['r = s = n - 1', order - 1n, order - 1n],
    ['r and s as large as fit', 2n ** 256n - 1n, 2n ** 256n - 1n],
  ])('is refused with %s', (_what, r, s) => {
    const token = forge(es256, { sign: () => Buffer.concat([toBytes(r), toBytes(s)]) })

    expect(refusalOf(verifier, token)).toBe(BAD_SIGNATURE)
  })

  it('is refused with r and s exchanged, or grown by n', () => {
    const exchanged = forge(es256, {
      sign: (input) => rewrite(es256.sign(input), (r, s) => [s, r]),
    })
    expect(refusalOf(verifier, exchanged)).toBe(BAD_SIGNATURE)

    const grown = forge(es256, {
      sign: (input) => rewrite(es256.sign(input), (r, s) => [r, (s + order) % 2n ** 256n]),
    })
    expect(refusalOf(verifier, grown)).toBe(BAD_SIGNATURE)
  })

  // Q05
  it('has a second form that holds, and a revocation reaches both', () => {
    const text = forge(es256)
    const [header, payload, signature] = partsOf(text)
    const second = rewrite(Buffer.from(signature, 'base64url'), (r, s) => [r, order - s])
    const malleated = `${header}.${payload}.${base64url(second)}`

    const [token, other] = [verifier.verify(text), verifier.verify(malleated)]
    expect(malleated).not.toBe(text)
    expect(other).toEqual(token)
    for (const target of [
      { scope: 'TOKEN', issuer: token.issuer, tokenId: token.tokenId, digest: null },
      { scope: 'TOKEN', issuer: null, tokenId: null, digest: token.digest },
      { scope: 'SESSION', sessionId: token.sessionId },
      { scope: 'SUBJECT', subject: token.subject, keptSessionId: null },
    ] as const) {
      const now = new Date(NOW * 1000)
      const rest = {
        subject: null,
        sessionId: null,
        keptSessionId: null,
        note: null,
        revokedBy: null,
      }
      const names = { issuer: null, tokenId: null, digest: null }
      const entry = {
        id: '1',
        revokedAt: now,
        expiresAt: now,
        reason: 'logout',
        ...rest,
        ...names,
        ...target,
      }
      expect(isRevokedBy(other, entry)).toBe(true)
    }
  })

  function rewrite(
    signature: Buffer,
    change: (r: bigint, s: bigint) => readonly [bigint, bigint],
  ): Buffer {
    const [r, s] = [signature.subarray(0, 32), signature.subarray(32)].map((half) => {
      return BigInt(`0x${half.toString('hex')}`)
    })
    return Buffer.concat(change(r!, s!).map(toBytes))
  }

  function toBytes(value: bigint): Buffer {
    return Buffer.from(value.toString(16).padStart(64, '0'), 'hex')
  }
})

describe('another kind of signature', () => {
  it('is refused: RSASSA-PSS by our RSA key, and SHA-512 or SHA-1 in the place of SHA-256', () => {
    const key = createPrivateKey(rs256.signWith)
    const pss = { key, padding: 6, saltLength: 32 }
    const by = (make: (input: Buffer) => Buffer) =>
      refusalOf(verifierOf(rs256), forge(rs256, { sign: (input) => make(Buffer.from(input)) }))

    expect(by((input) => sign('sha256', input, pss))).toBe(BAD_SIGNATURE)
    expect(by((input) => sign('sha512', input, key))).toBe(BAD_SIGNATURE)
    expect(by((input) => sign('sha1', input, key))).toBe(BAD_SIGNATURE)
  })

  it.each([
    ['an empty secret', 'sha256', ''],
    ['the kid as the secret', 'sha256', hs256.kid],
    ['the beginning of the secret', 'sha256', hs256.signWith.slice(0, -1)],
    ['the secret and a space', 'sha256', `${hs256.signWith} `],
    ['SHA-512', 'sha512', hs256.signWith],
  ])('is refused: HMAC with %s', (_what, hash, secret) => {
    const token = forge(hs256, {
      sign: (input) => createHmac(hash, secret).update(input).digest(),
    })

    expect(refusalOf(verifierOf(hs256), token)).toBe(BAD_SIGNATURE)
  })
})

// Wycheproof's classes for RSASSA-PKCS1-v1_5.
describe('an RSA signature', () => {
  const verifier = verifierOf(rs256)
  const key = createPrivateKey(rs256.signWith)
  const modulus = BigInt(
    `0x${Buffer.from(key.export({ format: 'jwk' }).n!, 'base64url').toString('hex')}`,
  )
  const DIGEST_INFO = '3031300d060960864801650304020105000420'

  /** Encrypts whatever stands in the place of the padding, as the private key alone can. */
  function signRaw(input: string, encode: (digest: string) => string): Buffer {
    const digest = createHash('sha256').update(input).digest('hex')
    const encoded = Buffer.from(encode(digest), 'hex')
    return privateEncrypt({ key, padding: constants.RSA_NO_PADDING }, encoded)
  }

  const padded = (content: string): string =>
    `0001${'ff'.repeat(253 - content.length / 2)}00${content}`

  it('of the right form holds when it is made by hand', () => {
    const token = forge(rs256, {
      sign: (input) => signRaw(input, (digest) => padded(DIGEST_INFO + digest)),
    })

    expect(verifier.verify(token).subject).toBe('ada')
  })

  // Q22
  it.each<[what: string, encode: (digest: string) => string]>([
    ['without the parameters', (d) => padded(`302f300b06096086480165030402010420${d}`)],
    ['with other parameters', (d) => padded(`3033300f0609608648016503040201050201000420${d}`)],
    [
      'with a length in the long form',
      (d) => padded(`308131300d060960864801650304020105000420${d}`),
    ],
    ['with something after the hash', (d) => padded(`${DIGEST_INFO}${d}00`)],
    ['without the name of the hash', (d) => padded(d)],
    ['with the name of SHA-512', (d) => padded(`3051300d060960864801650304020305000440${d}${d}`)],
    ['with the name of SHA-1', (d) => padded(`3021300906052b0e03021a05000414${d.slice(0, 40)}`)],
    [
      'with a short padding and rubbish after it',
      (d) => `0001ffffffffffffffff00${DIGEST_INFO}${d}`.padEnd(512, 'a'),
    ],
    ['with zeros in the padding', (d) => padded(DIGEST_INFO + d).replace('ffffff', 'ff00ff')],
    ['with the padding of encryption', (d) => padded(DIGEST_INFO + d).replace('0001', '0002')],
    ['with no padding', (d) => (DIGEST_INFO + d).padStart(512, '0')],
  ])('is refused %s', (_what, encode) => {
    expect(refusalOf(verifier, forge(rs256, { sign: (input) => signRaw(input, encode) }))).toBe(
      BAD_SIGNATURE,
    )
  })

  it.each<[what: string, change: (value: bigint) => bigint]>([
    ['grown by n', (value) => value + modulus],
    ['0', () => 0n],
    ['1', () => 1n],
    ['n', () => modulus],
    ['n - 1', () => modulus - 1n],
    ['subtracted from n', (value) => modulus - value],
  ])('is refused when it is %s', (_what, change) => {
    const signed = (input: string): Buffer => {
      const value = BigInt(`0x${rs256.sign(input).toString('hex')}`)
      const hex = change(value).toString(16)
      return Buffer.from(hex.padStart(Math.max(512, hex.length + (hex.length % 2)), '0'), 'hex')
    }

    expect(refusalOf(verifier, forge(rs256, { sign: signed }))).toBe(BAD_SIGNATURE)
  })
})

/** What broke others, by the names under which it is known, and what is behind each. */
describe('what is known by a name', () => {
  const evil = strangers.RS256
  const evilJwk = createPublicKey(evil.verifyWith).export({ format: 'jwk' })
  const [, payload] = partsOf(forge(rs256))
  const noSignature = (input: string): string => `${input}.`
  const hmacBy = (secret: string | Buffer) => ({
    header: { alg: 'HS256' },
    sign: (input: string) => createHmac('sha256', secret).update(input).digest(),
  })

  // Q22, Q23, Q24, Q25, Q26
  it.each<[name: string, token: () => string, refusal: string]>([
    [
      'CVE-2015-2951, alg none',
      () => noSignature(`${base64url('{"alg":"none"}')}.${payload}`),
      NO_FORM,
    ],
    [
      'CVE-2015-9235, RSA key as HMAC secret',
      () => forge(rs256, hmacBy(rs256.verifyWith)),
      WRONG_ALGORITHM,
    ],
    [
      'CVE-2016-5431, the same with another HMAC',
      () => forge(rs256, { ...hmacBy(rs256.verifyWith), header: { alg: 'HS384' } }),
      WRONG_ALGORITHM,
    ],
    [
      'CVE-2017-11424 and CVE-2022-29217, PEM in another form',
      () =>
        forge(
          rs256,
          hmacBy(createPublicKey(rs256.verifyWith).export({ type: 'pkcs1', format: 'pem' })),
        ),
      WRONG_ALGORITHM,
    ],
    [
      'CVE-2018-0114, the key in the header',
      () => forge(evil, { header: { kid: rs256.kid, jwk: evilJwk } }),
      'header jwk is not accepted',
    ],
    [
      'an unknown alg',
      () => forge(rs256, { header: { alg: 'NONE256' }, sign: () => Buffer.alloc(1) }),
      WRONG_ALGORITHM,
    ],
    [
      'CVE-2019-7644, a wrong signature in the hope of the right one',
      () => forge(rs256, { sign: () => Buffer.alloc(256) }),
      BAD_SIGNATURE,
    ],
    ['claims without a signature', () => `${base64url(headerOf(rs256))}.${payload}`, NO_FORM],
    [
      'CVE-2020-28042, an empty signature',
      () => noSignature(`${base64url(headerOf(rs256))}.${payload}`),
      NO_FORM,
    ],
    [
      'jwt_tool: kid as the way to an empty file',
      () => forge(hs256, { header: { kid: '../../dev/null' }, sign: hmacBy('').sign }),
      UNKNOWN_KID,
    ],
    [
      'CVE-2022-21449, r = s = 0',
      () => forge(es256, { sign: () => Buffer.alloc(64) }),
      BAD_SIGNATURE,
    ],
    [
      'CVE-2022-23540, no secret and no alg',
      () => forge(hs256, { header: { alg: undefined }, sign: hmacBy('').sign }),
      WRONG_ALGORITHM,
    ],
    [
      'CVE-2022-39227, another payload in the JSON form',
      () => `{"protected":"${base64url(headerOf(rs256))}","payload":"${payload}","signature":"AA"}`,
      NO_FORM,
    ],
    [
      'CVE-2024-33664, a JWE of any size once it is decompressed',
      () =>
        `${base64url('{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"zip":"DEF"}')}.AAAA.AAAA.AAAA.AAAA`,
      NO_FORM,
    ],
    [
      'CVE-2023-6681, rounds without number',
      () => forge(rs256, { header: { alg: 'PBES2-HS512+A256KW', p2c: 2 ** 31, p2s: 'AA' } }),
      WRONG_ALGORITHM,
    ],
    [
      'CVE-2024-33663, a key for SSH as HMAC secret',
      () => forge(es256, hmacBy('ecdsa-sha2-nistp256 AAAA')),
      WRONG_ALGORITHM,
    ],
    [
      'CVE-2024-54150, alg of the token’s choice',
      () => forge(es256, hmacBy(es256.verifyWith)),
      WRONG_ALGORITHM,
    ],
    [
      'a token of another service by the same key',
      () => forge(rs256, { claims: { aud: 'billing' } }),
      'aud is not ours',
    ],
    [
      'CVE-2025-30204, dots without end',
      () => `${base64url(headerOf(rs256))}${'.'.repeat(8000)}`,
      NO_FORM,
    ],
    [
      'jwt_tool: alg none with the signature left',
      () => forge(rs256, { header: { alg: 'none' } }),
      WRONG_ALGORITHM,
    ],
    ['jwt_tool: a blank password', () => forge(hs256, hmacBy('')), BAD_SIGNATURE],
    [
      'jwt_tool: null as the signature',
      () => `${base64url(headerOf(rs256))}.${payload}.bnVsbA`,
      BAD_SIGNATURE,
    ],
    [
      'jwt_tool: kid with SQL',
      () => forge(hs256, { header: { kid: `x' union select 'k' -- ` }, sign: hmacBy('k').sign }),
      UNKNOWN_KID,
    ],
    [
      'jwt_tool: kid with a command',
      () => forge(hs256, { header: { kid: `${hs256.kid};sleep 9` } }),
      UNKNOWN_KID,
    ],
    [
      'jwt_tool: JWKS at a place of its own',
      () => forge(evil, { header: { jku: 'https://e.example' } }),
      'header jku is not accepted',
    ],
    [
      'jwt_tool: a certificate of its own',
      () => forge(evil, { header: { x5c: ['MIIB'], x5t: 'AA' } }),
      'header x5c is not accepted',
    ],
    [
      'members of the header in other letters',
      () => forge(rs256, { rawHeader: headerOf(rs256).replace('"alg"', '"ALG"') }),
      WRONG_ALGORITHM,
    ],
    [
      'members of the payload in other letters',
      () => forge(rs256, { rawPayload: claimsOf().replace('"sub"', '"Sub"') }),
      'sub is missing or not a plain string',
    ],
    [
      'an ID token',
      () => forge(rs256, { header: { typ: 'JWT' }, claims: { nonce: 'n' } }),
      WRONG_TYP,
    ],
    ['a logout token', () => forge(rs256, { header: { typ: 'logout+jwt' } }), WRONG_TYP],
    [
      'a DPoP proof',
      () => forge(evil, { header: { typ: 'dpop+jwt', jwk: evilJwk } }),
      'header jwk is not accepted',
    ],
    ['an SD-JWT', () => `${forge(rs256)}~AAAA~`, NO_FORM],
    ['a PASETO', () => `v4.public.${payload}`, NOT_CANONICAL],
    ['a Biscuit', () => `En0K${'A'.repeat(60)}=`, NO_FORM],
  ])('%s: is refused', (_name, make, refusal) => {
    const by = [hs256, rs256, es256].map((authority) => verifierOf(authority))
    const token = make()
    const refusals = by.map((verifier) => refusalOf(verifier, token))

    expect(refusals).toContain(refusal)
  })
})

describe('kinds of token', () => {
  // Q30
  it('are told apart both ways: a refresh token is no access token, an access token no refresh token', () => {
    const refreshToken = formatRefreshToken(createRefreshToken())

    for (const authority of authorities) {
      expect(refusalOf(verifierOf(authority), refreshToken)).toBe(NO_FORM)
      expect(parseRefreshToken(forge(authority))).toBeNull()
    }
  })
})

describe('whatever is sent', () => {
  const CAUSES = [
    /^header (crit|b64|jku|jwk|x5u|x5c|enc|zip) is not accepted$/,
    /^(it has not the form of a JWT|it is not canonical base64url|the signature does not hold)$/,
    /^(typ is not at\+jwt|kid is not known|alg is not that of the key)$/,
    /^the (header|payload) is not (JSON|an object)$/,
    /^(iss|aud) is not ours$/,
    /^(sub|jti|sid) is missing or not a plain string$/,
    /^((iat|exp) is missing or|nbf is) not a time$/,
    /^(roles is no list|exp is not after iat|exp is too far from iat|(iat|nbf) is in the future)$/,
  ]
  const verifiers = authorities.map((authority) => [authority, verifierOf(authority)] as const)

  function expectRefusal(verifier: (typeof verifiers)[number][1], text: string): void {
    const cause = refusalOf(verifier, text)
    assert(
      CAUSES.some((sentence) => sentence.test(cause)),
      cause,
    )
  }

  // Q26, Q36
  it('refuses any text, in a sentence that quotes none of it', () => {
    const part = fc.oneof(
      anyText(),
      fc.base64String().map((text) => text.replaceAll('=', '')),
      fc.jsonValue().map((value) => base64url(JSON.stringify(value))),
    )
    const text = fc.oneof(
      anyText(),
      fc.array(part, { maxLength: 6 }).map((parts) => parts.join('.')),
      fc.tuple(part, part, part).map((parts) => parts.join('.')),
    )

    fc.assert(
      fc.property(text, (anything) => {
        for (const [, verifier] of verifiers) expectRefusal(verifier, anything)
      }),
      { numRuns: 150 },
    )
  })

  // Q22, Q36
  it('refuses any header that is not right, in a sentence that quotes none of it', () => {
    const names = [
      'alg',
      'kid',
      'typ',
      'crit',
      'b64',
      'jku',
      'jwk',
      'x5u',
      'x5c',
      'enc',
      'zip',
    ] as const
    const change = fc.tuple(fc.constantFrom(...names), fc.jsonValue())

    fc.assert(
      fc.property(change, ([name, value]) => {
        for (const [authority, verifier] of verifiers) {
          expectRefusal(verifier, forge(authority, { header: { [name]: value } }))
        }
      }),
      { numRuns: 150 },
    )
  })

  // Q36
  it('says of a token with secrets in every corner nothing that is in it', () => {
    const canary = 'canary-5f0e'
    for (const [authority, verifier] of verifiers) {
      const texts = [
        ...['alg', 'kid', 'typ', 'crit', 'jku'].map((name) =>
          forge(authority, { header: { [name]: canary } }),
        ),
        ...['iss', 'aud', 'iat', 'exp', 'nbf', 'roles'].map((name) =>
          forge(authority, { claims: { [name]: canary } }),
        ),
        ...['sub', 'jti', 'sid'].map((name) =>
          forge(authority, { claims: { [name]: `${canary}\0` } }),
        ),
        forge(authority, { rawPayload: canary }),
        forge(authority, { rawHeader: canary }),
        canary,
      ]
      for (const text of texts) {
        const { message, cause, extensions, stack } = errorOf(() =>
          verifier.verify(text),
        ) as TokenInvalidError
        const said = JSON.stringify([message, cause, extensions, stack])
        expect(said).not.toContain(canary)
        expect(said).not.toContain(base64url(canary).slice(0, 12))
      }
    }
  })

  it.each(authorities)(
    'refuses a token of $algorithm with any one character changed',
    (authority) => {
      const verifier = verifierOf(authority)
      const text = forge(authority)

      // Each place once at least, with a neighbour of the alphabet; then places and characters at random.
      for (let place = 0; place < text.length; place++) {
        expectNotAccepted(verifier, replaceAt(text, place, neighbourOf(text[place]!)))
      }
      fc.assert(
        fc.property(
          fc.nat({ max: text.length - 1 }),
          fc.oneof(
            fc.constantFrom(...ALPHABET),
            fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code)),
          ),
          (place, character) => {
            fc.pre(text[place] !== character)
            expectNotAccepted(verifier, replaceAt(text, place, character))
          },
        ),
        { numRuns: 400 },
      )
    },
  )

  it.each(authorities)(
    'refuses a token of $algorithm cut, grown or rearranged anywhere',
    (authority) => {
      const verifier = verifierOf(authority)
      const text = forge(authority)
      const place = fc.nat({ max: text.length })

      fc.assert(
        fc.property(place, place, anyText(3), (from, to, between) => {
          const changed = text.slice(0, from) + between + text.slice(to)
          fc.pre(changed !== text)
          expectNotAccepted(verifier, changed)
        }),
        { numRuns: 300 },
      )
    },
  )

  function expectNotAccepted(verifier: (typeof verifiers)[number][1], text: string): void {
    const error = errorOf(() => verifier.verify(text))
    assert(error instanceof TokenInvalidError || error instanceof TokenExpiredError, String(error))
    assert.notEqual(verifier.identify(text)?.kind, 'VERIFIED')
  }
})

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.'

function neighbourOf(character: string): string {
  return ALPHABET[(ALPHABET.indexOf(character) + 1) % ALPHABET.length]!
}

function replaceAt(text: string, place: number, character: string): string {
  return text.slice(0, place) + character + text.slice(place + 1)
}

function joined(before: string, between: readonly number[], after: string): Buffer {
  return Buffer.concat([Buffer.from(before), Buffer.from(between), Buffer.from(after)])
}

/** Makes tokens that differ in what is ignored, until one is as wanted. */
function forgeUntil(authority: Authority, isWanted: (token: string) => boolean): string {
  for (let length = 0; length < 200; length++) {
    const ignored = 'x'.repeat(length)
    const token = forge(authority, {
      header: { ignored: 'x'.repeat(Math.floor(length / 4)) },
      claims: { ignored },
    })
    if (isWanted(token)) return token
  }
  throw new Error('no such token found')
}

function forgeOfLength(authority: Authority, length: number): string {
  const bare = forge(authority, { header: { a: '' }, claims: { b: '' } }).length
  for (let spread = 0; spread < 8; spread++) {
    const rest = Math.floor(((length - bare) * 3) / 4) - spread
    for (let more = -4; more <= 4; more++) {
      const token = forge(authority, {
        header: { a: 'x'.repeat(spread) },
        claims: { b: 'x'.repeat(rest + more) },
      })
      if (token.length === length) return token
    }
  }
  throw new Error('no such token found')
}
