import {
  ApolloClient,
  ApolloLink,
  CombinedGraphQLErrors,
  HttpLink,
  InMemoryCache,
  Observable,
  gql,
} from '@apollo/client'
import { BatchHttpLink } from '@apollo/client/link/batch-http'
import { SetContextLink } from '@apollo/client/link/context'
import { ErrorLink } from '@apollo/client/link/error'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expiredTokenOf, login, refresh, register } from '../support/people.ts'
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

/** What an app keeps of its user, and what it did because of an error. */
interface App {
  readonly client: ApolloClient
  readonly did: string[]
  tokens: { accessToken: string; refreshToken: string } | null
}

function createApp(
  signIn: Pick<SignIn, 'accessToken' | 'refreshToken'> | null,
  link?: ApolloLink,
): App {
  const did: string[] = []

  const authLink = new SetContextLink(({ headers }) => {
    const token = app.tokens?.accessToken
    return { headers: { ...headers, ...(token && { authorization: `Bearer ${token}` }) } }
  })

  const errorLink = new ErrorLink(({ error, operation, forward }) => {
    if (!CombinedGraphQLErrors.is(error)) return undefined
    const { code, reason, revocation } = (error.errors[0]?.extensions ?? {}) as any

    switch (reason ?? code) {
      case 'TOKEN_EXPIRED': {
        did.push('refresh')
        return new Observable((observer) => {
          renew().then(
            () => forward(operation).subscribe(observer),
            (failure: unknown) => observer.error(failure),
          )
        })
      }
      case 'TOKEN_REVOKED': {
        did.push(`sign out: ${revocation.reason}`)
        app.tokens = null
        return undefined
      }
      case 'REVOCATION_UNAVAILABLE': {
        did.push('wait')
        return undefined
      }
    }
    did.push(`show: ${reason}`)
    return undefined
  })

  async function renew(): Promise<void> {
    const { data } = await refresh(service, app.tokens!.refreshToken)
    app.tokens = data.refresh
  }

  const app: App = {
    client: new ApolloClient({
      cache: new InMemoryCache(),
      link: ApolloLink.from([
        errorLink,
        authLink,
        link ?? new HttpLink({ uri: `${service.url}/graphql` }),
      ]),
      defaultOptions: { query: { fetchPolicy: 'no-cache' } },
    }),
    did,
    tokens: signIn,
  }
  return app
}

async function reasonOf(promise: Promise<unknown>): Promise<unknown> {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  expect(CombinedGraphQLErrors.is(error)).toBe(true)
  const { reason, code } = (error as CombinedGraphQLErrors).errors[0]!.extensions as any
  return reason ?? code
}

describe('Apollo Client', () => {
  it('asks with its token, and logs out', async () => {
    const { client, did } = createApp(await register(service, 'ada'))

    const me = await client.query({ query: ME })
    const logout = await client.mutate({ mutation: LOGOUT })

    expect(me.data).toEqual({ me: { __typename: 'User', email: 'ada@example.com' } })
    expect(logout.data).toMatchObject({ logout: { alreadyRevoked: false } })
    expect(did).toEqual([])
  })

  it('refreshes on TOKEN_EXPIRED, and repeats the request', async () => {
    const signIn = await register(service, 'barbara')
    const app = createApp({ ...signIn, accessToken: expiredTokenOf(signIn) })

    const { data } = await app.client.query({ query: ME })

    expect(data).toMatchObject({ me: { email: 'barbara@example.com' } })
    expect(app.did).toEqual(['refresh'])
    expect(app.tokens?.refreshToken).not.toBe(signIn.refreshToken)
  })

  it('signs out on TOKEN_REVOKED, and can say why', async () => {
    const phone = await register(service, 'chandra')
    const laptop = await login(service, 'chandra', 'laptop')
    const app = createApp(phone)
    await service.graphql('mutation { logoutAllDevices { endedSessions } }', {
      token: laptop.accessToken,
    })

    expect(await reasonOf(app.client.query({ query: ME }))).toBe('TOKEN_REVOKED')
    expect(app.did).toEqual(['sign out: logout_all_devices'])
    expect(app.tokens).toBeNull()
  })

  it('keeps its token on REVOCATION_UNAVAILABLE, and goes on with it afterwards', async () => {
    const app = createApp(await register(service, 'dorothy'))
    const { tokens } = app

    service.cable.setMode('cut')
    try {
      expect(await reasonOf(app.client.query({ query: ME }))).toBe('REVOCATION_UNAVAILABLE')
    } finally {
      service.cable.setMode('pass')
    }

    expect(app.did).toEqual(['wait'])
    expect(app.tokens).toBe(tokens)
    const { data } = await app.client.query({ query: ME })
    expect(data).toMatchObject({ me: { email: 'dorothy@example.com' } })
  })

  it('tells TOKEN_MISSING, TOKEN_INVALID and ROLE_REQUIRED apart', async () => {
    const signIn = await register(service, 'edith')
    const LIST = gql`
      query List {
        revocations {
          totalCount
        }
      }
    `

    expect(await reasonOf(createApp(null).client.query({ query: ME }))).toBe('TOKEN_MISSING')
    const garbage = createApp({ ...signIn, accessToken: 'garbage' })
    expect(await reasonOf(garbage.client.query({ query: ME }))).toBe('TOKEN_INVALID')
    expect(await reasonOf(createApp(signIn).client.query({ query: LIST }))).toBe('ROLE_REQUIRED')
  })

  it('shows the data beside an error, with errorPolicy: all', async () => {
    const { client } = createApp(await register(service, 'frances'))

    const { data, error } = await client.query({
      query: gql`
        query Both {
          me {
            email
          }
          user(id: "x") {
            id
          }
        }
      `,
      errorPolicy: 'all',
    })

    expect(data).toMatchObject({ me: { email: 'frances@example.com' }, user: null })
    expect(CombinedGraphQLErrors.is(error)).toBe(true)
  })

  it('batches', async () => {
    const link = new BatchHttpLink({ uri: `${service.url}/graphql`, batchMax: 10 })
    const { client } = createApp(await register(service, 'grace'), link)

    const answers = await Promise.all(
      Array.from({ length: 10 }, () =>
        client.query({ query: ME, context: { queryDeduplication: false } }),
      ),
    )

    for (const { data } of answers)
      expect(data).toMatchObject({ me: { email: 'grace@example.com' } })
  })
})
