import type { IResolvers } from '@graphql-tools/utils'
import type { Accounts } from '../account/accounts.ts'
import type { RevocationStore } from '../revocation/store.ts'
import type { SecurityLog } from '../security-event.ts'
import type { Session } from '../session/entities.ts'
import type { IssuedTokens, Sessions } from '../session/sessions.ts'
import { isAdmin } from './authentication.ts'
import { readDeviceOf } from './context.ts'
import type { ServiceContext } from './context.ts'
import { createUnknownIdError, isId, readReason } from './input.ts'

export interface SessionResolverOptions {
  readonly sessions: Sessions
  readonly accounts: Accounts
  readonly revocations: RevocationStore
  readonly log: SecurityLog
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
  const { sessions, accounts, revocations, log } = options

  async function listSessions(
    _parent: unknown,
    _args: object,
    { auth }: ServiceContext,
  ): Promise<SessionNode[]> {
    const { subject, sessionId } = await auth.authenticate()
    const found = await sessions.list(subject, sessionId)
    return found.map((session) => ({ ...session, current: session.id === sessionId }))
  }

  async function refresh(
    _parent: unknown,
    { refreshToken }: { refreshToken: string },
    context: ServiceContext,
  ): Promise<object> {
    return toAuthPayload(await sessions.refresh(refreshToken, readDeviceOf(context, null)))
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
