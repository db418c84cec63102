import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  claimsOf,
  expiredTokenOf,
  forgedTokenOf,
  login,
  refresh,
  register,
} from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

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

async function ask(source: string, variables: object = {}, by: SignIn = admin): Promise<any> {
  const { data, errors } = await service.graphql(source, { token: by.accessToken, variables })
  expect(errors).toEqual([])
  return data
}

async function revokeToken(token: string, reason: string, note?: string): Promise<any> {
  const data = await ask(
    `mutation ($token: String!, $reason: String, $note: String) {
       revokeToken(token: $token, reason: $reason, note: $note) { revocation { id revokedAt } }
     }`,
    { token, reason, note },
  )
  return data.revokeToken.revocation
}

const REASONS = ['first', 'second', 'third', 'fourth', 'fifth', 'sixth', 'seventh']

describe.each([
  ['revocations', 'reason'],
  ['revocationEvents', 'revocation { reason }'],
])('%s', (list, fields) => {
  const QUERY = `query ($first: Int, $after: String, $filter: RevocationFilter) {
    list: ${list}(first: $first, after: $after, filter: $filter) {
      totalCount
      edges { cursor node { ${fields} } }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
  }`

  async function read(variables: object): Promise<{ reasons: string[]; [key: string]: any }> {
    const { list: page } = await ask(QUERY, variables)
    const reasons = page.edges.map(({ node }: any) => node.reason ?? node.revocation.reason)
    return { ...page, reasons }
  }

  const filter = { revokedBy: '' }

  beforeAll(async () => {
    const by = await login(service, 'admin', `console of ${list}`)
    // One admin of its own for each list, so that neither sees what the other wrote.
    const { data } = await service.graphql(
      'mutation ($email: String!) { register(email: $email, password: "long enough") { user { id } } }',
      { variables: { email: `${list}@example.com` } },
    )
    filter.revokedBy = data.register.user.id
    await ask(
      'mutation ($id: ID!) { setUserRoles(userId: $id, roles: [ADMIN]) { alreadySet } }',
      { id: filter.revokedBy },
      by,
    )
    const own = await service.graphql(
      'mutation ($email: String!) { login(email: $email, password: "long enough") { accessToken } }',
      { variables: { email: `${list}@example.com` } },
    )
    for (const reason of REASONS) {
      await service.graphql(
        'mutation ($token: String!, $reason: String) { revokeToken(token: $token, reason: $reason) { verified } }',
        {
          token: own.data.login.accessToken,
          variables: { token: forgedTokenOf(ada), reason },
        },
      )
    }
  })

  it('gives all of them, the newest first', async () => {
    const page = await read({ filter })

    expect(page.reasons).toEqual(REASONS.toReversed())
    expect(page.totalCount).toBe(7)
    expect(page.pageInfo).toEqual({
      hasNextPage: false,
      hasPreviousPage: false,
      startCursor: page.edges[0].cursor,
      endCursor: page.edges[6].cursor,
    })
  })

  it.each([1, 2, 3, 6, 7, 100])('gives each once in pages of %i', async (first) => {
    const seen: string[] = []
    let after: string | null = null
    let pages = 0

    do {
      const page: Awaited<ReturnType<typeof read>> = await read({ filter, first, after })
      expect(page.totalCount).toBe(7)
      expect(page.pageInfo.hasPreviousPage).toBe(after !== null)
      seen.push(...page.reasons)
      after = page.pageInfo.hasNextPage ? page.pageInfo.endCursor : null
      pages += 1
    } while (after !== null)

    expect(seen).toEqual(REASONS.toReversed())
    expect(pages).toBe(Math.ceil(7 / first))
  })

  it('goes on from any edge’s cursor', async () => {
    const { edges } = await read({ filter })

    expect((await read({ filter, after: edges[2].cursor })).reasons).toEqual(
      REASONS.toReversed().slice(3),
    )
  })

  it('has an empty page behind the last', async () => {
    const { pageInfo } = await read({ filter })

    expect(await read({ filter, after: pageInfo.endCursor })).toMatchObject({
      reasons: [],
      totalCount: 7,
      pageInfo: { hasNextPage: false, hasPreviousPage: true, startCursor: null, endCursor: null },
    })
  })
})

describe('the filter', () => {
  let phone: SignIn
  let times: string[]
  const one = { reason: 'filter: token' }

  beforeAll(async () => {
    phone = await register(service, 'barbara')
    const { revokedAt } = await revokeToken(phone.accessToken, one.reason)
    await ask(
      `mutation ($id: ID!) { revokeUser(userId: $id, reason: "filter: user") { endedSessions } }`,
      { id: phone.userId },
    )
    times = [revokedAt, new Date(Date.parse(revokedAt) + 1).toISOString()]
  })

  const filters: Array<[string, () => object, string[]]> = [
    ['subject', () => ({ subject: phone.userId }), ['filter: user', 'filter: token']],
    ['session', () => ({ sessionId: phone.sessionId }), ['filter: token']],
    ['token', () => ({ tokenId: claimsOf(phone.accessToken)['jti'] }), ['filter: token']],
    ['reason', () => ({ reason: 'filter: user' }), ['filter: user']],
    ['scope', () => ({ subject: phone.userId, scope: 'SUBJECT' }), ['filter: user']],
    [
      'actor',
      () => ({ subject: phone.userId, revokedBy: admin.userId }),
      ['filter: user', 'filter: token'],
    ],
    ['another actor', () => ({ subject: phone.userId, revokedBy: ada.userId }), []],
    ['since, inclusive', () => ({ ...one, since: times[0] }), ['filter: token']],
    ['since, later', () => ({ ...one, since: times[1] }), []],
    ['until, exclusive', () => ({ ...one, until: times[0] }), []],
    ['until, later', () => ({ ...one, until: times[1] }), ['filter: token']],
    ['nulls', () => ({ ...one, scope: null, subject: null, since: null }), ['filter: token']],
    ['a reason that was not given', () => ({ reason: `filter: token' or '1'='1` }), []],
    ['a wildcard', () => ({ reason: 'filter: %' }), []],
  ]

  it.each(filters)('by %s, in both lists', async (_name, filter, expected) => {
    const { revocations, revocationEvents } = await ask(
      `query ($filter: RevocationFilter) {
         revocations(filter: $filter) { totalCount edges { node { reason } } }
         revocationEvents(filter: $filter) { totalCount edges { node { revocation { reason } } } }
       }`,
      { filter: filter() },
    )

    expect(revocations.edges.map(({ node }: any) => node.reason)).toEqual(expected)
    expect(revocationEvents.edges.map(({ node }: any) => node.revocation.reason)).toEqual(expected)
    expect([revocations.totalCount, revocationEvents.totalCount]).toEqual(
      [expected, expected].map(({ length }) => length),
    )
  })

  it('takes the actor of a restoration for the one who did it', async () => {
    const { data } = await service.graphql('mutation { logout { revocation { id } } }', {
      token: (await login(service, 'ada', 'phone')).accessToken,
    })
    const { id } = data.logout.revocation
    await ask('mutation ($id: ID!) { restore(revocationId: $id) { alreadyRestored } }', { id })

    const { byAda, byAdmin } = await ask(
      `query ($ada: ID, $admin: ID) {
         byAda: revocationEvents(filter: { subject: $ada, revokedBy: $ada }) { edges { node { kind } } }
         byAdmin: revocationEvents(filter: { subject: $ada, revokedBy: $admin }) { edges { node { kind } } }
       }`,
      { ada: ada.userId, admin: admin.userId },
    )

    expect(byAda.edges).toEqual([{ node: { kind: 'REVOKED' } }])
    expect(byAdmin.edges).toEqual([{ node: { kind: 'RESTORED' } }])
  })
})

describe('a page', () => {
  it('has 50 lines by default', async () => {
    for (const _third of [1, 2, 3]) {
      const acts = Array.from(
        { length: 17 },
        (_, n) => `a${n}: revokeToken(token: "${forgedTokenOf(ada)}", reason: "many") { verified }`,
      )
      await ask(`mutation { ${acts.join(' ')} }`)
    }

    const { revocations, revocationEvents } = await ask(`{
      revocations(first: null, filter: { reason: "many" }) { totalCount edges { cursor } }
      revocationEvents(filter: { reason: "many" }) { totalCount edges { cursor } }
    }`)

    for (const list of [revocations, revocationEvents]) {
      expect([list.edges.length, list.totalCount]).toEqual([50, 51])
    }
  })
})

describe('what is in force', () => {
  it('has neither what was restored nor what can be forgotten; the journal has both', async () => {
    const reason = 'soon over'
    const kept = await revokeToken(forgedTokenOf(ada), reason)
    const restored = await revokeToken(forgedTokenOf(ada), reason)
    const over = await revokeToken(forgedTokenOf(ada), reason)
    await ask('mutation ($id: ID!) { restore(revocationId: $id) { alreadyRestored } }', {
      id: restored.id,
    })
    await service.database.query(
      'update revocation set expires_at = clock_timestamp() where id = $1',
      [over.id],
    )

    const { revocations, revocationEvents } = await ask(
      `query ($filter: RevocationFilter) {
         revocations(filter: $filter) { totalCount edges { node { id } } }
         revocationEvents(filter: $filter) { edges { node { kind revocation { id } } } }
       }`,
      { filter: { reason } },
    )

    expect(revocations).toEqual({ totalCount: 1, edges: [{ node: { id: kept.id } }] })
    expect(revocationEvents.edges.map(({ node }: any) => [node.kind, node.revocation.id])).toEqual([
      ['RESTORED', restored.id],
      ['REVOKED', over.id],
      ['REVOKED', restored.id],
      ['REVOKED', kept.id],
    ])
  })
})

describe('a note', () => {
  // Q21
  it('is shown to admins, in the lists and in the journal, and to no other caller', async () => {
    const phone = await register(service, 'chandra')
    const secret = 'seen in the pub with the phone of another'
    await ask(
      'mutation ($id: ID!, $note: String) { revokeUser(userId: $id, note: $note) { endedSessions } }',
      { id: phone.userId, note: secret },
    )

    const { data } = await service.graphql(
      'mutation { logout { alreadyRevoked revocation { id reason note } } }',
      { token: phone.accessToken },
    )
    const { errors } = await service.graphql('{ me { id } }', { token: phone.accessToken })
    const { revocations, revocationEvents, tokenStatus } = await ask(
      `query ($filter: RevocationFilter, $token: String!) {
         revocations(filter: $filter) { edges { node { note } } }
         revocationEvents(filter: $filter) { edges { node { note revocation { note } } } }
         tokenStatus(token: $token) { revocation { note } }
       }`,
      { filter: { subject: phone.userId, scope: 'SUBJECT' }, token: phone.accessToken },
    )

    expect(data.logout.revocation).toMatchObject({ reason: 'revoked_by_admin', note: null })
    expect(JSON.stringify(errors)).not.toContain('pub')
    expect(revocations.edges).toEqual([{ node: { note: secret } }])
    expect(revocationEvents.edges).toEqual([
      { node: { note: secret, revocation: { note: secret } } },
    ])
    expect(tokenStatus.revocation.note).toBe(secret)
  })
})

describe('who revoked', () => {
  const SIGN_OUT = 'mutation { logout { revocation { reason revokedBy } } }'

  it.each([
    ['revokeUser', 'revokeUser(userId: $user) { alreadyRevoked }'],
    ['revokeSession', 'revokeSession(id: $session) { alreadyRevoked }'],
    ['suspendUser', 'suspendUser(userId: $user) { alreadySuspended }'],
    ['setUserRoles', 'setUserRoles(userId: $user, roles: [ADMIN]) { alreadySet }'],
  ])('is not told to the holder of a token that an admin revoked: %s', async (act, mutation) => {
    const { accessToken, sessionId, userId } = await register(service, `henrietta-${act}`)
    const declared = act === 'revokeSession' ? '$session: ID!' : '$user: ID!'
    await ask(`mutation (${declared}) { ${mutation} }`, { user: userId, session: sessionId })

    const { data } = await service.graphql(SIGN_OUT, { token: accessToken })
    const { errors } = await service.graphql('{ me { id } }', { token: accessToken })

    expect(data.logout.revocation).toEqual({ reason: expect.any(String), revokedBy: null })
    expect(JSON.stringify(errors)).not.toContain(admin.userId)
  })

  it('is not told to the owner of a session that an admin ended', async () => {
    const laptop = await register(service, 'irene')
    const phone = await login(service, 'irene', 'phone')
    await ask('mutation ($id: ID!) { revokeSession(id: $id) { alreadyRevoked } }', {
      id: phone.sessionId,
    })
    const again =
      'mutation ($id: ID!) { revokeSession(id: $id) { alreadyRevoked revocation { reason revokedBy } } }'

    const { revokeSession } = await ask(again, { id: phone.sessionId }, laptop)

    expect(revokeSession).toEqual({
      alreadyRevoked: true,
      revocation: { reason: 'revoked_by_admin', revokedBy: null },
    })
    expect((await ask(again, { id: phone.sessionId })).revokeSession.revocation.revokedBy).toBe(
      admin.userId,
    )
  })

  it('is told to a person who did it, and to admins', async () => {
    const phone = await register(service, 'judith')

    const { logout } = await ask(SIGN_OUT, {}, phone)
    const { revocations } = await ask(
      'query ($id: ID!) { revocations(filter: { subject: $id }) { edges { node { revokedBy } } } }',
      { id: phone.userId },
    )

    expect(logout.revocation.revokedBy).toBe(phone.userId)
    expect(revocations.edges).toEqual([{ node: { revokedBy: phone.userId } }])
  })
})

describe('a token that was pasted', () => {
  const SPELLINGS: ReadonlyArray<readonly [what: string, spell: (token: string) => string]> = [
    ['with a line break behind it', (token) => `${token}\n`],
    ['with blanks and a line break of Windows around it', (token) => ` \t${token}\r\n`],
    ['with the scheme before it', (token) => `Bearer ${token}`],
    ['with the scheme in small letters, and more blanks', (token) => ` bearer \t ${token} `],
    ['with the whole header before it', (token) => `Authorization: Bearer ${token}\r\n`],
    ['with a blank that does not break', (token) => `\u00a0${token}\ufeff\n`],
  ]

  it.each(SPELLINGS)('is known to tokenStatus %s', async (_what, spell) => {
    const { tokenStatus } = await ask(
      'query ($token: String!) { tokenStatus(token: $token) { state subject } }',
      { token: spell(ada.accessToken) },
    )

    expect(tokenStatus).toEqual({ state: 'ACTIVE', subject: ada.userId })
  })

  it.each(SPELLINGS)('is revoked by revokeToken %s', async (what, spell) => {
    const phone = await login(service, 'ada', what)
    const laptop = await login(service, 'ada', 'laptop')
    const forged = forgedTokenOf(phone)
    const source =
      'mutation ($token: String!) { revokeToken(token: $token) { verified revocation { scope } } }'

    const answers: unknown[] = []
    for (const token of [phone.accessToken, laptop.refreshToken, forged]) {
      answers.push((await ask(source, { token: spell(token) })).revokeToken)
    }

    expect(answers).toEqual([
      { verified: true, revocation: { scope: 'TOKEN' } },
      { verified: true, revocation: { scope: 'SESSION' } },
      { verified: false, revocation: { scope: 'TOKEN' } },
    ])
    const { tokenStatus } = await ask(
      'query ($token: String!) { tokenStatus(token: $token) { state } }',
      { token: phone.accessToken },
    )
    expect(tokenStatus.state).toBe('REVOKED')
  })
})

describe('tokenStatus', () => {
  async function statusOf(token: string): Promise<any> {
    const data = await ask(
      `query ($token: String!) {
         tokenStatus(token: $token) {
           state subject sessionId tokenId issuedAt expiresAt revocation { scope reason }
         }
       }`,
      { token },
    )
    return data.tokenStatus
  }

  function namesOf(token: string): object {
    const { sub, sid, jti, iat, exp } = claimsOf(token)
    return {
      subject: sub,
      sessionId: sid,
      tokenId: jti,
      issuedAt: new Date(iat * 1000).toISOString(),
      expiresAt: new Date(exp * 1000).toISOString(),
    }
  }

  const NOBODY = { subject: null, sessionId: null, tokenId: null, issuedAt: null, expiresAt: null }

  it('says ACTIVE and whose it is', async () => {
    const phone = await register(service, 'dorothy')

    expect(await statusOf(phone.accessToken)).toEqual({
      state: 'ACTIVE',
      ...namesOf(phone.accessToken),
      revocation: null,
    })
  })

  it.each([
    ['TOKEN', 'revokeToken(token: $token, reason: "why") { verified }'],
    ['SESSION', 'revokeSession(id: $session, reason: "why") { alreadyRevoked }'],
    ['SUBJECT', 'revokeUser(userId: $user, reason: "why") { alreadyRevoked }'],
  ])('says REVOKED, by an entry of scope %s', async (scope, mutation) => {
    const { accessToken: token, sessionId, userId } = await register(service, `edith-${scope}`)
    const declared = { TOKEN: '$token: String!', SESSION: '$session: ID!', SUBJECT: '$user: ID!' }
    await ask(`mutation (${declared[scope as 'TOKEN']}) { ${mutation} }`, {
      token,
      session: sessionId,
      user: userId,
    })

    expect(await statusOf(token)).toEqual({
      state: 'REVOKED',
      ...namesOf(token),
      revocation: { scope, reason: 'why' },
    })
  })

  it('says EXPIRED, and also then what revokes it', async () => {
    const phone = await register(service, 'frances')
    const expired = expiredTokenOf(phone)
    const before = await statusOf(expired)

    await ask('mutation ($id: ID!) { revokeSession(id: $id) { alreadyRevoked } }', {
      id: phone.sessionId,
    })

    expect(before).toEqual({ state: 'EXPIRED', ...namesOf(expired), revocation: null })
    expect(await statusOf(expired)).toEqual({
      ...before,
      revocation: { scope: 'SESSION', reason: 'revoked_by_admin' },
    })
  })

  it('says INVALID of a forged token, not whose it claims to be, and whether it was revoked', async () => {
    const forged = forgedTokenOf(ada)
    const before = await statusOf(forged)

    await revokeToken(forged, 'seen in the wild')

    expect(before).toEqual({ state: 'INVALID', ...NOBODY, revocation: null })
    expect(await statusOf(forged)).toEqual({
      ...before,
      revocation: { scope: 'TOKEN', reason: 'seen in the wild' },
    })
  })

  it.each(['garbage', ''])('says INVALID of %j', async (token) => {
    expect(await statusOf(token)).toEqual({ state: 'INVALID', ...NOBODY, revocation: null })
  })

  it('says INVALID of a refresh token', async () => {
    expect(await statusOf(ada.refreshToken)).toEqual({
      state: 'INVALID',
      ...NOBODY,
      revocation: null,
    })
  })

  it('does not change what it looks at', async () => {
    const phone = await register(service, 'grace')

    await statusOf(phone.refreshToken)

    expect((await refresh(service, phone.refreshToken)).errors).toEqual([])
  })
})

describe('sessions', () => {
  const SESSIONS = `{
    sessions { id device userAgent ipAddress createdAt lastSeenAt expiresAt endedAt current }
  }`

  // Q16
  it('are the caller’s own live ones, the newest first, the current one marked', async () => {
    const first = await register(service, 'hedy')
    const phone = await login(service, 'hedy', 'phone')
    const lost = await login(service, 'hedy', 'lost phone')
    const laptop = await login(service, 'hedy', 'laptop')
    await ask('mutation ($id: ID!) { revokeSession(id: $id) { alreadyRevoked } }', {
      id: lost.sessionId,
    })

    const { sessions } = await ask(SESSIONS, {}, phone)

    expect(sessions.map(({ id, device, current }: any) => ({ id, device, current }))).toEqual([
      { id: laptop.sessionId, device: 'laptop', current: false },
      { id: phone.sessionId, device: 'phone', current: true },
      { id: first.sessionId, device: null, current: false },
    ])
  })

  it('tell where a device was last seen, and when it must sign in again', async () => {
    const { accessToken: token } = await register(service, 'ida')

    const { data } = await service.graphql(SESSIONS, { token })
    const [session] = data.sessions

    expect(session).toMatchObject({
      userAgent: 'node',
      ipAddress: expect.stringMatching(/127\.0\.0\.1|::1/),
      endedAt: null,
    })
    expect(session.lastSeenAt).toBe(session.createdAt)
    const lifetime = Date.parse(session.expiresAt) - Date.parse(session.createdAt)
    expect(lifetime).toBe(30 * 24 * 60 * 60 * 1000)
  })

  // Q53
  it('move their last sight with a refresh, and not their end', async () => {
    const phone = await register(service, 'joan')
    const before = (await ask(SESSIONS, {}, phone)).sessions[0]

    await service.graphql(
      'mutation ($token: String!) { refresh(refreshToken: $token) { tokenType } }',
      { headers: { 'user-agent': 'a newer app' }, variables: { token: phone.refreshToken } },
    )
    const after = (await ask(SESSIONS, {}, phone)).sessions[0]

    expect(after).toEqual({ ...before, userAgent: 'a newer app', lastSeenAt: expect.any(String) })
    expect(after.lastSeenAt > before.lastSeenAt).toBe(true)
  })
})

describe('user', () => {
  const USER = `query ($id: ID, $email: String) {
    user(id: $id, email: $email) { id email roles suspended createdAt }
  }`

  it('is found by id or e-mail, however they are written', async () => {
    const { userId } = await register(service, 'karen')
    const expected = {
      id: userId,
      email: 'karen@example.com',
      roles: ['USER'],
      suspended: false,
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    }

    for (const by of [
      { id: userId },
      { id: userId.toUpperCase() },
      { email: 'karen@example.com' },
      { email: ' Karen@Example.COM ' },
    ]) {
      expect((await ask(USER, by)).user).toEqual(expected)
    }
  })
})
