import { Client, fetchExchange, gql, mapExchange } from '@urql/core'
import type { CombinedError, OperationResult } from '@urql/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../support/live.ts'
import { expiredTokenOf, refresh, register } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startServiceOnCable } from '../support/service.ts'

const ME = gql`
  query Me {
    me {
      email
    }
  }
`
const LOGOUT = gql`
  mutation Logout {
    logout {
      alreadyRevoked
    }
  }
`

let service: Awaited<ReturnType<typeof startServiceOnCable>>

beforeAll(async () => {
  service = await startServiceOnCable()
})

afterAll(async () => {
  await service.stop()
})

type Tokens = Pick<SignIn, 'accessToken' | 'refreshToken'>

/** An app that remembers why it was refused, and reacts. */
function createApp(signIn: Tokens | null): {
  readonly client: Client
  readonly seen: string[]
  readonly tokens: () => Tokens | null
  me(): Promise<OperationResult>
} {
  let tokens = signIn
  const seen: string[] = []

  const client = new Client({
    url: `${service.url}/graphql`,
    requestPolicy: 'network-only',
    fetchOptions: () =>
      tokens ? { headers: { authorization: `Bearer ${tokens.accessToken}` } } : {},
    exchanges: [
      mapExchange({
        onError: (error) => {
          seen.push(reasonOf(error))
          if (reasonOf(error) === 'TOKEN_REVOKED') tokens = null
        },
      }),
      fetchExchange,
    ],
  })

  return {
    client,
    seen,
    tokens: () => tokens,
    async me() {
      const result = await client.query(ME, {}).toPromise()
      if (reasonOf(result.error) !== 'TOKEN_EXPIRED') return result

      const { data } = await refresh(service, tokens!.refreshToken)
      tokens = data.refresh
      return client.query(ME, {}).toPromise()
    },
  }
}

function reasonOf(error: CombinedError | undefined): string {
  const { reason, code } = (error?.graphQLErrors[0]?.extensions ?? {}) as any
  return reason ?? code
}

describe('urql', () => {
  it('asks with its token, logs out, and is told that it is signed out', async () => {
    const app = createApp(await register(service, 'ada'))

    expect((await app.me()).data).toMatchObject({ me: { email: 'ada@example.com' } })
    expect((await app.client.mutation(LOGOUT, {}).toPromise()).data).toMatchObject({
      logout: { alreadyRevoked: false },
    })
    const { error } = await app.me()

    expect(error?.networkError).toBeUndefined()
    expect(error?.response.status).toBe(401)
    expect(error?.graphQLErrors[0]?.extensions['revocation']).toMatchObject({ reason: 'logout' })
    expect(app.tokens()).toBeNull()
  })

  it('refreshes on TOKEN_EXPIRED, and repeats the request', async () => {
    const signIn = await register(service, 'barbara')
    const app = createApp({ ...signIn, accessToken: expiredTokenOf(signIn) })

    const { data, error } = await app.me()

    expect(error).toBeUndefined()
    expect(data).toMatchObject({ me: { email: 'barbara@example.com' } })
    expect(app.seen).toEqual(['TOKEN_EXPIRED'])
  })

  it('keeps its token on REVOCATION_UNAVAILABLE', async () => {
    const app = createApp(await register(service, 'chandra'))

    service.cable.setMode('cut')
    try {
      const { error } = await app.me()
      expect(reasonOf(error)).toBe('REVOCATION_UNAVAILABLE')
      expect(error?.response.status).toBe(503)
    } finally {
      service.cable.setMode('pass')
    }

    expect(app.tokens()).not.toBeNull()
    expect((await app.me()).data).toMatchObject({ me: { email: 'chandra@example.com' } })
  })

  it('is told TOKEN_INVALID', async () => {
    const garbage = createApp({ accessToken: 'garbage', refreshToken: '' })

    expect(reasonOf((await garbage.me()).error)).toBe('TOKEN_INVALID')
  })

  // Q42
  it('needs `preferGetMethod: false` to ask without a token: by GET a foreign page could, too', async () => {
    const byGet = createApp(null)
    const byPost = new Client({
      url: `${service.url}/graphql`,
      preferGetMethod: false,
      exchanges: [fetchExchange],
    })

    expect((await byGet.me()).error?.message).toContain('Cross-Site Request Forgery')
    expect(reasonOf((await byPost.query(ME, {}).toPromise()).error)).toBe('TOKEN_MISSING')
  })

  it('hears of a refusal once, when its subscription ends over an event stream', async () => {
    const { accessToken } = await register(service, 'diana')
    const client = new Client({
      url: `${service.url}/graphql`,
      fetchSubscriptions: true,
      fetchOptions: { headers: { authorization: `Bearer ${accessToken}` } },
      exchanges: [fetchExchange],
    })
    const told: unknown[] = []
    let isOver = false
    client.subscription('subscription { sessionEnded { reason } }', {}).subscribe((result) => {
      told.push(result.data?.sessionEnded.reason, reasonOf(result.error))
      isOver = !result.hasNext
    })
    await until(async () => (await countStreams()) === 1, 'the stream')

    await service.graphql('mutation { logout { alreadyRevoked } }', { token: accessToken })

    await until(() => isOver, 'the end')
    expect(told.filter((one) => one === 'TOKEN_REVOKED')).toHaveLength(1)
    expect(told).toContain('logout')
  })

  async function countStreams(): Promise<number> {
    const metrics = await (await fetch(`${service.url}/metrics`)).text()
    return Number(/^portcullis_live_connections\{kind="EVENT_STREAM"\} (\d+)$/m.exec(metrics)?.[1])
  }
})
