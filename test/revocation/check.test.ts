import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import type { Pool } from 'pg'
import type { DataSource } from 'typeorm'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Revocation } from '../../src/contract.ts'
import { RevocationUnavailableError } from '../../src/errors.ts'
import { createRevocationCheck } from '../../src/revocation/check.ts'
import type { RevocationCheck } from '../../src/revocation/check.ts'
import { MemoryRevocationStore } from '../../src/revocation/memory/memory-store.ts'
import type { RevocationStore } from '../../src/revocation/ports.ts'
import { PostgresRevocationStore } from '../../src/revocation/postgres/postgres-store.ts'
import { createDataSource } from '../../src/service/database/data-source.ts'
import type { Token } from '../../src/token/claims.ts'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { createGate } from '../support/gate.ts'
import { makeToken } from './make-token.ts'

describe('on a store in memory', () => {
  let store: MemoryRevocationStore
  let batches: number[]
  let recording: Pick<RevocationStore, 'findFor'>
  /** What a statement waits for before it looks anything up. */
  let beforeStatement: () => Promise<void>

  beforeEach(() => {
    store = new MemoryRevocationStore({ maxTokenLifetimeSeconds: 900 })
    batches = []
    beforeStatement = async () => undefined
    recording = {
      async findFor(tokens) {
        batches.push(tokens.length)
        await beforeStatement()
        return store.findFor(tokens)
      },
    }
  })

  it('asks once for all checks of a tick, and gives each its own answer', async () => {
    const check = createRevocationCheck(recording)
    const good = Array.from({ length: 30 }, () => makeToken())
    const bad = makeToken()
    const { revocation } = await revoke(store, bad)

    const answers = await Promise.all([...good, bad, ...good, bad].map(check))
    const none = good.map(() => null)
    expect(answers).toEqual([...none, revocation, ...none, revocation])
    expect(batches).toEqual([62])
  })

  it('asks once for what comes in one turn of the event loop, from whatever request', async () => {
    const check = createRevocationCheck(recording)
    const request = async (): Promise<Revocation | null> => {
      await Promise.resolve()
      return check(makeToken())
    }

    await Promise.all(Array.from({ length: 20 }, request))
    expect(batches).toEqual([20])
  })

  it('gathers what comes while a statement is under way for the next one', async () => {
    const check = createRevocationCheck(recording)
    const gate = createGate()
    beforeStatement = () => gate.opened

    const checks = [check(makeToken())]
    await sleep(5)
    for (let turn = 0; turn < 10; turn += 1) {
      checks.push(check(makeToken()), check(makeToken()))
      await nextTurn()
    }
    expect(batches).toEqual([1])
    gate.open()
    await Promise.all(checks)
    expect(batches).toEqual([1, 20])
  })

  it('asks far fewer times than it is asked by 64 callers at once', async () => {
    const check = createRevocationCheck(recording)
    beforeStatement = () => sleep(2)

    await callAtOnce(check, 64, 20)
    expect(batches.reduce((sum, size) => sum + size)).toBe(64 * 20)
    expect(batches.length).toBeLessThanOrEqual((64 * 20) / 16)
  })

  // Q01, Q19
  describe('never gives an answer that is older than the question', () => {
    it('when a token is revoked between two checks', async () => {
      const check = createRevocationCheck(recording)
      const token = makeToken()

      expect(await check(token)).toBeNull()
      const { revocation } = await revoke(store, token)
      expect(await check(token)).toEqual(revocation)
      await store.restore(revocation.id, { by: null })
      expect(await check(token)).toBeNull()
    })

    it('when a token is revoked while an earlier check of it is under way', async () => {
      const check = createRevocationCheck({
        async findFor(tokens) {
          const found = await recording.findFor(tokens)
          await sleep(20)
          return found
        },
      })
      const token = makeToken()

      const before = check(token)
      await sleep(10)
      const { revocation } = await revoke(store, token)
      const after = check(token)
      expect(await before).toBeNull()
      expect(await after).toEqual(revocation)
    })
  })

  it('bounds a batch, and asks for what does not fit at the same time', async () => {
    const check = createRevocationCheck(recording, { maxBatchSize: 10 })
    const gate = createGate()
    beforeStatement = () => gate.opened
    const bad = makeToken()
    const { revocation } = await revoke(store, bad)

    const checks = [...Array.from({ length: 34 }, () => makeToken()), bad].map(check)
    await sleep(20)
    expect(batches).toEqual([10, 10, 10, 5])
    gate.open()
    expect((await Promise.all(checks)).at(-1)).toEqual(revocation)
  })

  // Q04
  describe('refuses', () => {
    it('each waiter with an error of its own when the store fails, and asks again the next time', async () => {
      const check = createRevocationCheck(recording)
      beforeStatement = async () => {
        throw new RevocationUnavailableError(new Error('no connection'))
      }

      const errors = await failuresOf([makeToken(), makeToken(), makeToken()].map(check))
      expect(new Set(errors).size).toBe(3)
      for (const error of errors) {
        expect(error).toBeInstanceOf(RevocationUnavailableError)
        expect(error.cause).toMatchObject({ message: 'no connection' })
      }
      beforeStatement = async () => undefined
      expect(await check(makeToken())).toBeNull()
    })

    it.each<[string, Pick<RevocationStore, 'findFor'>]>([
      [
        'fails in a way of its own',
        {
          findFor: async () => {
            throw new TypeError('a defect')
          },
        },
      ],
      [
        'throws at once',
        {
          findFor: () => {
            throw new TypeError('a defect')
          },
        },
      ],
      ['answers too little', { findFor: async () => [] }],
      ['answers too much', { findFor: async () => [null, null] }],
      ['answers nothing', { findFor: async () => undefined as never }],
    ])('when the store %s', async (_how, broken) => {
      const check = createRevocationCheck(broken)

      await expect(check(makeToken())).rejects.toThrow(RevocationUnavailableError)
      await expect(check(makeToken())).rejects.toThrow(RevocationUnavailableError)
    })

    // Q58
    it('within a second when the store never answers, and recovers when it does', async () => {
      const check = createRevocationCheck(recording, { maxBatchSize: 10 })
      const gate = createGate()
      beforeStatement = () => gate.opened

      const waits = await Promise.all(
        Array.from({ length: 100 }, async (_, index) => {
          await sleep(index * 8)
          const started = performance.now()
          await expect(check(makeToken())).rejects.toThrow(RevocationUnavailableError)
          return performance.now() - started
        }),
      )
      // A second, and what a busy machine adds.
      expect(Math.max(...waits)).toBeLessThan(2500)
      beforeStatement = async () => undefined
      expect(await check(makeToken())).toBeNull()
      gate.open()
      expect(await check(makeToken())).toBeNull()
    })

    it('as soon as its time limit says', async () => {
      const check = createRevocationCheck(recording, { timeoutMs: 30 })
      const gate = createGate()
      beforeStatement = () => gate.opened

      const started = performance.now()
      await expect(check(makeToken())).rejects.toThrow(RevocationUnavailableError)
      expect(performance.now() - started).toBeLessThan(350)
      gate.open()
    })
  })
})

describe('on PostgreSQL', () => {
  let database: TestDatabase
  let dataSource: DataSource
  let store: PostgresRevocationStore
  let statements: string[]

  beforeAll(async () => {
    database = await createDatabase()
    dataSource = await createDataSource({ url: database.url, poolSize: 5 }).initialize()
    store = new PostgresRevocationStore(dataSource, { checkTimeoutMs: 5000 })
    statements = recordStatements(dataSource)
  })

  beforeEach(() => {
    statements.length = 0
  })

  afterAll(async () => {
    await dataSource.destroy()
    await database.drop()
  })

  it('sends one statement for all checks of a tick', async () => {
    const check = createRevocationCheck(store)
    const bad = makeToken()
    const { revocation } = await revoke(store, bad)

    const answers = await Promise.all(
      [...Array.from({ length: 500 }, () => makeToken()), bad].map(check),
    )
    expect(answers.filter((answer) => answer !== null)).toEqual([revocation])
    expect(statements).toHaveLength(1)
  })

  it('sends far fewer statements than it is asked by 64 callers at once', async () => {
    const check = createRevocationCheck(store)

    await callAtOnce(check, 64, 20)
    expect(statements.length).toBeLessThanOrEqual((64 * 20) / 8)
  })

  it('sees what another node has revoked a moment ago', async () => {
    const check = createRevocationCheck(store)
    const other = new PostgresRevocationStore(dataSource, { maxTokenLifetimeSeconds: 900 })
    const token = makeToken()

    for (let round = 0; round < 20; round += 1) {
      expect(await check(token)).toBeNull()
      const { revocation } = await revoke(other, token)
      expect(await check(token)).toEqual(revocation)
      await other.restore(revocation.id, { by: null })
    }
  })

  it('counts an answer that came in time while the process itself was held up', async () => {
    const check = createRevocationCheck(store)

    const checking = check(makeToken())
    await nextTurn()
    await nextTurn()
    for (const end = performance.now() + 600; performance.now() < end;);
    expect(await checking).toBeNull()
  })

  // Q47
  it.each([
    ['a NUL', 'a\0b'],
    ['6 kB', 'x'.repeat(6144)],
    ['half of a surrogate pair', 'a\ud800'],
    ['no UUID', '{not-a-uuid}'],
  ])('answers for the neighbours of a token whose id is %s', async (_what, tokenId) => {
    const check = createRevocationCheck(store)
    const bad = makeToken()
    const { revocation } = await revoke(store, bad)
    const neighbours = Array.from({ length: 20 }, () => makeToken())
    const lookalike = makeToken({ tokenId: tokenId.replace('\ud800', '\ufffd') })

    const answers = await Promise.all(
      [...neighbours, makeToken({ tokenId }), bad, lookalike].map(check),
    )
    expect(answers).toEqual([...neighbours.map(() => null), null, revocation, null])
    expect(statements).toHaveLength(1)
  })

  it('answers for 10,000 tokens in statements of a bounded size', async () => {
    const check = createRevocationCheck(store, { timeoutMs: 5000 })

    const answers = await Promise.all(Array.from({ length: 10_000 }, () => check(makeToken())))
    expect(answers.every((answer) => answer === null)).toBe(true)
    expect(statements).toHaveLength(10)
  })
})

async function revoke(store: RevocationStore, token: Token): ReturnType<RevocationStore['revoke']> {
  return store.revoke({ target: { scope: 'TOKEN', token }, reason: 'logout', by: null })
}

/** Callers who each ask one thing after another, as requests on as many connections do. */
async function callAtOnce(check: RevocationCheck, callers: number, times: number): Promise<void> {
  await Promise.all(
    Array.from({ length: callers }, async () => {
      for (let time = 0; time < times; time += 1) {
        expect(await check(makeToken())).toBeNull()
        await nextTurn()
      }
    }),
  )
}

async function failuresOf(promises: ReadonlyArray<Promise<unknown>>): Promise<Error[]> {
  const settled = await Promise.allSettled(promises)
  return settled.map((outcome) => (outcome as PromiseRejectedResult).reason as Error)
}

/** Takes note of what is sent through the pool on its way to a server that is real. */
function recordStatements(dataSource: DataSource): string[] {
  const { master: pool } = dataSource.driver as unknown as { master: Pool }
  const send = pool.query.bind(pool) as (query: { text: string }) => unknown
  const statements: string[] = []
  Object.assign(pool, {
    query(query: { text: string }) {
      statements.push(query.text)
      return send(query)
    },
  })
  return statements
}
