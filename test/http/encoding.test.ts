import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openRaw } from '../support/live.ts'
import { exchange } from '../support/raw-http.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

let service: TestService

beforeAll(async () => {
  service = await startService()
})

afterAll(async () => {
  await service.stop()
})

const UTF_8 = 'application/json; charset=utf-8'

async function post(
  body: Uint8Array<ArrayBuffer>,
  type = 'application/json',
): Promise<{ status: number; body: any }> {
  const headers = { 'content-type': type }
  const response = await fetch(`${service.url}/graphql`, { method: 'POST', headers, body })
  return { status: response.status, body: await response.json() }
}

function signIn(mutation: 'register' | 'login', password: string): string {
  return JSON.stringify({
    query: `mutation ($password: String!) { ${mutation}(email: "ada@example.com", password: $password) { tokenType } }`,
    variables: { password },
  })
}

const latin1 = (text: string): Buffer<ArrayBuffer> => Buffer.from(text, 'latin1')
const utf8 = (text: string): Buffer<ArrayBuffer> => Buffer.from(text)
const query = (comment: string): string => JSON.stringify({ query: `{ __typename } # ${comment}` })

/** A query with these bytes in it. */
function withBytes(...bytes: number[]): Buffer<ArrayBuffer> {
  const [before = '', after = ''] = query('|').split('|')
  return Buffer.concat([utf8(before), Buffer.from(bytes), utf8(after)])
}

describe('a body', () => {
  it('in ISO-8859-1 makes no account that another password opens', async () => {
    const refused = await post(latin1(signIn('register', 'passwörd of ada')))
    expect(refused.status).toBe(400)
    expect(refused.body).toEqual({
      errors: [
        {
          message: 'The body is not UTF-8; send JSON in UTF-8',
          extensions: { code: 'BAD_REQUEST' },
        },
      ],
    })

    expect((await post(utf8(signIn('register', 'passwörd of ada')))).status).toBe(200)
    expect((await post(utf8(signIn('login', 'passwörd of ada')), UTF_8)).status).toBe(200)
    expect((await post(utf8(signIn('login', 'passw\ufffdrd of ada')))).status).toBe(401)
    expect((await post(latin1(signIn('login', 'passwärd of ada')))).status).toBe(400)
  })

  it.each([
    ['a lone continuation byte', [0x80]],
    ['a character that is cut off', [0xe2, 0x82]],
    ['an overlong slash', [0xc0, 0xaf]],
    ['an overlong NUL', [0xc0, 0x80]],
    ['a surrogate', [0xed, 0xa0, 0xbd]],
    ['a pair of surrogates (CESU-8)', [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]],
    ['a character beyond the last', [0xf4, 0x90, 0x80, 0x80]],
    ['a byte that is never in UTF-8', [0xff]],
  ])('with %s is 400', async (_what, bytes) => {
    const { status, body } = await post(withBytes(...bytes))

    expect(status).toBe(400)
    expect(body.errors[0].message).toBe('The body is not UTF-8; send JSON in UTF-8')
  })

  it.each([
    [
      'UTF-16 with its mark',
      Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(query('ö'), 'utf16le')]),
    ],
    ['UTF-16 without', Buffer.from(query('x'), 'utf16le')],
    [
      'UTF-32',
      Buffer.concat([...query('x')].map((letter) => Buffer.from([0, 0, 0, letter.charCodeAt(0)]))),
    ],
  ])('in %s is 400', async (_what, bytes) => {
    expect((await post(bytes)).status).toBe(400)
  })

  it.each([
    'iso-8859-1',
    'ISO-8859-1',
    'latin1',
    'windows-1252',
    'utf-16',
    'utf-16le',
    'utf-32',
    'utf-7',
    '"iso-8859-1"',
    'shift_jis',
    '',
    'utf-8; charset=iso-8859-1',
  ])('that says charset=%s is 415, with what to send', async (charset) => {
    for (const bytes of [utf8(query('x')), latin1(query('ö'))]) {
      const { status, body } = await post(bytes, `application/json; charset=${charset}`)

      expect(status).toBe(415)
      expect(body.errors).toEqual([
        {
          message: 'Send JSON in UTF-8, with Content-Type: application/json',
          extensions: { code: 'BAD_REQUEST' },
        },
      ])
    }
  })

  it.each([
    'application/json;charset=UTF-8',
    'application/json; charset="utf-8"',
    'application/json ; charset=utf8',
    'APPLICATION/JSON; CHARSET=utf-8',
    'application/json; odata=verbose',
  ])('of type %s is read', async (type) => {
    expect((await post(utf8(query('öł😀\ufffd')), type)).status).toBe(200)
  })

  it('may begin with a mark of UTF-8 (RFC 8259 §8.1)', async () => {
    expect(
      (await post(Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), utf8(query('x'))]))).status,
    ).toBe(200)
  })

  it('in pieces, cut within a character, is read', async () => {
    const body = utf8(query('😀'))
    const head = `POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n`
    const chunks = [...body].flatMap((byte) => [utf8('1\r\n'), Buffer.from([byte]), utf8('\r\n')])
    const [answer] = await exchange(
      service,
      Buffer.concat([utf8(head), ...chunks, utf8('0\r\n\r\n')]),
    )

    expect(answer?.text).toBe('{"data":{"__typename":"Query"}}\n')
  })

  it('of an event stream is read as strictly', async () => {
    const response = await fetch(`${service.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
      body: withBytes(0xf6),
    })

    expect(response.status).toBe(400)
  })
})

describe('the parameters of a URL', () => {
  const get = async (search: string, accept = 'application/json'): Promise<number> => {
    const head = `GET /graphql?${search} HTTP/1.1\r\nHost: a\r\nApollo-Require-Preflight: 1\r\nAccept: ${accept}\r\nConnection: close\r\n\r\n`
    const [answer] = await exchange(service, latin1(head))
    return answer?.status ?? 0
  }
  const asked = encodeURIComponent('{ __typename }')

  it.each([
    ['ISO-8859-1', `query=${asked}&variables=%7B%22a%22:%22%F6%22%7D`],
    ['half a character', `query=${asked}&variables=%7B%22a%22:%22%E2%82%22%7D`],
    ['an overlong character', `query=${asked}&variables=%7B%22a%22:%22%C0%AF%22%7D`],
    ['a surrogate', `query=${asked}&variables=%7B%22a%22:%22%ED%A0%BD%22%7D`],
    ['no hexadecimal number', `query=${asked}&variables=%7B%22a%22:%22%zz%22%7D`],
    ['half a number', `query=${asked}&variables=%7B%22a%22:%22%2`],
    ['it in extensions', `query=${asked}&extensions=%7B%22a%22:%22%F6%22%7D`],
    ['it in the query', `query=${asked}%23%F6`],
    ['it in the name', `query=${asked}&operationName=%F6`],
    ['it in a name', `query=${asked}&%F6=1`],
    ['bytes that are not encoded', `query=${asked}&variables=%7B%22a%22:%22\u00c3\u00b6%22%7D`],
  ])('with %s are refused, not replaced', async (_what, search) => {
    expect(await get(search)).toBe(400)
    expect(await get(search, 'text/event-stream')).toBe(400)
  })

  it('in UTF-8 are read', async () => {
    expect(await get(`query=${asked}&variables=%7B%22a%22:%22%C3%B6+%F0%9F%98%80%22%7D`)).toBe(200)
  })
})

describe('a message over a WebSocket', () => {
  it.each([
    ['as text', false],
    ['as bytes', true],
  ])('that is not UTF-8 ends the connection with 1007: %s', async (_how, binary) => {
    const { socket, closed } = await openRaw(service)
    const message = utf8(
      JSON.stringify({ type: 'connection_init', payload: { authorization: 'ö' } }),
    )
    socket.send(
      message.map((byte) => (byte === 0xb6 ? 0x20 : byte)),
      { binary },
    )

    expect((await closed()).code).toBe(1007)
  })

  it('that is UTF-8 is read, as text and as bytes', async () => {
    for (const binary of [false, true]) {
      const { socket } = await openRaw(service)
      socket.send(JSON.stringify({ type: 'ping', payload: { text: 'öł😀' } }), { binary })
      const [data] = (await once(socket, 'message')) as [Buffer]
      expect(JSON.parse(String(data))).toEqual({ type: 'pong', payload: { text: 'öł😀' } })
      socket.close()
    }
  })
})

describe('the name of a client', () => {
  async function userAgentOf(header: Buffer): Promise<string> {
    const body = utf8(
      JSON.stringify({
        query:
          'mutation { login(email: "ada@example.com", password: "passwörd of ada") { session { userAgent } } }',
      }),
    )
    const head = `POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\nUser-Agent: `
    const [answer] = await exchange(
      service,
      Buffer.concat([utf8(head), header, utf8('\r\n\r\n'), body]),
    )
    return JSON.parse(answer?.text ?? '').data.login.session.userAgent
  }

  it('is read as UTF-8 where it is, else as ISO-8859-1; nothing is replaced', async () => {
    expect(await userAgentOf(utf8('Łódź 😀'))).toBe('Łódź 😀')
    expect(await userAgentOf(latin1('Bücher'))).toBe('Bücher')
    expect(await userAgentOf(utf8(`${'x'.repeat(499)}😀 and more`))).toBe('x'.repeat(499))
  })
})
