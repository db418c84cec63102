import { randomUUID } from 'node:crypto'
import type { DataSource, EntityManager } from 'typeorm'
import type { Revocation } from '../../contract.ts'
import { read } from '../../database/read.ts'
import { runTransaction } from '../../database/transaction.ts'
import { BadInputError, InvalidCredentialsError } from '../../errors.ts'
import { createBatched } from '../../lib/batch.ts'
import type { PostgresRevocationStore } from '../../revocation/postgres/postgres-store.ts'
import type { Device, IssuedTokens, ReadGrant, Sessions } from '../session/sessions.ts'
import {
  deletePasswordReset,
  findAccountsByEmails,
  findAccountsByIds,
  getAccount,
  insertAccount,
  isAccountId,
  readAccountGrant,
  refuseLastAdmin,
  updateAccount,
} from './account-rows.ts'
import { isEmail, isEmailTaken, normalizeEmail, readEmail } from './email.ts'
import type { Account, Role } from './entities.ts'
import type { Attempt, FailedAttempts } from './failed-attempts.ts'
import { checkNewPassword, hashPassword, isPassword } from './password.ts'
import type { WorkQueue } from './work-queue.ts'

export interface AccountsOptions {
  readonly dataSource: DataSource
  readonly revocations: PostgresRevocationStore
  readonly attempts: FailedAttempts
  /** Where passwords wait to be hashed. */
  readonly hashing: WorkQueue
}

/** What a person types at a login, and the address it comes from. */
export interface CredentialsFrom {
  readonly email: string
  readonly password: string
  readonly from: string | null
}

/** A change of an account. */
export interface AccountChange {
  readonly account: Account
  /** Whether nothing was left to change. */
  readonly alreadyDone: boolean
  /** What revoked the tokens that carry the old state; `null` when that is forgotten, or was never needed. */
  readonly revocation: Revocation | null
}

/** Why, and by whose wish. */
export interface AdminAct {
  readonly by: string
  readonly reason?: string
  readonly note: string | null
}

/** How long a look-up of people may take, in milliseconds: as long as a check, since most answers need both. */
const READ_TIMEOUT_MS = 400

/** People who can sign in. */
export class Accounts {
  readonly #options: AccountsOptions
  /** Callers that ask for their account at the same time share a statement. */
  readonly #findTogether = createBatched<string, Account | null>((ids) => this.#findAll(ids))
  readonly #findByEmailTogether = createBatched<string, Account | null>((emails) =>
    this.#findAllByEmail(emails),
  )

  constructor(options: AccountsOptions) {
    this.#options = options
  }

  /**
   * Registers a person.
   *
   * @param open - Opens the first session of a new id, with the grant that makes the account in the same transaction:
   * both, or neither.
   * @throws {@link BadInputError} when e-mail or password will not do, or the e-mail is taken: that is a failed attempt,
   * because it tells who has an account.
   * @throws {@link RateLimitedError} after too many failures.
   */
  async register<Opened>(
    { email, password, from }: CredentialsFrom,
    open: (id: string, make: ReadGrant) => Promise<Opened>,
  ): Promise<Opened> {
    const address = readEmail(email)
    checkNewPassword(password, 'password')
    const { attempts, hashing } = this.#options
    const attempt: Attempt = { kind: 'SIGN_IN', of: address, from }
    await attempts.check(attempt)

    const id = randomUUID()
    const passwordHash = await hashing.run(async () => {
      await attempts.check(attempt)
      return hashPassword(password)
    })
    try {
      return await open(id, async (manager) => {
        const account = await insertAccount(manager, id, address, passwordHash, ['USER'])
        // Of a burst those beyond the limit hear the same, whether the address is taken or not.
        await attempts.checkWithin(manager, attempt)
        return account
      })
    } catch (error) {
      if (isEmailTaken(error)) await attempts.count(attempt)
      throw error
    }
  }

  /** Makes an account. Its password is not judged here: the caller of this method answers for it. */
  async create(email: string, password: string, roles: readonly Role[]): Promise<Account> {
    const address = readEmail(email)
    const passwordHash = await this.#hash(password)
    return this.#run((manager) =>
      insertAccount(manager, randomUUID(), address, passwordHash, roles),
    )
  }

  /**
   * Finds the account that an e-mail address and a password belong to.
   *
   * @throws {@link InvalidCredentialsError} when they do not belong together.
   * @throws {@link RateLimitedError} after too many failures, or when too many passwords wait to be checked.
   */
  async checkCredentials({ email, password, from }: CredentialsFrom): Promise<Account> {
    const { attempts, hashing } = this.#options
    const attempt: Attempt = { kind: 'SIGN_IN', of: normalizeEmail(email), from }
    await attempts.check(attempt)

    const account = await this.findByEmail(email)
    const isRight = await hashing.run(async () => {
      // A flood that came before there was anything to count ends here, and costs no hashing.
      await attempts.check(attempt)
      return isPassword(password, account?.passwordHash ?? null)
    })
    if (!isRight || !account) {
      await attempts.count(attempt)
      throw new InvalidCredentialsError()
    }
    // Guesses sent all at once must not outrun the count.
    await attempts.check(attempt)
    await attempts.forget(attempt)
    return account
  }

  /** The grant of a person who has just proved to own this account: its password must not have changed meanwhile. */
  grantTo(account: Account): ReadGrant {
    return async (manager, subject) => {
      const current = await readAccountGrant(manager, subject)
      if (current.passwordHash !== account.passwordHash) throw new InvalidCredentialsError()
      return current
    }
  }

  async findById(id: string): Promise<Account | null> {
    return isAccountId(id) ? this.#findTogether(id.toLowerCase()) : null
  }

  /** @throws {@link BadInputError} when no account has this id. */
  async get(id: string): Promise<Account> {
    const account = await this.findById(id)
    if (!account) throw new BadInputError('userId', 'UNKNOWN_ID', 'No user has this id')
    return account
  }

  async findByEmail(email: string): Promise<Account | null> {
    const address = normalizeEmail(email)
    return isEmail(address) ? this.#findByEmailTogether(address) : null
  }

  /** Whether there is an admin who can sign in. */
  async hasAdmin(): Promise<boolean> {
    return this.#run(async (manager) => {
      const found = await manager.query<unknown[]>(
        `select 1 from account where 'ADMIN' = any(roles) and suspended_at is null limit 1`,
      )
      return found.length > 0
    })
  }

  /** Changes the password, ends all other sessions, and gives this one new tokens: all or nothing. */
  async changePassword(
    account: Account,
    newPassword: string,
    current: { sessionId: string; device: Device; sessions: Sessions },
  ): Promise<IssuedTokens> {
    checkNewPassword(newPassword, 'newPassword')
    const passwordHash = await this.#hash(newPassword)

    const { revocations } = this.#options
    const { revocation, tokens } = await this.#run(async (manager) => {
      const outcome = await revocations.revokeWithin(
        manager,
        {
          target: { scope: 'SUBJECT', subject: account.id, keptSessionId: current.sessionId },
          reason: 'password_changed',
          by: account.id,
        },
        { always: true },
      )
      const [, changed] = await manager.query<[unknown, number]>(
        `update account set password_hash = $2 where id = $1 and password_hash = $3`,
        [account.id, passwordHash, account.passwordHash],
      )
      if (changed === 0) throw new InvalidCredentialsError()
      await deletePasswordReset(manager, account.id)
      const { sessionId, sessions, device } = current
      const renewed = await sessions.renewWithin(manager, sessionId, account.id, device)
      return { revocation: outcome.revocation, tokens: renewed }
    })
    revocations.announce(revocation)
    return tokens
  }

  /**
   * Refuses this person's tokens, logins and refreshes from now on.
   *
   * @throws {@link BadInputError} for the last admin who can sign in.
   */
  async suspend(
    id: string,
    { by, reason = 'account_suspended', note }: AdminAct,
  ): Promise<AccountChange> {
    return this.#change(
      id,
      { by, reason, note },
      async (manager) => {
        await refuseLastAdmin(manager, id)
        await deletePasswordReset(manager, id)
        return updateAccount(
          manager,
          id,
          `suspended_at = clock_timestamp()`,
          `suspended_at is null`,
        )
      },
      async (manager, suspension) => {
        await updateAccount(manager, id, `suspension_id = $2`, `true`, [suspension.id])
      },
    )
  }

  /** Lets a suspended person sign in again; tokens that were revoked stay so. */
  async reinstate(
    id: string,
    { by, note }: AdminAct,
  ): Promise<Pick<AccountChange, 'account' | 'alreadyDone'>> {
    const { revocations } = this.#options
    const change = await this.#run(async (manager) => {
      const changed = await updateAccount(
        manager,
        id,
        `suspended_at = null`,
        `suspended_at is not null`,
      )
      if (!changed) return { account: await getAccount(manager, id), alreadyDone: true }

      const { suspensionId } = changed
      if (suspensionId !== null) {
        await revocations.reinstateWithin(manager, suspensionId, { by, note })
      }
      return { account: changed, alreadyDone: false }
    })
    revocations.announce(null)
    return change
  }

  /**
   * Sets the roles, and revokes the tokens that carry the old ones.
   *
   * @throws {@link BadInputError} when that would leave no admin who can sign in.
   */
  async setRoles(id: string, roles: readonly Role[], act: AdminAct): Promise<AccountChange> {
    return this.#change(id, { ...act, reason: 'roles_changed' }, async (manager) => {
      if (!roles.includes('ADMIN')) await refuseLastAdmin(manager, id)
      return updateAccount(manager, id, `roles = $2`, `roles <> $2`, [roles])
    })
  }

  async #change(
    id: string,
    { by, reason, note }: Required<AdminAct>,
    apply: (manager: EntityManager) => Promise<Account | null>,
    conclude?: (manager: EntityManager, revocation: Revocation) => Promise<void>,
  ): Promise<AccountChange> {
    const { revocations } = this.#options
    const change = await this.#run(async (manager) => {
      const { id: subject } = await getAccount(manager, id)
      const target = { scope: 'SUBJECT', subject } as const
      await revocations.lockWithin(manager, target)

      const account = await apply(manager)
      if (account) {
        const request = { target, reason, note, by }
        const { revocation } = await revocations.revokeWithin(manager, request, { always: true })
        await conclude?.(manager, revocation)
        return { account, revocation, alreadyDone: false }
      }

      const revocation = await revocations.latestCutOffWithin(manager, target)
      return { account: await getAccount(manager, id), revocation, alreadyDone: true }
    })
    revocations.announce(change.revocation)
    return change
  }

  async #findAll(ids: readonly string[]): Promise<ReadonlyArray<Account | null>> {
    const { dataSource } = this.#options
    const found = await read<Account>(dataSource, findAccountsByIds, [ids], READ_TIMEOUT_MS)
    const byId = new Map(found.map((account) => [account.id, account]))
    return ids.map((id) => byId.get(id) ?? null)
  }

  async #findAllByEmail(emails: readonly string[]): Promise<ReadonlyArray<Account | null>> {
    const { dataSource } = this.#options
    const found = await read<Account>(dataSource, findAccountsByEmails, [emails], READ_TIMEOUT_MS)
    const byEmail = new Map(found.map((account) => [account.email, account]))
    return emails.map((email) => byEmail.get(email) ?? null)
  }

  async #hash(password: string): Promise<string> {
    return this.#options.hashing.run(() => hashPassword(password))
  }

  async #run<Result>(work: (manager: EntityManager) => Promise<Result>): Promise<Result> {
    return runTransaction(this.#options.dataSource, work)
  }
}
