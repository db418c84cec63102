import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { SESSION_ENDED, openRaw, stopSubscribers, subscribe, until } from '../support/live.ts'
import { login, register } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

let service: TestService
let admin: SignIn
let ada: SignIn

beforeAll(async () => {
  service = await startService()
  admin = await login(service, 'admin', 'desk')
  ada = await register(service, 'ada')
})

afterEach(async () => {
  stopSubscribers()
  await until(async () => (await list()).totalCount === 0, 'the end of all')
})

afterAll(async () => service.stop())

const CONNECTIONS = `query ($first: Int, $after: String, $filter: LiveConnectionFilter) {
  connections(first: $first, after: $after, filter: $filter) {
    edges { cursor node {
      id kind subject sessionId tokenId ipAddress userAgent openedAt expiresAt operations protected
    } }
    pageInfo { hasNextPage hasPreviousPage endCursor }
    totalCount
    counts { kind connections protected }
  }
}`

async function list(variables: object = {}): Promise<any> {
  const { data, errors } = await service.graphql(CONNECTIONS, {
    token: admin.accessToken,
    variables,
  })
  expect(errors).toEqual([])
  return data.connections
}

describe('connections', () => {
  it('lists who stays connected, newest first', async () => {
    const open = await subscribe(service, 'subscription { sessionEnded { scope } }')
    await open.result()
    await subscribe(service, SESSION_ENDED, { token: ada.accessToken })

    const { edges, totalCount, counts } = await list()

    expect(totalCount).toBe(2)
    expect(edges.map(({ node }: any) => node)).toEqual([
      {
        id: expect.stringMatching(/^[\da-f-]{36}$/),
        kind: 'WEBSOCKET',
        subject: ada.userId,
        sessionId: ada.sessionId,
        tokenId: expect.any(String),
        ipAddress: '127.0.0.1',
        userAgent: null,
        openedAt: expect.stringMatching(/^20/),
        expiresAt: expect.stringMatching(/^20/),
        operations: 1,
        protected: true,
      },
      expect.objectContaining({ subject: null, expiresAt: null, operations: 0, protected: false }),
    ])
    expect(counts).toEqual([
      { kind: 'WEBSOCKET', connections: 2, protected: 1 },
      { kind: 'EVENT_STREAM', connections: 0, protected: 0 },
    ])
  })

  it('goes on behind a cursor', async () => {
    for (let count = 0; count < 5; count++) {
      await subscribe(service, SESSION_ENDED, { token: ada.accessToken })
    }
    const all = (await list()).edges.map(({ node }: any) => node.id)

    const first = await list({ first: 2 })
    const second = await list({ first: 2, after: first.pageInfo.endCursor })
    const third = await list({ first: 2, after: second.pageInfo.endCursor })
    const fourth = await list({ first: 2, after: third.pageInfo.endCursor })

    const pages = [first, second, third, fourth]
    expect(pages.flatMap(({ edges }) => edges.map(({ node }: any) => node.id))).toEqual(all)
    expect(pages.map(({ pageInfo }) => pageInfo.hasNextPage)).toEqual([true, true, false, false])
  })

  it.each([
    ['subject', () => ({ subject: ada.userId }), 1],
    ['sessionId', () => ({ sessionId: ada.sessionId }), 1],
    ['tokenId', () => ({ tokenId: 'none' }), 0],
    ['kind', () => ({ kind: 'EVENT_STREAM' }), 0],
    ['ipAddress', () => ({ ipAddress: '127.0.0.1' }), 2],
    ['two of them', () => ({ ipAddress: '127.0.0.1', subject: admin.userId }), 1],
  ])('tells what the filter lets through: %s', async (_what, filter, count) => {
    await subscribe(service, SESSION_ENDED, { token: ada.accessToken })
    await subscribe(service, SESSION_ENDED, { token: admin.accessToken })

    expect((await list({ filter: filter() })).totalCount).toBe(count)
  })

  it('is for admins', async () => {
    const { status, errors } = await service.graphql('{ connections { totalCount } }', {
      token: ada.accessToken,
    })

    expect(status).toBe(403)
    expect(errors[0]?.extensions).toEqual({ code: 'FORBIDDEN', reason: 'ROLE_REQUIRED' })
  })

  it.each([
    [{ first: 0 }, 'OUT_OF_RANGE', 'first'],
    [{ first: 101 }, 'OUT_OF_RANGE', 'first'],
    [{ after: 'x' }, 'MALFORMED_CURSOR', 'after'],
    [{ filter: { subject: '' } }, 'EMPTY', 'filter.subject'],
    [{ filter: { ipAddress: 'a\u0000b' } }, 'FORBIDDEN_CHARACTERS', 'filter.ipAddress'],
  ])('refuses %j', async (variables, reason, argument) => {
    const { errors } = await service.graphql(CONNECTIONS, { token: admin.accessToken, variables })

    expect(errors[0]?.extensions).toEqual({ code: 'BAD_USER_INPUT', reason, argument })
  })

  // Q49
  it('takes the address of whom a proxy names, only where there is one', async () => {
    const behindProxy = await startService({ trustProxy: true })
    const headers = { 'x-forwarded-for': '198.51.100.1, 203.0.113.9' }
    const addresses: unknown[] = []
    for (const node of [service, behindProxy]) {
      const socket = await openRaw(node, { headers })
      socket.send({ type: 'connection_init' })
      await socket.message(0)
      const { accessToken: token } = await login(node, 'admin', 'desk')
      const { data } = await node.graphql('{ connections { edges { node { ipAddress } } } }', {
        token,
      })
      addresses.push(data.connections.edges[0].node.ipAddress)
      socket.socket.close()
    }

    expect(addresses).toEqual(['127.0.0.1', '203.0.113.9'])
    await behindProxy.stop()
  })
})

// Q63
it('are counted for Prometheus, and so are those that were cut', async () => {
  const metrics = async (): Promise<string> => (await fetch(`${service.url}/metrics`)).text()
  const grace = await register(service, 'grace')
  const socket = await subscribe(service, SESSION_ENDED, { token: grace.accessToken })

  expect(await metrics()).toContain('portcullis_live_connections{kind="WEBSOCKET"} 1\n')
  await service.graphql('mutation { logout { alreadyRevoked } }', { token: grace.accessToken })
  await socket.closed()

  expect(await metrics()).toContain('portcullis_live_connections{kind="WEBSOCKET"} 0\n')
  expect(await metrics()).toContain('portcullis_live_cuts_total{reason="TOKEN_REVOKED"} 1\n')
})
