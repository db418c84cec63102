import { createHmac } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect } from 'vitest'
import { createKeyRing } from '../../src/token/keys.ts'
import { claimsOf } from '../support/people.ts'
import { SECRET } from '../support/service.ts'
import { fault } from './support/fault.ts'
import type { Pair } from './support/pair.ts'

/** An authentic token of ada, of whose claims some are replaced; JSON, because JavaScript cannot say all of them. */
function forge(pair: Pair, replaced: Readonly<Record<string, string>>): string {
  const claims = Object.entries(claimsOf(pair.mintToken().text))
    .filter(([name]) => !(name in replaced))
    .map(([name, value]) => [name, JSON.stringify(value)])
  const payload = [...claims, ...Object.entries(replaced)].map(
    ([name, json]) => `"${name}":${json}`,
  )
  const { kid } = createKeyRing({ signWith: SECRET }).signing
  const input = [`{"alg":"HS256","typ":"at+jwt","kid":"${kid}"}`, `{${payload.join()}}`]
    .map((part) => Buffer.from(part).toString('base64url'))
    .join('.')
  return `${input}.${createHmac('sha256', SECRET).update(input).digest('base64url')}`
}

// Q47
describe('F12: tokens that no database would take', () => {
  fault('fail alone, among twenty good ones', async ({ pair }) => {
    const poison = {
      nul: forge(pair, { jti: '"a\\u0000b"' }),
      long: forge(pair, { jti: `"${'x'.repeat(5000)}"` }),
      surrogate: forge(pair, { jti: '"\\ud800"' }),
      other: forge(pair, { jti: '"no uuid, \' or 1=1 --"' }),
      subject: forge(pair, { sub: '"a\\u0000b"' }),
      session: forge(pair, { sid: `"${'y'.repeat(5000)}"` }),
    }
    const good = Array.from({ length: 20 }, () => pair.mintToken().text)

    await pair.survives(async () => {
      for (let round = 0; round < 5; round += 1) {
        const [among, ...bad] = await Promise.all([
          Promise.all(good.map(async (token) => pair.whoAmI(round % 2, token))),
          ...Object.values(poison).map(async (token) => pair.whoAmI(round % 2, token)),
        ])
        expect([...new Set(among)]).toEqual(['ACCEPTED'])
        // Some are authentic: what counts is that other requests are answered.
        for (const outcome of bad) expect(['ACCEPTED', 'TOKEN_INVALID']).toContain(outcome)
      }

      for (const [name, token] of Object.entries(poison)) {
        expect([name, await pair.revokeToken(0, token)]).toEqual([name, 'ACCEPTED'])
        expect([name, await pair.whoAmI(0, token)]).not.toEqual([name, 'ACCEPTED'])
      }
      for (const token of good) expect(await pair.whoAmI(0, token)).toBe('ACCEPTED')
    })
  })
})

describe('F13: very many tokens at once', () => {
  fault('are each told apart', async ({ pair }) => {
    const tokens = Array.from({ length: 1000 }, () => pair.mintToken())
    const revoked = new Set(tokens.filter((_, index) => index % 40 === 0))
    for (const { text } of revoked) expect(await pair.revokeToken(0, text)).toBe('ACCEPTED')

    await pair.survives(async () => {
      // As many as a document may hold; all documents come at the same time.
      const documents = Array.from({ length: 20 }, (_, page) =>
        tokens.slice(50 * page, 50 * (page + 1)),
      )
      const answers = await Promise.all(documents.map(async (page) => readStates(pair, page)))
      expect(answers.flat()).toEqual(
        tokens.map((token) => (revoked.has(token) ? 'REVOKED' : 'ACTIVE')),
      )
    })
  })
})

async function readStates(
  pair: Pair,
  page: ReadonlyArray<{ readonly text: string }>,
): Promise<string[]> {
  const fields = page.map((_, index) => `t${index}: tokenStatus(token: $t${index}) { state }`)
  const parameters = page.map((_, index) => `$t${index}: String!`)
  const { data, errors } = await pair.asAdmin(
    0,
    `query (${parameters.join()}) { ${fields.join(' ')} }`,
    Object.fromEntries(page.map(({ text }, index) => [`t${index}`, text])),
  )
  expect(errors).toEqual([])
  return page.map((_, index) => data[`t${index}`].state)
}

// Q43
describe('F26: documents made to block the event loop', () => {
  fault('are refused, and hold up no other request', async ({ pair }) => {
    const attacks = [
      // Just below the limit of a body, beyond which a server need not read on.
      { query: `{ ${Array.from({ length: 50_000 }, (_, n) => `a${n}: __typename`).join(' ')} }` },
      { query: `${'{ me '.repeat(5000)}${'}'.repeat(5000)}` },
      {
        query: '{ me { email } }',
        token: `${'a'.repeat(5000)}.${'b'.repeat(5000)}.${'c'.repeat(5000)}`,
      },
      {
        query: `query (${Array.from({ length: 5000 }, (_, n) => `$v${n}: Int`).join()}) { __typename }`,
      },
      { query: `{ __typename ${'@a'.repeat(20_000)} }` },
      { query: `{ ${'...f '.repeat(900)} } fragment f on Query { ${'__typename '.repeat(900)} }` },
    ]

    await pair.survives(async (watch) => {
      const since = performance.now()
      const probing = probe(`${pair.node(0).url}/healthz`)
      for (let round = 0; round < 5; round += 1) {
        for (const { query, token } of attacks) {
          const { status } = await pair.node(0).graphql(query, { token: token ?? null })
          expect([400, 401, 413, 431]).toContain(status)
        }
      }
      const gaps = await probing.stop()
      expect(gaps.length).toBeGreaterThan(3)
      expect(Math.max(...gaps)).toBeLessThan(1000)
      expect(watch.serves(0, since)).toBe(true)
    })
  })
})

/** Asks every 100 ms, and says how long the answers took, in milliseconds. */
function probe(url: string): { stop(): Promise<number[]> } {
  const gaps: number[] = []
  let isStopping = false
  const probing = (async (): Promise<void> => {
    while (!isStopping) {
      const askedAt = performance.now()
      await (await fetch(url)).text()
      gaps.push(performance.now() - askedAt)
      await sleep(100)
    }
  })()
  return {
    async stop() {
      isStopping = true
      await probing
      return gaps
    },
  }
}

// Q27
describe('F27: instants beyond all measure', () => {
  fault(
    'are refused in tokens, and in rows do not stop the sweeper',
    async ({ pair }) => {
      const now = Math.floor(Date.now() / 1000)
      const claims: ReadonlyArray<Readonly<Record<string, string>>> = [
        { exp: '1e999' },
        { exp: '-1e999' },
        { exp: '1e15' },
        { exp: String(1000 * (now + 900)), iat: String(1000 * now) },
        { iat: '1e999' },
        { iat: '-1e15' },
        { iat: String(1000 * now) },
        { exp: '"infinity"' },
      ]

      await pair.survives(async () => {
        for (const replaced of claims) {
          const token = forge(pair, replaced)
          expect([replaced, await pair.whoAmI(0, token)]).toEqual([replaced, 'TOKEN_INVALID'])
          expect([replaced, await pair.revokeToken(1, token)]).toEqual([replaced, 'ACCEPTED'])
        }
        const [stored] = await pair.database.query(
          `select count(*)::int as entries, bool_and(isfinite(expires_at) and expires_at < now() + interval '400 days') as finite
           from revocation where digest is not null`,
        )
        expect(stored).toEqual({ entries: claims.length, finite: true })

        await pair.database.query(
          `insert into revocation (id, key, scope, token_id, revoked_at, expires_at, reason)
           select gen_random_uuid(), gen_random_uuid(), 'TOKEN', 'x', now(), at, 'extreme'
           from unnest('{-infinity, infinity, 294276-01-01, 4713-01-01 BC}'::timestamptz[]) at`,
        )
        await sleep(3000)
        const left = await pair.database.query(
          `select expires_at::text as at from revocation where reason = 'extreme' order by expires_at`,
        )
        expect(left.map(({ at }) => at)).toEqual(['294276-01-01 00:00:00+00', 'infinity'])
      })
      for (const node of [0, 1]) expect(pair.node(node).log).not.toContain('sweep failed')
    },
    { env: { SWEEP_INTERVAL: '1' } },
  )
})
