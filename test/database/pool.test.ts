import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { refuseStandby } from '../../src/database/pool.ts'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await createDatabase()
})

afterAll(async () => {
  await database.drop()
})

async function connect(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  return client
}

describe('a new connection', () => {
  it('is taken when it leads to a primary', async () => {
    const client = await connect()
    const refusal = await new Promise((resolve) => {
      refuseStandby(client, resolve)
    })

    expect(refusal).toBeUndefined()
    await client.end()
  })

  // Q59
  it('may break while it is asked, and no other request hears of it', async () => {
    const client = await connect()
    const { connection } = client as unknown as { connection: { stream: { destroy(): void } } }

    const refusal = new Promise((resolve) => {
      refuseStandby(client, resolve)
    })
    connection.stream.destroy()
    expect(await refusal).toMatchObject({ message: 'Connection terminated unexpectedly' })
  })
})
