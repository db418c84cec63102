import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { login, refresh, register, whoAmI } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

let before: TestService
let after: TestService
let admin: SignIn

beforeAll(async () => {
  before = await startService({ accessTokenTtlSeconds: 3600 })
  after = await startService({ database: before.database, accessTokenTtlSeconds: 900 })
  admin = await login(after, 'admin', 'console')
})

afterAll(async () => {
  await after.stop()
  await before.stop()
})

describe('a token that was issued before ACCESS_TOKEN_TTL was lowered', () => {
  it('is TOKEN_EXPIRED at once, and its refresh token gives one that works', async () => {
    const phone = await register(before, 'ada')

    const { status, errors } = await after.graphql('{ me { id } }', { token: phone.accessToken })
    const { data } = await refresh(after, phone.refreshToken)

    expect([status, errors[0]?.extensions]).toEqual([
      401,
      { code: 'UNAUTHENTICATED', reason: 'TOKEN_EXPIRED' },
    ])
    expect(await whoAmI(after, data.refresh.accessToken)).toBe('ada@example.com')
  })

  it('signs out like any expired token, on nodes that accept it still as well', async () => {
    const phone = await register(before, 'barbara')

    const { errors } = await after.graphql('mutation { logout { alreadyRevoked } }', {
      token: phone.accessToken,
    })

    expect(errors).toEqual([])
    expect(await whoAmI(before, phone.accessToken)).toBe('TOKEN_REVOKED')
  })

  it('is EXPIRED to tokenStatus, and can be revoked for nodes that accept it still', async () => {
    const phone = await register(before, 'chandra')
    const ask = async (source: string): Promise<any> => {
      const variables = { token: phone.accessToken }
      return (await after.graphql(source, { token: admin.accessToken, variables })).data
    }

    const { tokenStatus } = await ask(
      'query ($token: String!) { tokenStatus(token: $token) { state subject } }',
    )
    const { revokeToken } = await ask(
      'mutation ($token: String!) { revokeToken(token: $token) { verified alreadyRevoked revocation { expiresAt } } }',
    )

    expect(tokenStatus).toEqual({ state: 'EXPIRED', subject: phone.userId })
    expect(revokeToken).toMatchObject({ verified: true, alreadyRevoked: false })
    expect(await whoAmI(before, phone.accessToken)).toBe('TOKEN_REVOKED')
    // The entry stays as long as the token may be accepted anywhere.
    const keptMs = new Date(revokeToken.revocation.expiresAt).getTime() - Date.now()
    expect(keptMs).toBeGreaterThan(3600 * 1000)
  })

  it('of the lower value goes on working', async () => {
    const phone = await register(after, 'dorothy')

    expect(await whoAmI(after, phone.accessToken)).toBe('dorothy@example.com')
    expect(await whoAmI(before, phone.accessToken)).toBe('dorothy@example.com')
  })
})
