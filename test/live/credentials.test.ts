import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SESSION_ENDED, openRaw, subscribe } from '../support/live.ts'
import type { RawSocket } from '../support/live.ts'
import { login, register } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { exchange } from '../support/raw-http.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

let service: TestService
let ada: SignIn
let phone: SignIn

beforeAll(async () => {
  service = await startService()
  ada = await register(service, 'ada')
  phone = await login(service, 'ada', 'phone')
})

afterAll(async () => {
  await service.stop()
})

const ME = { id: '1', type: 'subscribe', payload: { query: '{ me { email } }' } }

async function connect(header: string | null, payload: unknown): Promise<RawSocket> {
  const headers = header === null ? {} : { authorization: header }
  const socket = await openRaw(service, { headers })
  socket.send({ type: 'connection_init', ...(payload !== undefined && { payload }) })
  return socket
}

/** Whose connection it is; `null` when it came without a token. */
async function personOn(socket: RawSocket): Promise<string | null> {
  expect(await socket.message(0)).toEqual({ type: 'connection_ack' })
  socket.send(ME)
  const { data, errors } = (await socket.message(1)).payload
  socket.socket.close()
  if (data?.me) return data.me.email
  expect(errors[0].extensions.reason).toBe('TOKEN_MISSING')
  return null
}

describe('a WebSocket', () => {
  it.each([
    ['an empty text', null, { authorization: '' }],
    ['blanks', null, { authorization: ' \t' }],
    ['null', null, { authorization: null }],
    ['false', null, { authorization: false }],
    ['an empty header', '', undefined],
    ['an empty header and an empty text', '', { authorization: '' }],
    ['empty texts under two spellings', null, { authorization: '', Authorization: '' }],
  ])('stays without a token with %s in its place', async (_what, header, payload) => {
    expect(await personOn(await connect(header, payload))).toBeNull()
  })

  it.each<[string, () => string | null, () => object]>([
    ['the parameters, beside an empty header', () => '', () => ({ authorization: bearer(ada) })],
    ['the header, beside an empty text', () => bearer(ada), () => ({ authorization: '' })],
    ['the header, beside null', () => bearer(ada), () => ({ authorization: null })],
    ['both', () => bearer(ada), () => ({ authorization: bearer(ada) })],
    [
      'both, spelled in two ways',
      () => bearer(ada),
      () => ({ Authorization: ` BEARER  ${ada.accessToken} ` }),
    ],
    [
      'parameters under two spellings',
      () => null,
      () => ({ authorization: bearer(ada), Authorization: bearer(ada) }),
    ],
    [
      'parameters under two spellings, one of them empty',
      () => null,
      () => ({ authorization: '', AUTHORIZATION: bearer(ada) }),
    ],
  ])('takes one token from %s', async (_where, header, payload) => {
    expect(await personOn(await connect(header(), payload()))).toBe('ada@example.com')
  })

  // Q38
  it.each<[string, () => string | null, () => object]>([
    ['two tokens of one person', () => bearer(ada), () => ({ authorization: bearer(phone) })],
    [
      'two tokens under two spellings',
      () => null,
      () => ({ authorization: bearer(ada), Authorization: bearer(phone) }),
    ],
    ['the scheme alone', () => null, () => ({ authorization: 'Bearer ' })],
    ['a token and the scheme alone', () => bearer(ada), () => ({ authorization: 'Bearer' })],
    ['another scheme beside it', () => bearer(ada), () => ({ authorization: 'Basic YTpi' })],
  ])('is refused with %s', async (_what, header, payload) => {
    const socket = await connect(header(), payload())

    expect(await socket.closed()).toEqual({ code: 4403, reason: 'TOKEN_INVALID' })
  })

  // Q38
  it('is refused with two headers, as a request is', async () => {
    const socket = await openRaw(service, {
      headers: { authorization: [bearer(ada), bearer(phone)] },
    })
    socket.send({ type: 'connection_init' })

    expect(await socket.closed()).toEqual({ code: 4403, reason: 'TOKEN_INVALID' })
  })

  it('goes on with its token after a ping with an empty one', async () => {
    const socket = await subscribe(service, SESSION_ENDED, { token: ada.accessToken })
    const raw = await connect(bearer(ada), undefined)
    await raw.message(0)
    raw.send({ type: 'ping', payload: { authorization: '' } })

    expect(await raw.message(1)).toEqual({ type: 'pong', payload: { authorization: '' } })
    raw.send(ME)
    expect((await raw.message(2)).payload.data.me.email).toBe('ada@example.com')
    raw.socket.close()
    expect(socket.closing).toBeNull()
    socket.stop()
  })
})

// Q38
describe('an event stream', () => {
  const body = JSON.stringify({ query: '{ me { email } }' })
  const ask = async (...lines: string[]): Promise<string> => {
    const head = [
      'POST /graphql HTTP/1.1',
      'Host: a',
      'Accept: text/event-stream',
      'Content-Type: application/json',
      `Content-Length: ${body.length}`,
      'Connection: close',
      ...lines.map((line) => `Authorization: ${line}`),
    ]
    const [answer] = await exchange(service, [...head, '', body].join('\r\n'), { toTheEnd: true })
    return answer?.text ?? ''
  }

  it('with two headers is refused, and with an empty one has no token', async () => {
    expect(await ask(bearer(ada))).toContain('ada@example.com')
    expect(await ask(bearer(ada), bearer(phone))).toContain('TOKEN_INVALID')
    expect(await ask('')).toContain('TOKEN_MISSING')
  })
})

function bearer({ accessToken }: SignIn): string {
  return `Bearer ${accessToken}`
}
