import { HttpLink, gql } from '@apollo/client'
import type { ErrorLike } from '@apollo/client'
import { BatchHttpLink } from '@apollo/client/link/batch-http'
import { RetryLink } from '@apollo/client/link/retry'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createRefresh } from '../../src/client/client.ts'
import { createGate } from '../support/gate.ts'
import { expiredTokenOf, forgedTokenOf, login, register, whoAmI } from '../support/people.ts'
import { startServiceOnCable } from '../support/service.ts'
import { createApp as createAppAt, reasonOf } from './app.ts'
import type { App, AppOptions } from './app.ts'
import { startStubbornServer } from './stubborn-server.ts'
import type { StubbornServer } from './stubborn-server.ts'

const PARALLEL = 20

const EXPIRED = { code: 'UNAUTHENTICATED', reason: 'TOKEN_EXPIRED' }

let service: Awaited<ReturnType<typeof startServiceOnCable>>
let url: string

beforeAll(async () => {
  service = await startServiceOnCable()
  url = `${service.url}/graphql`
})

afterAll(async () => {
  await service.stop()
})

function createApp(options: Omit<AppOptions, 'url'>): App {
  return createAppAt({ url, ...options })
}

/** Many at the same time, and what became of them. */
async function askInParallel({ me }: App): Promise<ReadonlySet<unknown>> {
  const answers = await Promise.all(
    Array.from({ length: PARALLEL }, async () => {
      const asked = me()
      return (await reasonOf(asked)) ?? asked
    }),
  )
  return new Set(answers)
}

/** A `fetch` that holds back the answer to its first request. */
function createSlowFetch(): { fetch: typeof fetch; arrived: Promise<void>; release(): void } {
  const arrival = createGate()
  const departure = createGate()
  let count = 0
  return {
    arrived: arrival.opened,
    release: departure.open,
    fetch: async (...request) => {
      count += 1
      const isFirst = count === 1
      const response = await fetch(...request)
      if (!isFirst) return response
      arrival.open()
      await departure.opened
      return response
    },
  }
}

describe('the link, when a token has expired', () => {
  it('refreshes once for all requests at the same time, and repeats each', async () => {
    const signIn = await register(service, 'ada')
    const app = createApp({ tokens: { ...signIn, accessToken: expiredTokenOf(signIn) } })

    expect(await askInParallel(app)).toEqual(new Set(['ada@example.com']))
    expect(app.refreshes()).toBe(1)
    expect(app.endings).toEqual([])
  })

  it('refreshes before the request when it knows that the token is about to expire', async () => {
    const signIn = await register(service, 'barbara')
    let requests = 0
    const app = createApp({
      tokens: { ...signIn, accessToken: expiredTokenOf(signIn), expiresIn: 0 },
      fetch: async (...request) => {
        requests += 1
        return fetch(...request)
      },
    })

    expect(await app.me()).toBe('barbara@example.com')
    expect({ requests, refreshes: app.refreshes() }).toEqual({ requests: 1, refreshes: 1 })
  })

  it('repeats a query of which a part was answered', async () => {
    const admin = await login(service, 'admin', 'laptop')
    const app = createApp({ tokens: { ...admin, accessToken: expiredTokenOf(admin) } })

    const { data } = await app.client.query({
      query: gql`
        query Find($email: String!) {
          user(email: $email) {
            email
          }
        }
      `,
      variables: { email: service.admin.email },
    })

    expect(data).toMatchObject({ user: { email: service.admin.email } })
    expect(app.refreshes()).toBe(1)
  })

  it('repeats a mutation of which nothing ran', async () => {
    const signIn = await register(service, 'chandra')
    const app = createApp({ tokens: { ...signIn, accessToken: expiredTokenOf(signIn) } })

    const { data } = await app.client.mutate({
      mutation: gql`
        mutation {
          all: logoutAllDevices(keepCurrent: true) {
            endedSessions
          }
        }
      `,
    })

    expect(data).toMatchObject({ all: { endedSessions: 0 } })
  })

  it('refreshes once for a batch', async () => {
    const signIn = await register(service, 'dorothy')
    const app = createApp({
      tokens: { ...signIn, accessToken: expiredTokenOf(signIn) },
      link: new BatchHttpLink({ uri: url, batchMax: 10 }),
    })

    expect(await askInParallel(app)).toEqual(new Set(['dorothy@example.com']))
    expect(app.refreshes()).toBe(1)
  })

  it('signs out once when the refresh is refused', async () => {
    const signIn = await register(service, 'edith')
    await service.graphql('mutation { logout { alreadyRevoked } }', { token: signIn.accessToken })
    const app = createApp({ tokens: { ...signIn, accessToken: expiredTokenOf(signIn) } })

    expect(await askInParallel(app)).toEqual(new Set(['TOKEN_EXPIRED']))
    expect(app.endings).toEqual([{ reason: 'INVALID_REFRESH_TOKEN' }])
    expect(app.refreshes()).toBe(1)
    expect(app.session.accessToken).toBeNull()
  })

  it('signs out a person who was suspended', async () => {
    const signIn = await register(service, 'frances')
    const { accessToken: token } = await login(service, 'admin', 'console')
    await service.graphql('mutation ($id: ID!) { suspendUser(userId: $id) { alreadySuspended } }', {
      token,
      variables: { id: signIn.userId },
    })
    const app = createApp({ tokens: { ...signIn, accessToken: expiredTokenOf(signIn) } })

    await app.me().catch(() => undefined)

    expect(app.endings).toEqual([{ reason: 'ACCOUNT_SUSPENDED' }])
  })

  it('keeps the tokens when the refresh cannot be done now, and fails that request alone', async () => {
    const signIn = await register(service, 'grace')
    const app = createApp({ tokens: { ...signIn, accessToken: expiredTokenOf(signIn) } })

    service.cable.setMode('cut')
    try {
      expect(await reasonOf(app.me())).toBe('RefreshError')
    } finally {
      service.cable.setMode('pass')
    }

    expect(app.endings).toEqual([])
    expect(await app.me()).toBe('grace@example.com')
  })

  it('asks again at once for new tokens whose answer got lost', async () => {
    const signIn = await register(service, 'hedy')
    let requests = 0
    const refresh = createRefresh(url, {
      fetch: async (...request) => {
        requests += 1
        const response = await fetch(...request)
        if (requests === 1) throw new TypeError('network error')
        return response
      },
    })
    const app = createApp({ refresh, tokens: { ...signIn, accessToken: expiredTokenOf(signIn) } })

    expect(await app.me()).toBe('hedy@example.com')
    expect(requests).toBe(2)
  })
})

describe('the link, when a token was revoked', () => {
  it('signs out once, says why, and refuses as many requests as there were', async () => {
    const phone = await register(service, 'ingrid')
    const laptop = await login(service, 'ingrid', 'laptop')
    const app = createApp({ tokens: phone })
    await service.graphql('mutation { logoutAllDevices { endedSessions } }', {
      token: laptop.accessToken,
    })

    expect(await askInParallel(app)).toEqual(new Set(['TOKEN_REVOKED']))
    expect(app.endings).toEqual([
      {
        reason: 'TOKEN_REVOKED',
        revocation: { reason: 'logout_all_devices', revokedAt: expect.any(Date) },
      },
    ])
    expect(app.refreshes()).toBe(0)
    expect(await reasonOf(app.me())).toBe('TOKEN_MISSING')
  })

  it('signs out once for each sign-in', async () => {
    const app = createApp({ tokens: await register(service, 'joan') })
    for (const device of ['phone', 'laptop']) {
      const signIn = await login(service, 'joan', device)
      app.session.signIn(signIn)
      await service.graphql('mutation { logout { alreadyRevoked } }', { token: signIn.accessToken })
      await askInParallel(app)
    }

    expect(app.endings).toHaveLength(2)
  })

  it('signs out on TOKEN_INVALID', async () => {
    const signIn = await register(service, 'karen')
    const app = createApp({ tokens: { ...signIn, accessToken: forgedTokenOf(signIn) } })

    expect(await reasonOf(app.me())).toBe('TOKEN_INVALID')
    expect(app.endings).toEqual([{ reason: 'TOKEN_INVALID' }])
  })

  it('says nothing when the app signs out by itself', async () => {
    const app = createApp({ tokens: await register(service, 'lise') })

    app.session.signOut()

    expect(await reasonOf(app.me())).toBe('TOKEN_MISSING')
    expect(app.endings).toEqual([])
  })
})

describe('the link, when the answer is late', () => {
  it('does not sign out who has signed in since, and repeats the request as the same person', async () => {
    const phone = await register(service, 'mary')
    await service.graphql('mutation { logout { alreadyRevoked } }', { token: phone.accessToken })
    const slow = createSlowFetch()
    const app = createApp({ tokens: phone, fetch: slow.fetch })

    const asked = app.me()
    await slow.arrived
    const { accessToken, refreshToken } = await login(service, 'mary', 'phone')
    app.session.signIn({ accessToken, refreshToken })
    slow.release()

    expect(await asked).toBe('mary@example.com')
    expect(app.endings).toEqual([])
    expect(app.session.accessToken).toBe(accessToken)
  })

  it.each(['TOKEN_REVOKED', 'TOKEN_EXPIRED'])(
    'repeats nothing as another person (%s)',
    async (reason) => {
      const before = await register(service, `nadia-${reason.toLowerCase()}`)
      const after = await register(service, `olga-${reason.toLowerCase()}`)
      await service.graphql('mutation { logout { alreadyRevoked } }', { token: before.accessToken })
      const slow = createSlowFetch()
      const { accessToken } =
        reason === 'TOKEN_EXPIRED' ? { accessToken: expiredTokenOf(before) } : before
      const app = createApp({ tokens: { ...before, accessToken }, fetch: slow.fetch })

      const asked = app.me()
      await slow.arrived
      app.session.signIn(after)
      slow.release()

      expect(await reasonOf(asked)).toBe(reason)
      expect(app.session.accessToken).toBe(after.accessToken)
      expect({ endings: app.endings, refreshes: app.refreshes() }).toEqual({
        endings: [],
        refreshes: 0,
      })
    },
  )

  it('never loops: repeats once, though there is a newer token each time', async () => {
    const extensions = { code: 'UNAUTHENTICATED', reason: 'TOKEN_REVOKED' }
    const server = await startStubbornServer({ errors: [{ message: '', extensions }] })
    const signIn = await register(service, 'ruth')
    const app = createAppAt({
      url: server.url,
      tokens: signIn,
      fetch: async (...request) => {
        const response = await fetch(...request)
        app.session.signIn(await login(service, 'ruth', 'phone'))
        return response
      },
    })

    try {
      expect(await reasonOf(app.me())).toBe('TOKEN_REVOKED')
      expect({ requests: server.asked.length, endings: app.endings }).toEqual({
        requests: 2,
        endings: [],
      })
    } finally {
      await server.close()
    }
  })
})

describe('the link, in an outage', () => {
  it('keeps the token on REVOCATION_UNAVAILABLE, and goes on with it afterwards', async () => {
    const app = createApp({ tokens: await register(service, 'pauline') })
    const { accessToken } = app.session

    service.cable.setMode('cut')
    try {
      expect(await askInParallel(app)).toEqual(new Set(['REVOCATION_UNAVAILABLE']))
    } finally {
      service.cable.setMode('pass')
    }

    expect(app.session.accessToken).toBe(accessToken)
    // The node may still find connections that died.
    await vi.waitFor(async () =>
      expect(await whoAmI(service, accessToken)).toBe('pauline@example.com'),
    )
    expect(await app.me()).toBe('pauline@example.com')
    expect({ endings: app.endings, refreshes: app.refreshes() }).toEqual({
      endings: [],
      refreshes: 0,
    })
  })

  it('sends the newer token when a link before it tries again', async () => {
    const signIn = await register(service, 'rosalind')
    const sent: unknown[] = []
    const app = createApp({
      tokens: { ...signIn, accessToken: 'of before' },
      fetch: async (input, init) => {
        sent.push(new Headers(init?.headers).get('authorization'))
        if (sent.length > 1) return fetch(input, init)
        app.session.signIn(signIn)
        throw new TypeError('network error')
      },
    })
    const attempts = { max: 2, retryIf: (error: ErrorLike) => error.name === 'TypeError' }
    app.client.setLink(new RetryLink({ delay: { initial: 1 }, attempts }).concat(app.client.link))

    expect(await app.me()).toBe('rosalind@example.com')
    expect(sent).toEqual(['Bearer of before', `Bearer ${signIn.accessToken}`])
  })
})

describe('the link, at a server that refuses every token', () => {
  const MUTATION = gql`
    mutation {
      pay {
        receipt
      }
      thank
    }
  `
  const TOKENS = { accessToken: 'access 0', refreshToken: 'refresh 0' }

  async function ask(
    answer: object,
    run: (app: App, server: StubbornServer) => Promise<unknown>,
    mediaType?: string,
  ): Promise<{ reason: unknown; requests: number; refreshes: number; endings: number }> {
    const server = await startStubbornServer(answer, mediaType)
    try {
      const app = createAppAt({ url: server.url, tokens: TOKENS })
      const reason = await reasonOf(run(app, server))
      return {
        reason,
        requests: server.asked.length,
        refreshes: app.refreshes(),
        endings: app.endings.length,
      }
    } finally {
      await server.close()
    }
  }

  it.each([
    { mediaType: 'application/graphql-response+json', reason: 'TOKEN_EXPIRED' },
    { mediaType: 'application/json', reason: 'ServerError' },
  ])(
    'never loops: refreshes once, repeats once, and hands on the second ($mediaType)',
    async ({ mediaType, reason }) => {
      const answer = { data: null, errors: [{ message: '', path: ['me'], extensions: EXPIRED }] }

      expect(await ask(answer, ({ me }) => me(), mediaType)).toEqual({
        reason,
        requests: 2,
        refreshes: 1,
        endings: 0,
      })
    },
  )

  it.each([
    { what: 'its first field ran', paths: [['thank']], data: null, requests: 1 },
    { what: 'a field ran up to its result', paths: [['pay', 'receipt']], data: null, requests: 1 },
    { what: 'one of its fields ran', paths: [['pay']], data: { pay: null, thank: 1 }, requests: 1 },
    {
      what: 'no field ran',
      paths: [['pay'], ['thank']],
      data: { pay: null, thank: null },
      requests: 2,
    },
    { what: 'it was refused as a whole', paths: [undefined], data: undefined, requests: 2 },
  ])('sends a mutation $requests times of which $what', async ({ paths, data, requests }) => {
    const errors = paths.map((path) => ({ message: '', path, extensions: EXPIRED }))

    const outcome = await ask({ data, errors }, ({ client }) =>
      client.mutate({ mutation: MUTATION }),
    )

    expect(outcome).toMatchObject({ reason: 'TOKEN_EXPIRED', requests, refreshes: 1 })
  })

  it('signs out on TOKEN_REVOKED also when it comes with 401 and as plain JSON', async () => {
    const extensions = { code: 'UNAUTHENTICATED', reason: 'TOKEN_REVOKED' }
    const answer = { errors: [{ message: '', extensions }] }

    expect(await ask(answer, ({ me }) => me(), 'application/json')).toEqual({
      reason: 'ServerError',
      requests: 1,
      refreshes: 0,
      endings: 1,
    })
  })
})

it('the link leaves other errors to the app', async () => {
  const signIn = await register(service, 'sofia')
  const app = createApp({ tokens: signIn, link: new HttpLink({ uri: url }) })
  const LIST = gql`
    query List {
      revocations {
        totalCount
      }
    }
  `

  expect(await reasonOf(app.client.query({ query: LIST }))).toBe('ROLE_REQUIRED')
  expect(app.session.accessToken).toBe(signIn.accessToken)
})
