import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { SESSION_ENDED, openRaw, stopSubscribers, subscribe, until } from '../support/live.ts'
import type { Subscriber } from '../support/live.ts'
import { login, passwordOf, refresh, register } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

let database: TestDatabase
let here: TestService
let there: TestService

beforeAll(async () => {
  database = await createDatabase()
  here = await startService({ database })
  there = await startService({ database })
})

afterEach(stopSubscribers)

afterAll(async () => {
  await Promise.all([here.stop(), there.stop()])
  await database.drop()
})

let people = 0
let name: string
let phone: SignIn
let laptop: SignIn
let grace: SignIn
let admin: SignIn

beforeEach(async () => {
  people += 1
  name = `ada${people}`
  phone = await register(here, name)
  laptop = await login(here, name, 'laptop')
  grace = await register(here, `grace${people}`)
  admin = await login(here, 'admin', 'desk')
})

const REVOKED = { code: 4403, reason: 'TOKEN_REVOKED' }

type Act = (signIns: { phone: SignIn; laptop: SignIn; admin: SignIn }) => Promise<unknown>

const byPhone = (query: string): Act => {
  return async (signIns) => here.graphql(query, { token: signIns.phone.accessToken })
}
const byAdmin = (query: (signIns: { phone: SignIn }) => string): Act => {
  return async (signIns) => here.graphql(query(signIns), { token: signIns.admin.accessToken })
}

interface Case {
  readonly act: string
  readonly run: Act
  readonly ends: ReadonlyArray<'phone' | 'laptop' | 'grace'>
  readonly event: { scope: string; reason: string }
}

const cases: readonly Case[] = [
  {
    act: 'logout',
    run: byPhone('mutation { logout { alreadyRevoked } }'),
    ends: ['phone'],
    event: { scope: 'SESSION', reason: 'logout' },
  },
  {
    act: 'logoutAllDevices',
    run: byPhone('mutation { logoutAllDevices { endedSessions } }'),
    ends: ['phone', 'laptop'],
    event: { scope: 'SUBJECT', reason: 'logout_all_devices' },
  },
  {
    act: 'logoutAllDevices(keepCurrent: true)',
    run: byPhone('mutation { logoutAllDevices(keepCurrent: true) { endedSessions } }'),
    ends: ['laptop'],
    event: { scope: 'SUBJECT', reason: 'logout_all_devices' },
  },
  {
    act: 'changePassword',
    run: async (signIns) =>
      byPhone(
        `mutation { changePassword(currentPassword: "${passwordOf(name)}", newPassword: "another fine one") { tokenType } }`,
      )(signIns),
    ends: ['laptop'],
    event: { scope: 'SUBJECT', reason: 'password_changed' },
  },
  {
    act: 'revokeToken (access)',
    run: byAdmin(
      (its) => `mutation { revokeToken(token: "${its.phone.accessToken}") { verified } }`,
    ),
    ends: ['phone'],
    event: { scope: 'TOKEN', reason: 'revoked_by_admin' },
  },
  {
    act: 'revokeToken (refresh)',
    run: byAdmin(
      (its) => `mutation { revokeToken(token: "${its.phone.refreshToken}") { verified } }`,
    ),
    ends: ['phone'],
    event: { scope: 'SESSION', reason: 'revoked_by_admin' },
  },
  {
    act: 'revokeSession',
    run: async (signIns) =>
      here.graphql(
        `mutation { revokeSession(id: "${signIns.phone.sessionId}") { alreadyRevoked } }`,
        {
          token: signIns.laptop.accessToken,
        },
      ),
    ends: ['phone'],
    event: { scope: 'SESSION', reason: 'logout' },
  },
  {
    act: 'revokeUser',
    run: byAdmin(
      (its) =>
        `mutation { revokeUser(userId: "${its.phone.userId}", reason: "lost") { endedSessions } }`,
    ),
    ends: ['phone', 'laptop'],
    event: { scope: 'SUBJECT', reason: 'lost' },
  },
  {
    act: 'suspendUser',
    run: byAdmin(
      (its) => `mutation { suspendUser(userId: "${its.phone.userId}") { alreadySuspended } }`,
    ),
    ends: ['phone', 'laptop'],
    event: { scope: 'SUBJECT', reason: 'account_suspended' },
  },
  {
    act: 'setUserRoles',
    run: byAdmin(
      (its) =>
        `mutation { setUserRoles(userId: "${its.phone.userId}", roles: [USER, ADMIN]) { alreadySet } }`,
    ),
    ends: ['phone', 'laptop'],
    event: { scope: 'SUBJECT', reason: 'roles_changed' },
  },
  {
    act: 'revokeEveryone',
    run: byAdmin(() => 'mutation { revokeEveryone(reason: "breach") { endedSessions } }'),
    ends: ['phone', 'laptop', 'grace'],
    event: { scope: 'EVERYONE', reason: 'breach' },
  },
  {
    act: 'the reuse of a refresh token',
    run: async (signIns) => {
      await refresh(here, signIns.phone.refreshToken)
      await database.query(
        `update refresh_token set replaced_at = replaced_at - interval '1 minute'`,
      )
      return refresh(here, signIns.phone.refreshToken)
    },
    ends: ['phone'],
    event: { scope: 'SESSION', reason: 'refresh_token_reuse' },
  },
]

describe('a WebSocket whose token is revoked', () => {
  // Q01, Q50
  it.each(cases)(
    'ends on every node, and hears why before ($act)',
    async ({ run, ends, event }) => {
      const sockets: Array<{ whose: string; socket: Subscriber }> = []
      for (const node of [here, there]) {
        for (const [whose, { accessToken }] of Object.entries({ phone, laptop, grace })) {
          const socket = await subscribe(node, SESSION_ENDED, { token: accessToken })
          sockets.push({ whose, socket })
        }
      }

      await run({ phone, laptop, admin })

      for (const { whose, socket } of sockets) {
        if (!(ends as readonly string[]).includes(whose)) continue
        expect(await socket.closed()).toEqual(REVOKED)
        expect(socket.results).toEqual([
          { data: { sessionEnded: { ...event, revokedAt: expect.any(String) } } },
        ])
      }
      const others = sockets.filter(({ whose }) => !(ends as readonly string[]).includes(whose))
      for (const { socket } of others) {
        expect(socket.results).toEqual([])
        expect(socket.closing).toBe(null)
      }
    },
  )

  it('may log out over the very connection that it ends: the answer comes first', async () => {
    const socket = await openRaw(here)
    socket.send({
      type: 'connection_init',
      payload: { authorization: `Bearer ${phone.accessToken}` },
    })
    await socket.message(0)
    socket.send({ id: 'end', type: 'subscribe', payload: { query: SESSION_ENDED } })
    socket.send({
      id: 'out',
      type: 'subscribe',
      payload: { query: 'mutation { logout { alreadyRevoked } }' },
    })

    expect(await socket.closed()).toEqual(REVOKED)
    expect(socket.messages.map(({ type, id }) => [type, id])).toEqual([
      ['connection_ack', undefined],
      ['next', 'out'],
      ['complete', 'out'],
      ['next', 'end'],
    ])
  })

  it('stays when nothing that runs on it asks who calls, and refuses what does', async () => {
    const socket = await openRaw(here)
    socket.send({
      type: 'connection_init',
      payload: { authorization: `Bearer ${phone.accessToken}` },
    })
    await socket.message(0)

    await here.graphql('mutation { logout { alreadyRevoked } }', { token: phone.accessToken })
    socket.send({ id: '1', type: 'subscribe', payload: { query: '{ __typename }' } })
    expect(await socket.message(1)).toMatchObject({
      id: '1',
      payload: { data: { __typename: 'Query' } },
    })
    socket.send({ id: '2', type: 'subscribe', payload: { query: SESSION_ENDED } })

    expect(await socket.message(3)).toMatchObject({
      id: '2',
      type: 'next',
      payload: { errors: [{ extensions: { reason: 'TOKEN_REVOKED' } }] },
    })
    expect(socket.socket.readyState).toBe(socket.socket.OPEN)
    socket.socket.close()
  })

  it('depends on its own token: another of the same session may be revoked', async () => {
    const { data } = await refresh(here, phone.refreshToken)
    const socket = await subscribe(here, SESSION_ENDED, { token: data.refresh.accessToken })

    await byAdmin(
      (its) => `mutation { revokeToken(token: "${its.phone.accessToken}") { verified } }`,
    )({ phone, laptop, admin })

    await subscribe(here, SESSION_ENDED, { token: laptop.accessToken })
    expect(socket.closing).toBe(null)
  })

  // Q60
  it('leaves one line in the log for all that a revocation ended', async () => {
    await subscribe(here, SESSION_ENDED, { token: phone.accessToken })
    const last = await subscribe(here, SESSION_ENDED, { token: phone.accessToken })

    await here.graphql('mutation { logout { alreadyRevoked } }', { token: phone.accessToken })
    await last.closed()

    const lines = here.log.filter(
      ({ event, sessionId }) => event === 'connections_cut' && sessionId === phone.sessionId,
    )
    expect(lines).toMatchObject([{ connections: 2, reason: 'logout', scope: 'SESSION' }])
  })
})

describe('a WebSocket whose token expires', () => {
  let shortLived: TestService

  beforeAll(async () => {
    shortLived = await startService({ accessTokenTtlSeconds: 2 })
  })
  afterAll(async () => {
    await shortLived.stop()
  })

  it('is told ahead, and ends', async () => {
    const { accessToken } = await register(shortLived, 'ada')
    const socket = await subscribe(shortLived, SESSION_ENDED, { token: accessToken })

    expect(await socket.closed()).toEqual({ code: 4403, reason: 'TOKEN_EXPIRED' })
    expect(socket.pings).toEqual([
      { reason: 'TOKEN_EXPIRING', expiresAt: expect.stringMatching(/^20.+Z$/) },
    ])
    expect(socket.results).toEqual([])
  })

  it('goes on with a fresh token, which takes the place of the one before', async () => {
    const signIn = await register(shortLived, 'grace')
    const socket = await subscribe(shortLived, SESSION_ENDED, { token: signIn.accessToken })

    let { refreshToken } = signIn
    for (let round = 1; round <= 2; round++) {
      await until(() => socket.pings.length === round, 'the notice')
      const { data } = await refresh(shortLived, refreshToken)
      refreshToken = data.refresh.refreshToken
      socket.reauthenticate(data.refresh.accessToken)
    }
    await until(() => socket.pings.length === 3, 'the notice about the last token')
    expect(socket.closing).toBe(null)

    await shortLived.graphql(`mutation { logoutAllDevices { endedSessions } }`, {
      token: (await login(shortLived, 'grace', 'laptop')).accessToken,
    })
    expect(await socket.closed()).toEqual(REVOKED)
    expect(await socket.result()).toMatchObject({
      data: { sessionEnded: { reason: 'logout_all_devices' } },
    })
  })
})

describe('the message that re-authenticates', () => {
  async function openAs(token: string | null): Promise<Awaited<ReturnType<typeof openRaw>>> {
    const socket = await openRaw(here)
    const payload = token === null ? {} : { authorization: `Bearer ${token}` }
    socket.send({ type: 'connection_init', payload })
    await socket.message(0)
    return socket
  }

  it('is answered with the end of the new token, and not with the token', async () => {
    const socket = await openAs(phone.accessToken)

    socket.send({ type: 'ping', payload: { authorization: `Bearer ${laptop.accessToken}` } })

    expect(await socket.message(1)).toEqual({
      type: 'pong',
      payload: { expiresAt: expect.stringMatching(/^20.+Z$/) },
    })
    socket.socket.close()
  })

  it('signs in a connection that was opened without', async () => {
    const socket = await openAs(null)

    socket.send({ type: 'ping', payload: { authorization: `Bearer ${phone.accessToken}` } })
    await socket.message(1)
    socket.send({ id: '1', type: 'subscribe', payload: { query: '{ me { id } }' } })

    expect(await socket.message(2)).toMatchObject({
      payload: { data: { me: { id: phone.userId } } },
    })
    socket.socket.close()
  })

  it.each([
    ['garbage', () => 'garbage', 'TOKEN_INVALID'],
    ["another person's token", () => grace.accessToken, 'TOKEN_INVALID'],
    ['a revoked token', () => laptop.accessToken, 'TOKEN_REVOKED'],
  ])('ends the connection when it brings %s', async (_what, token, reason) => {
    const socket = await openAs(phone.accessToken)
    await here.graphql('mutation { logout { alreadyRevoked } }', { token: laptop.accessToken })

    socket.send({ type: 'ping', payload: { authorization: `Bearer ${token()}` } })

    expect(await socket.closed()).toEqual({ code: 4403, reason })
  })

  it('leaves other pings alone', async () => {
    const socket = await openAs(phone.accessToken)

    socket.send({ type: 'ping', payload: { n: 1 } })
    socket.send({ type: 'ping' })

    expect(await socket.message(2)).toEqual({ type: 'pong' })
    expect(socket.messages[1]).toEqual({ type: 'pong', payload: { n: 1 } })
    socket.socket.close()
  })
})
