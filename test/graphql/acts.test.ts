import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  claimsOf,
  expiredTokenOf,
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

const REVOCATION = 'revocation { id scope subject sessionId tokenId reason note revokedBy }'

let node: TestService
let otherNode: TestService
let admin: SignIn

beforeAll(async () => {
  node = await startService({ databasePoolSize: 10 })
  otherNode = await startService({ databasePoolSize: 10, database: node.database })
})

afterAll(async () => {
  await otherNode.stop()
  await node.stop()
})

/** Who a person is, asked on both nodes with the access token and, if it is refused, with the refresh token. */
async function stateOf({ accessToken, refreshToken }: SignIn): Promise<object> {
  const seen = [await whoAmI(node, accessToken), await whoAmI(otherNode, accessToken)]
  const { data, errors } = await refresh(otherNode, refreshToken)
  return {
    access: seen.map((answer) => (answer.includes('@') ? 'lives' : answer)),
    refresh: data ? 'lives' : errors[0]?.extensions.reason,
  }
}

const LIVES = { access: ['lives', 'lives'], refresh: 'lives' }
const DEAD = { access: ['TOKEN_REVOKED', 'TOKEN_REVOKED'], refresh: 'INVALID_REFRESH_TOKEN' }

async function act(
  token: string,
  mutation: string,
  variables: object = {},
  on: TestService = node,
): Promise<any> {
  const declared = Object.entries(variables).map(
    ([name, value]) => `$${name}: ${typeOf(name, value)}`,
  )
  const head = declared.length > 0 ? `(${declared.join(', ')})` : ''
  const { data, errors } = await on.graphql(`mutation ${head} { act: ${mutation} }`, {
    token,
    variables,
  })
  expect(errors).toEqual([])
  return data.act
}

function typeOf(name: string, value: unknown): string {
  if (name === 'id' || name.endsWith('Id')) return 'ID!'
  if (Array.isArray(value)) return '[Role!]!'
  return 'String!'
}

function codesOf({ errors }: GraphQLAnswer): unknown[] {
  return errors.map(({ extensions }) => extensions.reason)
}

/** The journal's lines about a person, the oldest first. */
async function journalOf(filter: object): Promise<any[]> {
  const { data } = await otherNode.graphql(
    `query ($filter: RevocationFilter) {
       revocationEvents(filter: $filter) {
         edges { node { kind actor note revocation { id scope reason note revokedBy } } }
       }
     }`,
    { token: admin.accessToken, variables: { filter } },
  )
  return data.revocationEvents.edges.map(({ node: event }: any) => event).toReversed()
}

beforeEach(async () => {
  if (!admin || (await whoAmI(node, admin.accessToken)) !== node.admin.email) {
    admin = await login(node, 'admin', 'console')
  }
})

describe('logout', () => {
  const LOGOUT = `logout { alreadyRevoked ${REVOCATION} }`

  // Q01, Q02, Q08, Q11
  it('ends the tokens of its session on every node, and no other session', async () => {
    const phone = await register(node, 'ada')
    const laptop = await login(otherNode, 'ada', 'laptop')
    const renewed = (await refresh(node, phone.refreshToken)).data.refresh

    const { alreadyRevoked, revocation } = await act(phone.accessToken, LOGOUT)

    expect(alreadyRevoked).toBe(false)
    expect(revocation).toMatchObject({
      scope: 'SESSION',
      subject: phone.userId,
      sessionId: phone.sessionId,
      reason: 'logout',
      revokedBy: phone.userId,
    })
    expect(await stateOf(phone)).toEqual(DEAD)
    expect(await stateOf({ ...phone, ...renewed })).toEqual(DEAD)
    expect(await stateOf(laptop)).toEqual(LIVES)
    expect(await journalOf({ sessionId: phone.sessionId })).toEqual([
      expect.objectContaining({ kind: 'REVOKED', actor: phone.userId }),
    ])
  })

  // Q08
  it('is a success every time, and keeps the first entry', async () => {
    const phone = await register(node, 'barbara')
    const first = await act(phone.accessToken, LOGOUT)

    const again = await act(phone.accessToken, LOGOUT)
    const elsewhere = await act(phone.accessToken, LOGOUT, {}, otherNode)

    expect(again).toEqual({ alreadyRevoked: true, revocation: first.revocation })
    expect(elsewhere).toEqual(again)
    expect(await journalOf({ sessionId: phone.sessionId })).toHaveLength(1)
  })

  // Q09, Q11
  it('takes an expired token, and ends the session that lives on', async () => {
    const phone = await register(node, 'chandra')
    const expired = expiredTokenOf(phone)
    expect(await whoAmI(node, expired)).toBe('TOKEN_EXPIRED')

    expect(await act(expired, LOGOUT)).toMatchObject({ alreadyRevoked: false })
    expect(await stateOf(phone)).toEqual(DEAD)
    expect(await act(expired, LOGOUT)).toMatchObject({ alreadyRevoked: true })
    expect(await journalOf({ sessionId: phone.sessionId })).toHaveLength(1)
  })

  it('takes a token that another caller revoked, and says why', async () => {
    const phone = await register(node, 'dorothy')
    await act(
      admin.accessToken,
      'revokeUser(userId: $userId, reason: "stolen") { alreadyRevoked }',
      {
        userId: phone.userId,
      },
    )

    expect(await act(phone.accessToken, LOGOUT)).toMatchObject({
      alreadyRevoked: true,
      revocation: { scope: 'SUBJECT', reason: 'stolen' },
    })
  })

  // Q08
  it.each<[string, string, (phone: SignIn) => Promise<SignIn>]>([
    ['revokeUser', 'revokeUser(userId: $userId) { revocation { id } }', async () => admin],
    ['revokeEveryone', 'revokeEveryone(reason: "leak") { revocation { id } }', async () => admin],
    ['logoutAllDevices', 'logoutAllDevices { revocation { id } }', async (phone) => phone],
  ])(
    'after %s makes an entry of its own, once, which stays when the other is restored',
    async (_act, cutOff, by) => {
      const phone = await register(node, `dorothy-${_act.toLowerCase()}`)
      const { accessToken } = await by(phone)
      const { revocation } = await act(accessToken, cutOff, {
        ...(cutOff.includes('$userId') && { userId: phone.userId }),
      })

      const first = await act(phone.accessToken, LOGOUT)
      const again = await act(phone.accessToken, LOGOUT, {}, otherNode)
      expect(first).toMatchObject({ alreadyRevoked: true, revocation: { id: revocation.id } })
      expect(again).toEqual(first)
      expect(await whoAmI(node, phone.accessToken)).toBe('TOKEN_REVOKED')

      admin = await login(node, 'admin', 'console')
      await act(admin.accessToken, 'restore(revocationId: $revocationId) { alreadyRestored }', {
        revocationId: revocation.id,
      })
      expect(await stateOf(phone)).toEqual(DEAD)
      expect(await act(phone.accessToken, LOGOUT)).toMatchObject({
        alreadyRevoked: true,
        revocation: { scope: 'SESSION', reason: 'logout', revokedBy: phone.userId },
      })
      expect(await journalOf({ sessionId: phone.sessionId })).toHaveLength(1)
    },
  )

  it('ends the session also when only its token had been revoked', async () => {
    const phone = await register(node, 'edith')
    await act(admin.accessToken, 'revokeToken(token: $token) { alreadyRevoked }', {
      token: phone.accessToken,
    })
    expect((await refresh(node, phone.refreshToken)).errors).toEqual([])

    expect(await act(phone.accessToken, LOGOUT)).toMatchObject({
      alreadyRevoked: false,
      revocation: { scope: 'SESSION' },
    })
    expect(await stateOf(phone)).toEqual(DEAD)
  })

  // Q07
  it.each(['forged', 'garbage', 'missing'])('refuses a token that is %s', async (kind) => {
    const phone = await register(node, `frances-${kind}`)
    const token = { forged: forgedTokenOf(phone), garbage: 'garbage' }[kind]

    const { status, errors } = await node.graphql('mutation { logout { alreadyRevoked } }', {
      ...(token && { token }),
    })

    expect(status).toBe(401)
    expect(errors[0]?.extensions.reason).toBe(
      kind === 'missing' ? 'TOKEN_MISSING' : 'TOKEN_INVALID',
    )
    expect(await stateOf(phone)).toEqual(LIVES)
  })

  it('refuses what comes after it in the same document', async () => {
    const phone = await register(node, 'grace')

    const answer = await node.graphql(
      `mutation {
         before: logoutAllDevices(keepCurrent: true) { endedSessions }
         logout { alreadyRevoked }
         after: logoutAllDevices { endedSessions }
         again: logout { alreadyRevoked }
       }`,
      { token: phone.accessToken },
    )

    expect(answer.data).toBeNull()
    expect(answer.errors).toMatchObject([
      {
        path: ['after'],
        extensions: { reason: 'TOKEN_REVOKED', revocation: { reason: 'logout' } },
      },
    ])
    expect(await journalOf({ sessionId: phone.sessionId })).toHaveLength(1)
  })
})

describe('logoutAllDevices', () => {
  const LOGOUT_ALL = `logoutAllDevices { endedSessions ${REVOCATION} }`

  // Q01, Q12
  it('ends every token of the person on every node, and the next login works at once', async () => {
    const phone = await register(node, 'hedy')
    const laptop = await login(otherNode, 'hedy', 'laptop')
    const { data } = await refresh(otherNode, laptop.refreshToken)
    const somebodyElse = await register(node, 'ida')

    const { endedSessions, revocation } = await act(phone.accessToken, LOGOUT_ALL)
    const next = await login(otherNode, 'hedy', 'phone')

    expect(endedSessions).toBe(2)
    expect(revocation).toMatchObject({ scope: 'SUBJECT', reason: 'logout_all_devices' })
    for (const dead of [phone, laptop, { ...laptop, ...data.refresh }]) {
      expect(await stateOf(dead)).toEqual(DEAD)
    }
    expect(await stateOf(next)).toEqual(LIVES)
    expect(await stateOf(somebodyElse)).toEqual(LIVES)
    expect(await journalOf({ subject: phone.userId })).toHaveLength(1)
  })

  // Q12
  it('tells logins before and after it apart within one second', async () => {
    const phone = await register(node, 'joan')
    const before = [phone]
    const after: SignIn[] = []

    for (let round = 0; round < 5; round++) {
      const device = await login(node, 'joan', `phone ${round}`)
      await act(device.accessToken, LOGOUT_ALL)
      before.push(device)
    }
    after.push(await login(node, 'joan', 'laptop'))

    for (const { accessToken } of before) {
      expect(await whoAmI(otherNode, accessToken)).toBe('TOKEN_REVOKED')
    }
    for (const { accessToken } of after) {
      expect(await whoAmI(otherNode, accessToken)).toBe('joan@example.com')
    }
  })

  it('spares this session, and its next refresh, with keepCurrent', async () => {
    const phone = await register(node, 'karen')
    const laptop = await login(node, 'karen', 'laptop')

    const { endedSessions } = await act(
      phone.accessToken,
      `logoutAllDevices(keepCurrent: true) { endedSessions ${REVOCATION} }`,
    )

    expect(endedSessions).toBe(1)
    expect(await stateOf(laptop)).toEqual(DEAD)
    expect(await stateOf(phone)).toEqual(LIVES)
    expect(await whoAmI(node, phone.accessToken)).toBe('karen@example.com')
  })

  // Q08
  it('adds no event when nothing was issued since', async () => {
    const phone = await register(node, 'lise')
    await login(node, 'lise', 'laptop')
    const KEEP = 'logoutAllDevices(keepCurrent: true) { endedSessions revocation { id } }'
    const first = await act(phone.accessToken, KEEP)

    const second = await act(phone.accessToken, KEEP, {}, otherNode)

    expect(second).toEqual({ endedSessions: 0, revocation: first.revocation })
    expect(await journalOf({ subject: phone.userId })).toHaveLength(1)
  })

  it.each(['expired', 'revoked'])('refuses a token that is %s', async (state) => {
    const phone = await register(node, `mary-${state}`)
    const laptop = await login(node, `mary-${state}`, 'laptop')
    if (state === 'revoked') await act(phone.accessToken, 'logout { alreadyRevoked }')
    const token = state === 'revoked' ? phone.accessToken : expiredTokenOf(phone)

    const answer = await node.graphql('mutation { logoutAllDevices { endedSessions } }', { token })

    expect(codesOf(answer)).toEqual([`TOKEN_${state.toUpperCase()}`])
    expect(await stateOf(laptop)).toEqual(LIVES)
  })
})

describe('revokeToken', () => {
  const REVOKE = `revokeToken(token: $token) { alreadyRevoked verified ${REVOCATION} }`
  let phone: SignIn
  let count = 0

  beforeEach(async () => {
    phone = await register(node, `nina${count++}`)
  })

  // Q01, Q05, Q08
  it('ends one access token, and leaves its session alive', async () => {
    const { jti } = claimsOf(phone.accessToken)

    const first = await act(admin.accessToken, REVOKE, { token: phone.accessToken })
    const again = await act(admin.accessToken, REVOKE, { token: phone.accessToken }, otherNode)

    expect(first).toMatchObject({
      alreadyRevoked: false,
      verified: true,
      revocation: {
        scope: 'TOKEN',
        subject: phone.userId,
        sessionId: phone.sessionId,
        tokenId: jti,
        reason: 'revoked_by_admin',
        revokedBy: admin.userId,
      },
    })
    expect(again).toEqual({ ...first, alreadyRevoked: true })
    expect(await stateOf(phone)).toEqual({ ...DEAD, refresh: 'lives' })
    expect(await journalOf({ tokenId: jti })).toHaveLength(1)
  })

  // Q11
  it.each(['unused', 'used'])(
    'takes the session with its refresh token, %s or not',
    async (state) => {
      const { data } =
        state === 'used' ? await refresh(node, phone.refreshToken) : { data: { refresh: {} } }

      const outcome = await act(admin.accessToken, REVOKE, { token: phone.refreshToken })

      expect(outcome).toMatchObject({
        alreadyRevoked: false,
        verified: true,
        revocation: { scope: 'SESSION', sessionId: phone.sessionId, subject: phone.userId },
      })
      expect(await stateOf(phone)).toEqual(DEAD)
      expect(await stateOf({ ...phone, ...data.refresh })).toEqual(DEAD)
      expect(await act(admin.accessToken, REVOKE, { token: phone.refreshToken })).toMatchObject({
        alreadyRevoked: true,
      })
    },
  )

  it('writes nothing for a token that has expired', async () => {
    const token = expiredTokenOf(phone)

    expect(await act(admin.accessToken, REVOKE, { token })).toEqual({
      alreadyRevoked: false,
      verified: true,
      revocation: null,
    })
    expect(await journalOf({ subject: phone.userId })).toEqual([])
    expect(await stateOf(phone)).toEqual(LIVES)
  })

  // Q07
  it('keeps a forged token for 24 hours, by its digest, and spares the one it imitates', async () => {
    const token = forgedTokenOf(phone)

    const outcome = await act(
      admin.accessToken,
      `revokeToken(token: $token) {
         alreadyRevoked verified
         revocation { scope subject sessionId tokenId revokedAt expiresAt }
       }`,
      { token },
    )
    const again = await act(admin.accessToken, REVOKE, { token })

    const { revokedAt, expiresAt, tokenId } = outcome.revocation
    expect(outcome).toMatchObject({
      alreadyRevoked: false,
      verified: false,
      revocation: { scope: 'TOKEN', subject: null, sessionId: null },
    })
    expect(tokenId).toMatch(/^[\da-f]{64}$/)
    expect(Date.parse(expiresAt) - Date.parse(revokedAt)).toBe(24 * 60 * 60 * 1000)
    expect(again).toMatchObject({ alreadyRevoked: true, verified: false })
    expect(await stateOf(phone)).toEqual(LIVES)
  })

  it('takes a foreign JWT for what it is: not ours', async () => {
    const foreign = [{ alg: 'RS256', typ: 'JWT' }, { sub: 'ada', iss: 'https://example.com' }, {}]
    const token = foreign.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))

    expect(await act(admin.accessToken, REVOKE, { token: token.join('.') })).toMatchObject({
      verified: false,
      alreadyRevoked: false,
    })
  })

  it.each(['garbage', 'a.b', 'Bearer x', ' ', `${'a'.repeat(42)}=`])(
    'refuses what is no token at all: %j',
    async (token) => {
      const { status, errors } = await node.graphql(
        'mutation ($token: String!) { revokeToken(token: $token) { verified } }',
        { token: admin.accessToken, variables: { token } },
      )

      expect(status).toBe(400)
      expect(errors[0]?.extensions).toEqual({
        code: 'BAD_USER_INPUT',
        reason: 'MALFORMED_TOKEN',
        argument: 'token',
      })
    },
  )

  // Q07, Q10
  it('is for admins: a person may not even revoke a token of their own', async () => {
    for (const token of [phone.accessToken, phone.refreshToken, forgedTokenOf(phone)]) {
      const answer = await node.graphql(
        'mutation ($token: String!) { revokeToken(token: $token) { verified } }',
        { token: phone.accessToken, variables: { token } },
      )
      expect(codesOf(answer)).toEqual(['ROLE_REQUIRED'])
    }
    expect(await stateOf(phone)).toEqual(LIVES)
  })
})

describe('revokeSession', () => {
  const REVOKE = `revokeSession(id: $id) { alreadyRevoked session { id endedAt current } ${REVOCATION} }`

  // Q16, Q08
  it('ends one of the caller’s own sessions', async () => {
    const phone = await register(node, 'olga')
    const laptop = await login(node, 'olga', 'laptop')

    const first = await act(phone.accessToken, REVOKE, { id: laptop.sessionId })
    const again = await act(phone.accessToken, REVOKE, { id: laptop.sessionId.toUpperCase() })

    expect(first).toMatchObject({
      alreadyRevoked: false,
      session: { id: laptop.sessionId, current: false, endedAt: expect.any(String) },
      revocation: { scope: 'SESSION', reason: 'logout', revokedBy: phone.userId },
    })
    expect(again).toEqual({ ...first, alreadyRevoked: true })
    expect(await stateOf(laptop)).toEqual(DEAD)
    expect(await stateOf(phone)).toEqual(LIVES)
    expect(await journalOf({ sessionId: laptop.sessionId })).toHaveLength(1)
  })

  it('ends the session that asks, too', async () => {
    const phone = await register(node, 'pearl')

    expect(await act(phone.accessToken, REVOKE, { id: phone.sessionId })).toMatchObject({
      session: { current: true },
    })
    expect(await stateOf(phone)).toEqual(DEAD)
  })

  // Q10
  it('answers for another person’s session as for one that does not exist', async () => {
    const phone = await register(node, 'queenie')
    const stranger = await register(node, 'rosalind')
    const ask = (id: string) =>
      node.graphql('mutation ($id: ID!) { revokeSession(id: $id) { alreadyRevoked } }', {
        token: stranger.accessToken,
        variables: { id },
      })

    const others = await ask(phone.sessionId)
    const nobodys = await ask(randomUUID())

    expect(others.status).toBe(400)
    expect(others.errors[0]?.extensions).toEqual({
      code: 'BAD_USER_INPUT',
      reason: 'UNKNOWN_ID',
      argument: 'id',
    })
    expect([others.status, others.errors]).toEqual([nobodys.status, nobodys.errors])
    expect(await stateOf(phone)).toEqual(LIVES)
  })

  // Q15
  it('ends any session for an admin', async () => {
    const phone = await register(node, 'sophie')

    expect(await act(admin.accessToken, REVOKE, { id: phone.sessionId })).toMatchObject({
      revocation: { reason: 'revoked_by_admin', revokedBy: admin.userId },
    })
    expect(await stateOf(phone)).toEqual(DEAD)
  })
})

describe('revokeUser', () => {
  const REVOKE = `revokeUser(userId: $userId, reason: $reason, note: $note) {
    alreadyRevoked endedSessions ${REVOCATION}
  }`

  // Q01, Q08, Q15
  it('ends every token of the person, once; later logins work', async () => {
    const phone = await register(node, 'thea')
    const laptop = await login(node, 'thea', 'laptop')
    const somebodyElse = await register(node, 'ursula')
    const why = { userId: phone.userId, reason: 'phone lost', note: 'ticket 7' }

    const first = await act(admin.accessToken, REVOKE, why)
    const again = await act(
      admin.accessToken,
      REVOKE,
      { ...why, userId: phone.userId.toUpperCase(), reason: 'another' },
      otherNode,
    )
    const next = await login(node, 'thea', 'phone')

    expect(first).toMatchObject({
      alreadyRevoked: false,
      endedSessions: 2,
      revocation: { scope: 'SUBJECT', reason: 'phone lost', note: 'ticket 7' },
    })
    expect(again).toEqual({ ...first, alreadyRevoked: true, endedSessions: 0 })
    expect(await stateOf(phone)).toEqual(DEAD)
    expect(await stateOf(laptop)).toEqual(DEAD)
    expect(await stateOf(next)).toEqual(LIVES)
    expect(await stateOf(somebodyElse)).toEqual(LIVES)
    expect(await journalOf({ subject: phone.userId })).toHaveLength(1)
  })
})

describe('revokeEveryone', () => {
  // Q01, Q08, Q15
  it('ends every token, the admin’s own too; later logins work', async () => {
    const phone = await register(node, 'vera')
    const REVOKE = `revokeEveryone(reason: $reason) { alreadyRevoked endedSessions ${REVOCATION} }`

    const first = await act(admin.accessToken, REVOKE, { reason: 'key leaked' })

    expect(first).toMatchObject({
      alreadyRevoked: false,
      revocation: { scope: 'EVERYONE', subject: null, reason: 'key leaked' },
    })
    expect(first.endedSessions).toBeGreaterThanOrEqual(2)
    expect(await stateOf(phone)).toEqual(DEAD)
    expect(await stateOf(admin)).toEqual(DEAD)
    expect(await stateOf(await login(otherNode, 'vera', 'phone'))).toEqual(LIVES)
    expect(await stateOf(await login(otherNode, 'admin', 'console'))).toEqual(LIVES)
  })
})

describe('restore', () => {
  const RESTORE = `restore(revocationId: $revocationId, note: $note) { alreadyRestored ${REVOCATION} }`

  const cases: Array<[string, (by: SignIn, of: SignIn) => Promise<any>]> = [
    [
      'revokeToken',
      (by, { accessToken: token }) =>
        act(by.accessToken, `revokeToken(token: $token) { ${REVOCATION} }`, { token }),
    ],
    [
      'revokeSession',
      (by, { sessionId: id }) =>
        act(by.accessToken, `revokeSession(id: $id) { ${REVOCATION} }`, { id }),
    ],
    [
      'revokeUser',
      (by, { userId }) =>
        act(by.accessToken, `revokeUser(userId: $userId) { ${REVOCATION} }`, { userId }),
    ],
    [
      'logoutAllDevices',
      (_by, { accessToken }) => act(accessToken, `logoutAllDevices { ${REVOCATION} }`),
    ],
  ]

  // Q08
  it.each(cases)(
    'gives the access token back that %s killed, and no refresh token',
    async (name, kill) => {
      const phone = await register(node, `wanda-${name.toLowerCase()}`)
      const { revocation } = await kill(admin, phone)
      const isToken = name === 'revokeToken'
      expect(await whoAmI(otherNode, phone.accessToken)).toBe('TOKEN_REVOKED')
      const undo = { revocationId: revocation.id, note: 'a mistake' }

      const first = await act(admin.accessToken, RESTORE, undo)
      const again = await act(
        admin.accessToken,
        RESTORE,
        { ...undo, revocationId: revocation.id.toUpperCase() },
        otherNode,
      )

      expect(first).toEqual({ alreadyRestored: false, revocation })
      expect(again).toEqual({ alreadyRestored: true, revocation })
      expect(await stateOf(phone)).toEqual({ ...LIVES, refresh: isToken ? 'lives' : DEAD.refresh })
      expect(await journalOf({ subject: phone.userId })).toMatchObject([
        { kind: 'REVOKED', revocation: { id: revocation.id } },
        {
          kind: 'RESTORED',
          actor: admin.userId,
          note: 'a mistake',
          revocation: { id: revocation.id, revokedBy: revocation.revokedBy },
        },
      ])
    },
  )

  it('lets the token be revoked again, under a new entry', async () => {
    const phone = await register(node, 'xenia')
    const revoke = () =>
      act(admin.accessToken, `revokeToken(token: $token) { alreadyRevoked ${REVOCATION} }`, {
        token: phone.accessToken,
      })
    const { revocation } = await revoke()
    await act(admin.accessToken, RESTORE, { revocationId: revocation.id, note: 'wrong one' })

    const second = await revoke()

    expect(second.alreadyRevoked).toBe(false)
    expect(second.revocation.id).not.toBe(revocation.id)
    expect(await stateOf(phone)).toEqual({ ...DEAD, refresh: 'lives' })
  })

  it('leaves what another entry killed as it is', async () => {
    const phone = await register(node, 'yvonne')
    const { revocation } = await act(
      admin.accessToken,
      `revokeUser(userId: $userId) { ${REVOCATION} }`,
      { userId: phone.userId },
    )
    await act(admin.accessToken, 'revokeToken(token: $token) { alreadyRevoked }', {
      token: phone.accessToken,
    })

    await act(admin.accessToken, RESTORE, { revocationId: revocation.id, note: 'n' })

    expect(await stateOf(phone)).toEqual(DEAD)
  })

  it('refuses an id that nothing has', async () => {
    const answer = await node.graphql(
      'mutation ($id: ID!) { restore(revocationId: $id) { alreadyRestored } }',
      { token: admin.accessToken, variables: { id: randomUUID() } },
    )

    expect(answer.status).toBe(400)
    expect(answer.errors[0]?.extensions).toMatchObject({
      reason: 'UNKNOWN_ID',
      argument: 'revocationId',
    })
  })
})

describe('suspendUser and reinstateUser', () => {
  const SUSPEND = `suspendUser(userId: $userId) { alreadySuspended user { suspended } ${REVOCATION} }`
  const REINSTATE = `reinstateUser(userId: $userId) { alreadyReinstated user { suspended } }`

  function logIn(name: string): Promise<GraphQLAnswer> {
    return otherNode.graphql(
      'mutation ($email: String!, $password: String!) { login(email: $email, password: $password) { tokenType } }',
      { variables: { email: `${name}@example.com`, password: passwordOf(name) } },
    )
  }

  // Q01, Q08, Q13
  it('refuses the person’s tokens, logins and refreshes from now on', async () => {
    const phone = await register(node, 'zora')
    const { userId } = phone

    const first = await act(admin.accessToken, SUSPEND, { userId })
    const again = await act(admin.accessToken, SUSPEND, { userId }, otherNode)

    expect(first).toMatchObject({
      alreadySuspended: false,
      user: { suspended: true },
      revocation: { scope: 'SUBJECT', reason: 'account_suspended', revokedBy: admin.userId },
    })
    expect(again).toEqual({ ...first, alreadySuspended: true })
    expect(await stateOf(phone)).toEqual({ ...DEAD, refresh: 'ACCOUNT_SUSPENDED' })
    const refused = await logIn('zora')
    expect(refused.status).toBe(403)
    expect(refused.errors[0]?.extensions).toEqual({
      code: 'FORBIDDEN',
      reason: 'ACCOUNT_SUSPENDED',
    })
    expect(await journalOf({ subject: userId })).toHaveLength(1)
  })

  it('tells only a caller with the password that an account is suspended', async () => {
    const { userId } = await register(node, 'alice')
    await act(admin.accessToken, SUSPEND, { userId })

    const { errors } = await node.graphql(
      'mutation { login(email: "alice@example.com", password: "a wrong guess") { tokenType } }',
    )

    expect(errors[0]?.extensions.reason).toBe('INVALID_CREDENTIALS')
  })

  it('refuses to restore the entry while the person is suspended', async () => {
    const phone = await register(node, 'beatrix')
    const { revocation } = await act(admin.accessToken, SUSPEND, { userId: phone.userId })

    const answer = await node.graphql(
      'mutation ($id: ID!) { restore(revocationId: $id) { alreadyRestored } }',
      { token: admin.accessToken, variables: { id: revocation.id } },
    )

    expect(answer.errors[0]?.extensions).toEqual({
      code: 'BAD_USER_INPUT',
      reason: 'ACCOUNT_SUSPENDED',
      argument: 'revocationId',
    })
    expect(await whoAmI(node, phone.accessToken)).toBe('TOKEN_REVOKED')
  })

  it('lets the person sign in again; old tokens stay dead', async () => {
    const phone = await register(node, 'clara')
    const { userId } = phone
    await act(admin.accessToken, SUSPEND, { userId })

    const first = await act(admin.accessToken, REINSTATE, { userId })
    const again = await act(admin.accessToken, REINSTATE, { userId }, otherNode)

    expect(first).toEqual({ alreadyReinstated: false, user: { suspended: false } })
    expect(again).toEqual({ ...first, alreadyReinstated: true })
    expect(await stateOf(phone)).toEqual(DEAD)
    expect(await stateOf(await login(node, 'clara', 'phone'))).toEqual(LIVES)
  })

  it('leaves a line in the journal for each, with its note', async () => {
    const { userId } = await register(node, 'dora')
    for (const round of ['first', 'second']) {
      await act(admin.accessToken, SUSPEND, { userId })
      await act(
        admin.accessToken,
        `reinstateUser(userId: $userId, note: $note) { alreadyReinstated }`,
        {
          userId,
          note: `sorry, ${round}`,
        },
      )
    }

    const lines = await journalOf({ subject: userId })
    expect(lines.map(({ kind, actor, note }) => ({ kind, actor, note }))).toEqual([
      { kind: 'REVOKED', actor: admin.userId, note: null },
      { kind: 'REINSTATED', actor: admin.userId, note: 'sorry, first' },
      { kind: 'REVOKED', actor: admin.userId, note: null },
      { kind: 'REINSTATED', actor: admin.userId, note: 'sorry, second' },
    ])
    expect(lines[1].revocation).toEqual(lines[0].revocation)
    expect(lines[3].revocation).toEqual(lines[2].revocation)
  })
})

describe('setUserRoles', () => {
  const SET = `setUserRoles(userId: $userId, roles: $roles) {
    alreadySet user { roles } ${REVOCATION}
  }`

  // Q08, Q20
  it('refuses the tokens that carry the old roles; the next login carries the new ones', async () => {
    const phone = await register(node, 'diana')
    const promote = { userId: phone.userId, roles: ['ADMIN', 'USER', 'ADMIN'] }

    const first = await act(admin.accessToken, SET, promote)
    const again = await act(admin.accessToken, SET, { ...promote, roles: ['USER', 'ADMIN'] })

    expect(first).toMatchObject({
      alreadySet: false,
      user: { roles: ['USER', 'ADMIN'] },
      revocation: { scope: 'SUBJECT', reason: 'roles_changed' },
    })
    expect(again).toEqual({ alreadySet: true, user: first.user, revocation: null })
    expect(await stateOf(phone)).toEqual(DEAD)
    const next = await login(otherNode, 'diana', 'phone')
    expect(claimsOf(next.accessToken)['roles']).toEqual(['USER', 'ADMIN'])
    expect(await journalOf({ subject: phone.userId })).toHaveLength(1)
  })

  it('takes rights away at once, and they cannot be restored', async () => {
    const { userId } = await register(node, 'emmy')
    await act(admin.accessToken, SET, { userId, roles: ['ADMIN'] })
    const asAdmin = await login(node, 'emmy', 'console')

    const { revocation } = await act(admin.accessToken, SET, { userId, roles: ['USER'] })

    const answer = await otherNode.graphql('{ revocations { totalCount } }', {
      token: asAdmin.accessToken,
    })
    expect(codesOf(answer)).toEqual(['TOKEN_REVOKED'])
    const restored = await node.graphql(
      'mutation ($id: ID!) { restore(revocationId: $id) { alreadyRestored } }',
      { token: admin.accessToken, variables: { id: revocation.id } },
    )
    expect(codesOf(restored)).toEqual(['NOT_RESTORABLE'])
  })
})

describe('changePassword', () => {
  const CHANGE = `changePassword(currentPassword: $currentPassword, newPassword: $newPassword) {
    accessToken refreshToken session { id current } user { id }
  }`

  // Q14, Q01
  it('ends all other sessions; this one continues with new tokens', async () => {
    const phone = await register(node, 'florence')
    const laptop = await login(node, 'florence', 'laptop')

    const changed = await act(phone.accessToken, CHANGE, {
      currentPassword: passwordOf('florence'),
      newPassword: 'quite another password',
    })

    expect(changed.session).toEqual({ id: phone.sessionId, current: true })
    expect(await stateOf(laptop)).toEqual(DEAD)
    expect(await stateOf({ ...phone, ...changed })).toEqual(LIVES)
    expect(await journalOf({ subject: phone.userId })).toMatchObject([
      { actor: phone.userId, revocation: { scope: 'SUBJECT', reason: 'password_changed' } },
    ])
    const { errors } = await node.graphql(
      'mutation ($password: String!) { login(email: "florence@example.com", password: $password) { tokenType } }',
      { variables: { password: passwordOf('florence') } },
    )
    expect(errors[0]?.extensions.reason).toBe('INVALID_CREDENTIALS')
  })

  it('leaves the refresh token from before it dead', async () => {
    const phone = await register(node, 'gerty')
    await act(phone.accessToken, CHANGE, {
      currentPassword: passwordOf('gerty'),
      newPassword: 'quite another password',
    })

    expect(codesOf(await refresh(node, phone.refreshToken))).toEqual(['INVALID_REFRESH_TOKEN'])
  })

  it('changes nothing when the current password is wrong', async () => {
    const phone = await register(node, 'helen')
    const laptop = await login(node, 'helen', 'laptop')

    const answer = await node.graphql(
      'mutation { changePassword(currentPassword: "a guess", newPassword: "another one") { tokenType } }',
      { token: phone.accessToken },
    )

    expect(answer.status).toBe(401)
    expect(codesOf(answer)).toEqual(['INVALID_CREDENTIALS'])
    expect(await stateOf(laptop)).toEqual(LIVES)
    expect(await journalOf({ subject: phone.userId })).toEqual([])
  })
})

describe('at the same moment on two nodes', () => {
  const nodes = () => Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? node : otherNode))

  // Q08
  it('twenty logouts are twenty successes, one entry and one event', async () => {
    const phone = await register(node, 'kate')

    const outcomes = await Promise.all(
      nodes().map((on) =>
        act(phone.accessToken, 'logout { alreadyRevoked revocation { id } }', {}, on),
      ),
    )

    expect(new Set(outcomes.map(({ revocation }) => revocation.id)).size).toBe(1)
    expect(outcomes.filter(({ alreadyRevoked }) => !alreadyRevoked)).toHaveLength(1)
    expect(await journalOf({ sessionId: phone.sessionId })).toHaveLength(1)
  })

  // Q08
  it('twenty revocations of a token are twenty successes, one entry and one event', async () => {
    const phone = await register(node, 'laura')
    const REVOKE = 'revokeToken(token: $token) { alreadyRevoked revocation { id } }'

    const outcomes = await Promise.all(
      nodes().map((on) => act(admin.accessToken, REVOKE, { token: phone.accessToken }, on)),
    )

    expect(new Set(outcomes.map(({ revocation }) => revocation.id)).size).toBe(1)
    expect(outcomes.filter(({ alreadyRevoked }) => !alreadyRevoked)).toHaveLength(1)
    expect(await journalOf({ subject: phone.userId })).toHaveLength(1)
  })

  // Q12
  it('a refresh that meets logoutAllDevices leaves no token that lives', async () => {
    const phone = await register(node, 'maria')

    for (let round = 0; round < 5; round++) {
      const laptop = await login(node, 'maria', 'laptop')
      const [refreshed] = await Promise.all([
        refresh(otherNode, laptop.refreshToken),
        act(laptop.accessToken, 'logoutAllDevices { endedSessions }'),
      ])

      const minted = refreshed.data?.refresh ?? {}
      expect(await stateOf({ ...phone, ...laptop, ...minted })).toEqual(DEAD)
    }
  })
})

// Q10, Q15
describe('what is for admins', () => {
  it.each([
    ['tokenStatus', '{ tokenStatus(token: "x") { state } }'],
    ['user', '{ user(email: "ada@example.com") { id } }'],
    ['revocations', '{ revocations { totalCount } }'],
    ['revocationEvents', '{ revocationEvents { totalCount } }'],
    ['revokeToken', 'mutation { revokeToken(token: "x") { verified } }'],
    ['revokeUser', `mutation { revokeUser(userId: "${randomUUID()}") { alreadyRevoked } }`],
    ['revokeEveryone', 'mutation { revokeEveryone(reason: "x") { alreadyRevoked } }'],
    ['restore', `mutation { restore(revocationId: "${randomUUID()}") { alreadyRestored } }`],
    ['suspendUser', `mutation { suspendUser(userId: "${randomUUID()}") { alreadySuspended } }`],
    [
      'reinstateUser',
      `mutation { reinstateUser(userId: "${randomUUID()}") { alreadyReinstated } }`,
    ],
    [
      'setUserRoles',
      `mutation { setUserRoles(userId: "${randomUUID()}", roles: [ADMIN]) { alreadySet } }`,
    ],
  ])('is refused to all others: %s', async (name, source) => {
    const person = await register(node, `irene-${name.toLowerCase()}`)

    const answer = await node.graphql(source, { token: person.accessToken })

    expect(answer.status).toBe(name === 'user' ? 200 : 403)
    expect(answer.errors[0]?.extensions).toEqual({ code: 'FORBIDDEN', reason: 'ROLE_REQUIRED' })
    expect(codesOf(await node.graphql(source))).toEqual(['TOKEN_MISSING'])
  })
})

describe('with tokens that live for a second', () => {
  // Q08, Q09
  it('adds nothing to what is over', async () => {
    const short = await startService({
      database: node.database,
      accessTokenTtlSeconds: 1,
      refreshTokenTtlSeconds: 1,
    })
    try {
      const phone = await register(short, 'frida')
      await act(phone.accessToken, 'logoutAllDevices { endedSessions }', {}, short)
      const other = await login(short, 'frida', 'laptop')
      await sleep(1100)

      const { alreadyRevoked } = await act(
        phone.accessToken,
        'logout { alreadyRevoked }',
        {},
        short,
      )
      const revoked = await act(
        (await login(short, 'admin', 'desk')).accessToken,
        'revokeToken(token: $token) { alreadyRevoked verified revocation { id } }',
        { token: other.refreshToken },
        short,
      )
      expect(alreadyRevoked).toBe(true)
      expect(revoked).toEqual({ alreadyRevoked: false, verified: true, revocation: null })
      expect(await journalOf({ subject: phone.userId })).toHaveLength(1)
    } finally {
      await short.stop()
    }
  })

  it('ends a session by its expired token, and refreshes it before', async () => {
    const short = await startService({ database: node.database, accessTokenTtlSeconds: 1 })
    try {
      const phone = await register(short, 'julia')
      while ((await whoAmI(short, phone.accessToken)) !== 'TOKEN_EXPIRED') await pause()

      const { data } = await refresh(short, phone.refreshToken)
      expect(await whoAmI(short, data.refresh.accessToken)).toBe('julia@example.com')
      expect(await act(phone.accessToken, 'logout { alreadyRevoked }', {}, short)).toEqual({
        alreadyRevoked: false,
      })

      expect(await whoAmI(short, data.refresh.accessToken)).not.toContain('@')
      expect(codesOf(await refresh(short, data.refresh.refreshToken))).toEqual([
        'INVALID_REFRESH_TOKEN',
      ])
    } finally {
      await short.stop()
    }
  })

  async function pause(): Promise<void> {
    await new Promise((resolve) => {
      setTimeout(resolve, 50)
    })
  }
})
