import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { startService } from '../support/service.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await createDatabase()
  await database.query('drop schema public cascade; create schema public')
})

afterAll(async () => {
  await database.drop()
})

describe('A node that cannot listen names what is at fault, and changes nothing in the database', () => {
  it.each([
    [
      { host: '192.0.2.1' },
      /^HOST is 192\.0\.2\.1, which is no address of this machine; set it to /,
    ],
    [
      { host: 'nowhere.invalid' },
      /^HOST is nowhere\.invalid, which has no address \(E\w+\); set it to /,
    ],
  ])('%o', async (settings, message) => {
    await expect(startService({ database, ...settings })).rejects.toThrow(message)
    expect(await tables()).toEqual([])
  })

  it('a port in use', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo

    await expect(startService({ database, port })).rejects.toThrow(
      `Port ${port} on 127.0.0.1 is in use; `,
    )
    expect(await tables()).toEqual([])
    other.close()
  })
})

const tables = () => database.query(`select 1 from pg_tables where schemaname = 'public'`)
