import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { SESSION_ENDED, openRaw, stopSubscribers, subscribe, until } from '../support/live.ts'
import { login, register } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import type { TcpProxy } from '../support/tcp-proxy.ts'

let database: TestDatabase
let here: TestService
/** A node whose cable to the database can be pulled. */
let there: TestService
let cable: TcpProxy

beforeAll(async () => {
  database = await createDatabase()
  cable = await startTcpProxy(database.url)
  here = await startService({ database })
  there = await startService({ database, databaseUrl: cable.url })
})

afterEach(() => {
  cable.setMode('pass')
  stopSubscribers()
})

afterAll(async () => {
  await Promise.all([here.stop(), there.stop()])
  await cable.close()
  await database.drop()
})

const REVOKED = { code: 4403, reason: 'TOKEN_REVOKED' }

describe('while a node cannot reach its database', () => {
  // Q04, F03, F08
  it.each(['cut', 'blackhole'] as const)(
    'connections stay; when it is back, what was revoked meanwhile ends (%s)',
    async (mode) => {
      const ada = await register(here, `ada-${mode}`)
      const grace = await register(here, `grace-${mode}`)
      const socket = await subscribe(there, SESSION_ENDED, { token: ada.accessToken })
      const other = await subscribe(there, SESSION_ENDED, { token: grace.accessToken })

      cable.setMode(mode)
      await here.graphql('mutation { logout { alreadyRevoked } }', { token: ada.accessToken })
      await sleep(500)
      expect(socket.closing).toBe(null)
      cable.setMode('pass')

      expect(await socket.closed()).toEqual(REVOKED)
      expect(await socket.result()).toMatchObject({ data: { sessionEnded: { reason: 'logout' } } })
      expect(other.closing).toBe(null)
    },
  )

  it('a WebSocket is taken, and what needs its token is refused', async () => {
    const { accessToken } = await register(here, 'lise')
    // With a replica, until it is out of step.
    cable.setMode('cut')
    await until(async () => {
      const { errors } = await there.graphql('{ me { id } }', { token: accessToken })
      return errors[0]?.extensions.code === 'REVOCATION_UNAVAILABLE'
    }, 'the outage')

    const socket = await openRaw(there)
    socket.send({ type: 'connection_init', payload: { authorization: `Bearer ${accessToken}` } })
    expect(await socket.message(0)).toEqual({ type: 'connection_ack' })
    socket.send({ id: '1', type: 'subscribe', payload: { query: SESSION_ENDED } })
    socket.send({ id: '2', type: 'subscribe', payload: { query: '{ __typename }' } })
    socket.send({ type: 'ping', payload: { authorization: `Bearer ${accessToken}` } })

    await until(() => socket.messages.length >= 6, 'all answers')
    const answers = Object.fromEntries(
      socket.messages.map(({ id, type, payload }) => [`${id ?? ''} ${type}`, payload]),
    )
    const unavailable = [{ extensions: { code: 'REVOCATION_UNAVAILABLE' } }]
    expect(answers).toMatchObject({
      '1 next': { errors: unavailable },
      '2 next': { data: { __typename: 'Query' } },
      ' pong': { errors: unavailable },
    })
    expect(socket.socket.readyState).toBe(socket.socket.OPEN)
    socket.socket.close()
  })

  it('the live journal waits, and goes on without a gap', async () => {
    const admin = await login(here, 'admin', 'desk')
    const subscriber = await subscribe(
      there,
      'subscription { revocationEvents { revocation { sessionId } } }',
      { token: admin.accessToken },
    )
    const logout = async (name: string): Promise<string> => {
      const { accessToken, sessionId } = await register(here, name)
      await here.graphql('mutation { logout { alreadyRevoked } }', { token: accessToken })
      return sessionId
    }
    const seen = (): unknown[] =>
      subscriber.results.map(({ data }) => data?.revocationEvents.revocation.sessionId)
    let round = 0
    await until(async () => {
      await logout(`early${round++}`)
      return subscriber.results.length > 0
    }, 'a first event')

    cable.setMode('cut')
    const missed = [await logout('one'), await logout('two')]
    cable.setMode('pass')
    const last = await logout('three')

    await until(() => seen().includes(last), 'the last')
    expect(seen().slice(-3)).toEqual([...missed, last])
    expect(subscriber.results.filter(({ errors }) => errors)).toEqual([])
  })
})
