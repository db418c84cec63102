import { gql } from '@apollo/client'
import type { TypedDocumentNode } from '@apollo/client'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { WebSocket } from 'ws'
import type { SignedOut, Tokens } from '../../src/client/client.ts'
import { passwordOf, register } from '../../test/support/people.ts'
import { startService } from '../../test/support/service.ts'
import type { TestService } from '../../test/support/service.ts'
import { createApp } from './app.ts'

const LOGIN: TypedDocumentNode<{ login: Tokens }> = gql`
  mutation Login($email: String!, $password: String!) {
    login(email: $email, password: $password) {
      accessToken
      refreshToken
      expiresIn
    }
  }
`
const ENDED = gql`
  subscription Ended {
    sessionEnded {
      reason
    }
  }
`

describe('the app of docs/client.md', () => {
  let service: TestService

  beforeAll(async () => {
    // Browsers have it, and Node from 22 on.
    vi.stubGlobal('WebSocket', WebSocket)
    service = await startService()
  })

  afterAll(async () => {
    vi.unstubAllGlobals()
    await service.stop()
  })

  it('signs in, asks, listens, and is told of the end once', async () => {
    await register(service, 'ada')
    const endings: SignedOut[] = []
    const { session, client } = createApp(`${service.url}/graphql`, (why) => endings.push(why))

    const { data } = await client.mutate({
      mutation: LOGIN,
      variables: { email: 'ada@example.com', password: passwordOf('ada') },
    })
    session.signIn(data!.login)
    const ended = new Promise((resolve, reject) => {
      client.subscribe({ query: ENDED }).subscribe({ next: resolve, error: reject })
    })
    await client.query({ query: gql('{ me { email } }') })
    await vi.waitFor(async () => {
      const metrics = await (await fetch(`${service.url}/metrics`)).text()
      expect(metrics).toMatch(/^portcullis_live_connections\S* 1$/m)
    })
    await client.mutate({ mutation: gql('mutation { logout { alreadyRevoked } }') })

    expect(await ended).toMatchObject({ data: { sessionEnded: { reason: 'logout' } } })
    await vi.waitFor(() => expect(endings).toHaveLength(1))
    expect(session.accessToken).toBeNull()
  })
})
