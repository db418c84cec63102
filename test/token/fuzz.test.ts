import { Agent, request } from 'node:http'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { login } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'
import { anyText, base64url, hs256 } from './forge.ts'

let service: TestService
let admin: SignIn
const agent = new Agent({ keepAlive: true })

beforeAll(async () => {
  service = await startService()
  admin = await login(service, 'admin', 'console')
})

afterAll(async () => {
  agent.destroy()
  await service.stop()
})

/** Whatever bytes a header can carry; `fetch` would not send most of them. */
async function ask(authorization: string | string[]): Promise<{ status: number; body: any }> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', authorization }
    const call = request(
      `${service.url}/graphql`,
      { method: 'POST', agent, headers: headers as Record<string, string> },
      (answer) => {
        let text = ''
        answer.on('data', (chunk: Buffer) => {
          text += chunk.toString()
        })
        answer.on('end', () => resolve({ status: answer.statusCode!, body: JSON.parse(text) }))
      },
    )
    call.on('error', reject)
    call.end('{"query":"{ me { id } }"}')
  })
}

const headerByte = fc.integer({ min: 0x20, max: 0xff }).filter((code) => code !== 0x7f)
const headerText = fc
  .array(headerByte, { maxLength: 60 })
  .map((codes) => String.fromCharCode(...codes))
const part = fc.oneof(
  headerText,
  fc.jsonValue().map((value) => base64url(JSON.stringify(value))),
  fc.constant(base64url(JSON.stringify({ alg: 'HS256', kid: hs256.kid, typ: 'at+jwt' }))),
)
const tokenText = fc.array(part, { maxLength: 5 }).map((parts) => parts.join('.'))

// Q26, Q36, Q37
describe('whatever stands in the Authorization header', () => {
  it('is answered 401, and is no surprise to the service', async () => {
    const authorization = fc.oneof(
      headerText,
      tokenText.map((text) => `Bearer ${text}`),
      fc.tuple(fc.nat(), headerText).map(([at, more]) => {
        const place = at % admin.accessToken.length
        const { accessToken: text } = admin
        return `Bearer ${text.slice(0, place)}${more}x${text.slice(place)}`
      }),
    )

    await fc.assert(
      fc.asyncProperty(authorization, async (value) => {
        const { status, body } = await ask(value)
        expect(status).toBe(401)
        expect(body.errors[0].extensions).toEqual({
          code: 'UNAUTHENTICATED',
          // An empty header is as good as none.
          reason: value.trim() === '' ? 'TOKEN_MISSING' : 'TOKEN_INVALID',
        })
      }),
      { numRuns: 300 },
    )
    expect(service.log.filter(({ level }) => level >= 40)).toEqual([])
  })
})

// Q09, Q36
describe('whatever an admin asks about, or wants revoked', () => {
  it('is answered, and is no surprise to the service', async () => {
    const text = fc.oneof(anyText(40), tokenText)

    await fc.assert(
      fc.asyncProperty(text, async (token) => {
        const asked = await service.graphql(
          'query ($token: String!) { tokenStatus(token: $token) { state subject } }',
          { token: admin.accessToken, variables: { token } },
        )
        expect(asked.data).toEqual({ tokenStatus: { state: 'INVALID', subject: null } })

        const { status, data, errors } = await service.graphql(
          'mutation ($token: String!) { revokeToken(token: $token) { verified } }',
          { token: admin.accessToken, variables: { token } },
        )
        if (data === null) {
          expect([status, errors[0]?.extensions.reason]).toEqual([400, 'MALFORMED_TOKEN'])
        } else expect(data).toEqual({ revokeToken: { verified: false } })
      }),
      { numRuns: 100 },
    )
    expect(service.log.filter(({ level }) => level >= 40)).toEqual([])
  })
})
