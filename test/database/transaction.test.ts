import { setTimeout as sleep } from 'node:timers/promises'
import type { DataSource, EntityManager } from 'typeorm'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { TestContext } from 'vitest'
import { isDatabaseUnavailable, runTransaction } from '../../src/database/transaction.ts'
import { RevocationUnavailableError } from '../../src/errors.ts'
import { createDataSource } from '../../src/service/database/data-source.ts'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { createGate } from '../support/gate.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import type { TcpProxy } from '../support/tcp-proxy.ts'

let database: TestDatabase
let dataSource: DataSource

beforeAll(async () => {
  database = await createDatabase()
  await database.query(`create table note (id text primary key, text text not null)`)
  dataSource = await createDataSource({ url: database.url, poolSize: 3 }).initialize()
})

afterAll(async () => {
  await dataSource.destroy()
  await database.drop()
})

// Q02
it('has committed when it answers', async () => {
  const answer = await runTransaction(dataSource, async (manager) => {
    await write(manager, 'kept', 'a')
    return 'done'
  })

  expect(answer).toBe('done')
  expect(await read('kept')).toBe('a')
})

// Q57
it('leaves nothing when its work fails, and passes on why', async () => {
  const failure = new Error('changed my mind')
  const running = runTransaction(dataSource, async (manager) => {
    await write(manager, 'dropped', 'a')
    throw failure
  })

  await expect(running).rejects.toBe(failure)
  expect(await read('dropped')).toBeNull()
})

describe('given a deadlock', () => {
  it('tries the loser once more, and both succeed', async () => {
    await database.query(`insert into note values ('left', ''), ('right', '')`)
    const [first, second] = [createGate(), createGate()]
    let attempts = 0

    async function writeBoth(
      ids: [string, string],
      mine: () => void,
      other: Promise<void>,
    ): Promise<void> {
      await runTransaction(dataSource, async (manager) => {
        attempts += 1
        await append(manager, ids[0])
        mine()
        await other
        await append(manager, ids[1])
      })
    }
    await Promise.all([
      writeBoth(['left', 'right'], first.open, second.opened),
      writeBoth(['right', 'left'], second.open, first.opened),
    ])

    expect(attempts).toBe(3)
    expect([await read('left'), await read('right')]).toEqual(['++', '++'])
  })

  it('gives up after the second', async () => {
    let attempts = 0
    const running = runTransaction(dataSource, async (manager) => {
      attempts += 1
      await raise(manager, '40P01')
    })

    await expect(running).rejects.toThrow(RevocationUnavailableError)
    expect(attempts).toBe(2)
  })
})

describe('an error of PostgreSQL', () => {
  it.each([
    ['an administrator ends the connection', '57P01'],
    ['the server starts up', '57P03'],
    ['a lock is not to be had', '55P03'],
    ['a statement takes too long', '57014'],
    ['there are too many connections', '53300'],
    ['the disk is full', '53100'],
    ['the server has become a standby', '25006'],
    ['the connection is lost', '08006'],
    ['the disk fails', '58030'],
  ])('is "try again later" when %s (%s)', async (_what, state) => {
    const running = runTransaction(dataSource, (manager) => raise(manager, state))

    await expect(running).rejects.toThrow(RevocationUnavailableError)
  })

  it.each([
    ['a value stands twice', '23505'],
    ['a character cannot be kept', '22021'],
    ['a table is missing', '42P01'],
    ['a right is missing', '42501'],
    ['a trigger objects', 'P0001'],
  ])('stays what it is when %s (%s)', async (_what, state) => {
    const error = await runTransaction(dataSource, (manager) => raise(manager, state)).catch(
      (e: unknown) => e,
    )

    expect(error).toMatchObject({ code: state })
    expect(isDatabaseUnavailable(error)).toBe(false)
  })
})

// Q03, Q58
describe.concurrent('fails in bounded time, and heals,', () => {
  it('when the server does not answer from the start', async (test) => {
    const { node, proxy } = await openNode(test, 3)
    proxy.setMode('blackhole')

    const started = performance.now()
    await expect(
      Promise.all([1, 2, 3, 4, 5].map(() => runTransaction(node, ping))),
    ).rejects.toThrow(RevocationUnavailableError)
    expect(performance.now() - started).toBeLessThan(4000)
    await expectToHeal(node, proxy, 3)
  })

  it('when the server falls silent in the middle', async (test) => {
    const { node, proxy } = await openNode(test, 2)
    const started = performance.now()
    const running = runTransaction(node, async (manager) => {
      await write(manager, 'half', 'a')
      proxy.setMode('blackhole')
      await write(manager, 'other half', 'a')
    })

    await expect(running).rejects.toThrow(RevocationUnavailableError)
    expect(performance.now() - started).toBeLessThan(12_000)
    await expectToHeal(node, proxy, 2)
    expect([await read('half'), await read('other half')]).toEqual([null, null])
  })

  it('when the answer to the commit is lost: then it may have committed', async (test) => {
    const { node, proxy } = await openNode(test, 2)
    const running = runTransaction(node, async (manager) => {
      await write(manager, 'unknown', 'a')
      proxy.setMode('deaf')
    })

    await expect(running).rejects.toThrow(RevocationUnavailableError)
    expect(await read('unknown')).toBe('a')
    await expectToHeal(node, proxy, 2)
  })

  it('when the connection is reset', async (test) => {
    const { node, proxy } = await openNode(test, 2)
    const running = runTransaction(node, async (manager) => {
      await write(manager, 'reset', 'a')
      proxy.setMode('cut')
      await write(manager, 'reset too', 'a')
    })

    await expect(running).rejects.toThrow(RevocationUnavailableError)
    await expect(runTransaction(node, ping)).rejects.toThrow(RevocationUnavailableError)
    await expectToHeal(node, proxy, 2)
    expect(await read('reset')).toBeNull()
  })

  it('when the connection is reset between two statements', async (test) => {
    const { node, proxy } = await openNode(test, 2)
    const running = runTransaction(node, async (manager) => {
      await write(manager, 'between', 'a')
      proxy.setMode('cut')
      await sleep(50)
      await write(manager, 'between two', 'a')
    })

    await expect(running).rejects.toThrow(RevocationUnavailableError)
    await expectToHeal(node, proxy, 2)
  })

  it('when the connection is reset before the commit', async (test) => {
    const { node, proxy } = await openNode(test, 2)
    const running = runTransaction(node, async (manager) => {
      await write(manager, 'uncommitted', 'a')
      proxy.setMode('cut')
      await sleep(50)
    })

    await expect(running).rejects.toThrow(RevocationUnavailableError)
    await expectToHeal(node, proxy, 2)
    expect(await read('uncommitted')).toBeNull()
  })

  it('without handing the silent connection to the next caller', async (test) => {
    const { node, proxy } = await openNode(test, 1)
    proxy.setMode('blackhole')
    const silent = runTransaction(node, ping)
    const waiting = runTransaction(node, ping)

    await expect(silent).rejects.toThrow(RevocationUnavailableError)
    proxy.setMode('pass')
    expect(await waiting).toBe('alive')
  })

  it('when every connection is taken', async (test) => {
    const { node } = await openNode(test, 2)
    const done = createGate()
    const holders = [1, 2].map(() => runTransaction(node, () => done.opened))

    const started = performance.now()
    await expect(runTransaction(node, ping)).rejects.toThrow(RevocationUnavailableError)
    expect(performance.now() - started).toBeLessThan(3000)
    done.open()
    await Promise.all(holders)
    expect(await runTransaction(node, ping)).toBe('alive')
  })

  it('when a lock is not to be had', async (test) => {
    const { node } = await openNode(test, 2)
    await database.query(`insert into note values ('locked', '')`)
    const [locked, done] = [createGate(), createGate()]
    const holder = runTransaction(node, async (manager) => {
      await append(manager, 'locked')
      locked.open()
      await done.opened
    })
    await locked.opened

    const started = performance.now()
    await expect(runTransaction(node, (manager) => append(manager, 'locked'))).rejects.toThrow(
      RevocationUnavailableError,
    )
    expect(performance.now() - started).toBeLessThan(4000)
    done.open()
    await holder
    await runTransaction(node, (manager) => append(manager, 'locked'))
    expect(await read('locked')).toBe('++')
  })

  it('when nothing listens', async (test) => {
    const { node, proxy } = await openNode(test, 2)
    await proxy.close()

    await expect(runTransaction(node, ping)).rejects.toThrow(RevocationUnavailableError)
  })
})

it('is refused once the DataSource is closed', async () => {
  const closed = await createDataSource({ url: database.url }).initialize()
  await closed.destroy()

  await expect(runTransaction(closed, ping)).rejects.toThrow(RevocationUnavailableError)
})

/** A DataSource behind a proxy of its own. */
async function openNode(
  { onTestFinished }: TestContext,
  poolSize: number,
): Promise<{ node: DataSource; proxy: TcpProxy }> {
  const proxy = await startTcpProxy(database.url)
  const node = await createDataSource({ url: proxy.url, poolSize }).initialize()
  onTestFinished(async () => {
    await node.destroy()
    await proxy.close()
  })
  return { node, proxy }
}

/** No connection of the pool may have been lost: all of them can be held at once again. */
async function expectToHeal(node: DataSource, proxy: TcpProxy, poolSize: number): Promise<void> {
  proxy.setMode('pass')
  await sleep(100)
  let held = 0
  const all = createGate()

  const answers = await Promise.all(
    Array.from({ length: poolSize }, () =>
      runTransaction(node, async (manager) => {
        held += 1
        if (held === poolSize) all.open()
        await all.opened
        return ping(manager)
      }),
    ),
  )
  expect(answers).toEqual(Array.from({ length: poolSize }, () => 'alive'))
}

async function ping(manager: EntityManager): Promise<string> {
  const [row] = await manager.query<[{ answer: string }]>(`select 'alive' as answer`)
  return row.answer
}

async function write(manager: EntityManager, id: string, text: string): Promise<void> {
  await manager.query(`insert into note values ($1, $2)`, [id, text])
}

async function append(manager: EntityManager, id: string): Promise<void> {
  await manager.query(`update note set text = text || '+' where id = $1`, [id])
}

async function raise(manager: EntityManager, state: string): Promise<void> {
  await manager.query(`do $$ begin raise exception using errcode = '${state}'; end $$`)
}

/** What a connection from outside sees. */
async function read(id: string): Promise<string | null> {
  const [row] = await database.query<{ text: string }>(`select text from note where id = $1`, [id])
  return row?.text ?? null
}
