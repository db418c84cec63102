import { describe, expect, it } from 'vitest'
import { createGate } from '../../support/gate.ts'
import { checkHistory, checkRows, describeViolation } from './check.ts'
import type { EntryRow, Promised, Rows } from './check.ts'
import { Recorder } from './history.ts'
import type { Deed, Operation, Outcome } from './history.ts'
import type { Target } from './ledger.ts'

type Step = Pick<Operation, 'deed' | 'outcome'> & {
  readonly at: readonly [number, number]
  readonly node?: number
}

const STALE_MS = 1000

const OK: Outcome = { kind: 'OK' }
const UNKNOWN: Outcome = { kind: 'UNKNOWN' }
const refused = (why: string): Outcome => ({ kind: 'REFUSED', why })
const REVOKED = refused('TOKEN_REVOKED')
const made = (entry: string): Outcome => ({ kind: 'OK', entry, isNew: true })
const stood = (entry: string): Outcome => ({ kind: 'OK', entry, isNew: false })

function step(at: Step['at'], deed: Deed, outcome: Outcome, node = 0): Step {
  return { at, deed, outcome, node }
}

/** Ada's phone is a session with the tokens `phone-1`, `phone-2` and so on, each with its refresh token. */
function login(at: Step['at'], device = 'phone', person = 'ada'): Step {
  return step(at, { do: 'login', person }, issue(device, 1, person))
}

function refresh(at: Step['at'], from: number, outcome?: Outcome, device = 'phone'): Step {
  const deed = { do: 'refresh', refreshToken: `${device}-${from}-refresh` } as const
  return step(at, deed, outcome ?? issue(device, from + 1, 'ada'))
}

function issue(session: string, count: number, person: string): Outcome {
  const token = `${session}-${count}`
  return { kind: 'OK', issued: { token, refreshToken: `${token}-refresh`, session, person } }
}

const use = (at: Step['at'], outcome: Outcome, token = 'phone-1', node = 0): Step =>
  step(at, { do: 'use', token }, outcome, node)

const logout = (at: Step['at'], outcome: Outcome): Step =>
  step(at, { do: 'logout', token: 'phone-1' }, outcome)

const logoutAll = (
  at: Step['at'],
  outcome: Outcome,
  { keepCurrent = false, token = 'phone-1' } = {},
): Step => step(at, { do: 'logoutAllDevices', token, keepCurrent }, outcome)

const revokeToken = (at: Step['at'], outcome: Outcome): Step =>
  step(at, { do: 'revokeToken', token: 'phone-1' }, outcome)

const revokeUser = (at: Step['at'], outcome: Outcome): Step =>
  step(at, { do: 'revokeUser', person: 'ada' }, outcome)

const restore = (at: Step['at'], entry: string, outcome: Outcome = OK): Step =>
  step(at, { do: 'restore', entry }, outcome)

function toHistory(steps: readonly Step[]): readonly Operation[] {
  return steps.map(({ at: [startedAt, endedAt], node = 0, deed, outcome }, index) => ({
    number: index + 1,
    client: 'a client',
    node,
    deed,
    startedAt,
    endedAt,
    outcome,
  }))
}

/** What is broken, by which operations. */
function judge(steps: readonly Step[], staleMs: number | null = STALE_MS): string[] {
  return checkHistory(toHistory(steps), { staleMs }).map(
    ({ promised, operations }) =>
      `${promised} by ${operations.map(({ number }) => number).join(' ')}`,
  )
}

type Case = readonly [title: string, steps: readonly Step[]]

const FINE: readonly Case[] = [
  [
    'a token before and after its logout',
    [login([0, 1]), use([2, 3], OK), logout([4, 5], made('e')), use([6, 7], REVOKED)],
  ],
  [
    'a use that began before the logout was answered',
    [login([0, 1]), logout([2, 5], made('e')), use([4, 9], OK)],
  ],
  [
    'another node within the bound',
    [login([0, 1]), logout([2, 5], made('e')), use([1005, 1009], OK, 'phone-1', 1)],
  ],
  [
    'another session',
    [
      login([0, 1]),
      login([2, 3], 'laptop'),
      logout([4, 5], made('e')),
      use([6, 7], OK, 'laptop-1'),
    ],
  ],
  [
    'another person',
    [
      login([0, 1]),
      login([2, 3], 'tablet', 'bob'),
      logoutAll([4, 5], made('e')),
      use([6, 7], OK, 'tablet-1'),
    ],
  ],
  [
    'the session that is kept',
    [
      login([0, 1]),
      login([2, 3], 'laptop'),
      logoutAll([4, 5], made('e'), { keepCurrent: true }),
      use([6, 7], OK),
      use([8, 9], REVOKED, 'laptop-1'),
    ],
  ],
  [
    'a login that met a cut-off, accepted',
    [
      login([0, 1]),
      logoutAll([2, 5], made('e')),
      login([4, 6], 'laptop'),
      use([7, 8], OK, 'laptop-1'),
    ],
  ],
  [
    'a login that met a cut-off, refused',
    [
      login([0, 1]),
      logoutAll([2, 5], made('e')),
      login([4, 6], 'laptop'),
      use([7, 8], REVOKED, 'laptop-1'),
    ],
  ],
  [
    'a refresh that met a cut-off, refused',
    [
      login([0, 1]),
      logoutAll([2, 5], made('e')),
      refresh([4, 6], 1),
      use([7, 8], REVOKED, 'phone-2'),
    ],
  ],
  [
    'a logout without an answer, done',
    [login([0, 1]), logout([2, 5], UNKNOWN), use([6, 7], REVOKED)],
  ],
  [
    'a logout without an answer, not done',
    [login([0, 1]), logout([2, 5], UNKNOWN), use([6, 7], OK)],
  ],
  [
    'a logout without an answer, done later',
    [login([0, 1]), logout([2, 5], UNKNOWN), use([6, 7], OK), use([8, 9], REVOKED)],
  ],
  [
    'a cut-off without an answer, done after a login',
    [
      login([0, 1]),
      revokeUser([2, 3], UNKNOWN),
      login([4, 5], 'laptop'),
      use([6, 7], REVOKED, 'laptop-1'),
    ],
  ],
  [
    'a token that was restored',
    [login([0, 1]), revokeToken([2, 3], made('e')), restore([4, 5], 'e'), use([6, 7], OK)],
  ],
  [
    'a token that may have been restored',
    [
      login([0, 1]),
      revokeToken([2, 3], made('e')),
      restore([4, 5], 'e', UNKNOWN),
      use([6, 7], OK),
      use([8, 9], REVOKED),
    ],
  ],
  [
    'a session that was restored, and stays without refresh',
    [
      login([0, 1]),
      logout([2, 3], made('e')),
      restore([4, 5], 'e'),
      use([6, 7], OK),
      refresh([8, 9], 1, refused('INVALID_REFRESH_TOKEN')),
    ],
  ],
  [
    'a revoked token whose session goes on',
    [login([0, 1]), revokeToken([2, 3], made('e')), refresh([4, 5], 1), use([6, 7], OK, 'phone-2')],
  ],
  [
    'a refresh token that came twice',
    [
      login([0, 1]),
      refresh([2, 3], 1),
      refresh([4, 5], 1, refused('INVALID_REFRESH_TOKEN')),
      use([6, 7], REVOKED),
    ],
  ],
  [
    'a refresh token that came again after no answer',
    [login([0, 1]), refresh([2, 3], 1, UNKNOWN), refresh([4, 5], 1)],
  ],
  [
    'a logout that names what stood',
    [login([0, 1]), logoutAll([2, 3], made('e')), logout([4, 5], stood('e'))],
  ],
  [
    'a logout that stays when the cut-off that it names is restored',
    [
      login([0, 1]),
      logoutAll([2, 3], made('e')),
      logout([4, 5], stood('e')),
      restore([6, 7], 'e'),
      use([8, 9], REVOKED),
    ],
  ],
  [
    'an entry again after its restoration',
    [
      login([0, 1]),
      revokeToken([2, 3], made('e')),
      restore([4, 5], 'e'),
      revokeToken([6, 7], made('f')),
    ],
  ],
  [
    'a cut-off again after a login',
    [
      login([0, 1]),
      revokeUser([2, 3], made('e')),
      login([4, 5], 'laptop'),
      revokeUser([6, 7], made('f')),
    ],
  ],
]

const BROKEN: ReadonlyArray<
  [title: string, steps: readonly Step[], broken: string, staleMs?: null]
> = [
  [
    'a token after its logout',
    [login([0, 1]), logout([2, 3], made('e')), use([4, 5], OK)],
    'REVOKED_IS_REFUSED by 1 2 3',
  ],
  [
    'another node beyond the bound',
    [login([0, 1]), logout([2, 5], made('e')), use([1006, 1009], OK, 'phone-1', 1)],
    'REVOKED_IS_REFUSED by 1 2 3',
  ],
  [
    'another node that reads the database',
    [login([0, 1]), logout([2, 5], made('e')), use([6, 9], OK, 'phone-1', 1)],
    'REVOKED_IS_REFUSED by 1 2 3',
    null,
  ],
  [
    'a token that was revoked itself',
    [login([0, 1]), revokeToken([2, 3], made('e')), use([4, 5], OK)],
    'REVOKED_IS_REFUSED by 1 2 3',
  ],
  [
    'a token of a session that its person ended',
    [
      login([0, 1]),
      login([2, 3], 'laptop'),
      step([4, 5], { do: 'revokeSession', token: 'laptop-1', session: 'phone' }, made('e')),
      use([6, 7], OK),
    ],
    'REVOKED_IS_REFUSED by 1 3 4',
  ],
  [
    'a token whose refresh token was revoked',
    [
      login([0, 1]),
      step([2, 3], { do: 'revokeRefreshToken', refreshToken: 'phone-1-refresh' }, made('e')),
      use([4, 5], OK),
    ],
    'REVOKED_IS_REFUSED by 1 2 3',
  ],
  [
    'a token of a person who was revoked',
    [login([0, 1]), revokeUser([2, 3], made('e')), use([4, 5], OK)],
    'REVOKED_IS_REFUSED by 1 2 3',
  ],
  [
    'a session that was not kept',
    [
      login([0, 1]),
      login([2, 3], 'laptop'),
      logoutAll([4, 5], made('e'), { keepCurrent: true }),
      use([6, 7], OK, 'laptop-1'),
    ],
    'REVOKED_IS_REFUSED by 2 3 4',
  ],
  [
    'a refresh that met a cut-off',
    [login([0, 1]), logoutAll([2, 5], made('e')), refresh([4, 6], 1), use([7, 8], OK, 'phone-2')],
    'REVOKED_IS_REFUSED by 2 3 4',
  ],
  [
    'an act by a revoked token',
    [login([0, 1]), logout([2, 3], made('e')), logoutAll([4, 5], made('f'))],
    'REVOKED_IS_REFUSED by 1 2 3',
  ],
  [
    'what another entry had killed, restored',
    [
      login([0, 1]),
      revokeToken([2, 3], made('e')),
      logout([4, 5], made('f')),
      restore([6, 7], 'e'),
      use([8, 9], OK),
    ],
    'REVOKED_IS_REFUSED by 1 3 5',
  ],
  [
    'what was restored before it was revoked',
    [
      login([0, 1]),
      revokeToken([2, 3], made('e')),
      restore([4, 5], 'e'),
      revokeToken([6, 7], stood('e')),
      use([8, 9], OK),
    ],
    'REVOKED_IS_REFUSED by 1 4 5',
  ],
  [
    'a refresh after a logout',
    [login([0, 1]), logout([2, 3], made('e')), refresh([4, 5], 1)],
    'ENDED_IS_NOT_REFRESHED by 2 3',
  ],
  [
    'a refresh after a restoration',
    [login([0, 1]), logout([2, 3], made('e')), restore([4, 5], 'e'), refresh([6, 7], 1)],
    'ENDED_IS_NOT_REFRESHED by 2 4',
  ],
  [
    'a refresh after a cut-off',
    [login([0, 1]), revokeUser([2, 3], made('e')), refresh([4, 5], 1)],
    'ENDED_IS_NOT_REFRESHED by 2 3',
  ],
  [
    'a token that nothing reached, refused',
    [login([0, 1]), use([2, 3], REVOKED), logout([4, 5], made('e'))],
    'LIVE_IS_ACCEPTED by 1 2',
  ],
  [
    'a login after a cut-off, refused',
    [
      login([0, 1]),
      logoutAll([2, 3], made('e')),
      login([4, 5], 'laptop'),
      use([6, 7], REVOKED, 'laptop-1'),
    ],
    'LIVE_IS_ACCEPTED by 3 4',
  ],
  [
    'a restored token, refused',
    [login([0, 1]), revokeToken([2, 3], made('e')), restore([4, 5], 'e'), use([6, 7], REVOKED)],
    'LIVE_IS_ACCEPTED by 1 2 4',
  ],
  [
    'the first refresh of a live session, refused',
    [login([0, 1]), refresh([2, 3], 1, refused('INVALID_REFRESH_TOKEN'))],
    'LIVE_IS_ACCEPTED by 2',
  ],
  [
    'two entries for one token',
    [login([0, 1]), revokeToken([2, 3], made('e')), revokeToken([4, 5], made('f'))],
    'ONE_ENTRY by 2 3',
  ],
  [
    'an answer that was not promised',
    [login([0, 1]), logout([2, 3], refused('INTERNAL_SERVER_ERROR'))],
    'NO_OTHER_ANSWER by 2',
  ],
]

describe('a history', () => {
  it.each(FINE)('is fine: %s', (_title, steps) => {
    expect(judge(steps)).toEqual([])
  })

  it.each(BROKEN)('breaks a promise: %s', (_title, steps, broken, staleMs?: number | null) => {
    expect(judge(steps, staleMs)).toEqual([broken])
  })

  it('cannot be judged with a token that was not issued in it', () => {
    expect(() => judge([use([0, 1], OK)])).toThrow('Nobody was given phone-1 in this history')
  })

  it('says in a few lines what happened', () => {
    const [violation] = checkHistory(
      toHistory([login([0, 1]), logout([2, 3.25], made('e')), use([4, 5], OK)]),
      { staleMs: null },
    )

    expect(describeViolation(violation!).split('\n').slice(0, 3)).toEqual([
      'REVOKED_IS_REFUSED: node 0 accepted it 1 ms after node 0 had revoked it',
      expect.stringContaining('#1 0.0-1.0 a client node 0: login {"person":"ada"} OK'),
      '  #2 2.0-3.3 a client node 0: logout {"token":"phone-1"} OK {"entry":"e","isNew":true}',
    ])
  })
})

describe('the tables', () => {
  const steps = [
    login([0, 1]),
    logout([2, 3], made('e')),
    revokeToken([4, 5], made('f')),
    restore([6, 7], 'f'),
  ]
  const phone: EntryRow = { entry: 'e', target: { scope: 'SESSION', session: 'phone' } }
  const token: EntryRow = { entry: 'f', target: { scope: 'TOKEN', token: 'phone-1' } }
  const rows: Rows = {
    inForce: [phone],
    journal: [
      { ...phone, kind: 'REVOKED' },
      { ...token, kind: 'REVOKED' },
      { ...token, kind: 'RESTORED' },
    ],
  }

  function judgeRows(given: Rows, more: readonly Step[] = []): Array<[Promised, string]> {
    return checkRows(toHistory([...steps, ...more]), given).map(({ promised, because }) => [
      promised,
      because,
    ])
  }

  it('hold what was acknowledged', () => {
    expect(judgeRows(rows)).toEqual([])
  })

  const bobs: Target = { scope: 'SUBJECT', person: 'bob', kept: null }
  const elsewhere = { entry: 'e', target: bobs, kind: 'REVOKED' }
  const [revoked, other, restored] = rows.journal as [any, any, any]
  it.each<[string, Rows, string]>([
    ['an entry', { ...rows, inForce: [] }, 'it is not in force'],
    ['a line', { ...rows, journal: [other, restored] }, 'the journal has 0 lines of it'],
    [
      'the line of a restoration',
      { ...rows, journal: [revoked, other] },
      'the journal has 0 lines of it',
    ],
  ])('may not lack %s', (_title, given, because) => {
    expect(judgeRows(given)).toEqual([['KEPT', because]])
  })

  it.each<[string, Rows, string]>([
    ['an entry that was restored', { ...rows, inForce: [phone, token] }, 'it is in force'],
    [
      'a line twice',
      { ...rows, journal: [...rows.journal, revoked] },
      'the journal has 2 lines of it',
    ],
    [
      'a line of something else',
      { ...rows, journal: [elsewhere, other, restored] },
      'the journal says that it hit something else',
    ],
    [
      'what nobody asked for',
      { ...rows, journal: [...rows.journal, { ...elsewhere, entry: 'g' }] },
      'nobody asked for g, {"scope":"SUBJECT","person":"bob","kept":null}',
    ],
  ])('may not have %s', (_title, given, because) => {
    expect(judgeRows(given)).toEqual([['KEPT', because]])
  })

  it('may have what was asked for without an answer, and may lack it', () => {
    const unanswered = revokeUser([8, 9], UNKNOWN)
    const target: Target = { scope: 'SUBJECT', person: 'ada', kept: null }
    const journal = [...rows.journal, { entry: 'g', target, kind: 'REVOKED' }]

    expect(judgeRows({ ...rows, journal }, [unanswered])).toEqual([])
    expect(judgeRows(rows, [unanswered])).toEqual([])
  })
})

describe('a recorder', () => {
  it('records what is under way as unknown', async () => {
    const recorder = new Recorder()
    const who = { client: 'a client', node: 1, deed: { do: 'login', person: 'ada' } } as const
    const gate = createGate()
    const recording = recorder.during(who, async () => {
      await gate.opened
      return refused('RATE_LIMITED')
    })

    expect(recorder.history).toMatchObject([{ number: 1, endedAt: Infinity, outcome: UNKNOWN }])
    gate.open()
    const operation = await recording
    expect(recorder.history).toEqual([operation])
    expect(operation).toMatchObject({ ...who, outcome: refused('RATE_LIMITED') })
  })
})
