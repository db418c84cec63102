import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { login, passwordOf, refresh, register, whoAmI } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { GraphQLAnswer, TestService } from '../support/service.ts'

let service: TestService
let otherNode: TestService

beforeAll(async () => {
  service = await startService({ trustProxy: true })
  otherNode = await startService({ trustProxy: true, database: service.database })
})

afterAll(async () => {
  await otherNode.stop()
  await service.stop()
})

interface Guess {
  readonly from?: string
  readonly on?: TestService
  readonly password?: string
}

async function guess(
  name: string,
  { from = '192.0.2.1', on = service, password = 'a wrong guess' }: Guess = {},
): Promise<GraphQLAnswer> {
  return on.graphql(
    'mutation ($email: String!, $password: String!) { login(email: $email, password: $password) { accessToken } }',
    {
      variables: { email: `${name}@example.com`, password },
      headers: { 'x-forwarded-for': from },
    },
  )
}

function outcomeOf({ data, errors }: GraphQLAnswer): string {
  return data ? 'in' : (errors[0]?.extensions.reason ?? errors[0]?.extensions.code)
}

async function failTimes(times: number, name: string, options: Guess = {}): Promise<void> {
  for (let time = 0; time < times; time++) {
    expect(outcomeOf(await guess(name, options))).toBe('INVALID_CREDENTIALS')
  }
}

// Q43
describe('after ten failures against an account from one address', () => {
  it('asks to wait, even with the right password, on every node', async () => {
    await register(service, 'ada')
    await failTimes(9, 'ada')
    await failTimes(1, 'ada', { on: otherNode })

    const refused = await guess('ada', { password: passwordOf('ada') })

    expect(refused.status).toBe(429)
    expect(refused.errors[0]?.extensions).toEqual({ code: 'RATE_LIMITED' })
    const seconds = Number(refused.headers.get('retry-after'))
    expect(seconds).toBeGreaterThan(850)
    expect(seconds).toBeLessThanOrEqual(900)
    expect(refused.errors[0]?.message).toBe(`Too many attempts; try again in ${seconds} s`)
    expect(refused.headers.get('www-authenticate')).toBeNull()
    expect(outcomeOf(await guess('ada', { on: otherNode }))).toBe('RATE_LIMITED')
    expect(outcomeOf(await guess('ADA', { password: passwordOf('ada') }))).toBe('RATE_LIMITED')
  })

  it('leaves the account open from elsewhere, and other accounts open from there', async () => {
    await register(service, 'barbara')
    await register(service, 'chandra')
    await failTimes(10, 'barbara')

    const elsewhere = await guess('barbara', { from: '192.0.2.2', password: passwordOf('barbara') })
    const other = await guess('chandra', { password: passwordOf('chandra') })

    expect([elsewhere, other].map(outcomeOf)).toEqual(['in', 'in'])
    expect(outcomeOf(await guess('barbara'))).toBe('RATE_LIMITED')
  })

  it('leaves sessions that are open alone', async () => {
    const phone = await register(service, 'dorothy')
    await failTimes(10, 'dorothy')

    expect(await whoAmI(service, phone.accessToken)).toBe('dorothy@example.com')
  })

  it('asks to wait also when there is no such account', async () => {
    await failTimes(10, 'nobody')

    expect(outcomeOf(await guess('nobody'))).toBe('RATE_LIMITED')
  })

  it('lets in again when the quarter of an hour is over', async () => {
    await register(service, 'edith')
    await failTimes(10, 'edith')
    expect(outcomeOf(await guess('edith'))).toBe('RATE_LIMITED')

    await service.database.query('update failed_attempt set expires_at = clock_timestamp()')

    expect(outcomeOf(await guess('edith', { password: passwordOf('edith') }))).toBe('in')
  })

  it('counts guesses at the current password of changePassword, too', async () => {
    const phone = await register(service, 'frances')
    const change = (currentPassword: string) =>
      service.graphql(
        `mutation ($currentPassword: String!) {
           changePassword(currentPassword: $currentPassword, newPassword: "quite another") { tokenType }
         }`,
        { token: phone.accessToken, variables: { currentPassword } },
      )
    for (let time = 0; time < 10; time++) {
      expect(outcomeOf(await change('a wrong guess'))).toBe('INVALID_CREDENTIALS')
    }

    expect(outcomeOf(await change(passwordOf('frances')))).toBe('RATE_LIMITED')
  })
})

describe('the answer to a wrong password', () => {
  // Q09, Q36
  it('does not tell whether the account exists, nor whether it is suspended', async () => {
    const admin = await login(service, 'admin', 'console')
    const suspended = await register(service, 'vera')
    await register(service, 'wanda')
    await service.graphql('mutation ($id: ID!) { suspendUser(userId: $id) { alreadySuspended } }', {
      token: admin.accessToken,
      variables: { id: suspended.userId },
    })
    const answers: object[] = []
    for (const name of ['wanda', 'vera', 'nobody-at-all']) {
      const { status, headers, data, errors } = await guess(name, { from: '192.0.2.90' })
      const { date: _date, ...others } = Object.fromEntries(headers)
      answers.push({ status, headers: others, data, errors })
    }

    expect(answers[0]).toMatchObject({
      status: 401,
      errors: [{ message: 'E-mail or password is wrong' }],
    })
    expect(answers[1]).toEqual(answers[0])
    expect(answers[2]).toEqual(answers[0])
  })
})

describe('a success', () => {
  it('forgets the failures before it', async () => {
    await register(service, 'grace')
    await failTimes(9, 'grace')

    expect(outcomeOf(await guess('grace', { password: passwordOf('grace') }))).toBe('in')
    await failTimes(9, 'grace')
    expect(outcomeOf(await guess('grace', { password: passwordOf('grace') }))).toBe('in')
  })

  it('is not counted, however many come at once', async () => {
    await register(service, 'hedy')

    const logins = await Promise.all(
      Array.from({ length: 12 }, () => guess('hedy', { password: passwordOf('hedy') })),
    )

    expect(logins.map(outcomeOf)).toEqual(Array.from({ length: 12 }, () => 'in'))
  })
})

describe('guesses sent all at once', () => {
  // Q43, Q57
  it('do not outrun the count: the right one among them is refused', async () => {
    await register(service, 'ida')
    const guesses = [...Array.from({ length: 19 }, () => 'a wrong guess'), passwordOf('ida')]

    const answers = await Promise.all(guesses.map((password) => guess('ida', { password })))

    expect(answers.map(outcomeOf)).not.toContain('in')
    expect(outcomeOf(answers.at(-1)!)).toBe('RATE_LIMITED')
  })

  // Q43, Q57
  it('do not tell the right one by its refusal: beyond the limit all hear the same', async () => {
    await register(service, 'jane')
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, n) => guess('jane', { on: n % 2 ? service : otherNode })),
    )

    const outcomes = answers.map(outcomeOf)
    expect(outcomes.filter((outcome) => outcome === 'INVALID_CREDENTIALS')).toHaveLength(10)
    expect(outcomes.filter((outcome) => outcome === 'RATE_LIMITED')).toHaveLength(20)
  })

  // Q43
  it('are counted one by one in a batch', async () => {
    const query =
      'mutation { login(email: "olga@example.com", password: "a wrong guess") { tokenType } }'
    const send = async (operations: number): Promise<string[]> => {
      const response = await fetch(`${service.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-forwarded-for': '192.0.2.50' },
        body: JSON.stringify(Array.from({ length: operations }, () => ({ query }))),
      })
      return ((await response.json()) as GraphQLAnswer[]).map(outcomeOf)
    }

    expect(await send(10)).toEqual(Array.from({ length: 10 }, () => 'INVALID_CREDENTIALS'))
    expect(await send(1)).toEqual(['RATE_LIMITED'])
  })

  // Q43
  it('end with the first wrong one of a document', async () => {
    await register(service, 'joan')
    const logins = Array.from(
      { length: 20 },
      (_, n) => `a${n}: login(email: "joan@example.com", password: "guess ${n}") { tokenType }`,
    )
    const document = `mutation { ${logins.join(' ')} }`

    const { errors } = await service.graphql(document, {
      headers: { 'x-forwarded-for': '192.0.2.1' },
    })

    expect(errors.map(({ path }) => path)).toEqual([['a0']])
    expect(outcomeOf(await guess('joan', { password: passwordOf('joan') }))).toBe('in')
  })
})

describe('a registration', () => {
  const REGISTER =
    'mutation ($email: String!, $password: String!) { register(email: $email, password: $password) { tokenType } }'

  async function registerAt(from: string, email: string): Promise<string> {
    return outcomeOf(
      await service.graphql(REGISTER, {
        variables: { email, password: passwordOf('somebody') },
        headers: { 'x-forwarded-for': from },
      }),
    )
  }

  // Q43
  it('of a taken e-mail address is a failure: ten, and that address has to wait', async () => {
    await register(service, 'nina')
    for (let time = 0; time < 10; time++) {
      expect(await registerAt('192.0.2.60', 'nina@example.com')).toBe('EMAIL_TAKEN')
    }

    expect(await registerAt('192.0.2.60', 'Nina@Example.com')).toBe('RATE_LIMITED')
    expect(await registerAt('192.0.2.61', 'nina@example.com')).toBe('EMAIL_TAKEN')
    expect(await registerAt('192.0.2.60', 'new@example.com')).toBe('in')
  })

  it('that succeeds is not counted, nor is one with a mistake in it', async () => {
    const node = await startService({
      database: service.database,
      trustProxy: true,
      failedAttempts: { perAccount: 2, perAddress: 2, windowSeconds: 900 },
    })
    try {
      const ask = (email: string) =>
        node.graphql(REGISTER, {
          variables: { email, password: passwordOf('somebody') },
          headers: { 'x-forwarded-for': '192.0.2.62' },
        })
      const emails = ['one', 'two', 'three', 'four'].map((name) => `${name}@of-four.example`)

      expect((await Promise.all(emails.map(ask))).map(outcomeOf)).toEqual(['in', 'in', 'in', 'in'])
      for (let time = 0; time < 3; time++) {
        expect(outcomeOf(await ask('no address'))).toBe('INVALID_EMAIL')
      }
      expect(outcomeOf(await ask('five@of-four.example'))).toBe('in')
    } finally {
      await node.stop()
    }
  })
})

describe('a burst on two nodes', () => {
  const LIMIT = 20
  const failedAttempts = { perAccount: 1000, perAddress: LIMIT, windowSeconds: 900 }
  let nodes: readonly TestService[]

  beforeAll(async () => {
    const settings = { trustProxy: true, database: service.database, failedAttempts }
    nodes = [await startService(settings), await startService(settings)]
  })

  afterAll(async () => {
    for (const node of nodes) await node.stop()
  })

  async function askAll(
    from: string,
    calls: ReadonlyArray<readonly [source: string, variables: object, token?: string]>,
  ): Promise<string[]> {
    const answers = await Promise.all(
      calls.map(([query, variables, token = null], n) =>
        nodes[n % 2]!.graphql(query, { variables, token, headers: { 'x-forwarded-for': from } }),
      ),
    )
    return answers.map(outcomeOf)
  }

  const countOf = (outcomes: readonly string[], outcome: string): number =>
    outcomes.filter((one) => one === outcome).length

  const REGISTER =
    'mutation ($email: String!, $password: String!) { register(email: $email, password: $password) { tokenType } }'
  const registrationOf = (email: string) =>
    [REGISTER, { email, password: passwordOf('somebody') }] as const

  // Q43, Q57
  it('of registrations tells no more accounts apart than the limit allows', async () => {
    const from = '192.0.2.140'
    await service.database.query(
      `insert into account (id, email, password_hash, roles, created_at)
       select gen_random_uuid(), 'burst' || n || '@example.com', '', '{USER}', now() from generate_series(1, 80) as n`,
    )
    const taken = Array.from({ length: 80 }, (_, n) => registrationOf(`burst${n + 1}@example.com`))
    const free = Array.from({ length: 30 }, (_, n) => registrationOf(`free${n}@example.com`))

    const outcomes = await askAll(from, [...taken, ...free])

    // Those that are free come last: none of them may be told from one that is taken.
    expect(countOf(outcomes, 'EMAIL_TAKEN')).toBe(LIMIT)
    expect(countOf(outcomes, 'RATE_LIMITED')).toBe(outcomes.length - LIMIT)
    const made = await service.database.query(
      `select 1 from account where email like 'free%@example.com'`,
    )
    expect(made).toEqual([])
  })

  // Q43, Q57
  it('of registrations of free addresses loses none, however many: a success is not counted', async () => {
    const free = Array.from({ length: 2 * LIMIT }, (_, n) => registrationOf(`b${n}@free.example`))

    expect(new Set(await askAll('192.0.2.141', free))).toEqual(new Set(['in']))
  })

  // Q43, Q57
  it('of guesses at many accounts tells no more apart than the limit allows', async () => {
    const LOGIN =
      'mutation ($email: String!, $password: String!) { login(email: $email, password: $password) { tokenType } }'
    await register(service, 'xenia')
    const wrong = Array.from(
      { length: 100 },
      (_, n) => [LOGIN, { email: `nobody${n}@example.com`, password: 'a wrong guess' }] as const,
    )
    const right = [LOGIN, { email: 'xenia@example.com', password: passwordOf('xenia') }] as const

    const outcomes = await askAll('192.0.2.142', [...wrong, right])

    expect(countOf(outcomes, 'INVALID_CREDENTIALS')).toBe(LIMIT)
    expect(outcomes.at(-1)).toBe('RATE_LIMITED')
  })

  // Q43, Q57
  it.each([
    [
      'reauthenticate',
      'mutation ($guess: String!) { reauthenticate(password: $guess) { tokenType } }',
    ],
    [
      'changePassword',
      'mutation ($guess: String!) { changePassword(currentPassword: $guess, newPassword: "quite another") { tokenType } }',
    ],
  ])('of guesses with a stolen token is counted: %s', async (act, source) => {
    const from = act === 'reauthenticate' ? '192.0.2.143' : '192.0.2.144'
    const phone = await register(service, `yvonne-${act}`)
    const guesses = [
      ...Array.from({ length: 60 }, () => 'a wrong guess'),
      passwordOf(`yvonne-${act}`),
    ]

    const outcomes = await askAll(
      from,
      guesses.map((one) => [source, { guess: one }, phone.accessToken] as const),
    )

    expect(countOf(outcomes, 'INVALID_CREDENTIALS')).toBe(LIMIT)
    expect(outcomes.at(-1)).toBe('RATE_LIMITED')
    expect(await whoAmI(service, phone.accessToken)).toContain('yvonne')
  })

  // Q43, Q57
  it('of refreshes with unknown tokens is counted', async () => {
    const source = 'mutation ($token: String!) { refresh(refreshToken: $token) { tokenType } }'
    const unknown = Array.from(
      { length: 100 },
      () => [source, { token: randomBytes(32).toString('base64url') }] as const,
    )

    const outcomes = await askAll('192.0.2.145', unknown)

    expect(countOf(outcomes, 'INVALID_REFRESH_TOKEN')).toBe(LIMIT)
    expect(countOf(outcomes, 'RATE_LIMITED')).toBe(outcomes.length - LIMIT)
  })
})

describe('a refresh', () => {
  async function refreshAt(from: string, refreshToken: string): Promise<GraphQLAnswer> {
    return service.graphql(
      'mutation ($token: String!) { refresh(refreshToken: $token) { refreshToken } }',
      { variables: { token: refreshToken }, headers: { 'x-forwarded-for': from } },
    )
  }

  async function almostExceed(from: string): Promise<void> {
    await refreshAt(from, 'A'.repeat(43))
    await service.database.query(
      `update failed_attempt set failures = 99
       where key in (select key from failed_attempt order by expires_at desc limit 1)`,
    )
  }

  // Q43
  it('of an unknown token is a failure: a hundred, and the address has to wait', async () => {
    const from = '192.0.2.70'
    await almostExceed(from)
    const person = await register(service, 'paula')

    expect(outcomeOf(await refreshAt(from, 'not even of its form'))).toBe('INVALID_REFRESH_TOKEN')
    const refused = await refreshAt(from, 'A'.repeat(43))
    expect(outcomeOf(refused)).toBe('RATE_LIMITED')
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(800)
    expect(outcomeOf(await refreshAt('192.0.2.71', person.refreshToken))).toBe('in')
    // Signing in is counted by itself.
    expect(outcomeOf(await guess('paula', { from, password: passwordOf('paula') }))).toBe('in')
  })

  // Q43
  it('with a good token is never refused for what others behind its address did', async () => {
    const from = '192.0.2.73'
    await almostExceed(from)
    const { refreshToken } = await register(service, 'zelda')
    for (let time = 0; time < 3; time++) await refreshAt(from, 'B'.repeat(43))
    expect(outcomeOf(await refreshAt(from, 'C'.repeat(43)))).toBe('RATE_LIMITED')

    const { data, errors } = await refreshAt(from, refreshToken)
    expect(errors).toEqual([])
    expect(outcomeOf(await refreshAt(from, data.refresh.refreshToken))).toBe('in')
  })

  // Q43
  it('with 101 tokens of an office whose sessions ended days ago leaves its good ones alone', async () => {
    const from = '192.0.2.74'
    const { refreshToken, userId } = await register(service, 'yara')
    await service.database.query(
      `with ended as (
         insert into session (
           id, subject, created_at, authenticated_at, last_seen_at, last_issued_at, expires_at, ended_at
         )
         select gen_random_uuid(), $1, at, at, at, at, at + interval '30 days', at + interval '1 day'
         from generate_series(1, 101) n, lateral (select now() - interval '4 days' as at) as made
         returning id, created_at
       )
       insert into refresh_token (hash, session_id, created_at)
       select sha256(decode(lpad(to_hex(row_number() over ()), 64, '0'), 'hex')), id, created_at from ended`,
      [userId],
    )
    // As the sweep of every minute does.
    const sweeping = await startService({ database: service.database, sweepIntervalSeconds: 1 })
    await sleep(2000)
    await sweeping.stop()

    const old = Array.from({ length: 101 }, (_, index) =>
      Buffer.from((index + 1).toString(16).padStart(64, '0'), 'hex').toString('base64url'),
    )
    const outcomes = new Set<string>()
    for (const token of old) outcomes.add(outcomeOf(await refreshAt(from, token)))
    expect(outcomes).toEqual(new Set(['INVALID_REFRESH_TOKEN']))
    expect(outcomeOf(await refreshAt(from, refreshToken))).toBe('in')
  })

  it('of a session that has ended is counted against that session, not against the office', async () => {
    const from = '192.0.2.72'
    await almostExceed(from)
    const gone = await register(service, 'rosa')
    const colleague = await register(service, 'sofia')
    await service.graphql('mutation { logout { alreadyRevoked } }', { token: gone.accessToken })

    for (let time = 0; time < 10; time++) {
      expect(outcomeOf(await refreshAt(from, gone.refreshToken))).toBe('INVALID_REFRESH_TOKEN')
    }
    expect(outcomeOf(await refreshAt(from, gone.refreshToken))).toBe('RATE_LIMITED')
    expect(outcomeOf(await refreshAt(from, colleague.refreshToken))).toBe('in')
  })

  it('that succeeds is not counted', async () => {
    const node = await startService({
      database: service.database,
      failedAttempts: { perAccount: 1, perAddress: 1, windowSeconds: 900 },
    })
    let { refreshToken } = await register(service, 'tina')
    for (let time = 0; time < 5; time++) {
      const { data } = await refresh(node, refreshToken)
      refreshToken = data.refresh.refreshToken
    }
    await node.stop()

    expect(outcomeOf(await refresh(service, refreshToken))).toBe('in')
  })
})

describe('an address of IPv6', () => {
  // Q43, Q49
  it('counts for its network: the first 64 bits', async () => {
    await register(service, 'ursula')
    for (let time = 0; time < 10; time++) {
      await guess('ursula', { from: `2001:db8:1:2::${time}` })
    }
    const right = { password: passwordOf('ursula') }

    expect(outcomeOf(await guess('ursula', { from: '2001:db8:1:2:9::9', ...right }))).toBe(
      'RATE_LIMITED',
    )
    expect(outcomeOf(await guess('ursula', { from: '2001:db8:1:3::1', ...right }))).toBe('in')
  })
})

describe('a hundred failures from one address', () => {
  // Q43, Q49
  it('close it for every account, whatever it claims in X-Forwarded-For', async () => {
    const admin = await login(service, 'admin', 'console')
    const address = '192.0.2.77'
    await guess('karen', { from: address })
    await service.database.query(
      `update failed_attempt set failures = 99
       where key in (select key from failed_attempt order by expires_at desc limit 2)`,
    )

    expect(outcomeOf(await guess('lise', { from: address }))).toBe('INVALID_CREDENTIALS')
    expect(outcomeOf(await guess('mary', { from: address }))).toBe('RATE_LIMITED')
    expect(outcomeOf(await guess('mary', { from: `198.51.100.1, ${address}` }))).toBe(
      'RATE_LIMITED',
    )
    expect(outcomeOf(await guess('mary', { from: `${address}, 198.51.100.1` }))).toBe(
      'INVALID_CREDENTIALS',
    )
    expect(await whoAmI(service, admin.accessToken)).toContain('@')
  })
})
