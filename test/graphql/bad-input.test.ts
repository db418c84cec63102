import { randomUUID } from 'node:crypto'
import { hash } from '@node-rs/argon2'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { login, passwordOf, register } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { GraphQLAnswer, TestService } from '../support/service.ts'

let service: TestService
let admin: SignIn
let ada: SignIn
let rows: object

beforeAll(async () => {
  service = await startService()
  admin = await login(service, 'admin', 'console')
  ada = await register(service, 'ada')
  rows = await countRows()
})

afterAll(async () => {
  await service.stop()
})

// Whatever was refused wrote nothing, and was no surprise to the service.
afterEach(async () => {
  expect(await countRows()).toEqual(rows)
  expect(service.log.filter(({ level }) => level >= 40)).toEqual([])
})

async function countRows(): Promise<object> {
  const tables = ['account', 'session', 'refresh_token', 'revocation', 'revocation_event']
  const counts = tables.map((table) => `(select count(*)::integer from ${table}) as ${table}`)
  const [row] = await service.database.query(
    `select ${counts.join()}, (select password_hash from account where email = 'ada@example.com')`,
  )
  return row!
}

async function ask(source: string, variables: object = {}): Promise<GraphQLAnswer> {
  return service.graphql(source, { token: admin.accessToken, variables })
}

/** Expects that the call is refused because of one argument. */
function expectFault(answer: GraphQLAnswer, argument: string, reason: string): void {
  expect(answer.errors[0]?.extensions).toEqual({ code: 'BAD_USER_INPUT', reason, argument })
  expect(answer.status).toBe(400)
  expect(answer.data).toBeNull()
}

/** Expects that GraphQL itself refuses the call. */
function expectRefused(answer: GraphQLAnswer): void {
  expect(answer.status).toBe(400)
  expect(answer.data).toBeUndefined()
  expect(['BAD_USER_INPUT', 'GRAPHQL_VALIDATION_FAILED']).toContain(
    answer.errors[0]?.extensions.code,
  )
}

const HUGE = 'x'.repeat(500_000)
const BOM_AND_JOINERS = '\ufeff\u200d'
const UNKNOWN_IDS = [
  ['unknown', randomUUID()],
  ['no UUID', 'x'],
  ['empty', ''],
  ['a number', '1'],
  ['with a NUL byte', `${randomUUID()}\0`],
  ['a UUID in braces', `{${randomUUID()}}`],
  ['a UUID without hyphens', randomUUID().replaceAll('-', '')],
  ['SQL', `' or 1=1 --`],
  ['huge', HUGE],
] as const

const REASONS = [
  ['empty', '', 'EMPTY'],
  ['blank', ' \t', 'EMPTY'],
  ['of 201 characters', 'x'.repeat(201), 'TOO_LONG'],
  ['huge', HUGE, 'TOO_LONG'],
  ['with a NUL byte', 'a\0b', 'FORBIDDEN_CHARACTERS'],
  ['with a line break', 'a\nb', 'FORBIDDEN_CHARACTERS'],
  ['with an escape sequence', 'a\u001b[31mb', 'FORBIDDEN_CHARACTERS'],
  ['with half of a surrogate pair', 'a\ud800', 'FORBIDDEN_CHARACTERS'],
] as const

const NOTES = [
  ['empty', '', 'EMPTY'],
  ['of 2,001 characters', 'x'.repeat(2001), 'TOO_LONG'],
  ['huge', HUGE, 'TOO_LONG'],
  ['with a NUL byte', 'a\0b', 'FORBIDDEN_CHARACTERS'],
  ['with an escape sequence', 'a\u001b[31mb', 'FORBIDDEN_CHARACTERS'],
] as const

const ID = randomUUID()

// Q21
describe.each([
  ['revokeToken', `revokeToken(token: "x", reason: $text) { verified }`],
  ['revokeUser', `revokeUser(userId: "${ID}", reason: $text) { alreadyRevoked }`],
  ['revokeEveryone', `revokeEveryone(reason: $text) { alreadyRevoked }`],
  ['suspendUser', `suspendUser(userId: "${ID}", reason: $text) { alreadySuspended }`],
])('%s refuses a reason', (_name, mutation) => {
  it.each(REASONS)('%s', async (_what, text, reason) => {
    expectFault(await ask(`mutation ($text: String!) { ${mutation} }`, { text }), 'reason', reason)
  })
})

describe.each([
  ['revokeToken', `revokeToken(token: "x", note: $text) { verified }`],
  ['revokeUser', `revokeUser(userId: "${ID}", note: $text) { alreadyRevoked }`],
  ['revokeEveryone', `revokeEveryone(reason: "r", note: $text) { alreadyRevoked }`],
  ['restore', `restore(revocationId: "${ID}", note: $text) { alreadyRestored }`],
  ['suspendUser', `suspendUser(userId: "${ID}", note: $text) { alreadySuspended }`],
  ['reinstateUser', `reinstateUser(userId: "${ID}", note: $text) { alreadyReinstated }`],
  ['setUserRoles', `setUserRoles(userId: "${ID}", roles: [USER], note: $text) { alreadySet }`],
])('%s refuses a note', (_name, mutation) => {
  it.each(NOTES)('%s', async (_what, text, reason) => {
    expectFault(await ask(`mutation ($text: String!) { ${mutation} }`, { text }), 'note', reason)
  })
})

describe.each([
  ['revokeUser', 'userId', 'revokeUser(userId: $id) { alreadyRevoked }'],
  ['revokeSession', 'id', 'revokeSession(id: $id) { alreadyRevoked }'],
  ['restore', 'revocationId', 'restore(revocationId: $id) { alreadyRestored }'],
  ['suspendUser', 'userId', 'suspendUser(userId: $id) { alreadySuspended }'],
  ['reinstateUser', 'userId', 'reinstateUser(userId: $id) { alreadyReinstated }'],
  ['setUserRoles', 'userId', 'setUserRoles(userId: $id, roles: [ADMIN]) { alreadySet }'],
])('%s refuses an id that is', (_name, argument, mutation) => {
  it.each(UNKNOWN_IDS)('%s', async (_what, id) => {
    expectFault(await ask(`mutation ($id: ID!) { ${mutation} }`, { id }), argument, 'UNKNOWN_ID')
  })
})

describe('revokeSession', () => {
  it.each(REASONS)('refuses a reason %s', async (_what, text, reason) => {
    expectFault(
      await ask(
        'mutation ($id: ID!, $text: String) { revokeSession(id: $id, reason: $text) { alreadyRevoked } }',
        { id: ada.sessionId, text },
      ),
      'reason',
      reason,
    )
  })
})

describe('revokeToken', () => {
  it.each([
    ['empty', ''],
    ['of one part', 'x'],
    ['of two parts', 'a.b'],
    ['of five parts', 'a.b.c.d.e'],
    ['with a space', 'a.b.c '],
    ['with a NUL byte', 'a.b.c\0'],
    ['with padding', 'YQ==.YQ==.YQ=='],
    ['of the form of a refresh token', 'A'.repeat(43)],
    ['above 8 KiB', `a.${'b'.repeat(8192)}.c`],
    ['huge', HUGE],
  ])('refuses a token %s', async (_what, token) => {
    expectFault(
      await ask('mutation ($token: String!) { revokeToken(token: $token) { verified } }', {
        token,
      }),
      'token',
      'MALFORMED_TOKEN',
    )
  })
})

describe('setUserRoles', () => {
  it('refuses an empty list', async () => {
    const answer = await ask(
      'mutation ($id: ID!) { setUserRoles(userId: $id, roles: []) { alreadySet } }',
      { id: ada.userId },
    )

    expectFault(answer, 'roles', 'EMPTY')
  })

  it.each([[['ROOT']], [[null]], [null], [['admin']]])('refuses %j', async (roles) => {
    expectRefused(
      await ask(
        'mutation ($id: ID!, $roles: [Role!]!) { setUserRoles(userId: $id, roles: $roles) { alreadySet } }',
        { id: ada.userId, roles },
      ),
    )
  })
})

describe('register', () => {
  const REGISTER =
    'mutation ($email: String!, $password: String!) { register(email: $email, password: $password) { tokenType } }'

  it.each([
    ['empty', ''],
    ['without @', 'eve'],
    ['without a name', '@example.com'],
    ['without a host', 'eve@'],
    ['with two @', 'eve@eve@example.com'],
    ['with a space', 'eve eve@example.com'],
    ['with a line break', 'eve@example.com\nbcc: all@example.com'],
    ['with a NUL byte', 'eve\0@example.com'],
    ['with an invisible character', `eve${BOM_AND_JOINERS}@example.com`],
    ['with half of a surrogate pair', 'eve\ud800@example.com'],
    ['with a host of hyphens', 'eve@-example-.com'],
    ['of 255 characters', `${'e'.repeat(243)}@example.com`],
    ['huge', `${HUGE}@example.com`],
    ['that is SQL', `'; drop table account --@example.com`],
  ])('refuses an e-mail address %s', async (_what, email) => {
    expectFault(
      await ask(REGISTER, { email, password: passwordOf('eve') }),
      'email',
      'INVALID_EMAIL',
    )
  })

  it.each([
    ['taken', 'ada@example.com'],
    ['taken in other letters', 'ADA@Example.COM'],
    ['taken with blanks around it', ' ada@example.com\n'],
  ])('refuses an e-mail address that is %s', async (_what, email) => {
    expectFault(await ask(REGISTER, { email, password: passwordOf('eve') }), 'email', 'EMAIL_TAKEN')
  })
})

const PASSWORDS = [
  ['empty', '', 'TOO_SHORT'],
  ['of seven characters', '1sX!9ö€', 'TOO_SHORT'],
  ['of seven emoji', '🔑'.repeat(7), 'TOO_SHORT'],
  ['of 1,025 bytes', 'ä'.repeat(512) + 'x', 'TOO_LONG'],
  ['huge', HUGE, 'TOO_LONG'],
  ['that is common', 'password1', 'COMMON_PASSWORD'],
  ['that is common in other letters', 'PassWord1', 'COMMON_PASSWORD'],
] as const

describe.each([
  [
    'register',
    'password',
    'mutation ($password: String!) { register(email: "eve@example.com", password: $password) { tokenType } }',
  ],
  [
    'changePassword',
    'newPassword',
    `mutation ($password: String!) {
       changePassword(currentPassword: "${passwordOf('ada')}", newPassword: $password) { tokenType }
     }`,
  ],
])('%s refuses a password', (_name, argument, source) => {
  it.each(PASSWORDS)('%s', async (_what, password, reason) => {
    const answer = await service.graphql(source, {
      token: ada.accessToken,
      variables: { password },
    })

    expectFault(answer, argument, reason)
  })
})

describe('login', () => {
  const LOGIN = `mutation ($email: String!, $password: String!, $device: String) {
    login(email: $email, password: $password, device: $device) { tokenType }
  }`

  it.each([
    ['an empty e-mail address', '', 'a wrong guess'],
    ['no e-mail address', 'ada', passwordOf('ada')],
    ['a NUL byte in the e-mail address', 'ada@example.com\0', passwordOf('ada')],
    ['half of a surrogate pair', '\ud800@example.com', passwordOf('ada')],
    ['a huge e-mail address', HUGE, passwordOf('ada')],
    ['SQL', `' or '1'='1`, `' or '1'='1`],
    ['an empty password', 'ada@example.com', ''],
    ['a NUL byte at the password’s end', 'ada@example.com', `${passwordOf('ada')}\0`],
    ['a huge password', 'ada@example.com', HUGE],
  ])('answers %s like any wrong guess', async (_what, email, password) => {
    const { status, errors } = await ask(LOGIN, { email, password })

    expect(status).toBe(401)
    expect(errors[0]?.extensions.reason).toBe('INVALID_CREDENTIALS')
  })

  it.each([
    ['of 201 characters', 'x'.repeat(201), 'TOO_LONG'],
    ['with a NUL byte', 'my\0phone', 'FORBIDDEN_CHARACTERS'],
    ['with a line break', 'my\nphone', 'FORBIDDEN_CHARACTERS'],
    ['huge', HUGE, 'TOO_LONG'],
  ])('refuses a device %s, before it looks at the password', async (_what, device, reason) => {
    const answer = await ask(LOGIN, {
      email: 'ada@example.com',
      password: passwordOf('ada'),
      device,
    })

    expectFault(answer, 'device', reason)
  })
})

describe('refresh', () => {
  it.each([
    ['empty', ''],
    ['unknown', 'A'.repeat(43)],
    ['not canonical', `${'A'.repeat(42)}B`],
    ['too long', 'A'.repeat(44)],
    ['with a NUL byte', `${'A'.repeat(42)}\0`],
    ['huge', HUGE],
  ])('refuses a refresh token that is %s', async (_what, refreshToken) => {
    const { status, errors } = await ask(
      'mutation ($refreshToken: String!) { refresh(refreshToken: $refreshToken) { tokenType } }',
      { refreshToken },
    )

    expect(status).toBe(401)
    expect(errors[0]?.extensions.reason).toBe('INVALID_REFRESH_TOKEN')
  })
})

describe('user', () => {
  const USER = 'query ($id: ID, $email: String) { user(id: $id, email: $email) { id } }'

  it.each([
    ['neither argument', {}],
    ['nulls', { id: null, email: null }],
    ['both arguments', { id: ID, email: 'ada@example.com' }],
  ])('refuses %s', async (_what, variables) => {
    const { status, data, errors } = await ask(USER, variables)

    expect({ status, data }).toEqual({ status: 200, data: { user: null } })
    expect(errors[0]?.extensions).toEqual({
      code: 'BAD_USER_INPUT',
      reason: 'ONE_ARGUMENT_REQUIRED',
      argument: 'id',
    })
  })

  it.each([
    ...UNKNOWN_IDS.map(([what, id]) => [`an id that is ${what}`, { id }] as const),
    ['an e-mail address without an account', { email: 'nobody@example.com' }] as const,
    ['a NUL byte', { email: 'ada@example.com\0' }] as const,
    ['a huge e-mail address', { email: HUGE }] as const,
  ])('finds no account by %s', async (_what, variables) => {
    expect(await ask(USER, variables)).toMatchObject({ data: { user: null }, errors: [] })
  })
})

describe('a password of halves of characters', () => {
  const HALVES = '\ud83d'.repeat(9)

  it.each([
    ['high halves', HALVES],
    ['low halves', '\ude00'.repeat(9)],
    ['halves in the wrong order', '\ude00\ud83d'.repeat(9)],
    ['one half among sound characters', 'a gate of iron\ud83d'],
  ])('is refused as a new one: %s', async (_what, password) => {
    const variables = { email: 'halves@example.com', password }
    expectFault(
      await ask(
        'mutation ($email: String!, $password: String!) { register(email: $email, password: $password) { tokenType } }',
        variables,
      ),
      'password',
      'FORBIDDEN_CHARACTERS',
    )
    const changed = await service.graphql(
      `mutation ($current: String!, $password: String!) {
         changePassword(currentPassword: $current, newPassword: $password) { tokenType }
       }`,
      { token: ada.accessToken, variables: { current: passwordOf('ada'), password } },
    )
    expectFault(changed, 'newPassword', 'FORBIDDEN_CHARACTERS')
  })

  it('opens no account, not even one that was made with other halves before', async () => {
    await service.database.query(
      `insert into account (id, email, password_hash, roles, created_at)
       values ($1, 'old-halves@example.com', $2, '{USER}', now())`,
      [randomUUID(), await hash(HALVES)],
    )
    rows = await countRows()

    for (const password of [HALVES, '\ude00'.repeat(9)]) {
      const { errors } = await ask(
        'mutation ($password: String!) { login(email: "old-halves@example.com", password: $password) { tokenType } }',
        { password },
      )
      expect(errors[0]?.extensions.reason).toBe('INVALID_CREDENTIALS')
    }
  })
})

describe('tokenStatus', () => {
  it.each(['', 'x', 'a.b.c', 'a\0b', 'A'.repeat(43), HUGE])(
    'says INVALID of what is no token of ours (case %#)',
    async (token) => {
      const { data } = await ask(
        'query ($token: String!) { tokenStatus(token: $token) { state subject } }',
        {
          token,
        },
      )

      expect(data).toEqual({ tokenStatus: { state: 'INVALID', subject: null } })
    },
  )
})

describe.each(['revocations', 'revocationEvents'])('%s', (list) => {
  const source = `query ($first: Int, $after: String, $filter: RevocationFilter) {
    list: ${list}(first: $first, after: $after, filter: $filter) { totalCount edges { cursor } }
  }`

  it.each([0, -1, 101, 2_147_483_647])('refuses first: %j', async (first) => {
    expectFault(await ask(source, { first }), 'first', 'OUT_OF_RANGE')
  })

  it.each([2_147_483_648, 1.5, '10', true])('refuses first: %j', async (first) => {
    expectRefused(await ask(source, { first }))
  })

  const encode = (text: string): string => Buffer.from(text).toString('base64url')

  it.each([
    ['empty', ''],
    ['garbage', 'garbage'],
    ['an offset', encode('10')],
    ['of another list', encode(list === 'revocations' ? 'event.1' : `1.${randomUUID()}`)],
    ['without an id', encode('1700000000000.')],
    ['with SQL', encode(`1.${`'; drop table account; --`.padEnd(36)}`)],
    ['with a NUL byte', encode(`1700000000000.${randomUUID().slice(1)}\0`)],
    ['too big', encode(`999999999999999999.${randomUUID()}`)],
    ['too big for an event', encode('event.9999999999999999999')],
    ['negative', encode('event.-1')],
    ['huge', HUGE],
  ])('refuses a cursor that is %s', async (_what, after) => {
    expectFault(await ask(source, { after }), 'after', 'MALFORMED_CURSOR')
  })

  it.each(['subject', 'sessionId', 'tokenId', 'reason', 'revokedBy'])(
    'refuses a filter of %s that cannot be a name',
    async (name) => {
      const fault = async (value: string): Promise<unknown> => {
        const { status, errors } = await ask(source, { filter: { [name]: value } })
        return [status, errors[0]?.extensions]
      }
      const expected = (reason: string): unknown => [
        400,
        { code: 'BAD_USER_INPUT', reason, argument: `filter.${name}` },
      ]

      expect(await fault('')).toEqual(expected('EMPTY'))
      expect(await fault('a\0b')).toEqual(expected('FORBIDDEN_CHARACTERS'))
      expect(await fault('\ud800')).toEqual(expected('FORBIDDEN_CHARACTERS'))
      expect(await fault('x'.repeat(256))).toEqual(expected('TOO_LONG'))
      expect(await fault(HUGE)).toEqual(expected('TOO_LONG'))
    },
  )

  it.each([
    'yesterday',
    '2026-11-22',
    '2026-11-22T09:30:00',
    '2026-13-01T00:00:00Z',
    '+275760-09-13T00:00:00Z',
    '2026-11-22T09:30:00Z\0',
    // The list of the scalar's specification, and its kin.
    '2011-08-30T13:22:53.108-03',
    '2011-08-30T13:22:53.108',
    '2011-08-30T13:22:53.108-00:00',
    '2011-08-30T13:22:53.108+03:30:15',
    '2011-08-30T24:22:53.108Z',
    '2010-02-30T21:22:53.108Z',
    '2010-02-11T21:22:53.108Z+25:11',
    '2010-02-11T21:22:53.108+25:11',
    '2026-02-30T00:00:00Z',
    '2026-02-29T00:00:00Z',
    '1900-02-29T00:00:00Z',
    '2026-04-31T00:00:00Z',
    '2026-11-31T00:00:00+01:00',
    '2026-00-10T00:00:00Z',
    '2026-10-00T00:00:00Z',
    '2026-10-32T00:00:00Z',
    '2026-11-22T24:00:00Z',
    '2026-11-22T23:60:00Z',
    '2016-12-31T23:59:60Z',
    '2016-12-31T23:59:60.5+00:00',
    '2026-11-22T09:30:00+24:00',
    '2026-11-22T09:30:00+10:60',
    '2026-11-22T09:30:00-24:00',
    '-2026-11-22T09:30:00Z',
    '12026-11-22T09:30:00Z',
    '2026-11-22 09:30:00Z',
    ' 2026-11-22T09:30:00Z',
    '2026-W47-7T09:30:00Z',
    '２０２６-11-22T09:30:00Z',
    1_700_000_000,
    true,
    {},
  ])('refuses %j as an instant', async (since) => {
    expectRefused(await ask(source, { filter: { since } }))
    const literal = typeof since === 'object' ? '{}' : JSON.stringify(since)
    for (const name of ['since', 'until']) {
      expectRefused(await ask(`{ ${list}(filter: { ${name}: ${literal} }) { totalCount } }`))
    }
  })

  it.each([
    '0000-01-01T00:00:00Z',
    '9999-12-31T23:59:59.999Z',
    '2026-11-22T09:30:00+14:00',
    '2024-02-29T23:59:59Z',
    '2000-02-29T00:00:00.123456789-23:59',
    '2026-11-22t09:30:00z',
    '2026-11-22T09:30:00+00:00',
  ])('takes %s as an instant', async (instant) => {
    for (const name of ['since', 'until']) {
      expect((await ask(source, { filter: { [name]: instant } })).errors).toEqual([])
      const literal = `{ ${list}(filter: { ${name}: "${instant}" }) { totalCount } }`
      expect((await ask(literal)).errors).toEqual([])
    }
  })

  it('refuses what is no member of the filter', async () => {
    expectRefused(await ask(source, { filter: { password: 'x' } }))
    expectRefused(await ask(source, { filter: { scope: 'ALL' } }))
    expectRefused(await ask(source, { filter: 'all' }))
  })
})

describe('what is not given', () => {
  it.each([
    'mutation { revokeEveryone { alreadyRevoked } }',
    'mutation { revokeEveryone(reason: null) { alreadyRevoked } }',
    'mutation { logoutAllDevices(keepCurrent: null) { endedSessions } }',
    'mutation { register(email: null, password: null) { tokenType } }',
    'mutation { restore { alreadyRestored } }',
    'mutation { revokeToken(token: 7) { verified } }',
  ])('is refused: %s', async (source) => {
    expectRefused(await ask(source))
  })
})

describe('the longest that is allowed', () => {
  // Q21
  it('is kept as it was given: 200 and 2,000 characters, also beyond the BMP', async () => {
    const person = await register(service, 'edith')
    const reason = '🔑'.repeat(200)
    const note = `<b>"note"</b>\r\n\t'; drop table revocation; -- %s ${'🔑'.repeat(1950)}`

    const { data } = await ask(
      `mutation ($id: ID!, $reason: String, $note: String) {
         revokeUser(userId: $id, reason: $reason, note: $note) { revocation { reason note } }
       }`,
      { id: person.userId, reason, note },
    )
    const refused = await service.graphql('{ me { id } }', { token: person.accessToken })

    expect(data.revokeUser.revocation).toEqual({ reason, note })
    expect(refused.errors[0]?.extensions.revocation.reason).toBe(reason)
    rows = await countRows()
  })

  it('signs in: a device of 200 characters, a password of 1,024 bytes', async () => {
    const password = '🔑'.repeat(256)
    const email = `${'e'.repeat(52)}@${'x'.repeat(60)}.example.com`
    await ask(
      'mutation ($email: String!, $password: String!) { register(email: $email, password: $password) { tokenType } }',
      { email, password },
    )

    const { data } = await ask(
      `mutation ($email: String!, $password: String!, $device: String) {
         login(email: $email, password: $password, device: $device) { session { device } }
       }`,
      { email: ` ${email.toUpperCase()} `, password, device: '📱'.repeat(200) },
    )

    expect(data.login.session.device).toBe('📱'.repeat(200))
    rows = await countRows()
  })

  it('calls a device that is blank nothing', async () => {
    const { data } = await ask(
      `mutation ($password: String!) {
         login(email: "ada@example.com", password: $password, device: "  ") { session { device } }
       }`,
      { password: passwordOf('ada') },
    )

    expect(data.login.session.device).toBeNull()
    rows = await countRows()
  })
})
