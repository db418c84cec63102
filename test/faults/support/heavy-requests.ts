/**
 * Requests of the allowed size that ask as much work of a node as their author could think of: the corpus of F26, and where
 * `scripts/fuzz-time.ts` begins.
 */
export interface HeavyRequest {
  readonly name: string
  /** Over HTTP, if not given; over a WebSocket `body` is one message, sent after the first. */
  readonly over?: 'WEBSOCKET'
  readonly method?: 'GET' | 'POST'
  readonly headers?: Readonly<Record<string, string>>
  /** What stands behind `/graphql` in the URL. */
  readonly search?: string
  readonly body?: string
  /** How many it holds, when each is read in a turn of the event loop of its own; 1, if not given. */
  readonly operations?: number
}

/** A GraphQL request, before it is JSON. */
interface Payload {
  readonly query: string
  readonly variables?: unknown
  readonly operationName?: unknown
  readonly extensions?: unknown
}

/** Bytes of a body: the service takes 1 MiB. */
export const MAX_BYTES = 1024 * 1024

/** Bytes of texts and values within a body. */
const VALUE_BYTES = 1_000_000

/** Characters of a document, which are nearly as many as it may have. */
const DOCUMENT_CHARACTERS = 48_000

/** What a text may be made of. */
const PIECES: Readonly<Record<string, string>> = {
  letters: 'a',
  spaces: ' ',
  'line breaks': '\n',
  quotes: '"',
  backslashes: '\\',
  digits: '9',
  hyphens: '-',
  dots: 'a.',
  'base64url and dots': `${'a'.repeat(39)}.`,
  'words of 39': `${'a'.repeat(39)} `,
  brackets: ']:1',
  percents: '%',
  'combining marks': '\u0301\u0323',
  'marks of many classes': '\u0315\u0300\u05ae\u0334\u0323',
  jamo: '\u1100\u1161\u11a8',
  'ligatures that grow': '\ufdfa',
  'capitals that grow': '\u0130',
  emoji: '😀',
  'half surrogates': '\ud800',
  'invalid value': ' got invalid value ',
  'non string value': '; String cannot represent a non string value: ',
  'got and non string': ' got invalid value ; String cannot represent a non string value: ',
  'did you mean': 'Did you mean ',
  'did you mean?': ' Did you mean ?',
  bearer: 'Bearer ',
  'event places': 'event.1.',
  commas: '1,',
}

function texts(bytes: number): Array<readonly [name: string, text: string]> {
  return Object.entries(PIECES).map(([name, piece]) => {
    const size = Buffer.byteLength(JSON.stringify(piece)) - 2
    return [name, `a${piece.repeat(Math.floor((bytes - 1) / size))}`]
  })
}

function times(count: number, make: (index: number) => string, separator = ' '): string {
  return Array.from({ length: count }, (_, index) => make(index)).join(separator)
}

function objectOf(count: number, name: (index: number) => string, value: unknown = 1): object {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [name(index), value]))
}

/** JSON values that are no texts. */
function values(): Array<readonly [name: string, json: string]> {
  const deep = VALUE_BYTES / 2
  const unknown = objectOf(90_000, (index) => `f${index}`)
  return [
    ['arrays within one another', '['.repeat(deep) + ']'.repeat(deep)],
    ['objects within one another', '{"a":'.repeat(deep / 3) + '1' + '}'.repeat(deep / 3)],
    [
      'known members within one another',
      '{"subject":'.repeat(deep / 6) + '1' + '}'.repeat(deep / 6),
    ],
    ['an object of unknown members', JSON.stringify(unknown)],
    ['an object of near members', JSON.stringify(objectOf(60_000, (n) => `scop${n % 36}${n}`))],
    ['an object of one member many times', `{${times(90_000, () => '"scope":1', ',')}}`],
    [
      'objects of unknown members',
      `[${times(10, () => JSON.stringify(objectOf(8000, (n) => `f${n}`)), ',')}]`,
    ],
    ['many empty objects', `[${times(300_000, () => '{}', ',')}]`],
    ['many objects', `[${times(50_000, (n) => `{"subject":${n}}`, ',')}]`],
    ['many nulls', `[${times(200_000, () => 'null', ',')}]`],
    ['many numbers', `[${times(480_000, () => '1', ',')}]`],
    ['many roles', `[${times(140_000, () => '"USER"', ',')}]`],
    ['many wrong roles', `[${times(140_000, () => '"USFR"', ',')}]`],
    [
      'arrays of arrays',
      `[${times(100, () => `[${times(100, () => `[${times(40, () => '1', ',')}]`, ',')}]`, ',')}]`,
    ],
    ['a number of very many digits', '9'.repeat(VALUE_BYTES)],
    ['a fraction of very many digits', `0.${'3'.repeat(VALUE_BYTES)}`],
    ['an exponent of very many digits', `1e-${'9'.repeat(VALUE_BYTES)}`],
    ['members with long names', JSON.stringify(objectOf(4, (n) => `${n}${'m'.repeat(240_000)}`))],
    ['near __proto__', `{${times(50_000, (n) => `"__proto_${n}":1`, ',')}}`],
    ['escaped names', `{${times(20_000, (n) => `"\\u005f\\u005fprot${n}":1`, ',')}}`],
  ]
}

/** One operation for each kind of argument that a stranger, a person or an admin may give. */
const USES: Readonly<Record<string, string>> = {
  email: 'mutation ($v: String!) { login(email: $v, password: "x") { tokenType } }',
  password:
    'mutation ($v: String!) { login(email: "ada@example.com", password: $v) { tokenType } }',
  device:
    'mutation ($v: String!) { login(email: "ada@example.com", password: "x", device: $v) { tokenType } }',
  'e-mail to register':
    'mutation ($v: String!) { register(email: $v, password: "x") { tokenType } }',
  'password to register':
    'mutation ($v: String!) { register(email: "heavy@example.com", password: $v) { tokenType } }',
  'new password':
    'mutation ($v: String!) { changePassword(currentPassword: $v, newPassword: $v) { tokenType } }',
  'refresh token': 'mutation ($v: String!) { refresh(refreshToken: $v) { tokenType } }',
  reason: 'mutation ($v: String!) { revokeToken(token: "x", reason: $v) { verified } }',
  note: 'mutation ($v: String!) { revokeToken(token: "x", note: $v) { verified } }',
  token: 'mutation ($v: String!) { revokeToken(token: $v) { verified } }',
  'token status': 'query ($v: String!) { tokenStatus(token: $v) { state } }',
  id: 'mutation ($v: ID!) { revokeSession(id: $v) { alreadyRevoked } }',
  'user id': 'query ($v: ID!) { user(id: $v) { id } }',
  'user e-mail': 'query ($v: String!) { user(email: $v) { id } }',
  cursor: 'query ($v: String) { revocations(after: $v) { totalCount } }',
  'cursor of the journal': 'query ($v: String) { revocationEvents(after: $v) { totalCount } }',
  'cursor of connections': 'query ($v: String) { connections(after: $v) { totalCount } }',
  number: 'query ($v: Int) { revocations(first: $v) { totalCount } }',
  flag: 'mutation ($v: Boolean!) { logoutAllDevices(keepCurrent: $v) { alreadyRevoked: __typename } }',
  roles: 'mutation ($v: [Role!]!) { setUserRoles(userId: "x", roles: $v) { alreadySet } }',
  role: 'mutation ($v: Role!) { setUserRoles(userId: "x", roles: [$v]) { alreadySet } }',
  filter: 'query ($v: RevocationFilter) { revocations(filter: $v) { totalCount } }',
  instant: 'query ($v: DateTime) { revocations(filter: { since: $v }) { totalCount } }',
  'name in a filter': 'query ($v: ID) { revocations(filter: { subject: $v }) { totalCount } }',
  directive: 'query ($v: Boolean!) { __typename @include(if: $v) }',
  'event cursor': 'subscription ($v: String) { revocationEvents(after: $v) { id } }',
}

function post(name: string, payload: Payload | readonly Payload[]): HeavyRequest {
  return { name, body: JSON.stringify(payload) }
}

/** What takes values other than texts. */
const INTRICATE = new Set(['email', 'number', 'roles', 'filter', 'instant'])

function* variableRequests(): Generator<HeavyRequest> {
  for (const [use, query] of Object.entries(USES)) {
    for (const [name, text] of texts(VALUE_BYTES))
      yield post(`${use}: ${name}`, { query, variables: { v: text } })
    if (!INTRICATE.has(use)) continue
    for (const [name, json] of values()) {
      const body = `{"query":${JSON.stringify(query)},"variables":{"v":${json}}}`
      yield { name: `${use}: ${name}`, body }
    }
  }
}

/** Of which of them one is given thirty times. */
const OFTEN = new Set([
  'spaces',
  'combining marks',
  'capitals that grow',
  'base64url and dots',
  'emoji',
])

/** One value, used as often as a document may. */
function* repeatedUses(): Generator<HeavyRequest> {
  for (const [use, query] of Object.entries(USES)) {
    const [, head = '', field = ''] = /^(\w+ \(.+?\)) \{ (.+) \}$/.exec(query) ?? []
    if (head.startsWith('subscription') || use === 'directive') continue
    for (const [name, text] of texts(VALUE_BYTES).filter(([one]) => OFTEN.has(one))) {
      const many = `${head} { ${times(30, (n) => `a${n}: ${field}`)} }`
      yield post(`${use} thirty times: ${name}`, { query: many, variables: { v: text } })
    }
  }
}

/** Documents, of as many characters as fit or of as many tokens as are allowed. */
function documents(): Array<readonly [name: string, query: string]> {
  const long = (piece: string): string =>
    piece.repeat(Math.floor(DOCUMENT_CHARACTERS / piece.length))
  const unknownFields = times(60, (n) => `unknown${n}`)
  return [
    ['fields', `{ ${times(40_000, (n) => `a${n}: __typename`)} }`],
    ['unknown fields', `{ ${times(480, (n) => `revocation${n}`)} }`],
    ['unknown near fields', `{ ${times(480, () => 'revocatonEvets')} }`],
    ['unknown fields behind line breaks', `${long('\n')} { ${unknownFields} }`],
    ['unknown fields among line breaks', `{ ${times(100, (n) => `u${n}${'\n'.repeat(450)}`)} }`],
    ['a syntax error behind line breaks', `${long('\r')} }`],
    ['a syntax error behind both line breaks', `${long('\r\n')} }`],
    ['comments', `${long('#\n')} { __typename }`],
    ['a long comment', `#${long('a')}\n{ __typename }`],
    ['commas', `{ ${long(',')} __typename }`],
    ['byte order marks', `{ ${'\ufeff'.repeat(45_000)} __typename }`],
    ['a long name', `{ ${long('a')} }`],
    ['a long alias', `{ ${long('a')}: me { id } }`],
    ['a long alias of a list', `{ sessions { ${'a'.repeat(45_000)}: id } }`],
    ['a long operation name', `query ${long('a')} { ${unknownFields} }`],
    [
      'long undefined variables',
      `query ${'o'.repeat(40_000)} { ${times(100, (n) => `a${n}: user(id: $v${n}) { id }`)} }`,
    ],
    [
      'a long fragment name',
      `{ ...${'f'.repeat(22_000)} } fragment ${'f'.repeat(22_000)} on Query { __typename }`,
    ],
    ['a long string', `{ user(id: "${long('a')}") { id } }`],
    ['a long number', `{ revocations(first: ${long('9')}) { totalCount } }`],
    ['a long fraction', `{ revocations(first: 0.${long('9')}) { totalCount } }`],
    [
      'a long string for a number',
      `{ revocations(first: "${long('Did you mean ')}") { totalCount } }`,
    ],
    ['a long enum', `mutation { setUserRoles(userId: "x", roles: [${long('U')}]) { alreadySet } }`],
    ['an escaped string', `{ user(id: "${long('\\u0061')}") { id } }`],
    ['escaped code points', `{ user(id: "${long('\\u{1F600}')}") { id } }`],
    ['a string without an end', `{ user(id: "${long('a')}`],
    ['a block string', `{ user(id: """${long('a')}""") { id } }`],
    ['a block string of lines', `{ user(id: """${long('\n')}""") { id } }`],
    ['a block string of indented lines', `{ user(id: """${long('\n        a')}""") { id } }`],
    ['a block string of quotes', `{ user(id: """${long('\\"""')}""") { id } }`],
    ['a block string for a number', `{ revocations(first: """${long('\n a')}""") { totalCount } }`],
    ['nested fields', `${'{ me '.repeat(5000)}${'}'.repeat(5000)}`],
    ['nested lists', `{ user(id: ${'['.repeat(900)}${']'.repeat(900)}) { id } }`],
    [
      'nested objects',
      `{ revocations(filter: ${'{ scope: '.repeat(480)}TOKEN${' }'.repeat(480)}) { totalCount } }`,
    ],
    ['nested inline fragments', `${'{ ... '.repeat(900)}{ __typename }${'}'.repeat(900)}`],
    ['nested list types', `query ($a: ${'['.repeat(900)}Int${']'.repeat(900)}) { __typename }`],
    [
      'unknown members of an object',
      `{ revocations(filter: { ${times(600, (n) => `scop${n}: 1`)} }) { totalCount } }`,
    ],
    [
      'unknown enums',
      `mutation { setUserRoles(userId: "x", roles: [${times(1900, () => 'USFR')}]) { alreadySet } }`,
    ],
    ['unknown arguments', `{ user(${times(480, (n) => `i${n}: 1`)}) { id } }`],
    ['the same argument', `{ user(${times(600, () => 'id: 1')}) { id } }`],
    ['unknown directives', `{ __typename ${times(600, (n) => `@a${n}`)} }`],
    ['directives', `{ __typename ${times(45, () => '@include(if: true)')} }`],
    ['unknown types', `query (${times(480, (n) => `$v${n}: Revocaton${n}`)}) { __typename }`],
    ['unused variables', `query (${times(480, (n) => `$v${n}: Int`)}) { __typename }`],
    ['the same variable', `query (${times(480, () => '$v: Int')}) { __typename }`],
    ['undefined variables', `{ ${times(45, (n) => `a${n}: user(id: $v${n}) { id }`)} }`],
    ['operations', times(480, (n) => `query Q${n} { __typename }`)],
    ['unnamed operations', times(600, () => '{ __typename }')],
    ['operations of one name', times(480, () => 'query Q { __typename }')],
    [
      'operations of large fragments',
      `${times(200, (n) => `query Q${n} { ...f }`)} fragment f on Query { ${times(330, () => '__typename')} }`,
    ],
    [
      'operations of a chain of fragments',
      `${times(150, (n) => `query Q${n} { ...f0 }`)} ${times(49, (n) => `fragment f${n} on Query { ...f${n + 1} }`)} fragment f49 on Query { ${times(300, () => '__typename')} }`,
    ],
    [
      'undefined variables of many operations',
      `${times(60, (n) => `query Q${n} { ...f }`)} fragment f on Query { ${times(90, (n) => `a${n}: user(id: $v${n}) { id }`)} }`,
    ],
    ['fragments', times(280, (n) => `fragment f${n} on Query { __typename }`)],
    ['unknown spreads', `{ ${times(49, (n) => `...f${n}`)} }`],
    [
      'spreads of a large fragment',
      `{ ${'...f '.repeat(900)} } fragment f on Query { ${'__typename '.repeat(900)} }`,
    ],
    [
      'a circle of fragments',
      `{ ...f0 } ${times(200, (n) => `fragment f${n} on Query { ...f${(n + 1) % 200} }`)}`,
    ],
    [
      'circles of fragments',
      `${times(40, (n) => `fragment f${n} on Query { ${times(12, (m) => `...f${(n + m) % 40}`)} }`)} { ...f0 }`,
    ],
    [
      'conflicting fields',
      `{ ${times(250, (n) => `a: ${n % 2 ? 'me { id }' : 'sessions { id }'}`)} }`,
    ],
    [
      'conflicts deep down',
      `{ ${times(20, () => `me { ${times(22, (n) => `a: ${n % 2 ? 'id' : 'email'}`)} }`)} }`,
    ],
    ['the same field', `{ ${times(495, () => '__typename')} }`],
    ['the same field with arguments', `{ ${times(240, () => 'user(id: "x") { id }')} }`],
    [
      'the same field with a large argument',
      `{ ${times(6, () => `user(id: [${times(150, () => '{ a: 1 }')}]) { id }`)} }`,
    ],
    [
      'the same object with different orders',
      `{ ${times(3, (n) => `revocations(filter: { ${times(150, (m) => `f${(m * (n + 1)) % 150}: 1`)} }) { totalCount }`)} }`,
    ],
    [
      'introspection',
      '{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }',
    ],
    [
      'introspection by aliases',
      `{ ${times(4, (n) => `a${n}: __schema { types { name fields { name type { name } } } }`)} }`,
    ],
    [
      'introspection in full',
      `{ ${times(4, (n) => `a${n}: __schema { types { name description fields { name description args { name description type { name } } } } }`)} }`,
    ],
    [
      'types of types',
      `{ ${times(4, (n) => `a${n}: __type(name: "Query") { fields { type { fields { type { fields { name } } } } } }`)} }`,
    ],
    ['introspection without end', `{ ${times(45, (n) => `a${n}: __schema { types { name } }`)} }`],
    ['a schema', `type T { ${times(600, (n) => `f${n}: Int`)} }`],
    ['subscriptions', `subscription { ${times(45, (n) => `a${n}: sessionEnded { reason }`)} }`],
    [
      'expensive queries',
      `{ ${times(45, (n) => `a${n}: revocations { totalCount edges { node { id } } }`)} }`,
    ],
  ]
}

const EVENTS = { accept: 'text/event-stream', 'content-type': 'application/json' }

function* documentRequests(): Generator<HeavyRequest> {
  for (const [name, query] of documents()) {
    yield post(name, { query })
    const many = Array.from({ length: 10 }, (_, index) => ({ query: `${query}#${index}` }))
    if (Buffer.byteLength(JSON.stringify(many)) < MAX_BYTES)
      yield { ...post(`ten times ${name}`, many), operations: many.length }
    if (query.length < VALUE_BYTES / 10)
      yield { ...post(`as events: ${name}`, { query: `${query}#sse` }), headers: EVENTS }
    if (query.length < 10_000) {
      const search = `?${new URLSearchParams({ query: `${query}#get` })}`
      yield { name: `by GET: ${name}`, method: 'GET', search }
    }
  }
}

const CHEAP = '{ __typename }'

function* envelopeRequests(): Generator<HeavyRequest> {
  for (const [name, text] of texts(VALUE_BYTES)) {
    yield post(`operation name: ${name}`, { query: CHEAP, operationName: text })
    yield post(`a document of ${name}`, { query: text })
    yield post(`persisted query: ${name}`, {
      query: CHEAP,
      extensions: { persistedQuery: { version: 1, sha256Hash: text } },
    })
    yield post(`persisted query not sent: ${name}`, {
      query: '',
      extensions: { persistedQuery: { version: 1, sha256Hash: text } },
    })
    yield { name: `a body of ${name}`, body: text }
    yield { name: `a body in quotes of ${name}`, body: JSON.stringify(text) }
  }
  for (const [name, json] of values()) {
    yield { name: `a body that is ${name}`, body: json }
    for (const member of ['variables', 'operationName', 'extensions', 'query', 'id'])
      yield { name: `${member}: ${name}`, body: `{"query":"${CHEAP}","${member}":${json}}` }
    yield { name: `a batch of ${name}`, body: `[${json}]` }
    yield {
      name: `persisted query: ${name}`,
      body: `{"extensions":{"persistedQuery":{"version":1,"sha256Hash":${json}}}}`,
    }
  }
  yield {
    name: 'JSON with white space',
    body: `${' '.repeat(500_000)}{"query":"${CHEAP}"}${'\n'.repeat(500_000)}`,
  }
  yield { name: 'a member many times', body: `{${times(16_000, () => `"query":"${CHEAP}"`, ',')}}` }
  yield {
    name: 'a batch of very many',
    body: `[${times(30_000, () => `{"query":"${CHEAP}"}`, ',')}]`,
  }
}

/** Headers hold up to 16 KiB together. */
const HEADER_PIECES: Readonly<Record<string, string>> = {
  letters: 'a',
  spaces: 'a ',
  commas: ',',
  'quotes and commas': '",',
  semicolons: ';',
  parameters: 'a/b;c=d,',
  'quoted parameters': 'a/b;c="d,',
  brackets: ']',
  colons: ':1',
  percents: '%',
  dots: 'a.',
  equals: '=',
  bearer: 'Bearer ',
  slashes: '/',
  'event streams': 'text/event-stream,',
  'json types': 'application/json;q=0.1,',
}

const HEADERS = [
  'authorization',
  'accept',
  'content-type',
  'content-encoding',
  'accept-encoding',
  'x-forwarded-for',
  'x-forwarded-proto',
  'origin',
  'cookie',
  'user-agent',
  'if-none-match',
  'x-apollo-operation-name',
]

function* headerRequests(): Generator<HeavyRequest> {
  const body = JSON.stringify({ query: '{ me { id } }' })
  for (const header of HEADERS) {
    for (const [name, piece] of Object.entries(HEADER_PIECES)) {
      const value = piece.repeat(Math.floor(15_000 / piece.length))
      const headers = {
        'content-type': 'application/json',
        [header]: header === 'authorization' ? `Bearer ${value}` : value.trim(),
      }
      yield { name: `header ${header}: ${name}`, headers, body }
    }
  }
  const token = `${'a'.repeat(5000)}.${'b'.repeat(5000)}.${'c'.repeat(4900)}`
  yield { name: 'a long token', headers: { authorization: `Bearer ${token}` }, body }
}

/** Bytes of a WebSocket's message: the service takes 256 KiB. */
const MESSAGE_BYTES = 250_000

function* messages(): Generator<HeavyRequest> {
  const message = (name: string, content: unknown): HeavyRequest => ({
    name: `over a WebSocket: ${name}`,
    over: 'WEBSOCKET',
    body: typeof content === 'string' ? content : JSON.stringify(content),
  })
  const subscribe = (payload: object): object => ({ id: '1', type: 'subscribe', payload })

  for (const [name, query] of documents())
    if (query.length < MESSAGE_BYTES / 2) yield message(name, subscribe({ query }))
  for (const [name, text] of texts(MESSAGE_BYTES / 2)) {
    for (const use of ['email', 'password', 'number', 'roles', 'filter', 'token', 'event cursor'])
      yield message(`${use}: ${name}`, subscribe({ query: USES[use], variables: { v: text } }))
    yield message(`id: ${name}`, { id: text, type: 'subscribe', payload: { query: CHEAP } })
    yield message(`type: ${name}`, { id: '1', type: text })
    yield message(`operation name: ${name}`, subscribe({ query: CHEAP, operationName: text }))
    yield message(`ping with a token: ${name}`, { type: 'ping', payload: { authorization: text } })
    yield message(`ping with a bearer: ${name}`, {
      type: 'ping',
      payload: { authorization: `Bearer ${text}` },
    })
    yield message(`ping: ${name}`, { type: 'ping', payload: { text } })
    yield message(`no JSON: ${name}`, text)
  }
  for (const size of [20_000, 40_000]) {
    const unknown = objectOf(size / 2, (n) => `f${n}`)
    yield message(
      `${size} unknown members`,
      subscribe({ query: USES['filter'], variables: { v: unknown } }),
    )
    yield message(
      `${size} levels`,
      `{"type":"ping","payload":${'['.repeat(size)}${']'.repeat(size)}}`,
    )
    yield message(`${size} members`, { type: 'ping', payload: unknown })
  }
}

/** All of it: some two thousand. */
export function* heavyRequests(): Generator<HeavyRequest> {
  yield* variableRequests()
  yield* repeatedUses()
  yield* documentRequests()
  yield* envelopeRequests()
  yield* headerRequests()
  yield* messages()
}
