import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const root = new URL('../../', import.meta.url)

describe('the ten lines of the README, as a process of their own', () => {
  let server: ChildProcess
  let url: string

  beforeAll(async () => {
    server = spawn(process.execPath, ['--import', 'tsx', 'examples/ten-lines/main.ts'], {
      cwd: root,
      env: { ...process.env, PORT: '0', JWT_SECRET: 'the secret of the tests, 32 bytes or more' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    url = await readUrl(server)
  })

  afterAll(async () => {
    if (server.exitCode !== null) return
    const ended = once(server, 'exit')
    server.kill()
    await ended
  })

  async function ask(query: string, token?: string): Promise<{ status: number; body: any }> {
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify({ query }),
    })
    return { status: response.status, body: await response.json() }
  }

  it('let a token through until it signs out', async () => {
    const { body } = await ask('mutation { signIn(name: "ada") }')
    const token: string = body.data.signIn

    expect(await ask('{ greeting }', token)).toEqual({
      status: 200,
      body: { data: { greeting: 'Welcome back' } },
    })
    await ask('mutation { logout { alreadyRevoked } }', token)
    expect(await ask('{ greeting }', token)).toMatchObject({
      status: 401,
      body: { errors: [{ extensions: { code: 'UNAUTHENTICATED', reason: 'TOKEN_REVOKED' } }] },
    })
  })
})

async function readUrl(server: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: server.stdout! })) {
    const url = /^Listening at (\S+)$/.exec(line)?.[1]
    if (url !== undefined) return url
  }
  throw new Error('expected the example to say where it listens, got the end of its output')
}
