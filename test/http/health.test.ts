import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { MemoryRevocationStore } from '../../src/revocation/memory/memory-store.ts'
import { RevocationReplica } from '../../src/revocation/replica/replica.ts'
import { registerHealth } from '../../src/service/http/health.ts'
import { openDataSource } from '../support/node.ts'
import { register } from '../support/people.ts'
import { startService, startServiceOnCable } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

let service: TestService

beforeAll(async () => {
  service = await startService()
})

afterAll(async () => {
  await service.stop()
})

async function send(path: string): Promise<{ status: number; headers: Headers; body: any }> {
  const response = await fetch(service.url + path)
  const { status, headers } = response
  return { status, headers, body: await response.json() }
}

describe('health', () => {
  // Q62
  it.each([
    ['/healthz', { status: 'ok' }],
    ['/readyz', { status: 'ready' }],
  ])('%s answers 200, to GET and HEAD, and is not cached', async (path, expected) => {
    const { status, headers, body } = await send(path)

    expect({ status, body }).toEqual({ status: 200, body: expected })
    expect(headers.get('cache-control')).toBe('no-store')
    expect((await fetch(service.url + path, { method: 'HEAD' })).status).toBe(200)
    expect((await fetch(service.url + path, { method: 'POST' })).status).toBe(405)
  })

  // Q62: outages are in test/graphql/errors.test.ts
  it('of a node whose tables are gone is 503 to /readyz, and 200 to /healthz', async () => {
    await service.database.query('alter table revocation rename to revocation_away')
    try {
      const ready = await send('/readyz')
      expect(ready.status).toBe(503)
      expect(ready.body).toEqual({ status: 'unavailable' })
      expect(ready.headers.get('retry-after')).toBe('1')
      expect((await send('/healthz')).status).toBe(200)
    } finally {
      await service.database.query('alter table revocation_away rename to revocation')
    }
    expect((await send('/readyz')).status).toBe(200)
  })
})

describe.each([
  ['reads the database', null],
  ['has a replica', 300],
])('of a node that %s, /readyz', (_what, maxStalenessMs) => {
  it('is 503 with the reason while the primary is read-only, and checks go on', async () => {
    const { database } = service
    const { accessToken: token } = await register(service, `frozen-${maxStalenessMs}`)
    const url = new URL(database.url)
    url.searchParams.set('options', '-c default_transaction_read_only=on')
    const frozen = await startService({ database, databaseUrl: url.href, maxStalenessMs })
    try {
      const ready = await fetch(`${frozen.url}/readyz`)
      expect(ready.status).toBe(503)
      expect(await ready.json()).toMatchObject({ status: 'unavailable', reason: 'READ_ONLY' })
      expect((await frozen.graphql('{ me { id } }', { token })).errors).toEqual([])
    } finally {
      await frozen.stop()
    }
  })
})

it('asks the store once for all that ask whether a node is ready meanwhile', async () => {
  const revocations = new MemoryRevocationStore()
  const ping = vi.spyOn(revocations, 'ping').mockImplementation(() => sleep(50))
  const app = Fastify()
  registerHealth(app, { revocations, replica: null })
  const answers = await Promise.all(Array.from({ length: 1500 }, () => app.inject('/readyz')))
  expect(answers.every(({ statusCode }) => statusCode === 200)).toBe(true)
  expect(ping.mock.calls.length).toBeLessThan(10)

  const before = ping.mock.calls.length
  await sleep(50)
  await app.inject('/readyz')
  expect(ping).toHaveBeenCalledTimes(before + 1)
  await app.close()
})

describe('a node with a replica', () => {
  let node: TestService

  beforeAll(async () => {
    node = await startService({ maxStalenessMs: 300 })
  })

  afterAll(async () => {
    await node.stop()
  })

  const ready = async (): Promise<any> => (await fetch(`${node.url}/readyz`)).json()

  // Q62
  it('says how far behind it is, and what it knows', async () => {
    expect(await ready()).toEqual({
      status: 'ready',
      replica: {
        state: 'IN_STEP',
        ageMs: expect.any(Number),
        entries: expect.any(Number),
        bytes: expect.any(Number),
      },
    })
    const { accessToken } = await register(node, 'reva')
    const { replica: before } = await ready()
    await node.graphql('mutation { logout { alreadyRevoked } }', { token: accessToken })
    expect((await ready()).replica.entries).toBe(before.entries + 1)
  })

  // Q62
  it('is not ready before it has loaded what is in force', async () => {
    const dataSource = await openDataSource(node.database.url, 1)
    const replica = new RevocationReplica(dataSource)
    const app = Fastify()
    registerHealth(app, { revocations: new MemoryRevocationStore(), replica })
    const { statusCode, headers, body } = await app.inject('/readyz')

    expect(statusCode).toBe(503)
    expect(headers['retry-after']).toBe('1')
    expect(JSON.parse(body)).toMatchObject({ status: 'loading', replica: { state: 'LOADING' } })
    expect((await app.inject('/healthz')).statusCode).toBe(200)
    await app.close()
    await dataSource.destroy()
  })

  // Q63
  it('counts what it asked the database, and shows the age of its replica', async () => {
    const { accessToken } = await register(node, 'metra')
    await node.graphql('{ me { id } }', { token: accessToken })
    const before = await metricsOf(node)
    expect(before.get('portcullis_replica_in_step')).toBe(1)
    expect(before.get('portcullis_replica_age_seconds')).toBeGreaterThanOrEqual(0)
    expect(before.get('portcullis_replica_age_seconds')).toBeLessThan(1)

    await node.graphql('mutation { logout { alreadyRevoked } }', { token: accessToken })
    await node.graphql('{ me { id } }', { token: accessToken })
    const after = await metricsOf(node)
    const grown = (name: string): number => after.get(name)! - before.get(name)!
    expect(grown('portcullis_replica_entries')).toBe(1)
    expect(grown('portcullis_look_up_tokens_total')).toBeGreaterThanOrEqual(1)
    expect(grown('portcullis_look_up_seconds_count')).toBeGreaterThanOrEqual(1)
    expect(grown('portcullis_unanswered_tokens_total')).toBe(0)
  })
})

// Q63
it('counts the tokens that were refused because the database gave no answer', async () => {
  const node = await startServiceOnCable()
  const { accessToken: token } = await register(node, 'unheard')
  node.cable.setMode('blackhole')
  await vi.waitFor(
    async () => expect((await node.graphql('{ me { id } }', { token })).status).toBe(503),
    3000,
  )
  expect((await metricsOf(node)).get('portcullis_unanswered_tokens_total')).toBeGreaterThan(0)
  node.cable.setMode('pass')
  await node.stop()
})

async function metricsOf({ url }: TestService): Promise<ReadonlyMap<string, number>> {
  const response = await fetch(`${url}/metrics`)
  expect(response.headers.get('content-type')).toContain('text/plain')
  const lines = (await response.text()).split('\n').filter((line) => !line.startsWith('#'))
  return new Map(
    lines.map((line) => [line.split(' ')[0] ?? '', Number(line.split(' ')[1])] as const),
  )
}
