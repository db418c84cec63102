import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { makeExecutableSchema } from '@graphql-tools/schema'
import { graphql } from 'graphql'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import {
  MemoryRevocationStore,
  PortcullisError,
  TokenRevokedError,
  createKeyRing,
  createPortcullis,
  httpHeadOf,
} from '../../src/index.ts'
import type { Portcullis, PortcullisOptions, Sweeper } from '../../src/index.ts'

const MINUTE_MS = 60_000

let now = Date.parse('2026-11-22T09:00:00Z')

function create(overrides: Partial<PortcullisOptions> = {}): Portcullis {
  return createPortcullis({
    keys: createKeyRing({ signWith: 'the secret of the tests, 32 bytes or more' }),
    issuer: 'https://api.example',
    audience: 'api',
    store: new MemoryRevocationStore({ clock: () => now }),
    ...overrides,
  })
}

describe('a new token', () => {
  it('lives 15 minutes, or as long as was asked for', async () => {
    const grant = { subject: 'ada' }
    const store = new MemoryRevocationStore({ maxTokenLifetimeSeconds: 3600, clock: () => now })

    expect((await create({ store }).issue(grant)).expiresIn).toBe(3600)
    expect((await create().issue(grant)).expiresIn).toBe(900)
    expect((await create({ tokenLifetimeSeconds: 60 }).issue(grant)).expiresIn).toBe(60)
    const notAfter = new Date(now + 30_000)
    expect((await create().issue({ ...grant, notAfter })).expiresIn).toBe(30)
  })

  it('carries the role of a signed-in person, unless others are given', async () => {
    const portcullis = create()
    const rolesOf = async (roles?: readonly string[]): Promise<readonly string[]> => {
      const { text } = await portcullis.issue({ subject: 'ada', ...(roles && { roles }) })
      return portcullis.tokens.verify(text).roles
    }

    expect(await rolesOf()).toEqual(['USER'])
    expect(await rolesOf(['USER', 'PACKER'])).toEqual(['USER', 'PACKER'])
    expect(await rolesOf([])).toEqual([])
  })

  // Q55
  it('says when its person signed in, if that is given, and never later than now', async () => {
    const portcullis = create()
    const loginOf = async (authenticatedAt?: Date): Promise<number | undefined> => {
      const grant = { subject: 'ada', ...(authenticatedAt && { authenticatedAt }) }
      return portcullis.tokens.verify((await portcullis.issue(grant)).text).authenticatedAt
    }
    const issuedAt = async (): Promise<number> =>
      portcullis.tokens.verify((await portcullis.issue({ subject: 'ada' })).text).issuedAt

    expect(await loginOf()).toBeUndefined()
    expect(await loginOf(new Date(now - MINUTE_MS))).toBe((now - MINUTE_MS) / 1000)
    expect(await loginOf(new Date(now + MINUTE_MS))).toBeLessThanOrEqual(await issuedAt())
    await expect(loginOf(new Date('yesterday'))).rejects.toThrow(
      'expected authenticatedAt to be a Date, got an invalid one',
    )
  })

  it('says which session it opened, so that the session can be ended', async () => {
    const portcullis = create()
    const phone = await portcullis.issue({ subject: 'ada' })
    const laptop = await portcullis.issue({ subject: 'ada' })
    const { sessionId } = phone
    const refreshed = await portcullis.issue({ subject: 'ada', sessionId })
    expect(refreshed.sessionId).toBe(sessionId)

    const target = { scope: 'SESSION', sessionId, subject: 'ada' } as const
    await portcullis.revocations.revoke({ target, reason: 'phone lost', by: null })

    await expect(authenticate(portcullis, phone.text)).rejects.toThrow(TokenRevokedError)
    await expect(authenticate(portcullis, refreshed.text)).rejects.toThrow(TokenRevokedError)
    await expect(authenticate(portcullis, laptop.text)).resolves.toMatchObject({ subject: 'ada' })
  })
})

function authenticate(
  portcullis: Portcullis,
  text: string,
): ReturnType<Portcullis['authenticate']> {
  return portcullis.authenticate({ authorization: `Bearer ${text}` })
}

describe('a REST route', () => {
  const portcullis = create()
  let server: Server
  let url: string

  beforeAll(async () => {
    server = createServer((request, response) => {
      const demand = request.url === '/reports' ? { requires: ['ADMIN'] } : {}
      portcullis.authenticate({ authorization: request.headers.authorization }, demand).then(
        ({ subject }) => response.end(JSON.stringify({ subject })),
        (error: unknown) => {
          if (!(error instanceof PortcullisError)) throw error
          const { status, headers } = httpHeadOf(error)
          const { message, extensions } = error
          response.writeHead(status, headers).end(JSON.stringify({ message, ...extensions }))
        },
      )
    })
    await new Promise<void>((listening) => {
      server.listen(0, '127.0.0.1', listening)
    })
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })

  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })

  async function get(
    path: string,
    token?: string,
  ): Promise<{ status: number; challenge: string | null; body: unknown }> {
    const headers = { ...(token !== undefined && { authorization: `Bearer ${token}` }) }
    const response = await fetch(`${url}${path}`, { headers })
    const challenge = response.headers.get('www-authenticate')
    return { status: response.status, challenge, body: await response.json() }
  }

  it('knows its caller, and answers refusals as a GraphQL field does', async () => {
    const phone = await portcullis.issue({ subject: 'ada' })

    expect(await get('/', phone.text)).toMatchObject({ status: 200, body: { subject: 'ada' } })
    expect(await get('/')).toMatchObject({
      status: 401,
      challenge: 'Bearer',
      body: { reason: 'TOKEN_MISSING' },
    })
    expect(await get('/', 'no.token.ofours')).toMatchObject({
      status: 401,
      challenge: 'Bearer error="invalid_token"',
      body: { reason: 'TOKEN_INVALID' },
    })
    expect(await get('/reports', phone.text)).toMatchObject({
      status: 403,
      challenge: null,
      body: { code: 'FORBIDDEN', reason: 'ROLE_REQUIRED' },
    })
  })

  it('refuses a revoked token at the very next request, with the reason', async () => {
    const phone = await portcullis.issue({ subject: 'grace' })
    const target = { scope: 'SUBJECT', subject: 'grace' } as const
    const reason = 'account closed'
    await portcullis.revocations.revoke({ target, reason, by: 'olga' })

    expect(await get('/', phone.text)).toMatchObject({
      status: 401,
      body: { reason: 'TOKEN_REVOKED', revocation: { reason } },
    })
  })
})

describe('the sweeper', () => {
  let sweeper: Sweeper | undefined

  afterEach(() => sweeper?.stop())

  it('removes what can be forgotten, and nothing else', async () => {
    const store = new MemoryRevocationStore({ clock: () => now })
    const request = { reason: 'logout', by: 'ada' }
    await store.revoke({
      ...request,
      target: { scope: 'SESSION', sessionId: 'old', subject: 'ada' },
    })
    now += (24 * 60 + 20) * MINUTE_MS
    await store.revoke({
      ...request,
      target: { scope: 'SESSION', sessionId: 'new', subject: 'ada' },
    })
    const deleteExpired = vi.spyOn(store, 'deleteExpired')

    sweeper = create({ store }).startSweeper({ intervalMs: 1 })

    await vi.waitFor(() => expect(deleteExpired).toHaveResolvedWith(1))
    expect(await store.countInForce({})).toBe(1)
  })

  it('warns when it fails, and tries again', async () => {
    const store = new MemoryRevocationStore({ clock: () => now })
    const deleteExpired = vi
      .spyOn(store, 'deleteExpired')
      .mockRejectedValueOnce(new Error('the database is away'))
    const warned = new Promise<Error>((resolve) => {
      process.once('warning', resolve)
    })

    sweeper = create({ store }).startSweeper({ intervalMs: 1 })

    expect(await warned).toMatchObject({
      name: 'PortcullisWarning',
      message: 'Portcullis could not remove what can be forgotten, and will try again',
      detail: 'the database is away',
    })
    await vi.waitFor(() => expect(deleteExpired).toHaveResolved())
  })

  it('sweeps no more once it stopped', async () => {
    const store = new MemoryRevocationStore({ clock: () => now })
    const deleteExpired = vi.spyOn(store, 'deleteExpired')
    sweeper = create({ store }).startSweeper({ intervalMs: 1 })
    await vi.waitFor(() => expect(deleteExpired).toHaveBeenCalled())

    await sweeper.stop()
    const sweeps = deleteExpired.mock.calls.length
    await new Promise((resolve) => {
      setTimeout(resolve, 20)
    })

    expect(deleteExpired).toHaveBeenCalledTimes(sweeps)
  })
})

describe('misuse', () => {
  it.each([
    [{ issuer: '' }, 'expected issuer to be a name, got an empty one'],
    [{ issuer: undefined }, 'expected issuer to be a name, got undefined'],
    [{ audience: '' }, 'expected audience to be a name, got an empty one'],
    [
      { tokenLifetimeSeconds: 901 },
      'expected tokenLifetimeSeconds to be at most the 900 that the store remembers, got 901',
    ],
    [{ tokenLifetimeSeconds: 0 }, 'expected tokenLifetimeSeconds to be a positive number, got 0'],
    [
      { tokenLifetimeSeconds: NaN },
      'expected tokenLifetimeSeconds to be a positive number, got NaN',
    ],
  ])('is told when Portcullis is created: %o', (options, message) => {
    expect(() => create(options as Partial<PortcullisOptions>)).toThrow(new TypeError(message))
  })

  it('is told when a token is issued for no subject, or for a number', async () => {
    const issueFor = (subject: unknown): Promise<unknown> =>
      create().issue({ subject: subject as string })

    await expect(issueFor('')).rejects.toThrow(
      new TypeError('expected subject to be a name, got an empty one'),
    )
    await expect(issueFor(42)).rejects.toThrow(
      new TypeError('expected subject to be a name, got number'),
    )
  })
})

describe('a log that fails', () => {
  it('changes no answer, and the process is warned', async () => {
    const warnings: Error[] = []
    const listen = (warning: Error): unknown => warnings.push(warning)
    process.on('warning', listen)
    const portcullis = create({
      log: () => {
        throw new Error('the disk is full')
      },
    })
    const schema = portcullis.protect(
      makeExecutableSchema({
        typeDefs: [...portcullis.typeDefs, 'type Query { me: String @auth }'],
        resolvers: [portcullis.resolvers],
      }),
    )
    const { text } = await portcullis.issue({ subject: 'ada' })
    const ask = async (source: string): Promise<unknown> => {
      const contextValue = portcullis.context({ authorization: `Bearer ${text}` })
      const { data, errors } = await graphql({ schema, source, contextValue })
      return errors?.[0]?.extensions['reason'] ?? data
    }

    expect(await ask('mutation { logout { alreadyRevoked } }')).toEqual({
      logout: { alreadyRevoked: false },
    })
    expect(await ask('{ me }')).toBe('TOKEN_REVOKED')
    await vi.waitFor(() =>
      expect(warnings).toContainEqual(expect.objectContaining({ detail: 'the disk is full' })),
    )
    process.off('warning', listen)
  })
})

describe('a recent login', () => {
  const RULES = { maxAgeSeconds: 600, adminMaxAgeSeconds: 60 }

  async function outcomeOf(
    portcullis: Portcullis,
    act: string,
    authenticatedAt?: Date,
  ): Promise<unknown> {
    const schema = portcullis.protect(
      makeExecutableSchema({
        typeDefs: [...portcullis.typeDefs],
        resolvers: portcullis.resolvers,
      }),
    )
    const roles = ['USER', 'ADMIN']
    const { text } = await portcullis.issue({
      subject: 'ada',
      roles,
      ...(authenticatedAt && { authenticatedAt }),
    })
    const contextValue = portcullis.context({ authorization: `Bearer ${text}` })
    const { data, errors } = await graphql({ schema, source: `mutation { ${act} }`, contextValue })
    // The sessions are the API's own, which a store that knows none cannot count.
    if (data && act.includes('endedSessions'))
      expect(Object.values(data)).toEqual([{ endedSessions: null }])
    return errors?.[0]?.extensions ?? 'done'
  }

  const LOGOUT = 'logoutAllDevices { endedSessions }'
  const REVOKE = 'revokeUser(userId: "eve") { endedSessions }'
  const EVERYONE = 'revokeEveryone(reason: "test") { endedSessions }'
  const REFUSED = { code: 'FORBIDDEN', reason: 'REAUTHENTICATION_REQUIRED' }

  it.each([0, -1, NaN, Infinity])('of an age of %j is a mistake', (maxAgeSeconds) => {
    expect(() => create({ reauthentication: { ...RULES, maxAgeSeconds } })).toThrow(
      `expected reauthentication.maxAgeSeconds to be a positive number, got ${maxAgeSeconds}`,
    )
  })

  it('is not asked for unless the option is given', async () => {
    for (const act of [LOGOUT, REVOKE, EVERYONE])
      expect(await outcomeOf(create(), act)).toBe('done')
  })

  // Q55
  it('is asked for then, and a token that does not say when is not recent', async () => {
    const portcullis = create({ reauthentication: RULES })
    const ago = (seconds: number): Date => new Date(now - seconds * 1000)

    for (const act of [LOGOUT, REVOKE, EVERYONE]) {
      expect(await outcomeOf(portcullis, act)).toEqual(REFUSED)
      expect(await outcomeOf(portcullis, act, ago(59))).toBe('done')
    }
    expect(await outcomeOf(portcullis, REVOKE, ago(61))).toEqual(REFUSED)
    expect(await outcomeOf(portcullis, EVERYONE, ago(61))).toEqual(REFUSED)
    expect(await outcomeOf(portcullis, LOGOUT, ago(599))).toBe('done')
    expect(await outcomeOf(portcullis, LOGOUT, ago(601))).toEqual(REFUSED)
  })

  // Q55
  it('is asked for by restore, and not by revokeToken, whose caller shows the token', async () => {
    const portcullis = create({ reauthentication: RULES })
    const { revocation } = await portcullis.revocations.revoke({
      target: { scope: 'SUBJECT', subject: 'eve' },
      reason: 'test',
      by: null,
    })
    const restore = `restore(revocationId: "${revocation.id}") { alreadyRestored }`
    const ago = (seconds: number): Date => new Date(now - seconds * 1000)

    expect(await outcomeOf(portcullis, restore, ago(61))).toEqual(REFUSED)
    expect(await portcullis.revocations.countInForce({})).toBe(1)
    expect(await outcomeOf(portcullis, restore, ago(59))).toBe('done')
    expect(await outcomeOf(portcullis, 'revokeToken(token: "a.b.c") { verified }')).toBe('done')
  })

  // Q55
  it('can be asked for by routes and fields of one’s own', async () => {
    const portcullis = create()
    const authenticatedAt = new Date(now - 30_000)
    const { text } = await portcullis.issue({ subject: 'ada', authenticatedAt })
    const request = { authorization: `Bearer ${text}` }

    await expect(
      portcullis.authenticate(request, { maxLoginAgeSeconds: 31 }),
    ).resolves.toMatchObject({ subject: 'ada' })
    await expect(
      portcullis.authenticate(request, { maxLoginAgeSeconds: 29 }),
    ).rejects.toMatchObject({ httpStatus: 403, extensions: REFUSED })
  })
})
