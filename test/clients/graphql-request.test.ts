import { ClientError, GraphQLClient, gql } from 'graphql-request'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expiredTokenOf, register } from '../support/people.ts'
import { startServiceOnCable } from '../support/service.ts'

const ME = gql`
  {
    me {
      email
    }
  }
`
const LOGOUT = gql`
  mutation {
    logout {
      alreadyRevoked
    }
  }
`
const REFRESH = gql`
  mutation ($refreshToken: String!) {
    refresh(refreshToken: $refreshToken) {
      accessToken
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

function createClient(token?: string): GraphQLClient {
  const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {}
  return new GraphQLClient(`${service.url}/graphql`, { headers })
}

/** What a refused request throws: the answer's status, headers and error. */
async function refusalOf(promise: Promise<unknown>): Promise<any> {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(ClientError)
  const { status, headers, errors } = (error as ClientError).response
  const { code, reason, revocation } = (errors?.[0]?.extensions ?? {}) as any
  return {
    status,
    sign: reason ?? code,
    ...(revocation && { because: revocation.reason }),
    retryAfter: headers.get('retry-after'),
  }
}

describe('graphql-request', () => {
  it('asks with its token, and logs out; the next request says why it is refused', async () => {
    const { accessToken } = await register(service, 'ada')
    const client = createClient(accessToken)

    expect(await client.request(ME)).toEqual({ me: { email: 'ada@example.com' } })
    expect(await client.request(LOGOUT)).toEqual({ logout: { alreadyRevoked: false } })
    expect(await client.request(LOGOUT)).toEqual({ logout: { alreadyRevoked: true } })

    expect(await refusalOf(client.request(ME))).toEqual({
      status: 401,
      sign: 'TOKEN_REVOKED',
      because: 'logout',
      retryAfter: null,
    })
  })

  it('refreshes on TOKEN_EXPIRED', async () => {
    const signIn = await register(service, 'barbara')
    const client = createClient(expiredTokenOf(signIn))

    expect(await refusalOf(client.request(ME))).toMatchObject({ sign: 'TOKEN_EXPIRED' })
    const { refreshToken } = signIn
    const { refresh } = await client.request(REFRESH, { refreshToken })
    client.setHeader('authorization', `Bearer ${refresh.accessToken}`)

    expect(await client.request(ME)).toEqual({ me: { email: 'barbara@example.com' } })
  })

  it('keeps its token on REVOCATION_UNAVAILABLE, and knows when to ask again', async () => {
    const { accessToken } = await register(service, 'chandra')
    const client = createClient(accessToken)

    service.cable.setMode('cut')
    try {
      expect(await refusalOf(client.request(ME))).toEqual({
        status: 503,
        sign: 'REVOCATION_UNAVAILABLE',
        retryAfter: '1',
      })
    } finally {
      service.cable.setMode('pass')
    }

    expect(await client.request(ME)).toEqual({ me: { email: 'chandra@example.com' } })
  })

  it('tells TOKEN_MISSING and TOKEN_INVALID apart', async () => {
    expect(await refusalOf(createClient().request(ME))).toMatchObject({ sign: 'TOKEN_MISSING' })
    expect(await refusalOf(createClient('garbage').request(ME))).toMatchObject({
      sign: 'TOKEN_INVALID',
    })
  })

  it('batches', async () => {
    const { accessToken } = await register(service, 'dorothy')

    const answers = await createClient(accessToken).batchRequests([
      { document: ME },
      { document: '{ sessions { current } }' },
    ])

    expect(answers).toEqual([
      { data: { me: { email: 'dorothy@example.com' } } },
      { data: { sessions: [{ current: true }] } },
    ])
  })
})
