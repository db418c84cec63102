import { createHash, randomBytes } from 'node:crypto'
import type { DataSource, EntityManager } from 'typeorm'
import { runTransaction } from '../../database/transaction.ts'
import { AccountSuspendedError, BadInputError, PortcullisError } from '../../errors.ts'
import type { PostgresRevocationStore } from '../../revocation/postgres/postgres-store.ts'
import { getAccount, isAccountId, updateAccount } from './account-rows.ts'
import type { Account } from './entities.ts'
import type { Attempt, FailedAttempts } from './failed-attempts.ts'
import { checkNewPassword, hashPassword } from './password.ts'
import type { WorkQueue } from './work-queue.ts'

/** How long a person has to use a reset, in seconds. */
const LIFETIME_SECONDS = 60 * 60

/** The token of a password reset is unknown, used, replaced or expired. */
export class InvalidResetTokenError extends PortcullisError {
  constructor() {
    super(
      401,
      { code: 'UNAUTHENTICATED', reason: 'INVALID_RESET_TOKEN' },
      'This reset is not valid: ask an admin for a new one',
    )
  }
}

export interface PasswordResetsOptions {
  readonly dataSource: DataSource
  readonly revocations: PostgresRevocationStore
  readonly attempts: FailedAttempts
  /** Where passwords wait to be hashed. */
  readonly hashing: WorkQueue
}

/** A reset that was just made; its token is shown once. */
export interface NewPasswordReset {
  readonly account: Account
  readonly token: string
  readonly expiresAt: Date
}

/** What became of a reset that was used. */
export interface UsedPasswordReset {
  readonly account: Account
  readonly endedSessions: number | null
}

/** The way back for people who forgot their password: an admin makes a token, the person uses it, once. */
export class PasswordResets {
  readonly #options: PasswordResetsOptions

  constructor(options: PasswordResetsOptions) {
    this.#options = options
  }

  /**
   * Makes a reset; it replaces an earlier one of the same person.
   *
   * @throws {@link BadInputError} when no account has this id, or its person is suspended.
   */
  async create(userId: string, by: string): Promise<NewPasswordReset> {
    const token = randomBytes(32)
    return runTransaction(this.#options.dataSource, async (manager) => {
      const account = await getAccount(manager, userId)
      if (account.suspendedAt !== null) {
        throw new BadInputError(
          'userId',
          'ACCOUNT_SUSPENDED',
          'This person is suspended; reinstate first',
        )
      }
      const [row] = await manager.query<[{ expiresAt: Date }]>(
        `insert into password_reset (account_id, hash, created_by, created_at, expires_at)
         values ($1, $2, $3, clock_timestamp(), clock_timestamp() + make_interval(secs => $4))
         on conflict (account_id) do update
         set hash = excluded.hash, created_by = excluded.created_by,
             created_at = excluded.created_at, expires_at = excluded.expires_at
         returning expires_at as "expiresAt"`,
        [account.id, hashOf(token), by, LIFETIME_SECONDS],
      )
      return { account, token: token.toString('base64url'), expiresAt: row.expiresAt }
    })
  }

  /**
   * Sets a new password by a reset, and ends all sessions of the person.
   *
   * @throws {@link InvalidResetTokenError} when the token will not do: that is a failed attempt.
   * @throws {@link AccountSuspendedError} when the person was suspended meanwhile.
   */
  async use(text: string, newPassword: string, from: string | null): Promise<UsedPasswordReset> {
    checkNewPassword(newPassword, 'newPassword')
    const { attempts, hashing } = this.#options
    const attempt: Attempt = { kind: 'RESET', of: null, from }
    await attempts.check(attempt)

    try {
      const hash = await this.#find(text)
      const passwordHash = await hashing.run(async () => hashPassword(newPassword))
      const used = await this.#useWithin(hash, passwordHash)
      // A person who forgot a password has guessed before.
      await attempts.forget({ kind: 'SIGN_IN', of: used.account.email, from })
      return used
    } catch (error) {
      if (error instanceof InvalidResetTokenError) await attempts.count(attempt)
      throw error
    }
  }

  async deleteExpired(limit: number): Promise<number> {
    return runTransaction(this.#options.dataSource, async (manager) => {
      const [, deleted] = await manager.query<[unknown, number]>(
        `delete from password_reset where account_id = any(array(
           select account_id from password_reset where expires_at <= (select clock_timestamp())
           limit $1 for update skip locked
         ))`,
        [limit],
      )
      return deleted
    })
  }

  /** Before the password is hashed, which costs more than a stranger is worth. */
  async #find(text: string): Promise<Buffer> {
    const hash = hashOf(Buffer.from(text.slice(0, 64).trim(), 'base64url'))
    const found = await runTransaction(this.#options.dataSource, (manager) =>
      manager.query<unknown[]>(
        `select 1 from password_reset where hash = $1 and expires_at > clock_timestamp()`,
        [hash],
      ),
    )
    if (found.length === 0 || !/^[\w-]{43}$/.test(text.trim())) throw new InvalidResetTokenError()
    return hash
  }

  async #useWithin(hash: Buffer, passwordHash: string): Promise<UsedPasswordReset> {
    const { dataSource, revocations } = this.#options
    const { outcome, account } = await runTransaction(dataSource, async (manager) => {
      const subject = await readOwner(manager, hash)
      const target = { scope: 'SUBJECT', subject } as const
      await revocations.lockWithin(manager, target)
      await spend(manager, hash)

      const changed = await updateAccount(manager, subject, `password_hash = $2`, `true`, [
        passwordHash,
      ])
      if (!changed) throw new InvalidResetTokenError()
      if (changed.suspendedAt !== null) throw new AccountSuspendedError()
      const request = { target, reason: 'password_reset', by: subject }
      return {
        outcome: await revocations.revokeWithin(manager, request, { always: true }),
        account: changed,
      }
    })
    revocations.announce(outcome.revocation)
    return { account, endedSessions: outcome.endedSessions }
  }
}

/** The locks come in one order: the person's before the rows. */
async function readOwner(manager: EntityManager, hash: Buffer): Promise<string> {
  const [row] = await manager.query<Array<{ accountId: string }>>(
    `select account_id as "accountId" from password_reset where hash = $1`,
    [hash],
  )
  if (!row) throw new InvalidResetTokenError()
  return row.accountId
}

/** Once; and only while the admin who made it is one: a thief who acted as an admin must not keep a way in. */
async function spend(manager: EntityManager, hash: Buffer): Promise<void> {
  const [[row]] = await manager.query<[Array<{ createdBy: string }>, number]>(
    `delete from password_reset where hash = $1 and expires_at > clock_timestamp()
     returning created_by as "createdBy"`,
    [hash],
  )
  const [admin] =
    row && isAccountId(row.createdBy)
      ? await manager.query<unknown[]>(
          `select 1 from account where id = $1::uuid and 'ADMIN' = any(roles) and suspended_at is null`,
          [row.createdBy],
        )
      : []
  if (!admin) throw new InvalidResetTokenError()
}

/** It has full entropy, so one round of SHA-256 is enough. */
function hashOf(token: Buffer): Buffer {
  return createHash('sha256').update(token).digest()
}
