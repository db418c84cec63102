import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { openRaw } from '../support/live.ts'
import { login } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

let service: TestService
let production: TestService
let admin: SignIn

beforeAll(async () => {
  service = await startService()
  production = await startService({ database: service.database, isProduction: true })
  admin = await login(service, 'admin', 'console')
})

afterAll(async () => {
  await production.stop()
  await service.stop()
})

// What a client sends is never a fault of the service.
afterEach(() => {
  expect(service.log.filter(({ level }) => level >= 50)).toEqual([])
})

interface Answer {
  readonly status: number
  readonly text: string
  readonly body: any
}

interface Request {
  readonly token?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly to?: TestService
}

async function post(
  body: unknown,
  { token, headers, to = service }: Request = {},
): Promise<Answer> {
  const response = await fetch(`${to.url}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...headers,
    },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
  const text = await response.text()
  const isStream = response.headers.get('content-type')?.includes('event-stream') ?? false
  return { status: response.status, text, body: isStream ? null : JSON.parse(text) }
}

async function get(search: Readonly<Record<string, string>>): Promise<Answer> {
  const response = await fetch(`${service.url}/graphql?${new URLSearchParams(search)}`, {
    headers: { 'apollo-require-preflight': '1' },
  })
  const text = await response.text()
  return { status: response.status, text, body: JSON.parse(text) }
}

/** Asks as a client of `graphql-transport-ws`: the payload of the answer. */
async function askSocket(payload: object, token?: string): Promise<any> {
  const socket = await openRaw(service)
  const params = token === undefined ? {} : { authorization: `Bearer ${token}` }
  socket.send({ type: 'connection_init', payload: params })
  await socket.message(0)
  socket.send({ id: '1', type: 'subscribe', payload })
  const { payload: answer } = await socket.message(1)
  socket.socket.terminate()
  return answer
}

const MARKS = `a${'\u0301\u0323'.repeat(37_500)}`
const LOGIN =
  'mutation ($email: String!, $password: String!) { login(email: $email, password: $password) { tokenType } }'
const LIST = 'query ($first: Int) { revocations(first: $first) { totalCount } }'
const FILTERED = 'query ($filter: RevocationFilter) { revocations(filter: $filter) { totalCount } }'
const UNKNOWN_MEMBERS = Object.fromEntries(Array.from({ length: 90_000 }, (_, n) => [`f${n}`, 1]))

/** By what each took to judge before: seconds to minutes. */
const HEAVY: ReadonlyArray<readonly [name: string, query: string, variables: object]> = [
  ['an e-mail address of combining marks', LOGIN, { email: MARKS, password: 'x' }],
  ['a password of combining marks', LOGIN, { email: 'ada@example.com', password: MARKS }],
  [
    'a new password of combining marks',
    LOGIN.replaceAll('login', 'register'),
    { email: 'heavy@example.com', password: MARKS },
  ],
  ['a number that looks like a fault', LIST, { first: ' got invalid value '.repeat(8000) }],
  ['a number that looks like a suggestion', LIST, { first: 'Did you mean '.repeat(30_000) }],
  ['a number of words', LIST, { first: `${'a'.repeat(39)} `.repeat(6000) }],
  ['unknown members of an input object', FILTERED, { filter: UNKNOWN_MEMBERS }],
  ['a list of wrong values', FILTERED, { filter: Array.from({ length: 90_000 }, () => 'x') }],
]

/** Milliseconds. The service is in this process, and the machine may be busy; what it takes is measured by F26. */
const SOON_MS = 2000
const BRIEF_BYTES = 5000

describe('heavy input', () => {
  it.each(HEAVY)('is refused soon and briefly: %s', async (_name, query, variables) => {
    for (const to of [service, production]) {
      const since = performance.now()
      const { status, text } = await post({ query, variables }, { to })

      expect(performance.now() - since).toBeLessThan(SOON_MS)
      expect([400, 401]).toContain(status)
      expect(text.length).toBeLessThan(BRIEF_BYTES)
    }
  })

  it.each(HEAVY)(
    'is refused soon and briefly over a live connection: %s',
    async (_name, query, all) => {
      const variables = JSON.parse(JSON.stringify(all), (_key, value: unknown) =>
        typeof value === 'string' ? value.slice(0, 60_000) : value,
      ) as { filter?: object }
      if (variables.filter) variables.filter = Object.entries(variables.filter).slice(0, 12_000)
      const since = performance.now()
      const errors = await askSocket({ query, variables })
      const stream = await post({ query, variables }, { headers: { accept: 'text/event-stream' } })

      expect(performance.now() - since).toBeLessThan(2 * SOON_MS)
      expect(JSON.stringify(errors).length).toBeLessThan(BRIEF_BYTES)
      expect(stream.text.length).toBeLessThan(BRIEF_BYTES)
    },
  )

  it('is told of by the first fault of the variables alone', async () => {
    const variables = { filter: { nonsense: 1, other: 2, since: 'today' } }
    const { status, body } = await post(
      { query: FILTERED, variables },
      { token: admin.accessToken },
    )

    expect(status).toBe(400)
    expect(body.errors).toHaveLength(1)
    expect(body.errors[0].extensions).toEqual({
      code: 'BAD_USER_INPUT',
      reason: 'INVALID_VALUE',
      argument: 'filter',
    })
  })

  it('is quoted at no greater length than a person reads', async () => {
    const first = `secret ${'x '.repeat(100_000)}`
    const { body } = await post({ query: LIST, variables: { first } })

    expect(body.errors[0].message.length).toBeLessThanOrEqual(1002)
    expect(body.errors[0].message).toMatch(/^Variable "\$first" got invalid value "secret x x/)
  })

  it('leaves no part of a secret where a message is cut off', async () => {
    // The last word begins 20 characters before the cut: too few to be told for a secret by its length.
    const before = 'Variable "$first" got invalid value "'
    const words = 'x '.repeat((980 - before.length) / 2)
    const { body } = await post({
      query: LIST,
      variables: { first: `${words}${'S'.repeat(43)} x` },
    })

    expect(body.errors[0].message).not.toContain('SSS')
  })
})

describe('JSON', () => {
  it.each([
    ['members', JSON.stringify({ query: '{ me { id } }', variables: UNKNOWN_MEMBERS })],
    ['items', JSON.stringify({ variables: Array.from({ length: 10_001 }, () => 1) })],
    ['levels', '['.repeat(500_000) + ']'.repeat(500_000)],
    ['levels without an end', '{"a":'.repeat(100_000)],
    ['items of a batch', `[${'{},'.repeat(20_000)}{}]`],
  ])('of more than 10,000 values is not read: %s', async (_what, body) => {
    const since = performance.now()
    const answer = await post(body)

    expect(performance.now() - since).toBeLessThan(SOON_MS)
    expect(answer.status).toBe(400)
    expect(answer.body.errors).toEqual([
      {
        message: 'Send at most 10000 values in the JSON of one request',
        extensions: { code: 'BAD_REQUEST' },
      },
    ])
  })

  it.each(['[1,{2,', '\\', '"', '\\",[', '\n,', 'é,{'])(
    'may hold a long text of %j',
    async (piece) => {
      const variables = { text: piece.repeat(20_000) }

      expect(await post({ query: '{ __typename }', variables })).toMatchObject({ status: 200 })
    },
  )
})

describe('a document', () => {
  it.each([
    ['of line breaks', `${'\n'.repeat(300_000)}{ nonsense }`],
    ['of comments', `${'#\n'.repeat(200_000)}{ __typename }`],
    ['of commas', `{ ${','.repeat(300_000)} __typename }`],
    ['of one name', `{ ${'a'.repeat(300_000)} }`],
    ['of one string', `{ user(id: "${'a'.repeat(300_000)}") { id } }`],
  ])('of more than 50,000 characters is not read: %s', async (_name, query) => {
    const { status, body } = await post({ query })

    expect(status).toBe(400)
    expect(body.errors[0]).toEqual({
      message: 'Send a document of at most 50000 characters',
      extensions: { code: 'GRAPHQL_PARSE_FAILED' },
    })
  })

  it('of more than 50,000 characters is not read from a live connection', async () => {
    const query = `${'#\n'.repeat(60_000)}{ __typename }`
    const [fault] = await askSocket({ query })

    expect(fault.message).toBe('Send a document of at most 50000 characters')
    expect(fault.extensions.code).toBe('GRAPHQL_PARSE_FAILED')
  })

  it('has no name of more than 255 characters, which every item of a list would repeat', async () => {
    const ask = async (length: number) => post({ query: `{ ${'a'.repeat(length)}: __typename }` })

    expect(await ask(255)).toMatchObject({ status: 200 })
    const { status, body } = await ask(256)
    expect(status).toBe(400)
    expect(body.errors).toMatchObject([
      {
        message: 'Use names of at most 255 characters',
        extensions: { code: 'GRAPHQL_VALIDATION_FAILED' },
      },
    ])
  })

  it('asks at most four times for the schema', async () => {
    const ask = async (times: number) => {
      const fields = Array.from({ length: times }, (_, n) => `a${n}: __schema { types { name } }`)
      return post({ query: `{ ...f } fragment f on Query { ${fields.join(' ')} }` })
    }

    expect((await ask(4)).status).toBe(200)
    const { status, body } = await ask(5)
    expect(status).toBe(400)
    expect(body.errors[0].message).toBe('Ask at most 4 times for the schema')
  })

  it('has at most five of its faults told', async () => {
    const query = `{ ${Array.from({ length: 60 }, (_, n) => `unknown${n}`).join(' ')} }`.replaceAll(
      ' ',
      '\n',
    )
    const { body } = await post({ query: query.replace(/unknown[4-5]\d/g, '') })

    expect(body.errors).toHaveLength(6)
    expect(body.errors[5].message).toContain('Too many validation errors')
  })
})

// A variable that may be null by its own type, in a place that takes none.
const NULLS: ReadonlyArray<readonly [place: string, query: string, variables: object]> = [
  [
    'an argument with a default',
    'mutation ($k: Boolean) { logoutAllDevices(keepCurrent: $k) { endedSessions } }',
    { k: null },
  ],
  [
    'an argument with a default, by a default',
    'mutation ($k: Boolean = null) { logoutAllDevices(keepCurrent: $k) { endedSessions } }',
    {},
  ],
  [
    'an argument, of a variable with a default',
    'mutation ($k: ID = "x") { revokeUser(userId: $k) { alreadyRevoked } }',
    { k: null },
  ],
  [
    'an argument in a fragment',
    'mutation ($k: ID = "x") { ...f } fragment f on Mutation { revokeUser(userId: $k) { alreadyRevoked } }',
    { k: null },
  ],
  [
    'an item of a list',
    'mutation ($k: Role = USER) { setUserRoles(userId: "x", roles: [$k]) { alreadySet } }',
    { k: null },
  ],
  ['a directive', 'query ($k: Boolean = true) { __typename @include(if: $k) }', { k: null }],
  ['a query', 'query ($k: String = "x") { tokenStatus(token: $k) { state } }', { k: null }],
]

describe('null', () => {
  const expected = { code: 'BAD_USER_INPUT', reason: 'INVALID_VALUE', argument: 'k' }

  it.each(NULLS)('is bad input in %s', async (_place, query, variables) => {
    // More than once: what comes again is compiled.
    for (let time = 0; time < 4; time += 1) {
      const { status, body } = await post({ query, variables }, { token: admin.accessToken })

      expect(status).toBe(400)
      expect(body).not.toHaveProperty('data')
      expect(body.errors).toHaveLength(1)
      expect(body.errors[0].extensions).toEqual(expected)
      expect(body.errors[0].message).toMatch(
        /^Variable "\$k" of non-null type ".+" must not be null/,
      )
      await sleep(60)
    }
  })

  it.each(NULLS)('is bad input over a WebSocket in %s', async (_place, query, variables) => {
    const [fault] = await askSocket({ query, variables }, admin.accessToken)

    expect(fault.extensions).toEqual(expected)
  })

  it('is refused before anything of the operation has run', async () => {
    const { accessToken } = await login(service, 'admin', 'laptop')
    const query =
      'mutation ($k: Boolean) { logout { alreadyRevoked } logoutAllDevices(keepCurrent: $k) { endedSessions } }'
    expect(await post({ query, variables: { k: null } }, { token: accessToken })).toMatchObject({
      status: 400,
    })

    const { body } = await post({ query: '{ me { email } }' }, { token: accessToken })
    expect(body.data.me.email).toBe('admin@example.com')
  })

  it('that is left out is the default', async () => {
    const query = 'query ($k: Boolean = true) { __typename @include(if: $k) }'

    expect((await post({ query })).body).toEqual({ data: { __typename: 'Query' } })
  })
})

describe('a persisted query', () => {
  const QUERY = '{ __typename }'
  const hash = createHash('sha256').update(QUERY).digest('hex')
  const named = (sha256Hash: unknown, version: unknown = 1) => ({
    extensions: { persistedQuery: { version, sha256Hash } },
  })

  it('is kept under its hash', async () => {
    expect((await post(named(hash))).body.errors[0].extensions.code).toBe(
      'PERSISTED_QUERY_NOT_FOUND',
    )
    expect((await post({ query: QUERY, ...named(hash) })).status).toBe(200)
    expect((await post(named(hash))).body).toEqual({ data: { __typename: 'Query' } })
  })

  it.each<[what: string, payload: object, message: string]>([
    [
      'under the hash of another',
      { query: '{ me { id } }', ...named(hash) },
      'provided sha does not match query',
    ],
    [
      'under no hash at all',
      { query: QUERY, ...named('nonsense') },
      'provided sha does not match query',
    ],
    ['under an empty hash', { query: QUERY, ...named('') }, 'provided sha does not match query'],
    [
      'of another version',
      { query: QUERY, ...named(hash, 2) },
      'Unsupported persisted query version',
    ],
    [
      'of no version',
      { query: QUERY, ...named(hash, null) },
      'Unsupported persisted query version',
    ],
    ['of a version in words', named(hash, '1'), 'Unsupported persisted query version'],
    ...[1, null, true, [], [hash], {}, 'a'.repeat(65)].map((wrong): [string, object, string] => [
      `under ${JSON.stringify(wrong).slice(0, 20)}`,
      named(wrong),
      'Name a persisted query by its SHA-256 in hexadecimal',
    ]),
    [
      'that is a text',
      { extensions: { persistedQuery: hash } },
      'Name a persisted query by its SHA-256 in hexadecimal',
    ],
    [
      'that is a list',
      { extensions: { persistedQuery: [] } },
      'Name a persisted query by its SHA-256 in hexadecimal',
    ],
  ])('is bad input %s', async (_what, payload, message) => {
    for (const sent of [await post(payload), await post({ ...payload }, { to: production })]) {
      expect(sent.status).toBe(400)
      expect(sent.body.errors).toEqual([{ message, extensions: { code: 'BAD_REQUEST' } }])
    }
  })

  it('is bad input by GET too', async () => {
    const extensions = JSON.stringify(named([]).extensions)
    const other = JSON.stringify(named(hash).extensions)

    expect((await get({ extensions })).status).toBe(400)
    expect((await get({ query: '{ me { id } }', extensions: other })).status).toBe(400)
    expect((await get({ query: QUERY, extensions: other })).status).toBe(200)
  })
})

describe('an empty operation name', () => {
  const QUERY = '{ __typename }'

  it('is none', async () => {
    const data = { __typename: 'Query' }
    expect((await post({ query: QUERY, operationName: '' })).body).toEqual({ data })
    expect((await post({ query: `query A ${QUERY}`, operationName: '' })).body).toEqual({ data })
    expect((await get({ query: QUERY, operationName: '' })).body).toEqual({ data })
    expect((await post([{ query: QUERY, operationName: '' }])).body).toEqual([{ data }])
    expect(await askSocket({ query: QUERY, operationName: '' })).toEqual({ data })
    const stream = await post(
      { query: QUERY, operationName: '' },
      { headers: { accept: 'text/event-stream' } },
    )
    expect(stream.text).toContain('"__typename":"Query"')
  })

  it('does not choose between two operations', async () => {
    const query = `query A ${QUERY} query B ${QUERY}`
    const { status, body } = await post({ query, operationName: '' })

    expect(status).toBe(400)
    expect(body.errors[0].extensions.code).toBe('OPERATION_RESOLUTION_FAILURE')
  })
})

describe('a batch', () => {
  const GOOD = { query: '{ __typename }' }

  it.each([
    ['that cannot be parsed', { query: '{' }, 'GRAPHQL_PARSE_FAILED'],
    ['that is not valid', { query: '{ nonsense }' }, 'GRAPHQL_VALIDATION_FAILED'],
    ['whose variables do not fit', { query: LIST, variables: { first: 'x' } }, 'BAD_USER_INPUT'],
    [
      'of which no operation is meant',
      { ...GOOD, operationName: 'A' },
      'OPERATION_RESOLUTION_FAILURE',
    ],
  ])(
    'with a document %s answers that with 400, and executes the others',
    async (_what, bad, code) => {
      const { status, body } = await post([GOOD, bad, GOOD])

      expect(status).toBe(400)
      expect(body).toMatchObject([
        { data: { __typename: 'Query' } },
        { errors: [{ extensions: { code } }] },
        { data: { __typename: 'Query' } },
      ])
    },
  )

  it('of which one is refused by a resolver is 200', async () => {
    const { status, body } = await post([GOOD, { query: '{ me { id } }' }])

    expect(status).toBe(200)
    expect(body[1].errors[0].extensions.reason).toBe('TOKEN_MISSING')
  })

  it.each([
    ['something that is no request', 1],
    ['something without a document', {}],
    ['a document that is too long', { query: ' '.repeat(50_001) }],
  ])('with %s is refused as a whole', async (_what, bad) => {
    const { status, body } = await post([GOOD, bad])

    expect(status).toBe(400)
    expect(body.errors).toHaveLength(1)
  })
})

describe('a document of several mutations', () => {
  it('ends at the first that is refused, whose path says which were done', async () => {
    const phone = await login(service, 'admin', 'phone')
    const tablet = await login(service, 'admin', 'tablet')
    const query = `mutation ($phone: ID!, $tablet: ID!) {
      first: revokeSession(id: $phone) { alreadyRevoked }
      second: revokeSession(id: "nonsense") { alreadyRevoked }
      third: revokeSession(id: $tablet) { alreadyRevoked }
    }`
    const variables = { phone: phone.sessionId, tablet: tablet.sessionId }
    const { body } = await post({ query, variables }, { token: admin.accessToken })

    expect(body.data).toBeNull()
    expect(body.errors).toMatchObject([{ path: ['second'] }])
    const again = `mutation ($phone: ID!, $tablet: ID!) {
      first: revokeSession(id: $phone) { alreadyRevoked }
      third: revokeSession(id: $tablet) { alreadyRevoked }
    }`
    expect(
      (await post({ query: again, variables }, { token: admin.accessToken })).body.data,
    ).toEqual({
      first: { alreadyRevoked: true },
      third: { alreadyRevoked: false },
    })
  })
})

describe('a query that comes again', () => {
  it.each([
    ['revocations', 'totalCount edges { cursor node { id } } pageInfo { endCursor }'],
    ['revocationEvents', 'totalCount edges { cursor node { id } } pageInfo { endCursor }'],
    ['connections', 'totalCount counts { kind connections } edges { cursor node { id } }'],
  ])('is answered as the first time: %s', async (list, selection) => {
    const query = `{ ${list}(first: 1) { ${selection} } }`
    const ask = async () => withoutPlaces(list, await post({ query }, { token: admin.accessToken }))
    const first = await ask()
    expect(first.status).toBe(200)

    for (let time = 0; time < 5; time += 1) {
      await sleep(60)
      expect(await ask()).toEqual(first)
    }
  })
})

/** A cursor of the journal says how far the server's transactions had come, those of other databases too. */
function withoutPlaces(list: string, answer: Answer): Answer {
  if (list !== 'revocationEvents') return answer
  const hide = (name: string, value: unknown): unknown =>
    /cursor$/i.test(name) ? typeof value : value
  const text = JSON.stringify(answer.body, hide)
  return { ...answer, text, body: JSON.parse(text) }
}
