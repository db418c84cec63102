import { randomUUID } from 'node:crypto'
import type { DataSource, EntityManager } from 'typeorm'
import { z } from 'zod'
import { createBatched } from '../batch.ts'
import { read } from '../database/read.ts'
import { runTransaction } from '../database/transaction.ts'
import { AccountSuspendedError, BadInputError, InvalidCredentialsError } from '../errors.ts'
import type { PostgresRevocationStore } from '../revocation/postgres-store.ts'
import type { Revocation } from '../revocation/revocation.ts'
import type { Device, IssuedTokens, ReadGrant, Sessions } from '../session/sessions.ts'
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

/** What somebody types, and the address that they type it at. */
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

const columns = `
  id, email, password_hash as "passwordHash", roles, suspended_at as "suspendedAt",
  suspension_id as "suspensionId", created_at as "createdAt"`

const findByIds = {
  name: 'portcullis-find-accounts',
  text: `select ${columns} from account where id = any($1::uuid[])`,
}

const findByEmails = {
  name: 'portcullis-find-accounts-by-email',
  text: `select ${columns} from account where email = any($1::text[])`,
}

/** How long a look-up of people may take, in milliseconds. */
const READ_TIMEOUT_MS = 2000

/** People who can sign in. */
export class Accounts {
  readonly #options: AccountsOptions
  /** Whoever asks who they are at the same time shares a statement. */
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
    const attempt: Attempt = { kind: 'SIGN_IN', of: address, from }
    await this.#options.attempts.check(attempt)

    const id = randomUUID()
    const passwordHash = await this.#hash(password)
    try {
      return await open(id, (manager) => insert(manager, id, address, passwordHash, ['USER']))
    } catch (error) {
      if (isEmailTaken(error)) await this.#options.attempts.count(attempt)
      throw error
    }
  }

  /** Makes an account for whose password somebody else answers. */
  async create(email: string, password: string, roles: readonly Role[]): Promise<Account> {
    const address = readEmail(email)
    const passwordHash = await this.#hash(password)
    return this.#run((manager) => insert(manager, randomUUID(), address, passwordHash, roles))
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

  /** The grant of somebody who has just proved to be this account: its password must not have changed meanwhile. */
  grantTo(account: Account): ReadGrant {
    return async (manager, subject) => {
      const current = await readForGrant(manager, subject)
      if (current.passwordHash !== account.passwordHash) throw new InvalidCredentialsError()
      return current
    }
  }

  async findById(id: string): Promise<Account | null> {
    return isId(id) ? this.#findTogether(id.toLowerCase()) : null
  }

  /** @throws {@link BadInputError} when nobody has this id. */
  async get(id: string): Promise<Account> {
    const account = await this.findById(id)
    if (!account) throw new BadInputError('userId', 'UNKNOWN_ID', 'No user has this id')
    return account
  }

  async findByEmail(email: string): Promise<Account | null> {
    const address = normalizeEmail(email)
    return isEmail(address) ? this.#findByEmailTogether(address) : null
  }

  async hasAdmin(): Promise<boolean> {
    return this.#run(async (manager) => {
      const found = await manager.query<unknown[]>(
        `select 1 from account where 'ADMIN' = any(roles) limit 1`,
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
      const { sessionId, sessions, device } = current
      const renewed = await sessions.renewWithin(manager, sessionId, account.id, device)
      return { revocation: outcome.revocation, tokens: renewed }
    })
    revocations.announce(revocation)
    return tokens
  }

  /** Refuses this person's tokens, logins and refreshes from now on. */
  async suspend(
    id: string,
    { by, reason = 'account_suspended', note }: AdminAct,
  ): Promise<AccountChange> {
    return this.#change(
      id,
      { by, reason, note },
      async (manager) =>
        update(manager, id, `suspended_at = clock_timestamp()`, `suspended_at is null`),
      async (manager, suspension) => {
        await update(manager, id, `suspension_id = $2`, `true`, [suspension.id])
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
      const changed = await update(manager, id, `suspended_at = null`, `suspended_at is not null`)
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

  /** Sets the roles, and revokes the tokens that carry the old ones. */
  async setRoles(id: string, roles: readonly Role[], act: AdminAct): Promise<AccountChange> {
    return this.#change(id, { ...act, reason: 'roles_changed' }, async (manager) =>
      update(manager, id, `roles = $2`, `roles <> $2`, [roles]),
    )
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
    const found = await read<Account>(dataSource, findByIds, [ids], READ_TIMEOUT_MS)
    const byId = new Map(found.map((account) => [account.id, account]))
    return ids.map((id) => byId.get(id) ?? null)
  }

  async #findAllByEmail(emails: readonly string[]): Promise<ReadonlyArray<Account | null>> {
    const { dataSource } = this.#options
    const found = await read<Account>(dataSource, findByEmails, [emails], READ_TIMEOUT_MS)
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

/** What a refresh asks of accounts: the roles of today, and that nobody suspended the person. */
export const readAccountGrant: ReadGrant = readForGrant

async function readForGrant(manager: EntityManager, subject: string): Promise<Account> {
  const [account] = isId(subject)
    ? await manager.query<Account[]>(
        `select ${columns} from account where id = $1::uuid for share`,
        [subject],
      )
    : []
  if (!account) throw new InvalidCredentialsError()
  if (account.suspendedAt !== null) throw new AccountSuspendedError()
  return account
}

async function getAccount(manager: EntityManager, id: string): Promise<Account> {
  const [account] = await manager.query<Account[]>(
    `select ${columns} from account where id = $1::uuid`,
    [id],
  )
  if (!account) throw new BadInputError('userId', 'UNKNOWN_ID', 'No user has this id')
  return account
}

async function insert(
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

function isEmailTaken(error: unknown): boolean {
  return error instanceof BadInputError && error.extensions.reason === 'EMAIL_TAKEN'
}

async function update(
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

const guid = z.guid()

/** `sub` may be any text in a token that others signed. */
function isId(text: string): boolean {
  return guid.safeParse(text).success
}

function normalizeEmail(email: string): string {
  return email.trim().normalize('NFC').toLowerCase()
}

function readEmail(email: string): string {
  const address = normalizeEmail(email)
  if (!isEmail(address)) {
    throw new BadInputError('email', 'INVALID_EMAIL', 'This is not an e-mail address')
  }
  return address
}

/** The form that browsers accept; only a mail that arrives proves an address. */
function isEmail(address: string): boolean {
  return address.length <= 254 && z.regexes.html5Email.test(address)
}
