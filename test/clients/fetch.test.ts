import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expiredTokenOf, passwordOf, register } from '../support/people.ts'
import { startServiceOnCable } from '../support/service.ts'

let service: Awaited<ReturnType<typeof startServiceOnCable>>

beforeAll(async () => {
  service = await startServiceOnCable()
})

afterAll(async () => {
  await service.stop()
})

/** Thrown by the app below when the user has to sign in again. */
class SignedOutError extends Error {}

/** An app in forty lines, as written by hand from the error table. */
class App {
  accessToken = ''
  refreshToken = ''
  requests = 0

  async logIn(name: string): Promise<void> {
    const { data } = await this.#send(
      `mutation ($email: String!, $password: String!) {
         login(email: $email, password: $password, device: "phone") { accessToken refreshToken }
       }`,
      { email: `${name}@example.com`, password: passwordOf(name) },
    )
    Object.assign(this, data.login)
  }

  async ask(query: string, variables: object = {}): Promise<any> {
    const { response, data, errors } = await this.#send(query, variables)
    if (!errors) return data

    const { code, reason, revocation } = errors[0].extensions
    switch (reason ?? code) {
      case 'TOKEN_EXPIRED':
        await this.#refresh()
        return this.ask(query, variables)
      case 'TOKEN_REVOKED':
        this.accessToken = ''
        throw new SignedOutError(revocation.reason)
      case 'REVOCATION_UNAVAILABLE':
        service.cable.setMode('pass')
        await wait(Number(response.headers.get('retry-after')))
        return this.ask(query, variables)
    }
    throw new Error(reason ?? code)
  }

  async #refresh(): Promise<void> {
    const { data } = await this.#send(
      'mutation ($token: String!) { refresh(refreshToken: $token) { accessToken refreshToken } }',
      { token: this.refreshToken },
    )
    if (!data) throw new SignedOutError('refresh')
    Object.assign(this, data.refresh)
  }

  async #send(query: string, variables: object): Promise<any> {
    this.requests += 1
    const response = await fetch(`${service.url}/graphql`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(this.accessToken && { authorization: `Bearer ${this.accessToken}` }),
      },
      body: JSON.stringify({ query, variables }),
    })
    return { response, ...((await response.json()) as object) }
  }
}

async function wait(seconds: number): Promise<void> {
  await new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000)
  })
}

const ME = '{ me { email } }'

describe('an app that uses nothing but fetch', () => {
  it('signs in, refreshes an expired token, and asks again', async () => {
    const { userId } = await register(service, 'ada')
    const app = new App()
    await app.logIn('ada')
    const sessionId = (await app.ask('{ sessions { id current } }')).sessions[0].id
    app.accessToken = expiredTokenOf({ ...app, userId, sessionId })
    app.requests = 0

    expect(await app.ask(ME)).toEqual({ me: { email: 'ada@example.com' } })
    expect(app.requests).toBe(3)
  })

  it('is told why it was signed out', async () => {
    const { accessToken } = await register(service, 'barbara')
    const app = new App()
    await app.logIn('barbara')
    await service.graphql('mutation { logoutAllDevices { endedSessions } }', { token: accessToken })

    await expect(app.ask(ME)).rejects.toEqual(new SignedOutError('logout_all_devices'))
  })

  it('is signed out when its refresh token is dead too', async () => {
    const { userId, sessionId } = await register(service, 'chandra')
    const app = new App()
    await app.logIn('chandra')
    await app.ask('mutation { logout { alreadyRevoked } }')
    app.accessToken = expiredTokenOf({ ...app, userId, sessionId })

    await expect(app.ask(ME)).rejects.toEqual(new SignedOutError('refresh'))
  })

  it('waits through an outage without signing in again', async () => {
    await register(service, 'dorothy')
    const app = new App()
    await app.logIn('dorothy')
    const { accessToken } = app

    service.cable.setMode('cut')
    const answer = await app.ask(ME)

    expect(answer).toEqual({ me: { email: 'dorothy@example.com' } })
    expect(app.accessToken).toBe(accessToken)
  })
})
