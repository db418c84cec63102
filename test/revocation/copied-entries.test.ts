import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import pg from 'pg'
import { to as copyTo } from 'pg-copy-streams'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CopiedEntries } from '../../src/revocation/journal/copied-entries.ts'
import { copyInForce } from '../../src/revocation/journal/journal-sql.ts'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'

type Copied = readonly [high: number, low: number, reachMs: number, expiresAtMs: number]

describe('what PostgreSQL copies of the entries in force', () => {
  let database: TestDatabase
  let bytes: Buffer
  let expected: readonly Copied[]

  beforeAll(async () => {
    database = await createDatabase()
    const expiresAt = new Date(Math.floor(Date.now() / 1000) * 1000 + 900_123)
    const revokedAt = new Date('1999-12-31T23:59:59.987Z')
    const scopes = ['TOKEN', 'SESSION', 'SUBJECT', 'EVERYONE']
    const keys = scopes.map(() => randomUUID())
    for (const [index, scope] of scopes.entries()) {
      await database.query(
        `insert into revocation (id, key, scope, revoked_at, expires_at, reason)
         values ($1, $2, $3, $4, $5, 'test'), ($6, $7, $3, $4, clock_timestamp(), 'expired')`,
        [randomUUID(), keys[index], scope, revokedAt, expiresAt, randomUUID(), randomUUID()],
      )
    }
    expected = keys.map((key, index) => [
      parseInt(key.slice(0, 8), 16),
      parseInt(key.slice(9, 13) + key.slice(14, 18), 16),
      (index < 2 ? expiresAt : revokedAt).getTime(),
      expiresAt.getTime(),
    ])
    bytes = await copy(null)
  })

  afterAll(async () => {
    await database.drop()
  })

  async function copy(since: Date | null): Promise<Buffer> {
    const client = new pg.Client({ connectionString: database.url })
    await client.connect()
    const chunks = await client.query(copyTo(copyInForce(since))).toArray()
    await client.end()
    return Buffer.concat(chunks as Buffer[])
  }

  function read(chunks: readonly Buffer[]): Copied[] {
    const taken: Copied[] = []
    const entries = new CopiedEntries((...copied) => taken.push(copied))
    for (const chunk of chunks) entries.push(chunk)
    entries.end()
    return taken
  }

  it('is read whole, in chunks of whatever size', () => {
    expect(read([bytes])).toEqual(expected)
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length)), (cuts) => {
        const places = [0, ...cuts.toSorted((a, b) => a - b), bytes.length]
        const chunks = places.slice(1).map((end, index) => bytes.subarray(places[index], end))
        expect(read(chunks)).toEqual(expected)
      }),
    )
  })

  it('is what was made since an instant, when one is given', async () => {
    expect(read([await copy(new Date('2000-01-01'))])).toEqual([])
    expect(read([await copy(new Date('1999-01-01'))])).toEqual(expected)
  })

  it('is refused when it does not arrive whole, or in another form', () => {
    for (let length = 0; length < bytes.length; length++) {
      expect(() => read([bytes.subarray(0, length)])).toThrow(/did not arrive whole/)
    }
    expect(() => read([Buffer.alloc(100)])).toThrow(/unknown form/)
    const altered = Buffer.from(bytes)
    altered.writeInt16BE(2, 19)
    expect(() => read([altered])).toThrow(/unknown form/)
  })
})
