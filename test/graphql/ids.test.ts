import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stopSubscribers, subscribe } from '../support/live.ts'
import { forgedTokenOf, login, register } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

let service: TestService
let admin: SignIn
/** Ids as the fields show them. */
let shown: Record<'tokenId' | 'digest' | 'sessionId' | 'subject' | 'revokedBy', string>

beforeAll(async () => {
  service = await startService()
  admin = await login(service, 'admin', 'console')
  // The first line of the journal belongs to a person who is not looked for.
  const grace = await register(service, 'grace')
  await service.graphql('mutation { logout { alreadyRevoked } }', { token: grace.accessToken })
  const ada = await register(service, 'ada')
  const laptop = await login(service, 'ada', 'laptop')

  const revokeToken =
    'mutation ($token: String!) { revokeToken(token: $token) { revocation { tokenId subject revokedBy } } }'
  const verified = await ask(revokeToken, { token: ada.accessToken })
  const forged = await ask(revokeToken, { token: forgedTokenOf(ada) })
  const { revokeSession } = await ask(
    'mutation ($id: ID!) { revokeSession(id: $id) { revocation { sessionId } } }',
    { id: laptop.sessionId },
  )
  const { tokenId, subject, revokedBy } = verified.revokeToken.revocation
  const digest = forged.revokeToken.revocation.tokenId
  shown = { tokenId, digest, subject, revokedBy, sessionId: revokeSession.revocation.sessionId }
})

afterAll(async () => {
  stopSubscribers()
  await service.stop()
})

async function ask(source: string, variables: object = {}): Promise<any> {
  const { data, errors } = await service.graphql(source, { token: admin.accessToken, variables })
  expect(errors).toEqual([])
  return data
}

const SPELLINGS: ReadonlyArray<readonly [what: string, spell: (id: string) => string]> = [
  ['as it is shown', (id) => id],
  ['in capitals', (id) => id.toUpperCase()],
  ['half in capitals', (id) => id.slice(0, 14).toUpperCase() + id.slice(14)],
]

const FILTERS = [
  ['tokenId', 'tokenId'],
  ['tokenId', 'digest'],
  ['sessionId', 'sessionId'],
  ['subject', 'subject'],
  ['revokedBy', 'revokedBy'],
] as const

describe.each(SPELLINGS)('an id %s', (_what, spell) => {
  it.each(FILTERS)('is found by filter.%s: the %s of an entry', async (member, id) => {
    const filter = { [member]: spell(shown[id]) }
    const { revocations, revocationEvents } = await ask(
      `query ($filter: RevocationFilter) {
         revocations(filter: $filter) { totalCount edges { node { tokenId sessionId subject revokedBy } } }
         revocationEvents(filter: $filter) { totalCount edges { node { actor revocation { tokenId sessionId subject } } } }
       }`,
      { filter },
    )

    expect(revocations.totalCount).toBeGreaterThan(0)
    expect(revocationEvents.totalCount).toBeGreaterThan(0)
    for (const { node } of revocations.edges) expect(node[member]).toBe(shown[id])
    for (const { node } of revocationEvents.edges) {
      expect({ ...node.revocation, revokedBy: node.actor }[member]).toBe(shown[id])
    }
  })

  it.each(FILTERS)('is found by the filter of a live journal: %s, the %s', async (member, id) => {
    const subscriber = await subscribe(
      service,
      `subscription ($filter: RevocationFilter, $after: String) {
         revocationEvents(filter: $filter, after: $after) { id }
       }`,
      {
        token: admin.accessToken,
        variables: { filter: { [member]: spell(shown[id]) }, after: await cursorOfTheStart() },
      },
    )

    expect((await subscriber.result()).data.revocationEvents.id).toEqual(expect.any(String))
    subscriber.stop()
  })

  it('finds live connections by whom, session and token', async () => {
    const phone = await register(service, `phone-${SPELLINGS.findIndex(([, s]) => s === spell)}`)
    await subscribe(service, 'subscription { sessionEnded { reason } }', {
      token: phone.accessToken,
    })
    const source = `query ($filter: LiveConnectionFilter) {
      connections(filter: $filter) { edges { node { subject sessionId tokenId } } }
    }`
    const all = await ask(source, { filter: { subject: phone.userId } })
    const [{ node }] = all.connections.edges

    for (const member of ['subject', 'sessionId', 'tokenId']) {
      const { connections } = await ask(source, { filter: { [member]: spell(node[member]) } })
      expect(connections.edges).toEqual([{ node }])
    }
  })

  it.each([
    ['user', 'query ($id: ID!) { found: user(id: $id) { id } }'],
    ['revokeUser', 'mutation ($id: ID!) { found: revokeUser(userId: $id) { revocation { id } } }'],
    ['suspendUser', 'mutation ($id: ID!) { found: suspendUser(userId: $id) { user { id } } }'],
    ['reinstateUser', 'mutation ($id: ID!) { found: reinstateUser(userId: $id) { user { id } } }'],
    [
      'setUserRoles',
      'mutation ($id: ID!) { found: setUserRoles(userId: $id, roles: [USER]) { user { id } } }',
    ],
  ])('of a person is taken by %s', async (act, source) => {
    const index = SPELLINGS.findIndex(([, one]) => one === spell)
    const { userId } = await register(service, `person-${index}-${act}`)

    expect((await ask(source, { id: spell(userId) })).found).toBeTruthy()
  })

  it('of a session is taken by revokeSession, and of an entry by restore', async () => {
    const index = SPELLINGS.findIndex(([, one]) => one === spell)
    const { sessionId } = await register(service, `session-${index}`)

    const { revokeSession } = await ask(
      'mutation ($id: ID!) { revokeSession(id: $id) { session { id } revocation { id sessionId } } }',
      { id: spell(sessionId) },
    )
    const { restore } = await ask(
      'mutation ($id: ID!) { restore(revocationId: $id) { revocation { id } } }',
      { id: spell(revokeSession.revocation.id) },
    )

    expect(revokeSession.session.id).toBe(sessionId)
    expect(revokeSession.revocation.sessionId).toBe(sessionId)
    expect(restore.revocation.id).toBe(revokeSession.revocation.id)
  })
})

/** The place behind the first line of the journal. */
async function cursorOfTheStart(): Promise<string> {
  const { revocationEvents } = await ask(
    '{ revocationEvents(first: 100) { pageInfo { hasNextPage } edges { node { cursor revocation { tokenId } } } } }',
  )
  expect(revocationEvents.pageInfo.hasNextPage).toBe(false)
  return revocationEvents.edges.at(-1).node.cursor
}

describe('a filter', () => {
  it('does not take another id for the one that is meant', async () => {
    const last = shown.tokenId.at(-1) === '0' ? '1' : '0'
    const tokenId = shown.tokenId.slice(0, -1) + last

    const { revocations } = await ask(
      'query ($filter: RevocationFilter) { revocations(filter: $filter) { totalCount } }',
      { filter: { tokenId } },
    )
    expect(revocations.totalCount).toBe(0)
  })
})
