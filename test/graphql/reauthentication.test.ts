import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { replaceClock } from '../support/database-clock.ts'
import { createDatabase } from '../support/database.ts'
import {
  claimsOf,
  forgedTokenOf,
  login,
  passwordOf,
  refresh,
  register,
  whoAmI,
} from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { GraphQLAnswer, TestService } from '../support/service.ts'

const MINUTES = 60
const HOURS = 3600

const LOGOUT_ALL = 'mutation { logoutAllDevices(keepCurrent: true) { endedSessions } }'
const CHANGE_PASSWORD = `mutation ($password: String!) {
  changePassword(currentPassword: $password, newPassword: "quite another one") { accessToken refreshToken }
}`
const REVOKE_USER = 'mutation ($id: ID!) { revokeUser(userId: $id) { alreadyRevoked } }'
const REVOKE_EVERYONE = 'mutation { revokeEveryone(reason: "a test") { alreadyRevoked } }'
const REAUTHENTICATE = `mutation ($password: String!) {
  reauthenticate(password: $password) { accessToken refreshToken session { id } user { id } }
}`

let service: TestService

beforeAll(async () => {
  service = await startService()
})

afterAll(async () => {
  await service.stop()
})

/** The same session, as if its person had signed in so long ago and refreshed just now. */
async function age(signIn: SignIn, seconds: number): Promise<SignIn> {
  await service.database.query(
    `update session set created_at = created_at - make_interval(secs => $2),
                        authenticated_at = authenticated_at - make_interval(secs => $2)
     where id = $1`,
    [signIn.sessionId, seconds],
  )
  const { data } = await refresh(service, signIn.refreshToken)
  return { ...signIn, ...data.refresh }
}

async function ask(query: string, { accessToken }: SignIn, variables = {}): Promise<GraphQLAnswer> {
  return service.graphql(query, { token: accessToken, variables })
}

async function stateOfTables(): Promise<unknown> {
  return service.database.query(
    `select (select json_agg(account order by id) from account) as accounts,
            (select count(*) from revocation_event) as events,
            (select json_agg(session order by id) from session) as sessions`,
  )
}

function outcomeOf({ data, errors }: GraphQLAnswer): string {
  return data ? 'done' : (errors[0]?.extensions.reason ?? errors[0]?.extensions.code)
}

/** Expects 403, FORBIDDEN / REAUTHENTICATION_REQUIRED. */
function expectStepUp(answer: GraphQLAnswer): void {
  expect(answer.status).toBe(403)
  expect(answer.errors[0]?.extensions).toEqual({
    code: 'FORBIDDEN',
    reason: 'REAUTHENTICATION_REQUIRED',
  })
  expect(answer.errors[0]?.message).toBe('Sign in again: this asks for a recent login')
  expect(answer.headers.get('www-authenticate')).toBeNull()
}

describe('a token', () => {
  // Q55
  it('says when its person signed in, and a refresh does not change that', async () => {
    const phone = await register(service, 'ada')
    const { iat, auth_time: authTime } = claimsOf(phone.accessToken)
    const { data } = await refresh(service, phone.refreshToken)
    const later = claimsOf(data.refresh.accessToken)

    expect(authTime).toBe(iat)
    expect(later['auth_time']).toBe(iat)
    expect(later['iat']).toBeGreaterThan(iat)
  })
})

describe('a session that is twelve hours old', () => {
  // Q16, Q55
  it('may not sign out everywhere, nor change the password, and goes on otherwise', async () => {
    const password = passwordOf('barbara')
    const laptop = await register(service, 'barbara')
    const phone = await age(await login(service, 'barbara', 'phone'), 12 * HOURS + 1)

    expectStepUp(await ask(LOGOUT_ALL, phone))
    expectStepUp(await ask(CHANGE_PASSWORD, phone, { password }))

    expect(await whoAmI(service, laptop.accessToken)).toBe('barbara@example.com')
    expect(await whoAmI(service, phone.accessToken)).toBe('barbara@example.com')
    await login(service, 'barbara', 'with the old password')
    expect(outcomeOf(await ask('mutation { logout { alreadyRevoked } }', phone))).toBe('done')
  })

  it('may, shortly before', async () => {
    const phone = await age(await register(service, 'chandra'), 12 * HOURS - MINUTES)

    expect(outcomeOf(await ask(LOGOUT_ALL, phone))).toBe('done')
    expect(outcomeOf(await ask(CHANGE_PASSWORD, phone, { password: passwordOf('chandra') }))).toBe(
      'done',
    )
  })

  it('may, after a new login, with the token of that', async () => {
    await age(await register(service, 'dorothy'), 13 * HOURS)

    const again = await login(service, 'dorothy', 'phone')

    expect(outcomeOf(await ask(LOGOUT_ALL, again))).toBe('done')
  })

  // Q55
  it('is as old as the database says, whatever the clock of the node', async () => {
    const database = await createDatabase()
    const clock = await replaceClock(database)
    const node = await startService({ database, accessTokenTtlSeconds: 24 * HOURS })
    try {
      const phone = await register(node, 'ada')
      await clock.jump(13 * HOURS * 1000)
      await whoAmI(node, phone.accessToken)

      expectStepUp(await node.graphql(LOGOUT_ALL, { token: phone.accessToken }))
    } finally {
      await node.stop()
      await database.drop()
    }
  })
})

describe('an admin who signed in a quarter of an hour ago', () => {
  // Q15, Q55
  it('may not revoke a person or everyone', async () => {
    const { userId, accessToken } = await register(service, 'edith')
    const admin = await age(await login(service, 'admin', 'console'), 15 * MINUTES + 1)

    expectStepUp(await ask(REVOKE_USER, admin, { id: userId }))
    expectStepUp(await ask(REVOKE_EVERYONE, admin))

    expect(await whoAmI(service, accessToken)).toBe('edith@example.com')
    expect(outcomeOf(await ask('{ revocations { totalCount } }', admin))).toBe('done')
  })

  it('may, shortly before', async () => {
    const { userId } = await register(service, 'frances')
    const admin = await age(await login(service, 'admin', 'console'), 14 * MINUTES)

    expect(outcomeOf(await ask(REVOKE_USER, admin, { id: userId }))).toBe('done')
  })

  // Q16, Q55
  it.each([
    ['setUserRoles', 'setUserRoles(userId: $user, roles: [USER, ADMIN]) { alreadySet }'],
    ['suspendUser', 'suspendUser(userId: $user) { alreadySuspended }'],
    ['reinstateUser', 'reinstateUser(userId: $suspended) { alreadyReinstated }'],
    ['restore', 'restore(revocationId: $entry) { alreadyRestored }'],
    ['revokeSession', 'revokeSession(id: $session) { alreadyRevoked }'],
  ])('may not change what others may, and nothing is changed: %s', async (act, mutation) => {
    const person = await register(service, `old-${act}`)
    const other = await register(service, `suspended-${act}`)
    const recent = await login(service, 'admin', 'console')
    await ask('mutation ($id: ID!) { suspendUser(userId: $id) { alreadySuspended } }', recent, {
      id: other.userId,
    })
    const { data } = await ask(
      'mutation ($token: String!) { revokeToken(token: $token) { revocation { id } } }',
      recent,
      { token: forgedTokenOf(person) },
    )
    const variables = {
      user: person.userId,
      suspended: other.userId,
      session: person.sessionId,
      entry: data.revokeToken.revocation.id,
    }
    const [name = ''] = /\$(\w+)/.exec(mutation)?.slice(1) ?? []
    const source = `mutation ($${name}: ID!) { ${mutation} }`
    const old = await age(await login(service, 'admin', 'console'), 15 * MINUTES + 1)
    const before = await stateOfTables()

    expectStepUp(await ask(source, old, variables))

    expect(await stateOfTables()).toEqual(before)
    expect(outcomeOf(await ask(source, recent, variables))).toBe('done')
  })

  it('may revoke a token that it shows, and end a session of its own', async () => {
    const { accessToken } = await register(service, 'geraldine')
    const laptop = await login(service, 'admin', 'laptop')
    const admin = await age(await login(service, 'admin', 'console'), 15 * MINUTES + 1)

    const revokeToken = 'mutation ($token: String!) { revokeToken(token: $token) { verified } }'
    const revokeSession = 'mutation ($id: ID!) { revokeSession(id: $id) { alreadyRevoked } }'
    expect(outcomeOf(await ask(revokeToken, admin, { token: accessToken }))).toBe('done')
    expect(outcomeOf(await ask(revokeSession, admin, { id: laptop.sessionId }))).toBe('done')
    expect(await whoAmI(service, accessToken)).toBe('TOKEN_REVOKED')
  })

  it('does not learn more of a session that is not there', async () => {
    const admin = await age(await login(service, 'admin', 'console'), 15 * MINUTES + 1)

    const source = 'mutation ($id: ID!) { revokeSession(id: $id) { alreadyRevoked } }'
    expect(outcomeOf(await ask(source, admin, { id: randomUUID() }))).toBe('UNKNOWN_ID')
  })

  it('still has to be an admin first', async () => {
    const person = await age(await register(service, 'grace'), 13 * HOURS)

    expect(outcomeOf(await ask(REVOKE_EVERYONE, person))).toBe('ROLE_REQUIRED')
  })
})

describe('reauthenticate', () => {
  // Q55
  it('makes the same session recent again', async () => {
    const password = passwordOf('hedy')
    const laptop = await register(service, 'hedy')
    const phone = await age(await login(service, 'hedy', 'phone'), 13 * HOURS)

    const { data } = await ask(REAUTHENTICATE, phone, { password })
    const recent = { ...phone, ...data.reauthenticate }

    expect(data.reauthenticate.session.id).toBe(phone.sessionId)
    expect(data.reauthenticate.user.id).toBe(phone.userId)
    expect(outcomeOf(await ask(LOGOUT_ALL, recent))).toBe('done')
    // What only refreshes stays old; what was there stays as it was.
    expect(await whoAmI(service, laptop.accessToken)).toBe('TOKEN_REVOKED')
    const refreshed = await refresh(service, data.reauthenticate.refreshToken)
    expect(claimsOf(refreshed.data.refresh.accessToken)['auth_time']).toBe(
      claimsOf(data.reauthenticate.accessToken)['auth_time'],
    )
  })

  it('leaves other sessions as old as they are, and the token that it replaces', async () => {
    const laptop = await age(await register(service, 'ida'), 13 * HOURS)
    const phone = await login(service, 'ida', 'phone')

    expect(outcomeOf(await ask(REAUTHENTICATE, phone, { password: passwordOf('ida') }))).toBe(
      'done',
    )

    expectStepUp(await ask(LOGOUT_ALL, laptop))
    const again = await refresh(service, laptop.refreshToken)
    expectStepUp(await ask(LOGOUT_ALL, again.data.refresh))
  })

  // Q43, Q55
  it('counts a wrong password as a failed login', async () => {
    const phone = await register(service, 'joan')
    for (let time = 0; time < 10; time++) {
      const answer = await ask(REAUTHENTICATE, phone, { password: 'a wrong guess' })
      expect(outcomeOf(answer)).toBe('INVALID_CREDENTIALS')
    }

    const password = passwordOf('joan')
    expect(outcomeOf(await ask(REAUTHENTICATE, phone, { password }))).toBe('RATE_LIMITED')
    const { errors } = await service.graphql(
      `mutation { login(email: "joan@example.com", password: "${password}") { tokenType } }`,
    )
    expect(errors[0]?.extensions.code).toBe('RATE_LIMITED')
  })

  it('asks for a token', async () => {
    const { errors } = await service.graphql(REAUTHENTICATE, { variables: { password: 'x' } })

    expect(errors[0]?.extensions.reason).toBe('TOKEN_MISSING')
  })

  it('leaves a line in the security log', async () => {
    const phone = await register(service, 'karen')
    await ask(REAUTHENTICATE, phone, { password: passwordOf('karen') })

    expect(service.log.at(-1)).toMatchObject({
      event: 'reauthenticated',
      actor: phone.userId,
      sessionId: phone.sessionId,
    })
  })
})

describe('changePassword', () => {
  it('is a proof of presence itself: the tokens that it gives are recent', async () => {
    const phone = await age(await register(service, 'lise'), 11 * HOURS)

    const { data } = await ask(CHANGE_PASSWORD, phone, { password: passwordOf('lise') })

    const { iat, auth_time: authTime } = claimsOf(data.changePassword.accessToken)
    expect(authTime).toBe(iat)
  })
})
