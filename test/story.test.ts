import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { MemoryRevocationStore, createKeyRing, createPortcullis } from '../src/index.ts'
import { claimsOf, forgedTokenOf, login, refresh, register, whoAmI } from './support/people.ts'
import type { SignIn } from './support/people.ts'
import { startService } from './support/service.ts'
import type { TestService } from './support/service.ts'

let service: TestService
let admin: SignIn

beforeAll(async () => {
  service = await startService()
  admin = await login(service, 'admin', 'console')
})

afterAll(async () => {
  await service.stop()
})

async function ask(source: string, token: string, variables: object = {}): Promise<any> {
  const { data, errors } = await service.graphql(source, { token, variables })
  expect(errors).toEqual([])
  return data
}

describe('what the two documents describe', () => {
  // Q01
  it('AuthX: a callback on every protected request refuses a revoked token with 401', async () => {
    const { accessToken: token } = await register(service, 'ada')
    await ask('mutation { logout { alreadyRevoked } }', token)

    for (const source of [
      '{ me { id } }',
      '{ sessions { id } }',
      'mutation { logoutAllDevices { endedSessions } }',
    ]) {
      const { status, errors } = await service.graphql(source, { token })
      expect([status, errors[0]?.extensions.reason]).toEqual([401, 'TOKEN_REVOKED'])
    }
  })

  it('AuthX: `/logout` verifies the token, then revokes it', async () => {
    const phone = await register(service, 'barbara')
    const LOGOUT = 'mutation { logout { alreadyRevoked } }'

    const forged = await service.graphql(LOGOUT, { token: forgedTokenOf(phone) })
    expect(forged.errors[0]?.extensions.reason).toBe('TOKEN_INVALID')
    expect(await whoAmI(service, phone.accessToken)).toBe('barbara@example.com')

    await ask(LOGOUT, phone.accessToken)
    expect(await whoAmI(service, phone.accessToken)).toBe('TOKEN_REVOKED')
  })

  it('AuthX: `/login` issues a token and tracks it per user; `/logout-all` revokes all of them', async () => {
    const phone = await register(service, 'chandra')
    const laptop = await login(service, 'chandra', 'laptop')
    const { sessions } = await ask('{ sessions { id } }', phone.accessToken)
    expect(sessions).toEqual([{ id: laptop.sessionId }, { id: phone.sessionId }])

    await ask('mutation { logoutAllDevices { endedSessions } }', laptop.accessToken)

    for (const { accessToken } of [phone, laptop]) {
      expect(await whoAmI(service, accessToken)).toBe('TOKEN_REVOKED')
    }
  })

  // Q05, Q33
  it('AuthX: store the `jti`, not the token; jtis must be generated properly', async () => {
    const phone = await register(service, 'dorothy')
    await ask(
      'mutation ($token: String!) { revokeToken(token: $token) { verified } }',
      admin.accessToken,
      { token: phone.accessToken },
    )
    const { jti } = claimsOf(phone.accessToken)

    const rows = await service.database.query('select * from revocation where token_id = $1', [jti])

    expect(rows).toHaveLength(1)
    const dump = await Promise.all(
      ['revocation', 'revocation_event', 'session', 'refresh_token'].map((table) =>
        service.database.query(`select t::text as line from ${table} t`),
      ),
    )
    const [header, payload, signature] = phone.accessToken.split('.')
    for (const secret of [header, payload, signature, phone.refreshToken]) {
      expect(JSON.stringify(dump)).not.toContain(secret)
    }
    const others = await Promise.all([1, 2, 3].map(() => refresh(service, phone.refreshToken)))
    const jtis = others.map(({ data }) => claimsOf(data.refresh.accessToken)['jti'])
    expect(new Set([jti, ...jtis]).size).toBe(4)
  })

  // Q18
  it('AuthX: expired entries stop counting at once and are removed periodically', async () => {
    const phone = await register(service, 'edith')
    await ask('mutation { logout { alreadyRevoked } }', phone.accessToken)
    expect(await whoAmI(service, phone.accessToken)).toBe('TOKEN_REVOKED')

    await service.database.query(
      'update revocation set expires_at = clock_timestamp() where session_id = $1',
      [phone.sessionId],
    )

    // In earnest its tokens expired before it did.
    expect(await whoAmI(service, phone.accessToken)).toBe('edith@example.com')
    const { revocations } = await ask(
      'query ($id: ID) { revocations(filter: { sessionId: $id }) { totalCount } }',
      admin.accessToken,
      { id: phone.sessionId },
    )
    expect(revocations.totalCount).toBe(0)
  })

  it('AuthX: an in-memory set for development; "use Redis or another fast key-value store for production", because a database read adds latency to every request', async () => {
    const store = new MemoryRevocationStore({ maxTokenLifetimeSeconds: 900 })
    const findFor = vi.spyOn(store, 'findFor')
    const keys = createKeyRing({ signWith: 'a secret of at least thirty-two bytes' })
    const portcullis = createPortcullis({ keys, issuer: 'story', audience: 'story', store })
    const { text } = await portcullis.issue({ subject: 'frances', roles: ['USER'] })

    const requests = Array.from({ length: 100 }, () =>
      portcullis.context({ authorization: `Bearer ${text}` }),
    )
    const callers = await Promise.all(requests.map(({ auth }) => auth.authenticate()))

    expect(callers.map(({ subject }) => subject)).toEqual(requests.map(() => 'frances'))
    expect(findFor).toHaveBeenCalledTimes(1)
  })

  it('lesson: a blacklist model: token identity, reason, expiry, quick look-up', async () => {
    const phone = await register(service, 'grace')
    const { jti, exp } = claimsOf(phone.accessToken)

    const { revokeToken } = await ask(
      `mutation ($token: String!) {
         revokeToken(token: $token, reason: "lost") { revocation { tokenId reason expiresAt } }
       }`,
      admin.accessToken,
      { token: phone.accessToken },
    )

    expect(revokeToken.revocation).toMatchObject({ tokenId: jti, reason: 'lost' })
    // Q17
    expect(Date.parse(revokeToken.revocation.expiresAt)).toBeGreaterThanOrEqual(exp * 1000)
    const indices = await service.database.query(
      `select indexdef from pg_indexes where tablename = 'revocation' and indexdef like '%(key)'`,
    )
    expect(indices).not.toEqual([])
  })

  // Q07
  it('lesson: verify the signature before trusting claims; a forged or unverifiable token is kept at most 24 hours, so that nobody bloats the table', async () => {
    const phone = await register(service, 'hedy')
    const token = forgedTokenOf(phone)
    const REVOKE = `mutation ($token: String!) {
      revokeToken(token: $token) { verified revocation { subject revokedAt expiresAt } }
    }`

    const refused = await service.graphql(REVOKE, {
      token: phone.accessToken,
      variables: { token },
    })
    const { revokeToken } = await ask(REVOKE, admin.accessToken, { token })

    expect(refused.errors[0]?.extensions.reason).toBe('ROLE_REQUIRED')
    expect(revokeToken).toMatchObject({ verified: false, revocation: { subject: null } })
    const { revokedAt, expiresAt } = revokeToken.revocation
    expect(Date.parse(expiresAt) - Date.parse(revokedAt)).toBe(24 * 60 * 60 * 1000)
    expect(await whoAmI(service, phone.accessToken)).toBe('hedy@example.com')
  })

  it('lesson: the blacklist is checked first, a revoked token is rejected at once with 403 and the reason', async () => {
    const strict = await startService({ database: service.database, revokedTokenStatus: 403 })
    try {
      const { accessToken: token, userId } = await register(service, 'ida')
      await ask(
        'mutation ($id: ID!) { revokeUser(userId: $id, reason: "left the firm") { endedSessions } }',
        admin.accessToken,
        { id: userId },
      )

      const { status, data, errors } = await strict.graphql('{ me { id } }', { token })

      expect({ status, data }).toEqual({ status: 403, data: null })
      expect(errors[0]?.extensions.revocation.reason).toBe('left the firm')
    } finally {
      await strict.stop()
    }
  })

  it('lesson: an admin endpoint to revoke any token with an optional reason, typed request and response', async () => {
    const phone = await register(service, 'joan')
    const REVOKE = `mutation ($token: String!, $reason: String, $note: String) {
      revokeToken(token: $token, reason: $reason, note: $note) {
        alreadyRevoked verified revocation { reason note revokedBy }
      }
    }`

    const plain = await ask(REVOKE, admin.accessToken, { token: phone.accessToken })
    const told = await ask(REVOKE, admin.accessToken, {
      token: phone.refreshToken,
      reason: 'stolen',
      note: 'case 7',
    })

    expect(plain.revokeToken).toEqual({
      alreadyRevoked: false,
      verified: true,
      revocation: { reason: 'revoked_by_admin', note: null, revokedBy: admin.userId },
    })
    expect(told.revokeToken.revocation).toMatchObject({ reason: 'stolen', note: 'case 7' })
    const { errors } = await service.graphql(REVOKE, {
      token: admin.accessToken,
      variables: { token: 7 },
    })
    expect(errors[0]?.extensions.code).toBe('BAD_USER_INPUT')
  })

  it('lesson: a logout endpoint, typed', async () => {
    const phone = await register(service, 'karen')

    const { logout } = await ask(
      'mutation { logout { alreadyRevoked revocation { scope reason sessionId } } }',
      phone.accessToken,
    )

    expect(logout).toEqual({
      alreadyRevoked: false,
      revocation: { scope: 'SESSION', reason: 'logout', sessionId: phone.sessionId },
    })
  })

  it('lesson: an audit trail; uses: logout, breach, deactivated account, changed policy', async () => {
    const since = new Date().toISOString()
    const phone = await register(service, 'lise')
    const laptop = await login(service, 'lise', 'laptop')
    const by = admin.accessToken
    const { userId } = phone

    await ask('mutation { logout { alreadyRevoked } }', phone.accessToken)
    await ask(
      'mutation ($token: String!) { revokeToken(token: $token, reason: "breach") { verified } }',
      by,
      {
        token: laptop.accessToken,
      },
    )
    await ask('mutation ($id: ID!) { suspendUser(userId: $id) { alreadySuspended } }', by, {
      id: userId,
    })
    await ask(
      'mutation { revokeEveryone(reason: "changed policy", note: "from today") { endedSessions } }',
      by,
    )

    admin = await login(service, 'admin', 'console')
    const { revocationEvents } = await ask(
      `query ($since: DateTime) {
         revocationEvents(filter: { since: $since }) {
           edges { node { kind actor note occurredAt revocation { scope reason } } }
         }
       }`,
      admin.accessToken,
      { since },
    )
    const line = {
      kind: 'REVOKED',
      actor: admin.userId,
      note: null,
      occurredAt: expect.any(String),
    }
    expect(revocationEvents.edges.map(({ node }: any) => node)).toEqual([
      { ...line, note: 'from today', revocation: { scope: 'EVERYONE', reason: 'changed policy' } },
      { ...line, revocation: { scope: 'SUBJECT', reason: 'account_suspended' } },
      { ...line, revocation: { scope: 'TOKEN', reason: 'breach' } },
      { ...line, actor: userId, revocation: { scope: 'SESSION', reason: 'logout' } },
    ])
  })

  // Q18
  it('lesson: clean-up by expiry, table bounded', async () => {
    const node = await startService({ database: service.database, sweepIntervalSeconds: 0.05 })
    try {
      const phone = await register(node, 'mary')
      const laptop = await login(node, 'mary', 'laptop')
      for (const { accessToken: token } of [phone, laptop]) {
        await node.graphql('mutation { logout { alreadyRevoked } }', { token })
      }
      await node.database.query(
        `update revocation set expires_at = clock_timestamp() - interval '1 day' where session_id = $1`,
        [phone.sessionId],
      )

      const kept = 'select session_id from revocation where session_id = any($1)'
      await expect
        .poll(() => node.database.query(kept, [[phone.sessionId, laptop.sessionId]]), {
          timeout: 5000,
        })
        .toEqual([{ session_id: laptop.sessionId }])
    } finally {
      await node.stop()
    }
  })
})

describe('the main job', () => {
  // Q01, Q11, Q12
  it('two devices sign in; one logs out and is refused with the reason, the other works; logout everywhere ends it too', async () => {
    const phone = await register(service, 'nina')
    const laptop = await login(service, 'nina', 'laptop')
    expect(await whoAmI(service, phone.accessToken)).toBe('nina@example.com')
    expect(await whoAmI(service, laptop.accessToken)).toBe('nina@example.com')

    await ask('mutation { logout { alreadyRevoked } }', phone.accessToken)

    const refused = await service.graphql('{ me { email } }', { token: phone.accessToken })
    expect(refused.status).toBe(401)
    expect(refused.errors[0]).toMatchObject({
      message: 'Sign in again: this token was revoked',
      extensions: {
        code: 'UNAUTHENTICATED',
        reason: 'TOKEN_REVOKED',
        revocation: { reason: 'logout', revokedAt: expect.any(String) },
      },
    })
    expect((await refresh(service, phone.refreshToken)).errors[0]?.extensions.reason).toBe(
      'INVALID_REFRESH_TOKEN',
    )
    expect(await whoAmI(service, laptop.accessToken)).toBe('nina@example.com')

    await ask('mutation { logoutAllDevices { endedSessions } }', laptop.accessToken)

    const everywhere = await service.graphql('{ me { email } }', { token: laptop.accessToken })
    expect(everywhere.errors[0]?.extensions).toMatchObject({
      reason: 'TOKEN_REVOKED',
      revocation: { reason: 'logout_all_devices' },
    })
    expect((await refresh(service, laptop.refreshToken)).errors).toHaveLength(1)
    const again = await login(service, 'nina', 'phone')
    expect(await whoAmI(service, again.accessToken)).toBe('nina@example.com')
  })
})
