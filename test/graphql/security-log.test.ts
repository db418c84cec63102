import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { claimsOf, forgedTokenOf, login, passwordOf, refresh, register } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

const HERE = expect.stringMatching(/127\.0\.0\.1|::1/)

let service: TestService
let admin: SignIn
let ada: SignIn
let from = 0

/** Whatever must stand in no line. */
const secrets: string[] = []

beforeAll(async () => {
  service = await startService({ refreshGraceSeconds: 0 })
  admin = remember(await login(service, 'admin', 'console'))
  ada = remember(await register(service, 'ada'))
  secrets.push(service.admin.password, passwordOf('ada'))
})

beforeEach(() => {
  from = service.log.length
})

afterAll(async () => {
  await service.stop()
})

function remember(signIn: SignIn): SignIn {
  secrets.push(signIn.accessToken, signIn.refreshToken, ...signIn.accessToken.split('.').slice(1))
  return signIn
}

async function ask(source: string, token: string | null, variables: object = {}): Promise<any> {
  return service.graphql(source, { token, variables })
}

/** The security events since the test began, without what every line has. */
function events(): object[] {
  return service.log.slice(from).flatMap(({ level, time: _time, msg, ...rest }) => {
    if (rest['event'] === undefined) return []
    expect({ level, msg }).toEqual({ level: 30, msg: rest['event'] })
    return [rest]
  })
}

// Q36, Q60
describe('the security log has one line for', () => {
  it('a registration', async () => {
    const { userId } = remember(await register(service, 'barbara'))

    expect(events()).toEqual([{ event: 'register', actor: userId, ipAddress: HERE }])
  })

  it('a login', async () => {
    const { userId, sessionId } = remember(await login(service, 'ada', 'phone'))

    expect(events()).toEqual([{ event: 'login', actor: userId, sessionId, ipAddress: HERE }])
  })

  it('a failed login: whose account it was, and never what was typed', async () => {
    const LOGIN =
      'mutation ($email: String!, $password: String!) { login(email: $email, password: $password) { tokenType } }'
    secrets.push('a wrong guess', 'my password in the wrong box')

    await ask(LOGIN, null, { email: 'ADA@example.com', password: 'a wrong guess' })
    await ask(LOGIN, null, { email: 'my password in the wrong box', password: 'a wrong guess' })
    await ask(LOGIN, null, { email: 'nobody@example.com', password: 'a wrong guess' })

    const reason = 'INVALID_CREDENTIALS'
    expect(events()).toEqual([
      { event: 'login_failed', subject: ada.userId, reason, ipAddress: HERE },
      { event: 'login_failed', subject: null, reason, ipAddress: HERE },
      { event: 'login_failed', subject: null, reason, ipAddress: HERE },
    ])
    expect(JSON.stringify(service.log)).not.toContain('nobody@example.com')
  })

  it('a logout, and none for the second one', async () => {
    const phone = remember(await login(service, 'ada', 'phone'))
    from = service.log.length

    const { data } = await ask('mutation { logout { revocation { id } } }', phone.accessToken)
    await ask('mutation { logout { revocation { id } } }', phone.accessToken)

    expect(events()).toEqual([
      {
        event: 'logout',
        actor: ada.userId,
        subject: ada.userId,
        sessionId: phone.sessionId,
        tokenId: null,
        scope: 'SESSION',
        reason: 'logout',
        revocationId: data.logout.revocation.id,
        ipAddress: HERE,
      },
    ])
  })

  it('a logout everywhere', async () => {
    const person = remember(await register(service, 'chandra'))
    from = service.log.length

    await ask('mutation { logoutAllDevices { endedSessions } }', person.accessToken)

    expect(events()).toMatchObject([
      { event: 'logout', actor: person.userId, scope: 'SUBJECT', reason: 'logout_all_devices' },
    ])
  })

  it.each([
    [
      'revokeToken',
      'TOKEN',
      'mutation ($accessToken: String!) { revokeToken(token: $accessToken, note: "n") { verified } }',
    ],
    [
      'revokeToken of a refresh token',
      'SESSION',
      'mutation ($refreshToken: String!) { revokeToken(token: $refreshToken) { verified } }',
    ],
    [
      'revokeSession',
      'SESSION',
      'mutation ($sessionId: ID!) { revokeSession(id: $sessionId) { alreadyRevoked } }',
    ],
    [
      'revokeUser',
      'SUBJECT',
      'mutation ($userId: ID!) { revokeUser(userId: $userId) { alreadyRevoked } }',
    ],
  ])('a revocation by %s, and none for the second one', async (name, scope, source) => {
    const person = remember(
      await register(service, `dora-${name.replaceAll(' ', '-').toLowerCase()}`),
    )
    from = service.log.length

    await ask(source, admin.accessToken, person)
    await ask(source, admin.accessToken, person)

    expect(events()).toEqual([
      expect.objectContaining({
        event: 'revocation',
        actor: admin.userId,
        subject: person.userId,
        scope,
        reason: 'revoked_by_admin',
        revocationId: expect.any(String),
      }),
    ])
  })

  it('the revocation of a token that is not ours', async () => {
    const token = forgedTokenOf(ada)
    secrets.push(token)

    await ask(
      'mutation ($token: String!) { revokeToken(token: $token) { verified } }',
      admin.accessToken,
      { token },
    )

    expect(events()).toMatchObject([{ event: 'revocation', actor: admin.userId, subject: null }])
  })

  it('a restoration, and none for the second one', async () => {
    const phone = remember(await login(service, 'ada', 'phone'))
    const { data } = await ask('mutation { logout { revocation { id } } }', phone.accessToken)
    const { id } = data.logout.revocation
    from = service.log.length

    const RESTORE = 'mutation ($id: ID!) { restore(revocationId: $id) { alreadyRestored } }'
    await ask(RESTORE, admin.accessToken, { id })
    await ask(RESTORE, admin.accessToken, { id })

    expect(events()).toEqual([
      {
        event: 'restoration',
        actor: admin.userId,
        subject: ada.userId,
        sessionId: phone.sessionId,
        tokenId: null,
        scope: 'SESSION',
        revocationId: id,
        ipAddress: HERE,
      },
    ])
  })

  it('each request with a revoked token', async () => {
    const phone = remember(await login(service, 'ada', 'phone'))
    await ask('mutation { logout { alreadyRevoked } }', phone.accessToken)
    from = service.log.length

    await ask('{ me { id } sessions { id } }', phone.accessToken)
    await ask('{ me { id } }', phone.accessToken)

    const line = {
      event: 'revoked_token_refused',
      subject: ada.userId,
      sessionId: phone.sessionId,
      tokenId: claimsOf(phone.accessToken)['jti'],
      revocationId: expect.any(String),
      ipAddress: HERE,
    }
    expect(events()).toEqual([line, line])
  })

  it('the reuse of a refresh token', async () => {
    const phone = remember(await login(service, 'ada', 'phone'))
    const { data } = await refresh(service, phone.refreshToken)
    remember({ ...phone, ...data.refresh })
    from = service.log.length

    await refresh(service, phone.refreshToken)

    expect(events()).toEqual([
      {
        event: 'refresh_token_reused',
        subject: ada.userId,
        sessionId: phone.sessionId,
        revocationId: expect.any(String),
        ipAddress: HERE,
      },
      {
        event: 'refresh_failed',
        subject: ada.userId,
        sessionId: phone.sessionId,
        ipAddress: HERE,
      },
    ])
  })

  it('a refresh with a token that was not issued', async () => {
    await refresh(service, 'A'.repeat(43))

    expect(events()).toEqual([
      { event: 'refresh_failed', subject: null, sessionId: null, ipAddress: HERE },
    ])
  })

  it('a registration with an e-mail address that is taken', async () => {
    const again = `mutation { register(email: "ada@example.com", password: "${passwordOf('ada')}") { tokenType } }`
    await ask(again, null)

    expect(events()).toEqual([
      { event: 'register_failed', subject: ada.userId, reason: 'EMAIL_TAKEN', ipAddress: HERE },
    ])
  })

  it('a changed password, and for a wrong guess at the current one', async () => {
    const person = remember(await register(service, 'edith'))
    secrets.push(passwordOf('edith'), 'quite another one')
    const CHANGE = `mutation ($old: String!) {
      changePassword(currentPassword: $old, newPassword: "quite another one") { tokenType }
    }`
    from = service.log.length

    await ask(CHANGE, person.accessToken, { old: 'a wrong guess' })
    await ask(CHANGE, person.accessToken, { old: passwordOf('edith') })

    const { userId, sessionId } = person
    expect(events()).toEqual([
      { event: 'login_failed', subject: userId, reason: 'INVALID_CREDENTIALS', ipAddress: HERE },
      { event: 'password_changed', actor: userId, sessionId, ipAddress: HERE },
    ])
  })

  it('a suspension, the refused login, the reinstatement, and none that changed nothing', async () => {
    const { userId } = remember(await register(service, 'frances'))
    from = service.log.length
    const by = admin.accessToken
    const LOGIN = `mutation ($password: String!) {
      login(email: "frances@example.com", password: $password) { tokenType }
    }`

    for (let twice = 0; twice < 2; twice++) {
      await ask(
        'mutation ($userId: ID!) { suspendUser(userId: $userId) { alreadySuspended } }',
        by,
        { userId },
      )
    }
    await ask(LOGIN, null, { password: passwordOf('frances') })
    for (let twice = 0; twice < 2; twice++) {
      await ask(
        'mutation ($userId: ID!) { reinstateUser(userId: $userId, note: "sorry") { alreadyReinstated } }',
        by,
        { userId },
      )
    }

    const [actor, subject, ipAddress] = [admin.userId, userId, HERE]
    expect(events()).toEqual([
      { event: 'user_suspended', actor, subject, reason: 'account_suspended', ipAddress },
      { event: 'login_failed', subject, reason: 'ACCOUNT_SUSPENDED', ipAddress },
      { event: 'user_reinstated', actor, subject, ipAddress },
    ])
  })

  it('a change of roles, and none that changed nothing', async () => {
    const { userId } = remember(await register(service, 'grace'))
    from = service.log.length
    const SET =
      'mutation ($userId: ID!) { setUserRoles(userId: $userId, roles: [ADMIN]) { alreadySet } }'

    await ask(SET, admin.accessToken, { userId })
    await ask(SET, admin.accessToken, { userId })

    expect(events()).toEqual([
      { event: 'roles_changed', actor: admin.userId, subject: userId, ipAddress: HERE },
    ])
  })

  it('the end of everything', async () => {
    const last = remember(await login(service, 'admin', 'console'))
    from = service.log.length

    await ask(
      'mutation { revokeEveryone(reason: "key leaked") { endedSessions } }',
      last.accessToken,
    )

    expect(events()).toEqual([
      expect.objectContaining({
        event: 'revocation',
        actor: admin.userId,
        subject: null,
        scope: 'EVERYONE',
        reason: 'key leaked',
      }),
    ])
  })
})

// Q36
describe('no line of the log', () => {
  it('holds a token, a password, or a part of one', () => {
    const text = JSON.stringify(service.log)

    expect(service.log.length).toBeGreaterThan(30)
    for (const secret of secrets) expect(text).not.toContain(secret)
    expect(text).not.toMatch(/eyJ|[Bb]earer|\$argon2/)
  })

  it('lacks the time, in UTC', () => {
    for (const { time } of service.log) expect(new Date(time).getTime()).toBeGreaterThan(0)
  })
})
