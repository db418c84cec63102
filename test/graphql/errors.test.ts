import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Revocation } from '../../src/contract.ts'
import * as domain from '../../src/errors.ts'
import {
  expiredTokenOf,
  forgedTokenOf,
  login,
  passwordOf,
  refresh,
  register,
  whoAmI,
} from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService, startServiceOnCable } from '../support/service.ts'
import type { GraphQLAnswer, TestService } from '../support/service.ts'

const ME = '{ me { email } }'

let service: TestService
let admin: SignIn
let ada: SignIn

beforeAll(async () => {
  service = await startService()
  admin = await login(service, 'admin', 'console')
  ada = await register(service, 'ada')
})

afterAll(async () => {
  await service.stop()
})

/** What of an answer tells a client what to do. */
function signsOf({ status, headers, data, errors }: GraphQLAnswer): object {
  const [error] = errors
  return {
    status,
    data,
    ...error?.extensions,
    challenge: headers.get('www-authenticate'),
    retryAfter: headers.get('retry-after'),
  }
}

async function revoked(name: string): Promise<SignIn> {
  const person = await register(service, name)
  await service.graphql('mutation { logout { alreadyRevoked } }', { token: person.accessToken })
  return person
}

describe('a request in which nothing was resolved', () => {
  // Q39
  it('TOKEN_MISSING is 401, with the bare challenge', async () => {
    expect(signsOf(await service.graphql(ME))).toEqual({
      status: 401,
      data: null,
      code: 'UNAUTHENTICATED',
      reason: 'TOKEN_MISSING',
      challenge: 'Bearer',
      retryAfter: null,
    })
  })

  // Q39
  it.each([
    ['TOKEN_INVALID', 'forged', () => forgedTokenOf(ada)],
    ['TOKEN_INVALID', 'garbage', () => 'garbage'],
    ['TOKEN_INVALID', 'cut', () => ada.accessToken.slice(0, -1)],
    ['TOKEN_INVALID', 'a refresh token', () => ada.refreshToken],
    ['TOKEN_EXPIRED', 'expired', () => expiredTokenOf(ada)],
  ])('%s is 401, error="invalid_token" (%s)', async (reason, _kind, token) => {
    expect(signsOf(await service.graphql(ME, { token: token() }))).toEqual({
      status: 401,
      data: null,
      code: 'UNAUTHENTICATED',
      reason,
      challenge: 'Bearer error="invalid_token"',
      retryAfter: null,
    })
  })

  // Q21, Q39
  it('TOKEN_REVOKED is 401 with the reason and the time, and without the note', async () => {
    const { accessToken: token, userId } = await register(service, 'barbara')
    await service.graphql(
      'mutation ($id: ID!) { revokeUser(userId: $id, reason: "phone stolen", note: "case 7") { endedSessions } }',
      { token: admin.accessToken, variables: { id: userId } },
    )

    const answer = await service.graphql(ME, { token })

    expect(signsOf(answer)).toEqual({
      status: 401,
      data: null,
      code: 'UNAUTHENTICATED',
      reason: 'TOKEN_REVOKED',
      revocation: { reason: 'phone stolen', revokedAt: expect.any(String) },
      challenge: 'Bearer error="invalid_token"',
      retryAfter: null,
    })
    const { revokedAt } = answer.errors[0]!.extensions.revocation
    expect(revokedAt).toBe(new Date(revokedAt).toISOString())
    expect(Math.abs(Date.now() - Date.parse(revokedAt))).toBeLessThan(60_000)
  })

  it('TOKEN_REVOKED is 403 when the setting says so, and nothing else is', async () => {
    const strict = await startService({ database: service.database, revokedTokenStatus: 403 })
    try {
      const { accessToken: token } = await revoked('chandra')

      expect(signsOf(await strict.graphql(ME, { token }))).toMatchObject({
        status: 403,
        code: 'UNAUTHENTICATED',
        reason: 'TOKEN_REVOKED',
        challenge: 'Bearer error="invalid_token"',
      })
      expect((await service.graphql(ME, { token })).status).toBe(401)
      expect((await strict.graphql(ME, { token: expiredTokenOf(ada) })).status).toBe(401)
      expect((await strict.graphql(ME, { token: 'garbage' })).status).toBe(401)
      expect((await strict.graphql(ME)).status).toBe(401)
    } finally {
      await strict.stop()
    }
  })

  it.each([
    [
      'INVALID_CREDENTIALS',
      'mutation { login(email: "ada@example.com", password: "a wrong guess") { tokenType } }',
    ],
    [
      'INVALID_CREDENTIALS',
      'mutation { login(email: "nobody@example.com", password: "a wrong guess") { tokenType } }',
    ],
    ['INVALID_REFRESH_TOKEN', 'mutation { refresh(refreshToken: "garbage") { tokenType } }'],
    [
      'INVALID_REFRESH_TOKEN',
      `mutation { refresh(refreshToken: "${'A'.repeat(43)}") { tokenType } }`,
    ],
  ])('%s is 401', async (reason, source) => {
    expect(signsOf(await service.graphql(source))).toEqual({
      status: 401,
      data: null,
      code: 'UNAUTHENTICATED',
      reason,
      challenge: 'Bearer',
      retryAfter: null,
    })
  })

  it('a wrong password and an unknown e-mail address get the same answer', async () => {
    const answers = []
    for (const email of ['ada@example.com', 'nobody@example.com']) {
      const { status, errors } = await service.graphql(
        'mutation ($email: String!) { login(email: $email, password: "a wrong guess") { tokenType } }',
        { variables: { email } },
      )
      answers.push({ status, errors })
    }
    expect(answers[0]).toEqual(answers[1])
  })

  it('ROLE_REQUIRED is 403, without a challenge', async () => {
    const answer = await service.graphql('{ revocations { totalCount } }', {
      token: ada.accessToken,
    })

    expect(signsOf(answer)).toEqual({
      status: 403,
      data: null,
      code: 'FORBIDDEN',
      reason: 'ROLE_REQUIRED',
      challenge: null,
      retryAfter: null,
    })
  })

  it('ACCOUNT_SUSPENDED is 403, for login and for refresh', async () => {
    const person = await register(service, 'dorothy')
    await service.graphql('mutation ($id: ID!) { suspendUser(userId: $id) { alreadySuspended } }', {
      token: admin.accessToken,
      variables: { id: person.userId },
    })
    const loggedIn = await service.graphql(
      'mutation ($password: String!) { login(email: "dorothy@example.com", password: $password) { tokenType } }',
      { variables: { password: passwordOf('dorothy') } },
    )

    for (const answer of [loggedIn, await refresh(service, person.refreshToken)]) {
      expect(signsOf(answer)).toEqual({
        status: 403,
        data: null,
        code: 'FORBIDDEN',
        reason: 'ACCOUNT_SUSPENDED',
        challenge: null,
        retryAfter: null,
      })
    }
  })

  it.each([
    ['{ first: 2147483648 }', { first: 2_147_483_648 }, 'first'],
    ['a time that is none', { first: 1, filter: { since: 'yesterday' } }, 'filter'],
    ['a scope that is none', { first: 1, filter: { scope: 'TOKE' } }, 'filter'],
    ['nothing where something must be', {}, 'first'],
  ])('BAD_USER_INPUT names the variable that has %s', async (_what, variables, argument) => {
    const { status, errors } = await service.graphql(
      `query ($first: Int!, $filter: RevocationFilter) {
         revocations(first: $first, filter: $filter) { totalCount }
       }`,
      { token: admin.accessToken, variables },
    )

    expect(status).toBe(400)
    expect(errors[0]?.extensions).toEqual({
      code: 'BAD_USER_INPUT',
      reason: 'INVALID_VALUE',
      argument,
    })
  })

  it('BAD_USER_INPUT is 400 and names what is wrong with which argument', async () => {
    expect(
      signsOf(
        await service.graphql(
          'mutation { register(email: "eve@example.com", password: "short") { tokenType } }',
        ),
      ),
    ).toEqual({
      status: 400,
      data: null,
      code: 'BAD_USER_INPUT',
      reason: 'TOO_SHORT',
      argument: 'password',
      challenge: null,
      retryAfter: null,
    })
  })
})

describe('the codes', () => {
  it('are these, and keep their meaning once they are released', () => {
    const released = [
      new domain.TokenMissingError(),
      new domain.TokenInvalidError('why'),
      new domain.TokenExpiredError(),
      new domain.TokenRevokedError({ reason: 'logout', revokedAt: new Date(0) } as Revocation),
      new domain.InvalidCredentialsError(),
      new domain.InvalidRefreshTokenError(),
      new domain.RoleRequiredError('ADMIN'),
      new domain.ReauthenticationRequiredError(),
      new domain.AccountSuspendedError(),
      new domain.BadInputError('first', 'OUT_OF_RANGE', 'Ask for less'),
      new domain.RateLimitedError(7),
      new domain.RevocationUnavailableError(null),
    ]

    expect(
      released.map(({ httpStatus, extensions: { code, reason = '' } }) =>
        [httpStatus, code, reason].join(' ').trim(),
      ),
    ).toEqual([
      '401 UNAUTHENTICATED TOKEN_MISSING',
      '401 UNAUTHENTICATED TOKEN_INVALID',
      '401 UNAUTHENTICATED TOKEN_EXPIRED',
      '401 UNAUTHENTICATED TOKEN_REVOKED',
      '401 UNAUTHENTICATED INVALID_CREDENTIALS',
      '401 UNAUTHENTICATED INVALID_REFRESH_TOKEN',
      '403 FORBIDDEN ROLE_REQUIRED',
      '403 FORBIDDEN REAUTHENTICATION_REQUIRED',
      '403 FORBIDDEN ACCOUNT_SUSPENDED',
      '400 BAD_USER_INPUT OUT_OF_RANGE',
      '429 RATE_LIMITED',
      '503 REVOCATION_UNAVAILABLE',
    ])
  })
})

describe('a request in which something was resolved', () => {
  it.each([
    ['no token', () => null, 'TOKEN_MISSING'],
    ['a forged token', () => forgedTokenOf(ada), 'TOKEN_INVALID'],
    ['an expired token', () => expiredTokenOf(ada), 'TOKEN_EXPIRED'],
  ])(
    'is 200 without a challenge, and shows the refusal beside it (%s)',
    async (_kind, token, reason) => {
      const { status, headers, data, errors } = await service.graphql(
        '{ __typename user(id: "x") { id } }',
        { token: token() },
      )

      expect({ status, data }).toEqual({ status: 200, data: { __typename: 'Query', user: null } })
      expect(errors[0]).toMatchObject({ path: ['user'], extensions: { reason } })
      expect(headers.get('www-authenticate')).toBeNull()
    },
  )

  it('does not take back what an earlier mutation of the document did', async () => {
    const phone = await register(service, 'irene')

    const { status, data, errors } = await service.graphql(
      `mutation ($token: String!) {
         first: revokeToken(token: $token) { verified }
         second: restore(revocationId: "unknown") { alreadyRestored }
       }`,
      { token: admin.accessToken, variables: { token: phone.accessToken } },
    )

    // A mutation never answers null, so the answer of the first one goes with that of the second.
    expect({ status, data }).toEqual({ status: 400, data: null })
    expect(errors).toMatchObject([{ path: ['second'], extensions: { reason: 'UNKNOWN_ID' } }])
    expect(await whoAmI(service, phone.accessToken)).toBe('TOKEN_REVOKED')
  })
})

describe('a batch', () => {
  async function send(operations: readonly object[], token: string): Promise<Response> {
    return fetch(`${service.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify(operations),
    })
  }

  it('answers each operation for itself, with 200', async () => {
    const response = await send(
      [{ query: '{ __typename }' }, { query: ME }, { query: '{ revocations { totalCount } }' }],
      ada.accessToken,
    )
    const answers = (await response.json()) as GraphQLAnswer[]

    expect(response.status).toBe(200)
    expect(answers[0]).toEqual({ data: { __typename: 'Query' } })
    expect(answers[1]).toEqual({ data: { me: { email: 'ada@example.com' } } })
    expect(answers[2]).toMatchObject({
      data: null,
      errors: [{ extensions: { code: 'FORBIDDEN', reason: 'ROLE_REQUIRED' } }],
    })
  })

  it('refuses a revoked token in every operation', async () => {
    const { accessToken } = await revoked('edith')

    const response = await send([{ query: ME }, { query: '{ sessions { id } }' }], accessToken)
    const answers = (await response.json()) as GraphQLAnswer[]

    expect(answers.map(({ errors }) => errors[0]?.extensions.reason)).toEqual([
      'TOKEN_REVOKED',
      'TOKEN_REVOKED',
    ])
  })

  it('keeps what its operations found out about the caller apart', async () => {
    const token = forgedTokenOf(ada)
    const list = '{ revocations(first: 1) { edges { node { note } } } }'
    await service.graphql(
      `mutation { revokeToken(token: "${token}", note: "case 8") { verified } }`,
      {
        token: admin.accessToken,
      },
    )
    const again = (n: number): string => `a${n}: revokeToken(token: "${token}") { verified }`
    const acts = `mutation { ${Array.from({ length: 20 }, (_, n) => again(n)).join(' ')} }`

    const response = await send(
      [{ query: acts }, ...Array.from({ length: 9 }, () => ({ query: list }))],
      admin.accessToken,
    )
    const answers = (await response.json()) as GraphQLAnswer[]

    const notes = answers.slice(1).map(({ data }) => data.revocations.edges[0].node.note)
    expect(notes).toEqual(Array.from({ length: 9 }, () => 'case 8'))
  })
})

describe('public fields', () => {
  // Q04
  it.each([
    ['no token', () => null],
    ['garbage', () => 'garbage'],
    ['an expired token', () => expiredTokenOf(ada)],
    ['a forged token', () => forgedTokenOf(ada)],
  ])('work with %s', async (_kind, token) => {
    const { status, data } = await service.graphql(
      'mutation ($password: String!) { login(email: "ada@example.com", password: $password) { tokenType } }',
      { token: token(), variables: { password: passwordOf('ada') } },
    )

    expect({ status, data }).toEqual({ status: 200, data: { login: { tokenType: 'Bearer' } } })
  })

  it('work with a revoked token', async () => {
    const { accessToken: token } = await revoked('grace')

    const { data } = await service.graphql(
      'mutation ($password: String!) { login(email: "grace@example.com", password: $password) { tokenType } }',
      { token, variables: { password: passwordOf('grace') } },
    )

    expect(data).toEqual({ login: { tokenType: 'Bearer' } })
  })
})

describe('messages', () => {
  const SECRETS = () => [ada.accessToken, ada.refreshToken, 'hunter2!', passwordOf('ada')]

  // Q36
  it.each([
    [
      'a token of the wrong type',
      'mutation ($t: String!) { refresh(refreshToken: $t) { tokenType } }',
      { t: { token: 'ACCESS' } },
    ],
    [
      'a token in a list',
      'query ($t: String!) { tokenStatus(token: $t) { state } }',
      { t: ['ACCESS'] },
    ],
    ['a token as an enum value', 'mutation { refresh(refreshToken: REFRESH) { tokenType } }', {}],
    [
      'a token for a role',
      'mutation { setUserRoles(userId: 1, roles: ["ACCESS"]) { alreadySet } }',
      {},
    ],
    ['a token as a field', '{ me { REFRESH } }', {}],
    [
      'a token for a number',
      'query ($n: Int) { revocations(first: $n) { totalCount } }',
      { n: 'REFRESH' },
    ],
    [
      'a token for an instant',
      'query ($t: DateTime) { revocations(filter: { since: $t }) { totalCount } }',
      { t: 'ACCESS' },
    ],
    [
      'a password that is no string',
      'mutation ($p: String!) { login(email: "a", password: $p) { tokenType } }',
      { p: { password: 'hunter2!' } },
    ],
    [
      'a password in a syntax error',
      'mutation { refresh(refreshToken: "" "ACCESS") { tokenType } }',
      {},
    ],
    [
      'an unknown refresh token',
      'mutation { refresh(refreshToken: "REFRESHx") { tokenType } }',
      {},
    ],
    ['a malformed id', 'mutation { restore(revocationId: "ACCESS") { alreadyRestored } }', {}],
  ])('quote no secret that stands in a wrong place: %s', async (_what, source, variables) => {
    const fill = (text: string): string =>
      text.replaceAll('ACCESS', ada.accessToken).replaceAll('REFRESH', ada.refreshToken)

    const { errors } = await service.graphql(fill(source), {
      token: admin.accessToken,
      variables: JSON.parse(fill(JSON.stringify(variables))),
    })

    expect(errors).not.toEqual([])
    const text = JSON.stringify(errors)
    for (const secret of SECRETS()) expect(text).not.toContain(secret)
    expect(text).not.toMatch(/[\w-]{40,}/)
  })

  // Q36
  it('of an internal error say nothing; the log says all', async () => {
    await service.database.query('alter table account rename to account_away')
    try {
      const answer = await service.graphql(ME, { token: ada.accessToken })

      expect(answer.status).toBe(500)
      expect(answer.data).toBeNull()
      expect(answer.errors).toEqual([
        {
          message: 'Internal server error',
          extensions: { code: 'INTERNAL_SERVER_ERROR' },
          locations: [{ line: 1, column: 3 }],
          path: ['me'],
        },
      ])
      const line = service.log.findLast(({ msg }) => msg === 'internal error')
      expect(line?.['err']).toMatchObject({
        message: 'relation "account" does not exist',
        code: '42P01',
        stack: expect.stringContaining('accounts.ts'),
      })
      expect(JSON.stringify(line)).not.toContain(ada.accessToken)
    } finally {
      await service.database.query('alter table account_away rename to account')
    }
    expect(await whoAmI(service, ada.accessToken)).toBe('ada@example.com')
  })
})

describe('an act that fails half way', () => {
  async function without(table: string, act: () => Promise<GraphQLAnswer>): Promise<void> {
    await service.database.query(`alter table ${table} rename to ${table}_away`)
    try {
      const { status, data } = await act()
      expect({ status, data }).toEqual({ status: 500, data: null })
    } finally {
      await service.database.query(`alter table ${table}_away rename to ${table}`)
    }
  }

  // Q57
  it('leaves no account that is registered but not signed in', async () => {
    await without('refresh_token', () =>
      service.graphql(
        'mutation { register(email: "joan@example.com", password: "long enough") { tokenType } }',
      ),
    )

    const { data } = await service.graphql('{ user(email: "joan@example.com") { id } }', {
      token: admin.accessToken,
    })
    expect(data).toEqual({ user: null })
  })

  // Q57
  it('leaves the old password and the older sessions', async () => {
    const phone = await register(service, 'karen')
    const laptop = await login(service, 'karen', 'laptop')

    await without('refresh_token', () =>
      service.graphql(
        `mutation ($old: String!) {
           changePassword(currentPassword: $old, newPassword: "quite another") { tokenType }
         }`,
        { token: phone.accessToken, variables: { old: passwordOf('karen') } },
      ),
    )

    expect(await whoAmI(service, laptop.accessToken)).toBe('karen@example.com')
    expect((await refresh(service, laptop.refreshToken)).errors).toEqual([])
    await login(service, 'karen', 'phone')
  })

  // Q57
  it('suspends no person whose tokens it could not revoke', async () => {
    const phone = await register(service, 'lise')

    await without('revocation_event', () =>
      service.graphql('mutation ($id: ID!) { suspendUser(userId: $id) { alreadySuspended } }', {
        token: admin.accessToken,
        variables: { id: phone.userId },
      }),
    )

    expect(await whoAmI(service, phone.accessToken)).toBe('lise@example.com')
    await login(service, 'lise', 'laptop')
  })
})

describe('an outage of the database', () => {
  let node: Awaited<ReturnType<typeof startServiceOnCable>>
  let phone: SignIn

  beforeAll(async () => {
    node = await startServiceOnCable()
    phone = await register(node, 'hedy')
  })

  afterAll(async () => {
    await node.stop()
  })

  // Q03, Q04, Q62
  it('refuses with 503 to try again, keeps public fields and liveness, and heals by itself', async () => {
    expect(await probe()).toEqual({ healthz: 200, readyz: 200 })

    node.cable.setMode('cut')
    try {
      const refused = signsOf(await node.graphql(ME, { token: phone.accessToken }))
      expect(refused).toEqual({
        status: 503,
        data: null,
        code: 'REVOCATION_UNAVAILABLE',
        challenge: null,
        retryAfter: '1',
      })
      for (const mutation of ['logoutAllDevices { endedSessions }', 'logout { alreadyRevoked }']) {
        const source = `mutation { ${mutation} }`
        expect(signsOf(await node.graphql(source, { token: phone.accessToken }))).toEqual(refused)
      }
      expect(signsOf(await refresh(node, phone.refreshToken))).toEqual(refused)

      expect((await node.graphql('{ __typename }', { token: phone.accessToken })).status).toBe(200)
      expect(signsOf(await node.graphql(ME))).toMatchObject({
        status: 401,
        reason: 'TOKEN_MISSING',
      })
      expect(signsOf(await node.graphql(ME, { token: 'x' }))).toMatchObject({
        status: 401,
        reason: 'TOKEN_INVALID',
      })
      expect(await probe()).toEqual({ healthz: 200, readyz: 503 })
    } finally {
      node.cable.setMode('pass')
    }

    expect(await probe()).toEqual({ healthz: 200, readyz: 200 })
    expect(await whoAmI(node, phone.accessToken)).toBe('hedy@example.com')
    const { data } = await node.graphql('mutation { logout { alreadyRevoked } }', {
      token: phone.accessToken,
    })
    expect(data).toEqual({ logout: { alreadyRevoked: false } })
  })

  async function probe(): Promise<object> {
    const statusOf = async (path: string): Promise<number> =>
      (await fetch(`${node.url}${path}`)).status
    return { healthz: await statusOf('/healthz'), readyz: await statusOf('/readyz') }
  }
})
