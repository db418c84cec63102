import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { login, passwordOf, refresh, register, whoAmI } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { GraphQLAnswer, TestService } from '../support/service.ts'

const CREATE =
  'mutation ($id: ID!) { createPasswordReset(userId: $id) { token expiresAt user { id } } }'
const RESET = `mutation ($token: String!, $newPassword: String!) {
  resetPassword(token: $token, newPassword: $newPassword) { user { id } endedSessions }
}`
const NEW_PASSWORD = 'a moat and a drawbridge'

let service: TestService
let otherNode: TestService
let admin: SignIn

beforeAll(async () => {
  service = await startService({ trustProxy: true })
  otherNode = await startService({ trustProxy: true, database: service.database })
  admin = await login(service, 'admin', 'console')
})

afterAll(async () => {
  await otherNode.stop()
  await service.stop()
})

async function act(source: string, id: string, by: SignIn = admin): Promise<GraphQLAnswer> {
  return service.graphql(source, { token: by.accessToken, variables: { id } })
}

async function createReset(id: string, by: SignIn = admin): Promise<string> {
  const { data } = await act(CREATE, id, by)
  return data.createPasswordReset.token
}

async function reset(
  token: string,
  { newPassword = NEW_PASSWORD, from = '192.0.2.1', on = service } = {},
): Promise<GraphQLAnswer> {
  const headers = { 'x-forwarded-for': from }
  return on.graphql(RESET, { variables: { token, newPassword }, headers })
}

async function signIn(name: string, password: string, from = '192.0.2.1'): Promise<string> {
  return outcomeOf(
    await service.graphql(
      'mutation ($email: String!, $password: String!) { login(email: $email, password: $password) { tokenType } }',
      {
        variables: { email: `${name}@example.com`, password },
        headers: { 'x-forwarded-for': from },
      },
    ),
  )
}

function outcomeOf({ data, errors }: GraphQLAnswer): string {
  return data ? 'done' : (errors[0]?.extensions.reason ?? errors[0]?.extensions.code)
}

describe('a password reset', () => {
  it('gives a person a new password, and ends all sessions on every node', async () => {
    const phone = await register(service, 'ada')
    const laptop = await login(otherNode, 'ada', 'laptop')

    const { data } = await act(CREATE, phone.userId.toUpperCase())
    const { token, expiresAt, user } = data.createPasswordReset
    expect(user.id).toBe(phone.userId)
    expect(token).toMatch(/^[\w-]{43}$/)
    const minutes = (new Date(expiresAt).getTime() - Date.now()) / 60_000
    expect(Math.round(minutes)).toBe(60)
    expect(await whoAmI(service, phone.accessToken)).toBe('ada@example.com')

    const used = await reset(` ${token}\n`, { on: otherNode })

    expect(used.data.resetPassword.user.id).toBe(phone.userId)
    for (const { accessToken, refreshToken } of [phone, laptop]) {
      expect(await whoAmI(service, accessToken)).toBe('TOKEN_REVOKED')
      expect(await whoAmI(otherNode, accessToken)).toBe('TOKEN_REVOKED')
      expect(outcomeOf(await refresh(service, refreshToken))).toBe('INVALID_REFRESH_TOKEN')
    }
    expect(await signIn('ada', passwordOf('ada'))).toBe('INVALID_CREDENTIALS')
    expect(await signIn('ada', NEW_PASSWORD)).toBe('done')
  })

  it('works once, also when it is used twice at the same time on two nodes', async () => {
    const { userId } = await register(service, 'barbara')
    const token = await createReset(userId)

    const answers = await Promise.all([reset(token), reset(token, { on: otherNode })])
    const again = await reset(token)

    expect(answers.map(outcomeOf).toSorted()).toEqual(['INVALID_RESET_TOKEN', 'done'])
    expect(again.status).toBe(401)
    expect(again.errors[0]?.extensions).toEqual({
      code: 'UNAUTHENTICATED',
      reason: 'INVALID_RESET_TOKEN',
    })
  })

  it('is replaced by a second one, and over after an hour', async () => {
    const { userId } = await register(service, 'chandra')
    const first = await createReset(userId)
    const second = await createReset(userId)

    expect(outcomeOf(await reset(first))).toBe('INVALID_RESET_TOKEN')
    await service.database.query(
      `update password_reset set expires_at = clock_timestamp() where account_id = $1`,
      [userId],
    )
    expect(outcomeOf(await reset(second))).toBe('INVALID_RESET_TOKEN')
    expect(await signIn('chandra', passwordOf('chandra'))).toBe('done')
  })

  it('is not spent by a new password that will not do', async () => {
    const { userId } = await register(service, 'dorothy')
    const token = await createReset(userId)

    for (const newPassword of ['short', 'password1', '\ud83d'.repeat(9)]) {
      const { status, errors } = await reset(token, { newPassword })
      expect([status, errors[0]?.extensions.argument]).toEqual([400, 'newPassword'])
    }
    expect(outcomeOf(await reset(token))).toBe('done')
  })

  it('is for admins with a recent login, and for people who are there', async () => {
    const phone = await register(service, 'edith')
    const old = await login(service, 'admin', 'console')
    await service.database.query(
      `update session set authenticated_at = authenticated_at - interval '16 minutes' where id = $1`,
      [old.sessionId],
    )
    const { data } = await refresh(service, old.refreshToken)

    expect(outcomeOf(await act(CREATE, phone.userId, phone))).toBe('ROLE_REQUIRED')
    expect(outcomeOf(await act(CREATE, phone.userId, { ...old, ...data.refresh }))).toBe(
      'REAUTHENTICATION_REQUIRED',
    )
    expect(outcomeOf(await act(CREATE, randomUUID()))).toBe('UNKNOWN_ID')
    expect(outcomeOf(await act(CREATE, 'x'))).toBe('UNKNOWN_ID')
    const rows = await service.database.query(
      `select 1 from password_reset where account_id = $1`,
      [phone.userId],
    )
    expect(rows).toEqual([])
  })

  it('is not for a suspended person, and does not live on when that is over', async () => {
    const { userId } = await register(service, 'frances')
    const token = await createReset(userId)
    await act('mutation ($id: ID!) { suspendUser(userId: $id) { alreadySuspended } }', userId)

    const { errors } = await act(CREATE, userId)
    expect(errors[0]?.extensions).toEqual({
      code: 'BAD_USER_INPUT',
      reason: 'ACCOUNT_SUSPENDED',
      argument: 'userId',
    })
    expect(outcomeOf(await reset(token))).toBe('INVALID_RESET_TOKEN')
    await act('mutation ($id: ID!) { reinstateUser(userId: $id) { alreadyReinstated } }', userId)
    expect(outcomeOf(await reset(token))).toBe('INVALID_RESET_TOKEN')
  })

  it('dies with a change of the password, and with the role of the admin who made it', async () => {
    const phone = await register(service, 'grace')
    const own = await createReset(phone.userId)
    const { data } = await service.graphql(
      `mutation ($current: String!) { changePassword(currentPassword: $current, newPassword: "quite another") { accessToken } }`,
      { token: phone.accessToken, variables: { current: passwordOf('grace') } },
    )
    expect(data.changePassword.accessToken).toEqual(expect.any(String))
    expect(outcomeOf(await reset(own))).toBe('INVALID_RESET_TOKEN')

    const { userId } = await register(service, 'mallory')
    const roles = (list: string) =>
      `mutation ($id: ID!) { setUserRoles(userId: $id, roles: [${list}]) { alreadySet } }`
    await act(roles('USER, ADMIN'), userId)
    const token = await createReset(phone.userId, await login(service, 'mallory', 'console'))
    await act(roles('USER'), userId)
    expect(outcomeOf(await reset(token))).toBe('INVALID_RESET_TOKEN')
  })

  it('cannot be undone: what it ended stays so', async () => {
    const phone = await register(service, 'hedy')
    await reset(await createReset(phone.userId))

    const { data } = await service.graphql(
      'query ($id: ID!) { revocations(filter: { subject: $id }) { edges { node { id reason revokedBy } } } }',
      { token: admin.accessToken, variables: { id: phone.userId } },
    )
    const [{ node }] = data.revocations.edges
    expect(node).toMatchObject({ reason: 'password_reset', revokedBy: phone.userId })
    const restore = 'mutation ($id: ID!) { restore(revocationId: $id) { alreadyRestored } }'
    expect(outcomeOf(await act(restore, node.id))).toBe('NOT_RESTORABLE')
    expect(await whoAmI(service, phone.accessToken)).toBe('TOKEN_REVOKED')
  })

  it('lets its person sign in, who had guessed too often before', async () => {
    const { userId } = await register(service, 'ida')
    const from = '192.0.2.9'
    for (let time = 0; time < 10; time++) await signIn('ida', 'a wrong guess', from)
    expect(await signIn('ida', passwordOf('ida'), from)).toBe('RATE_LIMITED')

    expect(outcomeOf(await reset(await createReset(userId), { from }))).toBe('done')
    expect(await signIn('ida', NEW_PASSWORD, from)).toBe('done')
  })

  it('is counted like a failed login when its token is wrong, on all nodes together', async () => {
    const from = '192.0.2.10'
    const guesses = Array.from({ length: 110 }, (_, n) =>
      reset(randomBytes(32).toString('base64url'), { from, on: n % 2 ? service : otherNode }),
    )

    const outcomes = (await Promise.all(guesses)).map(outcomeOf)

    expect(outcomes.filter((one) => one === 'INVALID_RESET_TOKEN')).toHaveLength(100)
    expect(outcomes.filter((one) => one === 'RATE_LIMITED')).toHaveLength(10)
  })

  it('leaves lines in the security log, and its token nowhere', async () => {
    const { userId } = await register(service, 'judith')
    const token = await createReset(userId)
    const stored = await service.database.query(
      `select encode(hash, 'base64') as hash, row_to_json(password_reset)::text as row from password_reset where account_id = $1`,
      [userId],
    )
    await reset(token)
    await reset(token)

    expect(JSON.stringify(stored)).not.toContain(token)
    const lines = service.log.filter(({ event }) => String(event).startsWith('password_reset'))
    expect(lines.slice(-3)).toMatchObject([
      { event: 'password_reset_created', actor: admin.userId, subject: userId },
      { event: 'password_reset', actor: userId, subject: userId },
      { event: 'password_reset_failed', reason: 'INVALID_RESET_TOKEN' },
    ])
    expect(JSON.stringify(service.log)).not.toContain(token)
  })
})
