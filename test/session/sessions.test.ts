import { createHash } from 'node:crypto'
import type { EntityManager } from 'typeorm'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { runTransaction } from '../../src/database/transaction.ts'
import {
  AccountSuspendedError,
  InvalidCredentialsError,
  InvalidRefreshTokenError,
  TokenInvalidError,
} from '../../src/errors.ts'
import type { RevocationTarget } from '../../src/revocation/revocation.ts'
import { readAccountGrant } from '../../src/service/account/account-rows.ts'
import type { IssuedTokens } from '../../src/service/session/sessions.ts'
import type { Token } from '../../src/token/claims.ts'
import { replaceClock } from '../support/database-clock.ts'
import type { DatabaseClock } from '../support/database-clock.ts'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { LAPTOP, PHONE, TOKEN_SECONDS, openNode } from '../support/node.ts'
import type { TestNode } from '../support/node.ts'

const SECOND = 1000
const DAY = 24 * 60 * 60 * SECOND
const LIFETIME_SECONDS = 7 * 24 * 60 * 60
const GRACE_SECONDS = 5
const NOON = new Date('2025-11-22T12:00:00.250Z')

let database: TestDatabase
let clock: DatabaseClock
let node: TestNode
let other: TestNode
let reused: string[]
/** What accounts say of a person; a test may say something else. */
let readGrant: (manager: EntityManager, subject: string) => Promise<{ roles: readonly string[] }>

beforeAll(async () => {
  database = await createDatabase()
  clock = await replaceClock(database)
  const options = {
    lifetimeSeconds: LIFETIME_SECONDS,
    graceSeconds: GRACE_SECONDS,
    readGrant: (manager: EntityManager, subject: string) => readGrant(manager, subject),
    onReuse: ({ id }: { id: string }) => {
      reused.push(id)
    },
  }
  ;[node, other] = await Promise.all([
    openNode(database.url, options),
    openNode(database.url, options),
  ])
})

beforeEach(async () => {
  await clock.reset()
  await database.query(
    ['revocation', 'revocation_event', 'session', 'account']
      .map((table) => `delete from ${table}`)
      .join(';'),
  )
  reused = []
  readGrant = async () => ({ roles: ['USER'] })
})

afterAll(async () => {
  await Promise.all([node.close(), other.close()])
  await database.drop()
})

function signIn(subject = 'ada', device = PHONE): Promise<IssuedTokens> {
  return node.sessions.open(subject, device, readGrant)
}

function refresh(refreshToken: string, at = node): Promise<IssuedTokens> {
  return at.sessions.refresh(refreshToken, PHONE)
}

function read({ accessToken }: IssuedTokens): Token {
  return node.tokens.verify(accessToken.text)
}

async function isAlive(issued: IssuedTokens): Promise<boolean> {
  return isAliveAt(node, issued)
}

async function isAliveAt(at: TestNode, { accessToken }: IssuedTokens): Promise<boolean> {
  return (await at.check(at.tokens.verify(accessToken.text))) === null
}

async function expectRefused(refreshToken: string): Promise<void> {
  await expect(refresh(refreshToken)).rejects.toThrow(InvalidRefreshTokenError)
}

describe('open', () => {
  // Q35
  it('makes a session, an access token and a refresh token, all new', async () => {
    const [first, second] = [await signIn(), await signIn()]

    expect(second.session.id).not.toBe(first.session.id)
    expect(second.accessToken.tokenId).not.toBe(first.accessToken.tokenId)
    expect(second.refreshToken).not.toBe(first.refreshToken)
    expect(first.refreshToken).toMatch(/^[A-Za-z0-9_-]{43}$/)
  })

  it("takes its times from the database's clock, to the millisecond", async () => {
    await clock.stop(NOON)
    const issued = await signIn()

    expect(issued.session).toEqual({
      id: issued.session.id,
      subject: 'ada',
      device: 'phone',
      userAgent: 'Phone/1',
      ipAddress: '192.0.2.1',
      createdAt: NOON,
      authenticatedAt: NOON,
      lastSeenAt: NOON,
      lastIssuedAt: NOON,
      expiresAt: new Date(NOON.getTime() + LIFETIME_SECONDS * SECOND),
      endedAt: null,
    })
    expect(read(issued)).toMatchObject({
      subject: 'ada',
      sessionId: issued.session.id,
      tokenId: issued.accessToken.tokenId,
      roles: ['USER'],
      issuedAt: NOON.getTime() / 1000,
      authenticatedAt: NOON.getTime() / 1000,
      expiresAt: NOON.getTime() / 1000 + TOKEN_SECONDS,
    })
    expect(issued.accessToken.expiresIn).toBe(TOKEN_SECONDS)
  })

  // Q57
  it('leaves nothing when the person may not sign in after all', async () => {
    readGrant = async () => {
      throw new AccountSuspendedError()
    }

    await expect(signIn()).rejects.toThrow(AccountSuspendedError)
    expect(
      await database.query(`select 1 from session union all select 1 from refresh_token`),
    ).toEqual([])
  })

  // Q36
  it('stores no token: the tables hold hashes only', async () => {
    const first = await signIn()
    const second = await refresh(first.refreshToken)
    await refresh(first.refreshToken)

    const [row] = await database.query<{ dump: string }>(
      `select concat((select json_agg(t)::text from refresh_token t), (select json_agg(s)::text from session s)) as dump`,
    )
    for (const text of [first, second].flatMap((each) => [
      each.refreshToken,
      each.accessToken.text,
    ])) {
      expect(row!.dump).not.toContain(text)
      expect(row!.dump).not.toContain(Buffer.from(text, 'base64url').toString('hex'))
    }
    const hash = createHash('sha256')
      .update(Buffer.from(first.refreshToken, 'base64url'))
      .digest('hex')
    expect(row!.dump).toContain(hash)
  })
})

describe('refresh', () => {
  // Q52
  it('gives a new pair for the same session, and leaves earlier access tokens alone', async () => {
    const first = await signIn()
    await clock.jump(60 * SECOND)
    const second = await node.sessions.refresh(first.refreshToken, LAPTOP)

    expect(second.refreshToken).not.toBe(first.refreshToken)
    expect(second.accessToken.tokenId).not.toBe(first.accessToken.tokenId)
    expect(read(second)).toMatchObject({ sessionId: first.session.id, subject: 'ada' })
    expect(await Promise.all([first, second].map(isAlive))).toEqual([true, true])
    expect(reused).toEqual([])
  })

  it('notes when and from where the session was seen, and keeps its name', async () => {
    const { refreshToken, session } = await signIn()
    await clock.jump(60 * SECOND)
    const { session: seen } = await node.sessions.refresh(refreshToken, { ...LAPTOP, name: null })

    expect(seen).toMatchObject({ device: 'phone', userAgent: 'Laptop/1', ipAddress: '192.0.2.2' })
    expect(seen.createdAt).toEqual(session.createdAt)
    expect(seen.lastSeenAt.getTime() - session.lastSeenAt.getTime()).toBeGreaterThanOrEqual(
      60 * SECOND,
    )
    expect(seen.lastIssuedAt).toEqual(seen.lastSeenAt)
  })

  // Q20
  it('gives the roles of today', async () => {
    const { refreshToken } = await signIn()
    readGrant = async () => ({ roles: ['USER', 'ADMIN'] })

    expect(read(await refresh(refreshToken)).roles).toEqual(['USER', 'ADMIN'])
  })

  it.each([
    ['nothing', ''],
    ['what is no token', 'refresh me'],
    ['a token of another length', 'A'.repeat(42)],
    ['a token in another spelling', `${'A'.repeat(42)}B`],
    ['a token that was not issued', 'A'.repeat(43)],
    ['a JWT', 'a.b.c'],
    ['a NUL', '\0'.repeat(43)],
  ])('refuses %s, and writes nothing', async (_what, text) => {
    await signIn()

    await expectRefused(text)
    expect(await node.revocations.countEvents({})).toBe(0)
    expect(reused).toEqual([])
  })

  // Q53
  it('never moves the end of the session, and lets no access token outlive it', async () => {
    await clock.stop(NOON)
    let issued = await signIn()
    const { expiresAt } = issued.session
    for (let day = 1; day < 7; day += 1) {
      await clock.jump(DAY)
      issued = await refresh(issued.refreshToken)
      expect(issued.session.expiresAt).toEqual(expiresAt)
    }

    await clock.jump(DAY - 10 * SECOND)
    issued = await refresh(issued.refreshToken)
    expect(issued.accessToken.expiresIn).toBe(10)
    expect(read(issued).expiresAt).toBe(expiresAt.getTime() / 1000)
    await clock.jump(10 * SECOND)
    await expectRefused(issued.refreshToken)
    expect(await node.revocations.countEvents({})).toBe(0)
  })

  it('refuses a session that has ended, without calling it theft', async () => {
    const first = await signIn()
    const second = await refresh(first.refreshToken)
    await revoke({ scope: 'SESSION', sessionId: first.session.id, subject: 'ada' })

    await expectRefused(second.refreshToken)
    await expectRefused(first.refreshToken)
    expect(reused).toEqual([])
    expect(await node.revocations.countEvents({})).toBe(1)
  })

  // Q13
  it('does not use up the token of a person who is suspended for a while', async () => {
    const { refreshToken } = await signIn()
    readGrant = async () => {
      throw new AccountSuspendedError()
    }
    await expect(refresh(refreshToken)).rejects.toThrow(AccountSuspendedError)
    readGrant = async () => ({ roles: ['USER'] })

    expect(await isAlive(await refresh(refreshToken))).toBe(true)
  })
})

describe('a refresh token that comes back', () => {
  it('within the grace time, unused successor: gets the same successor, as an answer may be lost', async () => {
    const { refreshToken } = await signIn()
    const second = await refresh(refreshToken)
    await clock.jump((GRACE_SECONDS - 1) * SECOND)
    const again = await refresh(refreshToken, other)

    expect(again.refreshToken).toBe(second.refreshToken)
    expect(again.accessToken.tokenId).not.toBe(second.accessToken.tokenId)
    expect(await Promise.all([second, again].map(isAlive))).toEqual([true, true])
    expect(reused).toEqual([])
  })

  // Q52
  it.each<[string, (first: IssuedTokens) => Promise<IssuedTokens>]>([
    [
      'after the grace time',
      async ({ refreshToken }) => {
        const second = await refresh(refreshToken)
        await clock.jump((GRACE_SECONDS + 1) * SECOND)
        return second
      },
    ],
    [
      'within the grace time, when its successor was used',
      async ({ refreshToken }) => refresh((await refresh(refreshToken)).refreshToken),
    ],
    [
      'three generations later',
      async ({ refreshToken }) => {
        const second = await refresh(refreshToken)
        const third = await refresh(second.refreshToken)
        return refresh(third.refreshToken)
      },
    ],
  ])('%s: ends the session, because one of two holders is a thief', async (_when, use) => {
    const first = await signIn()
    const bystander = await signIn('ada', LAPTOP)
    const last = await use(first)
    expect(await isAlive(last)).toBe(true)

    await expectRefused(first.refreshToken)
    await expectRefused(last.refreshToken)
    expect(await Promise.all([first, last, bystander].map(isAlive))).toEqual([false, false, true])
    expect(reused).toEqual([first.session.id])
    const { items } = await node.revocations.listEvents({ first: 10, after: null, filter: {} })
    expect(items).toMatchObject([
      {
        actor: null,
        revocation: {
          scope: 'SESSION',
          sessionId: first.session.id,
          reason: 'refresh_token_reuse',
        },
      },
    ])
    await refresh(bystander.refreshToken)
  })

  // Q57
  it('20 times at once on two nodes: all get the same successor, and one is left to use', async () => {
    const { refreshToken } = await signIn()

    const issued = await Promise.all(
      Array.from({ length: 20 }, (_, index) => refresh(refreshToken, index % 2 ? node : other)),
    )
    expect(new Set(issued.map((each) => each.refreshToken)).size).toBe(1)
    expect(new Set(issued.map((each) => each.accessToken.tokenId)).size).toBe(20)
    expect(
      await database.query(`select 1 from refresh_token where replaced_at is null`),
    ).toHaveLength(1)
    expect(await Promise.all(issued.map(isAlive))).toEqual(issued.map(() => true))
    expect(reused).toEqual([])
    await refresh(issued[0]!.refreshToken)
  })

  it('20 times at once after the grace time: is called theft once', async () => {
    const { refreshToken, session } = await signIn()
    await refresh(refreshToken)
    await clock.jump((GRACE_SECONDS + 1) * SECOND)

    await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        expect(refresh(refreshToken, index % 2 ? node : other)).rejects.toThrow(
          InvalidRefreshTokenError,
        ),
      ),
    )
    expect(reused).toEqual([session.id])
    expect(await node.revocations.countEvents({})).toBe(1)
  })

  it('while its owner signs out: ends the session once, without a deadlock', async ({
    onTestFinished,
  }) => {
    const own = await createDatabase()
    // None is resolved before the waits have become too long.
    await own.query(`alter database "${nameOf(own)}" set deadlock_timeout = '60s'`)
    const { sessions, revocations, close } = await openNode(own.url, { graceSeconds: 0 })
    onTestFinished(async () => {
      await close()
      await own.drop()
    })

    for (let round = 0; round < 10; round += 1) {
      const { refreshToken, session } = await sessions.open('ada', PHONE, readGrant)
      await sessions.refresh(refreshToken, PHONE)
      const target = { scope: 'SESSION', sessionId: session.id, subject: 'ada' } as const

      await Promise.all([
        expect(sessions.refresh(refreshToken, PHONE)).rejects.toThrow(InvalidRefreshTokenError),
        revocations.revoke({ target, reason: 'logout', by: 'ada' }),
        expect(sessions.refresh(refreshToken, PHONE)).rejects.toThrow(InvalidRefreshTokenError),
      ])
    }
    expect(await revocations.countEvents({})).toBe(10)
  })
})

// Q12, Q57
describe('a refresh under way while', () => {
  it.each<[string, (issued: IssuedTokens) => RevocationTarget]>([
    ['its person signs out everywhere', () => ({ scope: 'SUBJECT', subject: 'ada' })],
    ['everyone is signed out', () => ({ scope: 'EVERYONE' })],
    [
      'its session is signed out',
      ({ session }) => ({ scope: 'SESSION', sessionId: session.id, subject: 'ada' }),
    ],
    [
      'another session signs out all others',
      () => ({ scope: 'SUBJECT', subject: 'ada', keptSessionId: 'another' }),
    ],
  ])('%s: leaves no token alive', async (_what, targetOf) => {
    const outcomes = { refreshed: 0, refused: 0 }

    for (let round = 0; round < 20; round += 1) {
      const first = await signIn()
      const [refreshed] = await Promise.all([
        refresh(first.refreshToken, round % 2 ? node : other).catch((error: unknown) => {
          expect(error).toBeInstanceOf(InvalidRefreshTokenError)
          return null
        }),
        later(round % 8).then(() => revoke(targetOf(first))),
      ])

      expect(await isAlive(first)).toBe(false)
      if (refreshed) expect(await isAlive(refreshed)).toBe(false)
      await expectRefused((refreshed ?? first).refreshToken)
      outcomes[refreshed ? 'refreshed' : 'refused'] += 1
    }
    expect(outcomes.refreshed).toBeGreaterThan(0)
    expect(reused).toEqual([])
  })

  it('all others sign out: goes on', async () => {
    const { refreshToken, session } = await signIn()
    let last = refreshToken

    for (let round = 0; round < 10; round += 1) {
      await signIn('ada', LAPTOP)
      const [refreshed] = await Promise.all([
        refresh(last, other),
        revoke({ scope: 'SUBJECT', subject: 'ada', keptSessionId: session.id }),
      ])
      expect(await isAlive(refreshed)).toBe(true)
      last = refreshed.refreshToken
    }
  })

  it('a login is under way too: every older token is dead, every newer one lives', async () => {
    for (let round = 0; round < 10; round += 1) {
      const first = await signIn()
      const [meanwhile] = await Promise.all([
        other.sessions.open('ada', LAPTOP, readGrant),
        refresh(first.refreshToken).catch(() => null),
        revoke({ scope: 'SUBJECT', subject: 'ada' }),
      ])
      const after = await signIn()

      expect(await Promise.all([first, after].map(isAlive))).toEqual([false, true])
      const isSessionAlive = (await node.sessions.find(meanwhile.session.id))?.endedAt === null
      expect(await isAlive(meanwhile)).toBe(isSessionAlive)
    }
  })

  // Q13
  it('the account is suspended: leaves no token alive', async () => {
    readGrant = readAccountGrant
    for (let round = 0; round < 15; round += 1) {
      const [{ id: subject }] = (await database.query<{ id: string }>(
        `insert into account (id, email, password_hash, roles, created_at)
         values (gen_random_uuid(), $1, '', '{USER}', now()) returning id`,
        [`ada${round}@example.com`],
      )) as [{ id: string }]
      const first = await signIn(subject)

      const [refreshed] = await Promise.all([
        refresh(first.refreshToken, other).catch((error: unknown) => {
          expect([AccountSuspendedError, InvalidRefreshTokenError]).toContain(
            (error as Error).constructor,
          )
          return null
        }),
        later(round % 8).then(() => suspend(subject)),
      ])
      expect(await isAlive(first)).toBe(false)
      if (refreshed) expect(await isAlive(refreshed)).toBe(false)
      await expect(refresh((refreshed ?? first).refreshToken)).rejects.toThrow(
        AccountSuspendedError,
      )
    }
  })
})

describe('renewWithin', () => {
  it('gives a live session new tokens, and takes the old refresh token for stolen after the grace time', async () => {
    const first = await signIn()
    const renewed = await renew(first.session.id)

    expect(renewed.session.id).toBe(first.session.id)
    expect(await isAlive(renewed)).toBe(true)
    await clock.jump((GRACE_SECONDS + 1) * SECOND)
    await expectRefused(first.refreshToken)
    expect(reused).toEqual([first.session.id])
    await expectRefused(renewed.refreshToken)
  })

  it('opens a session anew when the old one has ended', async () => {
    const first = await signIn()
    await revoke({ scope: 'SESSION', sessionId: first.session.id, subject: 'ada' })
    const renewed = await renew(first.session.id)

    expect(renewed.session.id).not.toBe(first.session.id)
    expect(await isAlive(renewed)).toBe(true)
    expect(await isAlive(await refresh(renewed.refreshToken))).toBe(true)
  })

  it('gives nothing to whom accounts refuse it', async () => {
    const first = await signIn()
    readGrant = async () => {
      throw new InvalidCredentialsError()
    }

    await expect(renew(first.session.id)).rejects.toThrow(InvalidCredentialsError)
    readGrant = async () => ({ roles: ['USER'] })
    expect(await isAlive(await refresh(first.refreshToken))).toBe(true)
  })

  function renew(sessionId: string): Promise<IssuedTokens> {
    return runTransaction(node.dataSource, (manager) =>
      node.sessions.renewWithin(manager, sessionId, 'ada', LAPTOP),
    )
  }
})

// Q52
describe.each<[string, (id: string) => Promise<IssuedTokens>]>([
  [
    'changePassword',
    (id) =>
      runTransaction(node.dataSource, (manager) =>
        node.sessions.renewWithin(manager, id, 'ada', PHONE),
      ),
  ],
  ['reauthenticate', (id) => node.sessions.reauthenticate(id, 'ada', PHONE, readGrant)],
])('just after %s', (_what, prove) => {
  it.each<[string, (first: IssuedTokens) => Promise<string>]>([
    ['the token of a moment ago', async ({ refreshToken }) => refreshToken],
    [
      'the token whose answer was lost a moment before',
      async ({ refreshToken }) => {
        await refresh(refreshToken)
        return refreshToken
      },
    ],
  ])('%s gives nothing new and kills nothing', async (_which, use) => {
    await clock.stop(NOON)
    const first = await signIn()
    const old = await use(first)
    const renewed = await prove(first.session.id)
    await clock.jump((GRACE_SECONDS - 1) * SECOND)

    await Promise.all([expectRefused(old), expectRefused(old), expectRefused(old)])
    expect(reused).toEqual([])
    expect(await isAlive(renewed)).toBe(true)
    expect(await isAlive(await refresh(renewed.refreshToken, other))).toBe(true)
    await expectRefused(old)
    expect(reused).toEqual([])
  })

  it('the token of a moment ago ends the session once the grace time is over', async () => {
    const first = await signIn()
    const renewed = await prove(first.session.id)
    await clock.jump((GRACE_SECONDS + 1) * SECOND)

    await expectRefused(first.refreshToken)
    expect(reused).toEqual([first.session.id])
    expect(await isAlive(renewed)).toBe(false)
  })
})

// Q52
describe('where answers may be lost for ten minutes', () => {
  const LOST_SECONDS = 600
  let patient: TestNode

  beforeAll(async () => {
    patient = await openNode(database.url, {
      graceSeconds: GRACE_SECONDS,
      lostAnswerSeconds: LOST_SECONDS,
      onReuse: ({ id }) => {
        reused.push(id)
      },
    })
  })

  afterAll(async () => {
    await patient.close()
  })

  it('an unused successor is given again until they are over', async () => {
    await clock.stop(NOON)
    const first = await signIn()
    const second = await refresh(first.refreshToken, patient)
    await clock.jump((LOST_SECONDS - 1) * SECOND)

    const again = await refresh(first.refreshToken, patient)
    expect(again.refreshToken).toBe(second.refreshToken)
    expect(await isAliveAt(patient, again)).toBe(true)
    await clock.jump(2 * SECOND)
    await expect(refresh(first.refreshToken, patient)).rejects.toThrow(InvalidRefreshTokenError)
    expect(reused).toEqual([first.session.id])
  })

  it('a token whose successor was used ends the session at once', async () => {
    const first = await signIn()
    const second = await refresh(first.refreshToken, patient)
    await refresh(second.refreshToken, patient)

    await expect(refresh(first.refreshToken, patient)).rejects.toThrow(InvalidRefreshTokenError)
    expect(reused).toEqual([first.session.id])
  })

  it('a token that a new password took the place of kills nothing while the new one is unused', async () => {
    await clock.stop(NOON)
    const first = await signIn()
    const renewed = await patient.sessions.reauthenticate(first.session.id, 'ada', PHONE, readGrant)
    await clock.jump((LOST_SECONDS - 1) * SECOND)

    await expect(refresh(first.refreshToken, patient)).rejects.toThrow(InvalidRefreshTokenError)
    expect(reused).toEqual([])
    await refresh(renewed.refreshToken, patient)
    await expect(refresh(first.refreshToken, patient)).rejects.toThrow(InvalidRefreshTokenError)
    expect(reused).toEqual([first.session.id])
  })

  it('a node that was told nothing of it takes the same for theft', async () => {
    const first = await signIn()
    await refresh(first.refreshToken)
    await clock.jump((GRACE_SECONDS + 1) * SECOND)

    await expectRefused(first.refreshToken)
    expect(reused).toEqual([first.session.id])
  })
})

// Q52
describe('a refresh that is refused', () => {
  async function refusalOf(refreshToken: string): Promise<object> {
    const error = await refresh(refreshToken).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(InvalidRefreshTokenError)
    return (error as InvalidRefreshTokenError).extensions
  }

  it('tells both holders of a token that was used twice that it was, days later too', async () => {
    const first = await signIn()
    const second = await refresh(first.refreshToken)
    await clock.jump((GRACE_SECONDS + 1) * SECOND)

    const told = await refusalOf(first.refreshToken)
    expect(told).toMatchObject({
      code: 'UNAUTHENTICATED',
      reason: 'INVALID_REFRESH_TOKEN',
      revocation: { reason: 'refresh_token_reuse' },
    })
    await clock.jump(3 * DAY)
    expect(await refusalOf(second.refreshToken)).toEqual(told)
    expect(await refusalOf(first.refreshToken)).toEqual(told)
  })

  it('says nothing more of an unknown token, nor of a session that has ended in another way', async () => {
    const [revoked, expired] = [await signIn(), await signIn()]
    await revoke({ scope: 'SESSION', sessionId: revoked.session.id, subject: 'ada' })
    const plain = { code: 'UNAUTHENTICATED', reason: 'INVALID_REFRESH_TOKEN' }

    expect(await refusalOf(revoked.refreshToken)).toEqual(plain)
    expect(await refusalOf('A'.repeat(43))).toEqual(plain)
    await clock.jump(LIFETIME_SECONDS * SECOND)
    expect(await refusalOf(expired.refreshToken)).toEqual(plain)
  })
})

describe('reauthenticate', () => {
  // Q55, Q57
  it('gives nothing when the session ended meanwhile, and opens none', async () => {
    const first = await signIn()
    await revoke({ scope: 'SESSION', sessionId: first.session.id, subject: 'ada' })

    await expect(
      node.sessions.reauthenticate(first.session.id, 'ada', LAPTOP, readGrant),
    ).rejects.toThrow(TokenInvalidError)
    expect(await database.query(`select id from session`)).toEqual([{ id: first.session.id }])
  })

  it('gives nothing to whom accounts refuse it', async () => {
    const first = await signIn()

    await expect(
      node.sessions.reauthenticate(first.session.id, 'ada', LAPTOP, async () => {
        throw new InvalidCredentialsError()
      }),
    ).rejects.toThrow(InvalidCredentialsError)
    expect(await isAlive(await refresh(first.refreshToken))).toBe(true)
  })
})

describe('an unused session', () => {
  const IDLE_SECONDS = 3600
  let idle: TestNode

  beforeAll(async () => {
    idle = await openNode(database.url, {
      lifetimeSeconds: LIFETIME_SECONDS,
      idleSeconds: IDLE_SECONDS,
    })
  })

  afterAll(async () => {
    await idle.close()
  })

  // Q54
  it('is over when the idle limit is reached, and not before', async () => {
    await clock.stop(NOON)
    const used = await idle.sessions.open('ada', PHONE, readGrant)
    const unused = await idle.sessions.open('ada', LAPTOP, readGrant)
    const listed = async (): Promise<string[]> =>
      (await idle.sessions.list('ada', '')).map(({ id }) => id)

    await clock.jump((IDLE_SECONDS - 1) * SECOND)
    const { refreshToken } = await idle.sessions.refresh(used.refreshToken, PHONE)
    expect(await listed()).toHaveLength(2)
    await clock.jump(2 * SECOND)

    await expect(idle.sessions.refresh(unused.refreshToken, LAPTOP)).rejects.toThrow(
      InvalidRefreshTokenError,
    )
    expect(await listed()).toEqual([used.session.id])
    expect(await isAliveAt(idle, await idle.sessions.refresh(refreshToken, PHONE))).toBe(true)
  })

  // Q53, Q54
  it('ends absolutely, however often it is used', { timeout: 90_000 }, async () => {
    await clock.stop(NOON)
    let { refreshToken } = await idle.sessions.open('ada', PHONE, readGrant)
    for (let used = 0; used < LIFETIME_SECONDS - 1800; used += 1800) {
      await clock.jump(1800 * SECOND)
      ;({ refreshToken } = await idle.sessions.refresh(refreshToken, PHONE))
    }
    await clock.jump(1800 * SECOND)

    await expect(idle.sessions.refresh(refreshToken, PHONE)).rejects.toThrow(
      InvalidRefreshTokenError,
    )
  })

  it('lives to its end where there is no idle limit', async () => {
    await clock.stop(NOON)
    const { refreshToken } = await signIn()
    await clock.jump((LIFETIME_SECONDS - 1) * SECOND)

    expect(await isAlive(await refresh(refreshToken))).toBe(true)
  })
})

describe('a person with as many sessions as there may be', () => {
  let limited: TestNode
  let givenWay: string[]

  beforeAll(async () => {
    limited = await openNode(database.url, {
      lifetimeSeconds: LIFETIME_SECONDS,
      maxPerPerson: 3,
      onGivenWay: ({ id }, { reason }) => {
        givenWay.push(`${id} ${reason}`)
      },
    })
  })

  beforeEach(() => {
    givenWay = []
  })

  afterAll(async () => {
    await limited.close()
  })

  // Q56
  it('signs in all the same: the oldest session ends, with its access tokens', async () => {
    const opened: IssuedTokens[] = []
    for (const _device of [1, 2, 3, 4]) {
      opened.push(await limited.sessions.open('ada', PHONE, readGrant))
    }
    opened.push(await limited.sessions.open('grace', PHONE, readGrant))

    const alive = await Promise.all(opened.map((tokens) => isAliveAt(limited, tokens)))
    expect(alive).toEqual([false, true, true, true, true])
    expect(givenWay).toEqual([`${opened[0]!.session.id} session_limit`])
    const [entry] = await database.query(`select scope, reason, revoked_by from revocation`)
    expect(entry).toEqual({ scope: 'SESSION', reason: 'session_limit', revoked_by: null })
    await expectRefused(opened[0]!.refreshToken)
  })

  // Q56, Q57
  it('has no more of them when many are opened at once', async () => {
    const opened = await Promise.all(
      Array.from({ length: 12 }, () => limited.sessions.open('ada', PHONE, readGrant)),
    )

    const alive = await Promise.all(opened.map((tokens) => isAliveAt(limited, tokens)))
    expect(alive.filter(Boolean).length).toBeGreaterThanOrEqual(1)
    expect(alive.filter(Boolean).length).toBeLessThanOrEqual(3)
    expect(await limited.sessions.list('ada', '')).toHaveLength(alive.filter(Boolean).length)
  })
})

describe('the list of sessions', () => {
  // Q16
  it("is the person's own, newest first, without those that have ended", async () => {
    const oldest = await signIn()
    await clock.jump(SECOND)
    const ended = await signIn()
    await clock.jump(SECOND)
    const newest = await signIn()
    await signIn('bob')
    await revoke({ scope: 'SESSION', sessionId: ended.session.id, subject: 'ada' })

    const ids = async (currentId: string): Promise<string[]> =>
      (await node.sessions.list('ada', currentId)).map(({ id }) => id)
    expect(await ids(newest.session.id)).toEqual([newest.session.id, oldest.session.id])
    expect(await ids(ended.session.id)).toEqual(
      [newest, ended, oldest].map(({ session }) => session.id),
    )
    expect(await ids('no UUID')).toHaveLength(2)
  })

  it('leaves out what has expired', async () => {
    await signIn()
    await clock.jump(LIFETIME_SECONDS * SECOND)

    expect(await node.sessions.list('ada', 'another')).toEqual([])
  })
})

describe('looking up a session', () => {
  it('finds it by its id, in whatever case, ended or not', async () => {
    const { session } = await signIn()

    expect(await other.sessions.find(session.id.toUpperCase())).toEqual(session)
    const { revocation } = await revoke({ scope: 'SESSION', sessionId: session.id, subject: 'ada' })
    expect(await node.sessions.find(session.id)).toEqual({
      ...session,
      endedAt: revocation.revokedAt,
    })
    expect(await node.sessions.find('00000000-0000-4000-8000-000000000000')).toBeNull()
    expect(await node.sessions.find('no UUID')).toBeNull()
  })

  it('finds it by its refresh token, used or not', async () => {
    const { refreshToken, session } = await signIn()
    const second = await refresh(refreshToken)

    for (const text of [refreshToken, second.refreshToken]) {
      expect((await node.sessions.findByRefreshToken(text))?.id).toBe(session.id)
    }
    expect(await node.sessions.findByRefreshToken('A'.repeat(43))).toBeNull()
    expect(await node.sessions.findByRefreshToken('a.b.c')).toBeNull()
  })

  it('and ending it goes by an index, whatever the size of the tables', async ({
    onTestFinished,
  }) => {
    const own = await createDatabase()
    onTestFinished(() => own.drop())
    await own.query(
      `insert into session (id, subject, created_at, authenticated_at, last_seen_at, last_issued_at, expires_at)
       select gen_random_uuid(), 'person ' || n, now(), now(), now(), now(), now() + interval '1 day'
       from generate_series(1, 5000) n`,
    )
    await own.query(`analyze session`)

    await useEverySessionStatement(own)
    const scans = `select indexrelname as by from pg_stat_user_indexes where relname = 'session' and idx_scan > 0
                   union all
                   select 'none' from pg_stat_user_tables where relname = 'session' and seq_scan > 0
                   order by 1`
    await expect
      .poll(() => own.query(scans), { timeout: 5000 })
      .toEqual([
        { by: 'session_last_issued_at' },
        { by: 'session_live' },
        { by: 'session_pkey' },
        { by: 'session_subject' },
      ])
  })

  async function useEverySessionStatement({ url }: TestDatabase): Promise<void> {
    const { sessions, revocations, dataSource, close } = await openNode(url, { poolSize: 1 })
    const { session, refreshToken } = await sessions.open('ada', PHONE, readGrant)
    await sessions.refresh(refreshToken, PHONE)
    await sessions.find(session.id)
    await sessions.list('ada', session.id)
    await sessions.findByRefreshToken(refreshToken)
    await runTransaction(dataSource, (manager) =>
      sessions.renewWithin(manager, session.id, 'ada', PHONE),
    )
    const target = { scope: 'SESSION', sessionId: session.id, subject: 'ada' } as const
    await revocations.revoke({ target, reason: 'logout', by: null })
    await revocations.revoke({
      target: { scope: 'SUBJECT', subject: 'ada' },
      reason: 'logout',
      by: null,
    })
    // The one connection hands in its statistics when it ends.
    await close()
  }
})

// Q18
describe('deleteEnded', () => {
  it('keeps a session that has ended as long as its refresh tokens could come back, and a day', async () => {
    await clock.stop(NOON)
    const ended = await signIn()
    await refresh(ended.refreshToken)
    await revoke({ scope: 'SESSION', sessionId: ended.session.id, subject: 'ada' })
    await clock.jump(2 * DAY)
    const live = await signIn()

    await clock.jump(LIFETIME_SECONDS * SECOND - DAY)
    expect(await node.sessions.deleteEnded(10)).toBe(0)
    expect((await node.sessions.findByRefreshToken(ended.refreshToken))?.id).toBe(ended.session.id)
    await clock.jump(1)
    expect(await node.sessions.deleteEnded(10)).toBe(1)
    expect(await node.sessions.find(ended.session.id)).toBeNull()
    expect(await node.sessions.find(live.session.id)).not.toBeNull()
    expect(await database.query(`select 1 from refresh_token`)).toHaveLength(1)
    await refresh(live.refreshToken)
  })

  it('removes what has expired too, no more than the limit at a time', async () => {
    for (let index = 0; index < 5; index += 1) await signIn()
    await clock.jump(LIFETIME_SECONDS * SECOND + DAY + SECOND)
    const live = await signIn()

    expect(await node.sessions.deleteEnded(3)).toBe(3)
    expect(await other.sessions.deleteEnded(3)).toBe(2)
    expect(await node.sessions.deleteEnded(3)).toBe(0)
    await refresh(live.refreshToken)
  })
})

function revoke(target: RevocationTarget): ReturnType<TestNode['revocations']['revoke']> {
  return node.revocations.revoke({ target, reason: 'logout', by: 'ada' })
}

/** As accounts do it: under the subject's lock, with a cut-off of its own. */
async function suspend(subject: string): Promise<void> {
  const target = { scope: 'SUBJECT', subject } as const
  await runTransaction(node.dataSource, async (manager) => {
    await node.revocations.lockWithin(manager, target)
    await manager.query(`update account set suspended_at = clock_timestamp() where id = $1`, [
      subject,
    ])
    const request = { target, reason: 'account_suspended', by: 'admin' }
    await node.revocations.revokeWithin(manager, request, { always: true })
  })
}

/** Some round trips from now, to meet the other at different steps. */
async function later(roundTrips: number): Promise<void> {
  for (let trip = 0; trip < roundTrips; trip += 1) await node.dataSource.query(`select 1`)
}

function nameOf({ url }: TestDatabase): string {
  return new URL(url).pathname.slice(1)
}
