import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto'
import type { JsonWebKey } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { login, register, whoAmI } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  .privateKey.export({ type: 'pkcs8', format: 'pem' })
  .toString()
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  .privateKey.export({ type: 'pkcs8', format: 'pem' })
  .toString()

const LAST_YEARS_SECRET = 'the secret of last year, of 32 bytes and more'

/** Three nodes on one database, as a change of keys goes through them: P-256, then RSA, then RSA alone. */
let database: TestDatabase
let before: TestService
let during: TestService
let after: TestService

beforeAll(async () => {
  database = await createDatabase()
  before = await startService({ database, signWith: ec, previousKeys: [LAST_YEARS_SECRET] })
  during = await startService({ database, signWith: rsa, previousKeys: [ec] })
  after = await startService({ database, signWith: rsa })
})

afterAll(async () => {
  await Promise.all([before, during, after].map((service) => service.stop()))
  await database.drop()
})

async function readKeys({ url }: TestService): Promise<JsonWebKey[]> {
  const response = await fetch(`${url}/.well-known/jwks.json`)
  expect(response.status).toBe(200)
  return ((await response.json()) as { keys: JsonWebKey[] }).keys
}

/** What a client does that has nothing but the published keys. */
async function verifyAsStranger(token: string, keys: readonly JsonWebKey[]): Promise<boolean> {
  const [header, payload, signature] = token.split('.')
  const { kid, alg } = JSON.parse(Buffer.from(header!, 'base64url').toString())
  const jwk = keys.find((key) => key['kid'] === kid && key['alg'] === alg && key['use'] === 'sig')
  if (!jwk) return false

  const key = createPublicKey({ key: jwk, format: 'jwk' })
  const bytes = Buffer.from(signature!, 'base64url')
  return verify(
    'sha256',
    Buffer.from(`${header}.${payload}`),
    { key, dsaEncoding: 'ieee-p1363' },
    bytes,
  )
}

describe('GET /.well-known/jwks.json', () => {
  it('publishes the keys that verify, as JSON that may be cached', async () => {
    const response = await fetch(`${during.url}/.well-known/jwks.json`)
    const { keys } = (await response.json()) as { keys: JsonWebKey[] }

    expect(response.headers.get('content-type')).toContain('application/json')
    expect(response.headers.get('cache-control')).toBe('public, max-age=300')
    expect(keys.map(({ kty, alg, use }) => ({ kty, alg, use }))).toEqual([
      { kty: 'RSA', alg: 'RS256', use: 'sig' },
      { kty: 'EC', alg: 'ES256', use: 'sig' },
    ])
  })

  it('lets others verify the tokens of the service', async () => {
    await register(before, 'ada')
    const signIns = await Promise.all([
      login(before, 'ada', 'phone'),
      login(during, 'ada', 'laptop'),
    ])
    const published = await readKeys(during)

    for (const { accessToken } of signIns) {
      expect(await verifyAsStranger(accessToken, published)).toBe(true)
      const [header, payload, signature] = accessToken.split('.')
      const forged = `${header}.${payload!.slice(0, -2)}AA.${signature}`
      expect(await verifyAsStranger(forged, published)).toBe(false)
    }
  })

  // Q36
  it('publishes no secret and no private member', async () => {
    for (const service of [before, during, after]) {
      for (const key of await readKeys(service)) {
        expect(Object.keys(key).toSorted()).toEqual(
          key.kty === 'RSA'
            ? ['alg', 'e', 'kid', 'kty', 'n', 'use']
            : ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'],
        )
      }
    }
    expect(await readKeys(before)).toHaveLength(1)
  })

  it('is empty for a service with a secret', async () => {
    const service = await startService({ database })
    try {
      expect(await readKeys(service)).toEqual([])
    } finally {
      await service.stop()
    }
  })
})

describe('a change of keys', () => {
  // Q34
  it('lets tokens of the old key live on while it is listed, and no longer', async () => {
    const { accessToken } = await register(before, 'grace')

    expect(await whoAmI(before, accessToken)).toBe('grace@example.com')
    expect(await whoAmI(during, accessToken)).toBe('grace@example.com')
    expect(await whoAmI(after, accessToken)).toBe('TOKEN_INVALID')
  })

  // Q34
  it('keeps revocations: what was revoked under the old key stays so under the new one', async () => {
    const { accessToken } = await register(before, 'joan')
    await before.graphql('mutation { logout { alreadyRevoked } }', { token: accessToken })

    expect(await whoAmI(before, accessToken)).toBe('TOKEN_REVOKED')
    expect(await whoAmI(during, accessToken)).toBe('TOKEN_REVOKED')
  })

  // Q34
  it('lets nodes with the new key first read tokens of each other', async () => {
    const { accessToken } = await register(during, 'edsger')

    expect(await whoAmI(after, accessToken)).toBe('edsger@example.com')
    expect(await whoAmI(before, accessToken)).toBe('TOKEN_INVALID')
  })
})
