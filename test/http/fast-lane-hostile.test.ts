import { createHmac } from 'node:crypto'
import { serverAudits } from 'graphql-http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { register } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { sendRaw, writePost } from '../support/raw-connection.ts'
import type { RawAnswer } from '../support/raw-connection.ts'
import { SECRET, startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'
import { base64url, decode, hs256, partsOf, signParts } from '../token/forge.ts'

/** Two nodes of the real service on one database: with the lane, and without it. */
let database: TestDatabase
let fast: TestService
let long: TestService
let ada: SignIn

beforeAll(async () => {
  database = await createDatabase()
  fast = await startService({ database, compileAfter: 0, fastLane: true })
  long = await startService({ database, compileAfter: 0, fastLane: false })
  ada = await register(fast, 'ada')
  // Two answers teach the lane what the server adds, and the second execution finds the document compiled.
  for (let time = 0; time < 3; time += 1) {
    await sendRaw(fast.url, post(ME, `Bearer ${ada.accessToken}`))
    await sendRaw(fast.url, post(TYPENAME, undefined))
  }
})

afterAll(async () => {
  await Promise.all([fast.stop(), long.stop()])
  await database.drop()
})

const ME = '{"query":"{ me { email } }"}'
const TYPENAME = '{"query":"{ __typename }"}'

function post(body: string, authorization: string | undefined): Buffer {
  return writePost(body, authorization === undefined ? {} : { authorization })
}

async function countFast(): Promise<number> {
  const response = await fetch(`${fast.url}/metrics`)
  const text = await response.text()
  return Number(/portcullis_graphql_requests_total\{way="fast"\} (\d+)/.exec(text)?.[1] ?? 0)
}

function signed(header: object, claims: object, secret = SECRET): string {
  const input = [header, claims].map((part) => base64url(JSON.stringify(part))).join('.')
  const sign = (text: string): Buffer => createHmac('sha256', secret).update(text).digest()
  return signParts(hs256, input, sign)
}

type Members = Record<string, unknown>

/** What is done to a good token, each time so that it is none. */
const forgeries: Readonly<Record<string, (header: Members, claims: Members) => string>> = {
  'no signature, alg none': (header, claims) =>
    signed({ ...header, alg: 'none' }, claims).replace(/[^.]+$/, ''),
  'alg none, signed': (header, claims) => signed({ ...header, alg: 'none' }, claims),
  'another algorithm': (header, claims) => signed({ ...header, alg: 'HS512' }, claims),
  'a list of algorithms': (header, claims) => signed({ ...header, alg: ['HS256'] }, claims),
  'an unknown key': (header, claims) => signed({ ...header, kid: 'x' }, claims),
  'a key that it brings': (header, claims) =>
    signed({ ...header, kid: undefined, jwk: { kty: 'oct', k: 'eA' } }, claims, 'x'),
  'another secret': (header, claims) =>
    signed(header, claims, 'another secret of 32 bytes and more'),
  'an empty secret': (header, claims) => signed(header, claims, ''),
  'another type': (header, claims) => signed({ ...header, typ: 'JWT' }, claims),
  'a critical extension': (header, claims) => signed({ ...header, crit: ['exp'] }, claims),
  'another issuer': (header, claims) => signed(header, { ...claims, iss: 'x' }),
  'another audience': (header, claims) => signed(header, { ...claims, aud: 'x' }),
  'another database': (header, claims) =>
    signed(header, { ...claims, db: '00000000-0000-4000-8000-000000000000' }),
  'no expiry': (header, claims) => signed(header, { ...claims, exp: undefined }),
  'an expiry that is text': (header, claims) => signed(header, { ...claims, exp: '9999999999' }),
  'an expiry long ago': (header, claims) =>
    signed(header, { ...claims, iat: 1_000_000_000, exp: 1_000_000_900 }),
  'a life of years': (header, claims) => signed(header, { ...claims, exp: 9_999_999_999 }),
  'an instant to come': (header, claims) =>
    signed(header, { ...claims, iat: Date.now() / 1000 + 600, exp: Date.now() / 1000 + 1200 }),
  'no subject': (header, claims) => signed(header, { ...claims, sub: undefined }),
  'no number': (header, claims) => signed(header, { ...claims, jti: undefined }),
  'no session': (header, claims) => signed(header, { ...claims, sid: undefined }),
  'roles that are text': (header, claims) => signed(header, { ...claims, roles: 'ADMIN' }),
  'roles of its own': (header, claims) => signed(header, { ...claims, roles: ['ADMIN'] }, 'x'),
  'claims that are a list': (header) => signed(header, []),
  'nothing but dots': () => '..',
  'one part too many': (header, claims) => `${signed(header, claims)}.x`,
  padding: (header, claims) => `${signed(header, claims)}=`,
  'a text that is too long': (header, claims) =>
    signed(header, { ...claims, more: 'x'.repeat(10_000) }),
}

describe('The fast lane of the real service', () => {
  // Q22, Q23, Q24
  it.each(Object.entries(forgeries))(
    'refuses a forged token itself: %s',
    async (_what, forgery) => {
      const [header, claims] = partsOf(ada.accessToken)
      const forged = forgery(decode(header) as Members, decode(claims) as Members)
      const bytes = post(ME, `Bearer ${forged}`)
      const before = await countFast()

      const answers = await Promise.all([sendRaw(fast.url, bytes), sendRaw(long.url, bytes)])
      const [answer, expected] = answers as [RawAnswer, RawAnswer]
      expect(answer).toEqual(expected)
      expect(answer.status).toBe(401)
      expect(answer.body).not.toContain('ada@example.com')
      expect((await countFast()) - before).toBe(1)
    },
  )

  it.each([
    ['a good token', (token: string) => `Bearer ${token}`, 200],
    ['a scheme in capitals', (token: string) => `BEARER ${token}`, 200],
    ['the scheme twice', (token: string) => `Bearer Bearer ${token}`, 401],
    ['two tokens', (token: string) => `Bearer ${token}, Bearer ${token}`, 401],
    ['another scheme', (token: string) => `Token ${token}`, 401],
    ['no scheme', (token: string) => token, 401],
    ['its last character changed', (token: string) => `Bearer ${token.slice(0, -1)}!`, 401],
  ])('reads the Authorization header as the long way does: %s', async (_what, write, status) => {
    const bytes = post(ME, write(ada.accessToken))
    const before = await countFast()
    const answer = await sendRaw(fast.url, bytes)
    expect(answer).toEqual(await sendRaw(long.url, bytes))
    expect(answer?.status).toBe(status)
    expect((await countFast()) - before).toBe(1)
  })
})

// Q41
describe('GraphQL over HTTP through the fast lane', () => {
  const ours = serverAudits({ url: () => `${fast.url}/graphql` })
  const theirs = serverAudits({ url: () => `${long.url}/graphql` })

  it.each(ours.map((audit, at) => [audit.name, at] as const))('%s', async (_name, at) => {
    const result = await ours[at]!.fn()
    const expected = await theirs[at]!.fn()
    expect(result.status).toBe(expected.status)
    if (ours[at]!.name.startsWith('MUST')) expect(result.status).toBe('ok')
  })

  it('answers the plain requests of the audits itself', async () => {
    const before = await countFast()
    for (const audit of ours) await audit.fn()
    expect((await countFast()) - before).toBeGreaterThan(5)
  })
})
