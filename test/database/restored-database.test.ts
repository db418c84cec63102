import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { createDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/database.ts'
import { login, refresh, register, whoAmI } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { createFreshDatabase, dump } from '../support/restore.ts'
import type { Dump } from '../support/restore.ts'
import { startService } from '../support/service.ts'
import type { TestService, TestServiceOptions } from '../support/service.ts'

let database: TestDatabase
let backup: Dump
let ada: SignIn

const messagesOf = ({ log }: TestService): string[] => log.map(({ msg }) => String(msg))
const isRestored = /This database was restored from a backup/

/** Ada signs in and a colleague signs out; a backup is taken; Ada signs out. */
beforeAll(async () => {
  database = await createDatabase()
  const service = await startService({ database })
  ada = await register(service, 'ada')
  for (const name of ['bob', 'carol']) {
    const { accessToken } = await register(service, name)
    await service.graphql('mutation { logout { alreadyRevoked } }', { token: accessToken })
  }
  expect(messagesOf(service).join()).not.toMatch(isRestored)
  backup = await dump(database)
  await service.graphql('mutation { logout { alreadyRevoked } }', { token: ada.accessToken })
  await service.stop()
})

afterAll(async () => {
  await database.drop()
})

async function restore(): Promise<TestDatabase> {
  const restored = await createDatabase()
  onTestFinished(() => restored.drop())
  await backup.restoreTo(restored)
  return restored
}

async function start(options: TestServiceOptions): Promise<TestService> {
  const service = await startService(options)
  onTestFinished(() => service.stop())
  return service
}

describe('a start on a restored backup', () => {
  it('says that logged-out tokens live again, and what makes it safe, until that was done', async () => {
    const restored = await restore()
    const first = await start({ database: restored })
    expect(messagesOf(first).join()).toMatch(isRestored)
    expect(await whoAmI(first, ada.accessToken)).toBe('ada@example.com')

    const admin = await login(first, 'admin', 'desk')
    await first.graphql('mutation { revokeEveryone(reason: "restored") { alreadyRevoked } }', {
      token: admin.accessToken,
    })
    const second = await start({ database: restored })
    expect(messagesOf(second).join()).not.toMatch(isRestored)
  })

  it('says so on another server too, whose count of transactions is lower', async () => {
    const fresh = await createFreshDatabase()
    onTestFinished(() => fresh.drop())
    await backup.restoreTo(fresh)

    expect(messagesOf(await start({ database: fresh })).join()).toMatch(isRestored)
  }, 60_000)

  it('revokes all that was issued before an instant, sessions too, before it serves; and once', async () => {
    const restored = await restore()
    const revokeIssuedBefore = new Date()
    const first = await start({ database: restored, revokeIssuedBefore })

    expect(await whoAmI(first, ada.accessToken)).toBe('TOKEN_REVOKED')
    const { errors } = await refresh(first, ada.refreshToken)
    expect(errors[0]?.extensions.reason).toBe('INVALID_REFRESH_TOKEN')
    expect(messagesOf(first).join()).not.toMatch(isRestored)

    const again = await login(first, 'ada', 'phone')
    const second = await start({ database: restored, revokeIssuedBefore })
    expect(await whoAmI(second, again.accessToken)).toBe('ada@example.com')
    const cutOffs = await restored.query(
      `select reason from revocation_event where scope = 'EVERYONE'`,
    )
    expect(cutOffs).toEqual([{ reason: 'backup_restored' }])
  })

  it('is done once by nodes that start together', async () => {
    const restored = await restore()
    const revokeIssuedBefore = new Date()
    await Promise.all([1, 2, 3].map(() => start({ database: restored, revokeIssuedBefore })))

    expect(
      await restored.query(`select 1 from revocation_event where scope = 'EVERYONE'`),
    ).toHaveLength(1)
  })

  it.each([
    ['in the future', 10 * 60_000, /^REVOKE_ISSUED_BEFORE is in the future/],
    ['older than the journal', -91 * 86_400_000, /^REVOKE_ISSUED_BEFORE is older than the journal/],
  ])('refuses an instant that is %s', async (_what, ms, message) => {
    const revokeIssuedBefore = new Date(Date.now() + ms)
    await expect(startService({ database, revokeIssuedBefore })).rejects.toThrow(message)
  })
})
