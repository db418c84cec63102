import type { IResolvers } from '@graphql-tools/utils'
import { isAdmin } from '../../caller/authentication.ts'
import { ADMIN, demandRecent } from '../../caller/demand.ts'
import type { ReauthenticationRules } from '../../caller/demand.ts'
import { InvalidRefreshTokenError } from '../../errors.ts'
import { createUnknownIdError, isId, readReason } from '../../graphql/input.ts'
import { countItems, refuseExcess } from '../../graphql/item-budget.ts'
import { assertPageSize } from '../../graphql/pagination.ts'
import type { PageArgs } from '../../graphql/pagination.ts'
import type { RevocationStore } from '../../revocation/ports.ts'
import type { SecurityLog } from '../../security-event.ts'
import type { Accounts } from '../account/accounts.ts'
import type { FailedAttempts } from '../account/failed-attempts.ts'
import type { Session } from '../session/entities.ts'
import type { IssuedTokens, Sessions } from '../session/sessions.ts'
import { readDeviceOf } from './context.ts'
import type { ServiceContext } from './context.ts'

/** How many sessions are listed when nothing is said. */
const DEFAULT_SESSIONS = 100

export interface SessionResolverOptions {
  readonly sessions: Sessions
  readonly accounts: Accounts
  readonly attempts: FailedAttempts
  readonly revocations: RevocationStore
  readonly log: SecurityLog
  readonly reauthentication?: ReauthenticationRules
}

/** What `AuthPayload` and `Session` resolve from. */
export interface SessionNode extends Session {
  readonly current: boolean
}

/** The answer to a sign-in or a refresh. */
export function toAuthPayload({ accessToken, refreshToken, session }: IssuedTokens): object {
  return {
    accessToken: accessToken.text,
    tokenType: 'Bearer',
    expiresIn: accessToken.expiresIn,
    refreshToken,
    session: { ...session, current: true },
  }
}

export function createSessionResolvers(options: SessionResolverOptions): IResolvers {
  const { sessions, accounts, attempts, revocations, log, reauthentication } = options
  const recentAdmin = demandRecent(ADMIN, reauthentication?.adminMaxAgeSeconds)

  async function listSessions(
    _parent: unknown,
    args: PageArgs,
    { auth }: ServiceContext,
  ): Promise<SessionNode[]> {
    const first = args.first ?? DEFAULT_SESSIONS
    countItems(auth, first)
    const { subject, sessionId } = await auth.authenticate()
    assertPageSize(first)
    refuseExcess(auth)

    const page = { first, after: args.after ?? null }
    const found = await sessions.list(subject, sessionId, page)
    return found.map((session) => ({ ...session, current: session.id === sessionId }))
  }

  async function refresh(
    _parent: unknown,
    { refreshToken }: { refreshToken: string },
    context: ServiceContext,
  ): Promise<object> {
    try {
      return toAuthPayload(await sessions.refresh(refreshToken, readDeviceOf(context, null)))
    } catch (error) {
      if (error instanceof InvalidRefreshTokenError) await countFailure(refreshToken, context)
      throw error
    }
  }

  /**
   * A token that was one of ours is no guess: it is held against its session only, because when all sessions
   * ended those of a whole office come back, from one address. So one that is good is never refused for what others did.
   */
  async function countFailure(refreshToken: string, { ipAddress }: ServiceContext): Promise<void> {
    const session = await sessions.findByRefreshToken(refreshToken)
    if (session === null) await attempts.check({ kind: 'REFRESH', of: null, from: ipAddress })
    log({
      event: 'refresh_failed',
      subject: session?.subject ?? null,
      sessionId: session?.id ?? null,
      ipAddress,
    })
    await attempts.count(
      { kind: 'REFRESH', of: session?.id ?? null, from: ipAddress },
      { isGuess: session === null },
    )
  }

  async function revokeSession(
    _parent: unknown,
    args: { id: string; reason?: string | null },
    { auth, ipAddress }: ServiceContext,
  ): Promise<object> {
    const caller = await auth.authenticate()
    const session = isId(args.id) ? await sessions.find(args.id) : null
    const isOwn = session?.subject === caller.subject
    if (!session || (!isOwn && !isAdmin(caller))) throw createUnknownIdError('id')
    if (!isOwn) await auth.authenticate(recentAdmin)

    const reason = readReason(args.reason, isOwn ? 'logout' : 'revoked_by_admin')
    const { subject, id: sessionId } = session
    const outcome = await revocations.revoke({
      target: { scope: 'SESSION', sessionId, subject },
      reason,
      by: caller.subject,
    })

    if (!outcome.alreadyRevoked) {
      const { id: revocationId, scope } = outcome.revocation
      const actor = caller.subject
      log({
        event: 'revocation',
        actor,
        subject,
        sessionId,
        scope,
        reason,
        revocationId,
        ipAddress,
      })
    }
    const ended = (await sessions.find(sessionId)) ?? session
    return { ...outcome, session: { ...ended, current: sessionId === caller.sessionId } }
  }

  return {
    Query: { sessions: listSessions },
    Mutation: { refresh, revokeSession },
    AuthPayload: {
      user: ({ session }: { session: Session }) => accounts.findById(session.subject),
    },
  }
}
