import type { EntityManager } from 'typeorm'
import { z } from 'zod'
import { AccountSuspendedError, BadInputError, InvalidCredentialsError } from '../../errors.ts'
import type { Account, Role } from './entities.ts'

const columns = `
  id, email, password_hash as "passwordHash", roles, suspended_at as "suspendedAt",
  suspension_id as "suspensionId", created_at as "createdAt"`

export const findAccountsByIds = {
  name: 'portcullis-find-accounts',
  text: `select ${columns} from account where id = any($1::uuid[])`,
}

export const findAccountsByEmails = {
  name: 'portcullis-find-accounts-by-email',
  text: `select ${columns} from account where email = any($1::text[])`,
}

/** What a refresh asks of accounts: the roles of today, and that the person is not suspended. */
export async function readAccountGrant(manager: EntityManager, subject: string): Promise<Account> {
  const [account] = isAccountId(subject)
    ? await manager.query<Account[]>(
        `select ${columns} from account where id = $1::uuid for share`,
        [subject],
      )
    : []
  if (!account) throw new InvalidCredentialsError()
  if (account.suspendedAt !== null) throw new AccountSuspendedError()
  return account
}

export async function getAccount(manager: EntityManager, id: string): Promise<Account> {
  const [account] = await manager.query<Account[]>(
    `select ${columns} from account where id = $1::uuid`,
    [id],
  )
  if (!account) throw new BadInputError('userId', 'UNKNOWN_ID', 'No user has this id')
  return account
}

/** @throws {@link BadInputError} when the e-mail address is taken. */
export async function insertAccount(
  manager: EntityManager,
  id: string,
  email: string,
  passwordHash: string,
  roles: readonly Role[],
): Promise<Account> {
  const [account] = await manager.query<Account[]>(
    `insert into account (id, email, password_hash, roles, created_at)
     values ($1, $2, $3, $4, clock_timestamp())
     on conflict (email) do nothing
     returning ${columns}`,
    [id, email, passwordHash, roles],
  )
  if (!account) throw new BadInputError('email', 'EMAIL_TAKEN', 'This e-mail address is taken')
  return account
}

/** @returns `null` when the condition does not hold, or there is no such account. */
export async function updateAccount(
  manager: EntityManager,
  id: string,
  change: string,
  condition: string,
  values: readonly unknown[] = [],
): Promise<Account | null> {
  const [[account]] = await manager.query<[Account[], number]>(
    `update account set ${change} where id = $1::uuid and ${condition} returning ${columns}`,
    [id, ...values],
  )
  return account ?? null
}

/**
 * Locks the admins who can sign in, so that two who take the role from each other come one after the other.
 *
 * @throws {@link BadInputError} when there is no other beside this one: then only SQL would help.
 */
export async function refuseLastAdmin(manager: EntityManager, id: string): Promise<void> {
  const admins = await manager.query<Array<Pick<Account, 'id'>>>(
    `select id from account where 'ADMIN' = any(roles) and suspended_at is null order by id for update`,
  )
  const isLast = admins.length === 1 && admins[0]?.id === id.toLowerCase()
  if (isLast) {
    throw new BadInputError(
      'userId',
      'LAST_ADMIN',
      'This is the last admin who can sign in; make another one first',
    )
  }
}

/** A reset that was not used must not outlive what changed meanwhile. */
export async function deletePasswordReset(manager: EntityManager, id: string): Promise<void> {
  await manager.query(`delete from password_reset where account_id = $1::uuid`, [id])
}

const guid = z.guid()

/** `sub` may be any text in a token that others signed. */
export function isAccountId(text: string): boolean {
  return guid.safeParse(text).success
}
