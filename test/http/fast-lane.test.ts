import type { AddressInfo } from 'node:net'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Revocation } from '../../src/contract.ts'
import { createPortcullis } from '../../src/portcullis.ts'
import type { Portcullis } from '../../src/portcullis.ts'
import { MemoryRevocationStore } from '../../src/revocation/memory/memory-store.ts'
import { isRevokedBy } from '../../src/revocation/revocation.ts'
import { createMetrics } from '../../src/service/http/metrics.ts'
import type { Metrics } from '../../src/service/http/metrics.ts'
import { createServer } from '../../src/service/http/server.ts'
import type { Token } from '../../src/token/claims.ts'
import { createKeyRing } from '../../src/token/keys.ts'
import { RawConnection, sendRaw, writePost } from '../support/raw-connection.ts'
import type { RawAnswer } from '../support/raw-connection.ts'
import { SECRET } from '../support/service.ts'
import { createVariedApi, variedDocuments } from '../support/varied-api.ts'
import type { VariedApi } from '../support/varied-api.ts'

/** A server with the lane or without it, and what ran in it. */
interface Way {
  readonly app: FastifyInstance
  readonly url: string
  readonly metrics: Metrics
  readonly api: VariedApi
}

/** A store whose answers are waited for, as a database's, and one that rules out from memory, as a replica. */
const modes = ['database', 'replica'] as const

describe.each(modes)('the fast lane, with the checks of a %s', (mode) => {
  let portcullis: Portcullis
  let lane: Way
  let long: Way
  const tokens = new Map<string, string | undefined>()

  beforeAll(async () => {
    const store = createStore(mode)
    portcullis = createPortcullis({
      keys: createKeyRing({ signWith: SECRET }),
      issuer: 'portcullis',
      audience: 'portcullis',
      store,
    })
    lane = await openWay(portcullis, true)
    long = await openWay(portcullis, false)

    const issue = async (roles: string[]): Promise<string> =>
      (await portcullis.issue({ subject: 'ada', roles })).text
    tokens.set('no token', undefined)
    tokens.set('a user', `Bearer ${await issue(['USER'])}`)
    tokens.set('an admin', `bearer  ${await issue(['ADMIN'])}`)
    tokens.set('a foreign token', `Bearer ${await issue(['ADMIN'])}x`)
    tokens.set('another scheme', 'Basic YTpi')
    const issuedAt = new Date(Date.now() - 3_600_000)
    const grant = { subject: 'ada', sessionId: 's', roles: ['USER'], issuedAt }
    tokens.set('an expired token', `Bearer ${portcullis.sign(grant).text}`)
    const revoked = await issue(['ADMIN'])
    tokens.set('a revoked token', `Bearer ${revoked}`)
    const target = { scope: 'TOKEN', token: portcullis.tokens.verify(revoked) } as const
    await store.revoke({ target, reason: 'lost', by: null })
  })

  afterAll(async () => {
    await Promise.all([lane.app.close(), long.app.close()])
  })

  beforeEach(async () => {
    // What the server adds to its answers is learned from its first one.
    while ((await countFast(lane)) === 0) await sendRaw(lane.url, writePost('{"query":"{ open }"}'))
  })

  async function expectTheSame(bytes: Uint8Array): Promise<RawAnswer> {
    lane.api.ran.length = 0
    long.api.ran.length = 0
    const [fast, expected] = await Promise.all([sendRaw(lane.url, bytes), sendRaw(long.url, bytes)])
    expect(fast).toEqual(expected)
    // Executed once, and nothing that a guard keeps from running.
    expect(lane.api.ran.toSorted()).toEqual(long.api.ran.toSorted())
    return fast as RawAnswer
  }

  const who = fc.constantFrom(
    'no token',
    'a user',
    'an admin',
    'a foreign token',
    'another scheme',
    'an expired token',
    'a revoked token',
  )
  const variables = fc.oneof(
    { weight: 6, arbitrary: fc.record({ text: fc.string({ unit: 'grapheme' }) }) },
    {
      weight: 2,
      arbitrary: fc.record({ text: fc.string(), times: fc.integer({ min: 0, max: 3 }) }),
    },
    { weight: 1, arbitrary: fc.constantFrom({}, { text: 1 }, { text: 'x', times: 'y' }, null) },
    {
      weight: 1,
      arbitrary: fc.constantFrom({ text: 'x', more: { __proto__: 1 } }, { text: null }),
    },
  )
  const headers = fc.constantFrom<Array<Record<string, string>>>(
    {},
    { accept: '*/*' },
    { accept: 'application/graphql-response+json, application/json;q=0.9' },
    { accept: 'text/html' },
    { accept: 'text/event-stream' },
    { origin: 'https://app.example' },
    { origin: 'https://elsewhere.example' },
    { 'content-type': 'application/json; charset=utf-8' },
    { 'content-type': 'text/plain' },
    { 'user-agent': 'x'.repeat(600) },
    { connection: 'close' },
    { host: 'not a host' },
    { connection: 'upgrade', upgrade: 'h2c' },
  )

  // Q39, Q41, Q45, Q46
  it('answers generated queries of every caller with the bytes of the long way', async () => {
    const before = await countFast(lane)
    await fc.assert(
      fc.asyncProperty(
        variedDocuments,
        who,
        variables,
        headers,
        fc.constantFrom(undefined, null, 'Named', 'Other', ''),
        async (query, person, given, more, operationName) => {
          const authorization = tokens.get(person)
          const body = JSON.stringify({ query, variables: given, operationName })
          const head = { ...(authorization !== undefined && { authorization }), ...more }
          // The first time it is compiled, the second time it is hot.
          await expectTheSame(writePost(body, head))
          await expectTheSame(writePost(body, head))
        },
      ),
      { numRuns: 250 },
    )
    expect((await countFast(lane)) - before).toBeGreaterThan(40)
  }, 120_000)

  const HOT = '{"query":"{ me { name } }"}'
  const makeHot = async (body = HOT): Promise<void> => {
    for (let time = 0; time < 2; time += 1) await expectTheSame(asUser(body))
  }
  const asUser = (body: string | Uint8Array, more: Record<string, string> = {}): Buffer =>
    writePost(body, { authorization: tokens.get('a user') as string, ...more })

  // Q37, Q38, Q39
  it.each([
    'no token',
    'a user',
    'an admin',
    'a foreign token',
    'another scheme',
    'an expired token',
    'a revoked token',
  ])('answers a hot document itself, to %s too', async (person) => {
    await makeHot()
    const before = await countFast(lane)
    const authorization = tokens.get(person)
    await expectTheSame(writePost(HOT, authorization === undefined ? {} : { authorization }))
    expect((await countFast(lane)) - before).toBe(1)
  })

  it.each<[string, Record<string, string>]>([
    ['a body in another character set', { 'content-type': 'application/json; charset=latin1' }],
    ['a form', { 'content-type': 'application/x-www-form-urlencoded' }],
    ['a body that is compressed, as it says', { 'content-encoding': 'gzip' }],
    ['a wish for events', { accept: 'text/event-stream' }],
    ['a wish for pictures', { accept: 'image/png' }],
    ['a host that is none', { host: 'a b' }],
    ['no host', { host: '' }],
    ['two tokens', { Authorization: 'Bearer x' }],
    ['two hosts', { Host: 'elsewhere' }],
    ['a network to be asked about', { 'access-control-request-private-network': 'true' }],
  ])('leaves %s to the long way', async (_what, more) => {
    await makeHot()
    const before = await countFast(lane)
    await expectTheSame(asUser(HOT, more))
    expect((await countFast(lane)) - before).toBe(0)
  })

  it.each<[string, string | Uint8Array]>([
    ['no JSON', '{"query":"{ me { name } }"'],
    ['no object', '["{ me { name } }"]'],
    ['a batch', '[{"query":"{ me { name } }"}]'],
    ['extensions', '{"query":"{ me { name } }","extensions":{}}'],
    ['a member that names a prototype', '{"query":"{ me { name } }","variables":{"__proto__":1}}'],
    ['the same in disguise', '{"query":"{ me { name } }","variables":{"\\u005f_proto__":1}}'],
    ['variables that are a list', '{"query":"{ me { name } }","variables":[]}'],
    ['variables that are a text', '{"query":"{ me { name } }","variables":"{}"}'],
    ['another operation', '{"query":"{ me { name } }","operationName":"Other"}'],
    [
      'bytes that are no text',
      Buffer.from('{"query":"{ me { name } }","variables":{"a":"\xff"}}', 'latin1'),
    ],
    ['a byte order mark', '\ufeff{"query":"{ me { name } }"}'],
    ['a mutation', '{"query":"mutation { revokeUser(userId: \\"x\\") { alreadyRevoked } }"}'],
    [
      'a body beyond the limit',
      JSON.stringify({ query: '{ me { name } }', variables: { a: 'x'.repeat(20_000) } }),
    ],
  ])('leaves a body with %s to the long way', async (_what, body) => {
    await makeHot()
    const before = await countFast(lane)
    await expectTheSame(asUser(body))
    await expectTheSame(asUser(body))
    expect((await countFast(lane)) - before).toBe(0)
  })

  it('answers requests that are sent in one piece in their order', async () => {
    await makeHot()
    const answers: RawAnswer[][] = []
    for (const { url } of [lane, long]) {
      const connection = new RawConnection(url)
      const other = asUser('{"query":"{ late }"}')
      connection.write(Buffer.concat([asUser(HOT), other, asUser('{}'), asUser(HOT)]))
      const all: RawAnswer[] = []
      for (let at = 0; at < 4; at += 1) all.push((await connection.read()) as RawAnswer)
      connection.destroy()
      answers.push(all)
    }
    expect(answers[0]).toEqual(answers[1])
    expect(answers[0]!.map(({ status }) => status)).toEqual([200, 200, 400, 200])
  })

  it('leaves a body that comes in pieces to the long way, and it is read whole', async () => {
    await makeHot()
    const before = await countFast(lane)
    const bytes = asUser(HOT)
    for (const cut of [1, 20, bytes.length - HOT.length, bytes.length - 3]) {
      const connection = new RawConnection(lane.url)
      connection.write(bytes.subarray(0, cut))
      await sleep(30)
      connection.write(bytes.subarray(cut))
      expect(await connection.read()).toMatchObject({ status: 200 })
      // The connection goes on.
      connection.write(bytes)
      expect(await connection.read()).toMatchObject({ status: 200 })
      connection.destroy()
    }
    // Cut in the head, the body is there in one piece.
    expect((await countFast(lane)) - before).toBe(4 + 2)
  })

  it('lives on when clients go away at any moment', async () => {
    await makeHot()
    const bytes = asUser(HOT)
    for (let cut = 1; cut <= bytes.length; cut += 7) {
      const connection = new RawConnection(lane.url)
      connection.write(bytes.subarray(0, cut))
      await nextTurn()
      connection.destroy()
    }
    await expectTheSame(bytes)
  })

  it('closes the connection with the last answer when the client asks for that, or the node stops', async () => {
    const way = await openWay(portcullis, true)
    const warm = new RawConnection(way.url)
    for (let time = 0; time < 3; time += 1) {
      warm.write(asUser(HOT))
      await warm.read()
    }
    warm.write(asUser(HOT, { connection: 'close' }))
    expect((await warm.read())?.headers).toContain('connection: close')
    expect(await warm.read()).toBeNull()

    const idle = new RawConnection(way.url)
    idle.write(asUser(HOT))
    await idle.read()
    const closing = way.app.close()
    idle.write(asUser(HOT))
    const last = await idle.read()
    if (last !== null) expect(last.headers).toContain('connection: close')
    await closing
  })

  it('is as the long way to a client that speaks HTTP/1.0', async () => {
    await makeHot()
    const before = await countFast(lane)
    await expectTheSame(Buffer.from(asUser(HOT).toString().replace('HTTP/1.1', 'HTTP/1.0')))
    expect((await countFast(lane)) - before).toBe(0)
  })

  // Q04
  it('says that a check cannot be made, as the long way does', async () => {
    await makeHot()
    const { findFor } = portcullis.revocations
    const rulesOut = portcullis.revocations.rulesOut
    Object.assign(portcullis.revocations, {
      rulesOut: () => false,
      findFor: async () => {
        throw new Error('no database')
      },
    })
    try {
      const before = await countFast(lane)
      const { status, headers: head } = await expectTheSame(asUser(HOT))
      expect(status).toBe(503)
      expect(head.some((line) => line.startsWith('retry-after'))).toBe(true)
      expect((await countFast(lane)) - before).toBe(1)
    } finally {
      Object.assign(portcullis.revocations, { findFor, rulesOut })
    }
  })

  // Q01
  it('refuses a revoked token at its next request', async () => {
    const { text, sessionId } = await portcullis.issue({ subject: 'bob' })
    const bytes = writePost(HOT, { authorization: `Bearer ${text}` })
    await expectTheSame(bytes)
    const before = await countFast(lane)
    expect(await sendRaw(lane.url, bytes)).toMatchObject({ status: 200 })

    const target = { scope: 'SESSION', sessionId, subject: 'bob' } as const
    await portcullis.revocations.revoke({ target, reason: 'gone', by: null })
    const refused = await expectTheSame(bytes)
    expect(refused.status).toBe(401)
    expect(refused.headers).toContain('www-authenticate: Bearer error="invalid_token"')
    expect((await countFast(lane)) - before).toBe(2)
  })
})

async function openWay(portcullis: Portcullis, fastLane: boolean): Promise<Way> {
  const api = createVariedApi(portcullis)
  const metrics = createMetrics(null, () => 0)
  const app = await createServer({
    ...api,
    portcullis,
    keys: createKeyRing({ signWith: SECRET }),
    replica: null,
    metrics,
    log: pino({ level: 'silent' }),
    isProduction: true,
    revokedTokenStatus: 401,
    corsOrigins: ['https://app.example'],
    maxLiveConnections: 10,
    trustProxy: false,
    compileAfter: 0,
    fastLane,
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  return { app, api, metrics, url: `http://127.0.0.1:${port}` }
}

/** Without `rulesOut` every check is waited for. */
function createStore(mode: (typeof modes)[number]): MemoryRevocationStore {
  const store = new MemoryRevocationStore()
  if (mode === 'database') return store

  const known: Revocation[] = []
  store.watch({ grew: (revocations) => known.push(...revocations), missed: () => undefined })
  const rulesOut = (token: Token): boolean => !known.some((entry) => isRevokedBy(token, entry))
  return Object.assign(store, { rulesOut })
}

async function countFast({ metrics }: Way): Promise<number> {
  const text = await metrics.registry.metrics()
  return Number(/portcullis_graphql_requests_total\{way="fast"\} (\d+)/.exec(text)?.[1] ?? 0)
}
