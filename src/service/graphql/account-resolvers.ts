import type { IResolvers } from '@graphql-tools/utils'
import { ADMIN, USER, demandRecent } from '../../caller/demand.ts'
import type { ReauthenticationRules } from '../../caller/demand.ts'
import {
  AccountSuspendedError,
  BadInputError,
  InvalidCredentialsError,
  PortcullisError,
  RateLimitedError,
  TokenInvalidError,
} from '../../errors.ts'
import { readDevice, readId, readNote, readReason } from '../../graphql/input.ts'
import type { SecurityLog } from '../../security-event.ts'
import type { Accounts } from '../account/accounts.ts'
import { isEmailTaken } from '../account/email.ts'
import type { Account, Role } from '../account/entities.ts'
import type { PasswordResets } from '../account/password-resets.ts'
import type { IssuedTokens, Sessions } from '../session/sessions.ts'
import { readDeviceOf } from './context.ts'
import type { ServiceContext } from './context.ts'
import { toAuthPayload } from './session-resolvers.ts'

export interface AccountResolverOptions {
  readonly accounts: Accounts
  readonly sessions: Sessions
  readonly resets: PasswordResets
  readonly log: SecurityLog
  readonly reauthentication?: ReauthenticationRules
}

interface Credentials {
  readonly email: string
  readonly password: string
}

interface UserArgs {
  readonly userId: string
  readonly reason?: string | null
  readonly note?: string | null
}

export function createAccountResolvers({
  accounts,
  sessions,
  resets,
  log,
  reauthentication,
}: AccountResolverOptions): IResolvers {
  const recentUser = demandRecent(USER, reauthentication?.maxAgeSeconds)
  const recentAdmin = demandRecent(ADMIN, reauthentication?.adminMaxAgeSeconds)

  async function me(_parent: unknown, _args: object, { auth }: ServiceContext): Promise<Account> {
    return getCallersAccount(await auth.authenticate())
  }

  async function user(
    _parent: unknown,
    { id, email }: { id?: string | null; email?: string | null },
    { auth }: ServiceContext,
  ): Promise<Account | null> {
    await auth.authenticate(ADMIN)

    if (typeof id === 'string' && typeof email !== 'string') return accounts.findById(id)
    if (typeof email === 'string' && typeof id !== 'string') return accounts.findByEmail(email)
    throw new BadInputError('id', 'ONE_ARGUMENT_REQUIRED', 'Give either id or email')
  }

  async function register(
    _parent: unknown,
    { email, password }: Credentials,
    context: ServiceContext,
  ): Promise<object> {
    const { ipAddress } = context
    const device = readDeviceOf(context, null)
    const tokens = await logFailure('register_failed', email, context, () =>
      accounts.register({ email, password, from: ipAddress }, (id, make) =>
        sessions.open(id, device, make),
      ),
    )

    log({ event: 'register', actor: tokens.session.subject, ipAddress })
    return toAuthPayload(tokens)
  }

  async function login(
    _parent: unknown,
    { email, password, device }: Credentials & { device?: string | null },
    context: ServiceContext,
  ): Promise<object> {
    const name = readDevice(device)
    const { ipAddress } = context
    const tokens = await logFailure('login_failed', email, context, async () => {
      const account = await accounts.checkCredentials({ email, password, from: ipAddress })
      return signIn(account, name, context)
    })

    const { id: sessionId, subject: actor } = tokens.session
    log({ event: 'login', actor, sessionId, ipAddress })
    return toAuthPayload(tokens)
  }

  async function changePassword(
    _parent: unknown,
    args: { currentPassword: string; newPassword: string },
    context: ServiceContext,
  ): Promise<object> {
    const { subject, sessionId } = await context.auth.authenticate(recentUser)
    const { ipAddress } = context
    const account = await proveToBe(subject, args.currentPassword, context)

    const device = readDeviceOf(context, null)
    const current = { sessionId, device, sessions }
    const tokens = await accounts.changePassword(account, args.newPassword, current)
    log({ event: 'password_changed', actor: subject, sessionId, ipAddress })
    return toAuthPayload(tokens)
  }

  async function reauthenticate(
    _parent: unknown,
    { password }: { password: string },
    context: ServiceContext,
  ): Promise<object> {
    const { subject, sessionId } = await context.auth.authenticate()
    const account = await proveToBe(subject, password, context)

    const device = readDeviceOf(context, null)
    const grant = accounts.grantTo(account)
    const tokens = await sessions.reauthenticate(sessionId, account.id, device, grant)
    log({ event: 'reauthenticated', actor: subject, sessionId, ipAddress: context.ipAddress })
    return toAuthPayload(tokens)
  }

  async function suspendUser(
    _parent: unknown,
    args: UserArgs,
    { auth, ipAddress }: ServiceContext,
  ): Promise<object> {
    const { subject: by } = await auth.authenticate(recentAdmin)
    const reason = readReason(args.reason, 'account_suspended')
    const note = readNote(args.note)

    const id = readId('userId', args.userId)
    const { account, alreadyDone, revocation } = await accounts.suspend(id, { by, reason, note })
    if (!alreadyDone)
      log({ event: 'user_suspended', actor: by, subject: account.id, reason, ipAddress })
    return { alreadySuspended: alreadyDone, user: account, revocation }
  }

  async function reinstateUser(
    _parent: unknown,
    args: UserArgs,
    { auth, ipAddress }: ServiceContext,
  ): Promise<object> {
    const { subject: by } = await auth.authenticate(recentAdmin)
    const note = readNote(args.note)

    const id = readId('userId', args.userId)
    const { account, alreadyDone } = await accounts.reinstate(id, { by, note })
    if (!alreadyDone) log({ event: 'user_reinstated', actor: by, subject: account.id, ipAddress })
    return { alreadyReinstated: alreadyDone, user: account }
  }

  async function setUserRoles(
    _parent: unknown,
    args: UserArgs & { roles: readonly Role[] },
    { auth, ipAddress }: ServiceContext,
  ): Promise<object> {
    const { subject: by } = await auth.authenticate(recentAdmin)
    const note = readNote(args.note)
    const roles = readRoles(args.roles)

    const id = readId('userId', args.userId)
    const { account, alreadyDone, revocation } = await accounts.setRoles(id, roles, { by, note })
    if (!alreadyDone) log({ event: 'roles_changed', actor: by, subject: account.id, ipAddress })
    return { alreadySet: alreadyDone, user: account, revocation: alreadyDone ? null : revocation }
  }

  async function createPasswordReset(
    _parent: unknown,
    { userId }: { userId: string },
    { auth, ipAddress }: ServiceContext,
  ): Promise<object> {
    const { subject: by } = await auth.authenticate(recentAdmin)

    const { account, token, expiresAt } = await resets.create(readId('userId', userId), by)
    log({ event: 'password_reset_created', actor: by, subject: account.id, ipAddress })
    return { user: account, token, expiresAt }
  }

  async function resetPassword(
    _parent: unknown,
    { token, newPassword }: { token: string; newPassword: string },
    { ipAddress }: ServiceContext,
  ): Promise<object> {
    try {
      const { account, endedSessions } = await resets.use(token, newPassword, ipAddress)
      log({ event: 'password_reset', actor: account.id, subject: account.id, ipAddress })
      return { user: account, endedSessions }
    } catch (error) {
      if (error instanceof PortcullisError && !(error instanceof BadInputError)) {
        const { code, reason = code } = error.extensions
        log({ event: 'password_reset_failed', reason, ipAddress })
      }
      throw error
    }
  }

  async function getCallersAccount({ subject }: { subject: string }): Promise<Account> {
    const account = await accounts.findById(subject)
    if (!account) throw new TokenInvalidError('its subject has no account')
    return account
  }

  /** A wrong password here is a failed login: the holder of a stolen token must not guess it. */
  async function proveToBe(
    subject: string,
    password: string,
    context: ServiceContext,
  ): Promise<Account> {
    const { email } = await getCallersAccount({ subject })
    return logFailure('login_failed', email, context, () =>
      accounts.checkCredentials({ email, password, from: context.ipAddress }),
    )
  }

  async function signIn(
    account: Account,
    deviceName: string | null,
    context: ServiceContext,
  ): Promise<IssuedTokens> {
    const device = readDeviceOf(context, deviceName)
    return sessions.open(account.id, device, accounts.grantTo(account))
  }

  /** Names the account and not what was typed: people type passwords into the wrong box. */
  async function logFailure<Result>(
    event: 'login_failed' | 'register_failed',
    email: string,
    { ipAddress }: ServiceContext,
    act: () => Promise<Result>,
  ): Promise<Result> {
    try {
      return await act()
    } catch (error) {
      if (isFailedAttempt(error)) {
        const subject = (await accounts.findByEmail(email))?.id ?? null
        const { code, reason = code } = error.extensions
        log({ event, subject, reason, ipAddress })
      }
      throw error
    }
  }

  return {
    Query: { me, user },
    Mutation: {
      register,
      login,
      changePassword,
      reauthenticate,
      suspendUser,
      reinstateUser,
      setUserRoles,
      createPasswordReset,
      resetPassword,
    },
    User: { suspended: ({ suspendedAt }: Account) => suspendedAt !== null },
  }
}

function isFailedAttempt(error: unknown): error is PortcullisError {
  return (
    isEmailTaken(error) ||
    error instanceof InvalidCredentialsError ||
    error instanceof AccountSuspendedError ||
    error instanceof RateLimitedError
  )
}

/** In a fixed order, each once, so that equal sets are equal lists. */
function readRoles(roles: readonly Role[]): readonly Role[] {
  const all: readonly Role[] = ['USER', 'ADMIN']
  if (roles.length === 0) throw new BadInputError('roles', 'EMPTY', 'Give at least one role')
  return all.filter((role) => roles.includes(role))
}
