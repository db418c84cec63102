import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { login, register } from '../support/people.ts'
import type { SignIn } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { GraphQLAnswer, TestService } from '../support/service.ts'

const SET_ROLES =
  'mutation ($id: ID!, $roles: [Role!]!) { setUserRoles(userId: $id, roles: $roles) { alreadySet } }'
const SUSPEND = 'mutation ($id: ID!) { suspendUser(userId: $id) { alreadySuspended } }'
const REINSTATE = 'mutation ($id: ID!) { reinstateUser(userId: $id) { alreadyReinstated } }'

let node: TestService
let otherNode: TestService

beforeAll(async () => {
  node = await startService()
  otherNode = await startService({ database: node.database })
})

afterAll(async () => {
  await otherNode.stop()
  await node.stop()
})

let admin: SignIn

// One admin, whatever the test before has left.
beforeEach(async () => {
  await node.database.query(
    `update account
     set roles = case when email = $1 then '{USER,ADMIN}'::text[] else '{USER}' end, suspended_at = null`,
    [node.admin.email],
  )
  admin = await login(node, 'admin', 'console')
})

/** The acts that take the role or the person away from the service. */
type Removal = (target: SignIn, by: SignIn, on?: TestService) => Promise<GraphQLAnswer>

const demote: Removal = async ({ userId: id }, by, on = node) =>
  on.graphql(SET_ROLES, { token: by.accessToken, variables: { id, roles: ['USER'] } })

const suspend: Removal = async ({ userId: id }, by, on = node) =>
  on.graphql(SUSPEND, { token: by.accessToken, variables: { id } })

const REMOVALS: ReadonlyArray<readonly [what: string, remove: Removal]> = [
  ['loses the role', demote],
  ['is suspended', suspend],
]

let people = 0

async function makeAdmin(): Promise<SignIn> {
  people += 1
  const name = `admin-${people}`
  const { userId: id } = await register(node, name)
  const variables = { id, roles: ['USER', 'ADMIN'] }
  const { errors } = await node.graphql(SET_ROLES, { token: admin.accessToken, variables })
  expect(errors).toEqual([])
  return login(node, name, 'console')
}

async function countAdmins(): Promise<number> {
  const [row] = await node.database.query<{ admins: number }>(
    `select count(*)::integer as admins from account where 'ADMIN' = any(roles) and suspended_at is null`,
  )
  return row!.admins
}

function expectRefusal({ status, errors, data }: GraphQLAnswer): void {
  expect(errors[0]?.extensions).toEqual({
    code: 'BAD_USER_INPUT',
    reason: 'LAST_ADMIN',
    argument: 'userId',
  })
  expect([status, data]).toEqual([400, null])
}

describe.each(REMOVALS)('the last admin who can sign in never %s', (_what, remove) => {
  it('by their own hand, and nothing is changed', async () => {
    expectRefusal(await remove(admin, admin))
    expectRefusal(await remove({ ...admin, userId: admin.userId.toUpperCase() }, admin))

    expect(await countAdmins()).toBe(1)
    const { errors } = await node.graphql('{ me { id } }', { token: admin.accessToken })
    expect(errors).toEqual([])
  })

  it('when the other admins are suspended: those do not count', async () => {
    const other = await makeAdmin()
    expect((await suspend(other, admin)).errors).toEqual([])

    expectRefusal(await remove(admin, admin))

    const variables = { id: other.userId }
    await node.graphql(REINSTATE, { token: admin.accessToken, variables })
    expect((await remove(admin, admin)).errors).toEqual([])
  })

  it('while one of two may', async () => {
    const other = await makeAdmin()

    expect((await remove(admin, other)).errors).toEqual([])
    expectRefusal(await remove(other, other))
  })

  it('when two of them do it to each other at once, on two nodes', async () => {
    for (let round = 0; round < 5; round++) {
      const other = await makeAdmin()

      const answers = await Promise.all([
        remove(other, admin, node),
        remove(admin, other, otherNode),
      ])

      expect(await countAdmins()).toBe(1)
      expect(answers.filter(({ errors }) => errors.length === 0)).toHaveLength(1)
      await node.database.query(
        `update account
         set roles = case when email = $1 then '{USER,ADMIN}'::text[] else '{USER}' end, suspended_at = null`,
        [node.admin.email],
      )
      admin = await login(node, 'admin', 'console')
    }
  })

  it('when several leave by themselves at once, on two nodes', async () => {
    const admins = [admin, await makeAdmin(), await makeAdmin(), await makeAdmin()]

    const answers = await Promise.all(
      admins.map((one, n) => remove(one, one, n % 2 ? node : otherNode)),
    )

    expect(await countAdmins()).toBe(1)
    expect(
      answers.flatMap(({ errors }) => errors.map(({ extensions }) => extensions.reason)),
    ).toEqual(['LAST_ADMIN'])
  })
})

describe('the start with ADMIN_EMAIL', () => {
  async function warningsAtStart(
    adminEmail: string | null,
    isProduction = true,
  ): Promise<string[]> {
    const adminPassword = adminEmail === null ? null : 'the gate of the tower'
    const settings = { adminEmail, adminPassword, isProduction }
    const started = await startService({ database: node.database, ...settings })
    await started.stop()
    return started.log
      .filter(({ level, msg }) => level >= 40 && /admin/i.test(msg))
      .map(({ msg }) => msg)
  }

  it('says that the account is no admin, and who can mend that', async () => {
    await register(node, 'ada')

    expect(await warningsAtStart('ada@example.com')).toEqual([
      'ADMIN_EMAIL has an account that is no admin; let an admin see to it',
    ])
  })

  it('says that the admin is suspended, and that no other can sign in', async () => {
    await node.database.query(`update account set suspended_at = now() where email = $1`, [
      node.admin.email,
    ])

    expect(await warningsAtStart(node.admin.email)).toEqual([
      'ADMIN_EMAIL is suspended; there is no admin who can sign in: set ADMIN_EMAIL to an address that has no account, and ADMIN_PASSWORD',
    ])
    expect(await warningsAtStart(null)).toEqual([
      'there is no admin who can sign in: set ADMIN_EMAIL and ADMIN_PASSWORD',
    ])
    expect(await countAdmins()).toBe(0)
  })

  it('makes an admin when it names an address that has no account, as the sentence says', async () => {
    await node.database.query(`update account set suspended_at = now() where email = $1`, [
      node.admin.email,
    ])

    expect(await warningsAtStart('way-out@example.com')).toEqual([])
    expect(await countAdmins()).toBe(1)
  })

  it('says nothing when the admin is there', async () => {
    expect(await warningsAtStart(node.admin.email)).toEqual([])
  })
})
