import { describe, expect, it } from 'vitest'
import { RefreshError, createSession } from '../../src/client/client.ts'
import type { SignedOut, TokenStorage, Tokens } from '../../src/client/client.ts'
import { createGate } from '../support/gate.ts'

let made = 0

/** Tokens of a person; nothing here looks at a signature. */
function createTokens(subject: string): Tokens {
  made += 1
  const payload = Buffer.from(JSON.stringify({ sub: subject, jti: made })).toString('base64url')
  return { accessToken: `header.${payload}.signature`, refreshToken: `refresh ${made}` }
}

/** What the tabs of a browser share. */
function createSharedStorage(tokens: Tokens | null): TokenStorage {
  let kept = tokens
  return {
    read: () => kept,
    write: (next) => {
      kept = next
    },
  }
}

const REFUSED = new RefreshError([
  { extensions: { code: 'UNAUTHENTICATED', reason: 'INVALID_REFRESH_TOKEN' } },
])

describe('a session', () => {
  it('takes what another tab has stored when its own refresh token was used there', async () => {
    const [before, after] = [createTokens('ada'), createTokens('ada')]
    const storage = createSharedStorage(before)
    const endings: SignedOut[] = []
    const session = createSession({
      storage,
      onSignedOut: (ending) => endings.push(ending),
      refresh: async () => {
        storage.write(after)
        throw REFUSED
      },
    })

    expect(await session.renew(before.accessToken)).toBe(after.accessToken)
    expect(endings).toEqual([])
    expect(storage.read()).toBe(after)
  })

  it('says when its refresh token was used by another client', async () => {
    const endings: SignedOut[] = []
    const revokedAt = '2026-11-28T12:00:00.000Z'
    const session = createSession({
      storage: createSharedStorage(null),
      onSignedOut: (ending) => endings.push(ending),
      refresh: async () => {
        const reason = 'INVALID_REFRESH_TOKEN'
        const revocation = { reason: 'refresh_token_reuse', revokedAt }
        throw new RefreshError([{ extensions: { code: 'UNAUTHENTICATED', reason, revocation } }])
      },
    })
    const tokens = createTokens('ada')
    session.signIn(tokens)

    expect(await session.renew(tokens.accessToken)).toBeNull()
    expect(endings).toEqual([
      {
        reason: 'INVALID_REFRESH_TOKEN',
        revocation: { reason: 'refresh_token_reuse', revokedAt: new Date(revokedAt) },
      },
    ])
  })

  it('does not refresh a token that another tab has refreshed already', async () => {
    const [before, after] = [createTokens('ada'), createTokens('ada')]
    const session = createSession({
      storage: createSharedStorage(after),
      refresh: async () => {
        throw new Error('was asked')
      },
    })

    expect(await session.renew(before.accessToken)).toBe(after.accessToken)
  })

  it('does not bring back who has signed out while it refreshed', async () => {
    const before = createTokens('ada')
    const gate = createGate()
    const session = createSession({
      refresh: async () => {
        await gate.opened
        return createTokens('ada')
      },
    })
    session.signIn(before)

    const renewed = session.renew(before.accessToken)
    session.signOut()
    gate.open()

    expect(await renewed).toBeNull()
    expect(session.accessToken).toBeNull()
  })

  it('keeps the one who has signed in while it refreshed for another', async () => {
    const [ada, barbara] = [createTokens('ada'), createTokens('barbara')]
    const gate = createGate()
    const session = createSession({
      refresh: async () => {
        await gate.opened
        return createTokens('ada')
      },
    })
    session.signIn(ada)

    const renewed = session.renew(ada.accessToken)
    session.signIn(barbara)
    gate.open()

    expect(await renewed).toBeNull()
    expect(session.accessToken).toBe(barbara.accessToken)
  })

  it('has requests wait for a refresh that is under way', async () => {
    const [before, after] = [createTokens('ada'), createTokens('ada')]
    const gate = createGate()
    const session = createSession({
      refresh: async () => {
        await gate.opened
        return after
      },
    })
    session.signIn(before)

    const renewed = session.renew(before.accessToken)
    const found = session.findToken()
    gate.open()

    expect(await Promise.all([renewed, found])).toEqual([after.accessToken, after.accessToken])
  })

  it('sends the token that it has when it cannot refresh before the end of that', async () => {
    const tokens = { ...createTokens('ada'), expiresIn: 0 }
    const session = createSession({
      refresh: async () => {
        throw new TypeError('network error')
      },
    })
    session.signIn(tokens)

    expect(await session.findToken()).toBe(tokens.accessToken)
  })

  it('tries again after a refresh that failed', async () => {
    const [before, after] = [createTokens('ada'), createTokens('ada')]
    let count = 0
    const session = createSession({
      refresh: async () => {
        count += 1
        if (count === 1) throw new TypeError('network error')
        return after
      },
    })
    session.signIn(before)

    await expect(session.renew(before.accessToken)).rejects.toThrow('network error')
    expect(await session.renew(before.accessToken)).toBe(after.accessToken)
  })

  it('signs out on TOKEN_EXPIRED where there is no way to refresh', async () => {
    const tokens = createTokens('ada')
    const endings: SignedOut[] = []
    const session = createSession({ onSignedOut: (ending) => endings.push(ending) })
    session.signIn(tokens)

    expect(await session.renew(tokens.accessToken)).toBeNull()
    expect(endings).toEqual([{ reason: 'TOKEN_EXPIRED' }])
  })

  it('tells who watches of new tokens and of the end, until that stops', () => {
    const tokens = createTokens('ada')
    const told: Array<string | null> = []
    const session = createSession({})
    const unwatch = session.watch((token) => told.push(token))

    session.signIn(tokens)
    session.signOut()
    unwatch()
    session.signIn(tokens)

    expect(told).toEqual([tokens.accessToken, null])
  })

  it.each(['RATE_LIMITED', 'REVOCATION_UNAVAILABLE', 'INTERNAL_SERVER_ERROR'])(
    'keeps the tokens when a refresh is answered with %s',
    async (code) => {
      const tokens = createTokens('ada')
      const session = createSession({
        refresh: async () => {
          throw new RefreshError([{ extensions: { code } }])
        },
      })
      session.signIn(tokens)

      await expect(session.renew(tokens.accessToken)).rejects.toThrow(code)
      expect(session.accessToken).toBe(tokens.accessToken)
    },
  )
})
