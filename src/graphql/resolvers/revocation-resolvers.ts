import type { IResolvers } from '@graphql-tools/utils'
import { isAdmin } from '../../caller/authentication.ts'
import type { Authentication } from '../../caller/authentication.ts'
import { ADMIN, USER, demandRecent } from '../../caller/demand.ts'
import type { Demand, ReauthenticationRules, TokenState } from '../../caller/demand.ts'
import type { Revocation } from '../../contract.ts'
import { BadInputError } from '../../errors.ts'
import type { RevocationCheck } from '../../revocation/check.ts'
import type {
  RevocationCursor,
  RevocationEvent,
  RevocationFilter,
  RevocationOutcome,
  RevocationRequest,
  RevocationStore,
} from '../../revocation/ports.ts'
import { describeRevocation } from '../../security-event.ts'
import type { SecurityLog } from '../../security-event.ts'
import { readPastedToken } from '../../token/bearer.ts'
import type { IdentifiedToken, TokenVerifier } from '../../token/verifier.ts'
import type { AuthContext } from '../auth-directive.ts'
import { DateTime } from '../date-time.ts'
import { eventCursor } from '../event-cursor.ts'
import { createUnknownIdError, isId, readId, readName, readNote, readReason } from '../input.ts'
import { countItems, refuseExcess } from '../item-budget.ts'
import { DEFAULT_PAGE, connectionResolvers, createConnection, readPage } from '../pagination.ts'
import type { Connection, CursorForm, PageArgs } from '../pagination.ts'

/** The parts that the resolvers call, and what only the owner of the accounts knows. */
export interface RevocationResolverOptions {
  readonly tokens: TokenVerifier
  readonly revocations: RevocationStore
  readonly check: RevocationCheck
  readonly log?: SecurityLog
  /** How recent a login must be for acts that reach far; not given, any login will do. */
  readonly reauthentication?: ReauthenticationRules
  /** Finds the session of a token that is no JWT: a refresh token. */
  readonly findOpaqueToken?: (text: string) => Promise<OpaqueToken | null>
  /** Turns the `userId` of `revokeUser` into a subject, or throws when there is no such person. */
  readonly readSubject?: (userId: string) => Promise<string>
  /** Throws when a revocation must not be undone now. */
  readonly assertRestorable?: (revocation: Revocation) => Promise<void>
}

/** The session that a refresh token carries. */
export interface OpaqueToken {
  readonly sessionId: string
  readonly subject: string
  /** Whether the session is over by its time. */
  readonly isExpired: boolean
}

/** Resolvers that ask for their caller themselves, so that a forgotten `@auth` opens nothing. */
type Resolve<Args = object> = (
  parent: unknown,
  args: Args,
  context: AuthContext,
) => Promise<unknown>

interface RevokeArgs {
  readonly reason?: string | null
  readonly note?: string | null
}

type ListArgs = PageArgs & { readonly filter?: RevocationFilter | null }

const SIGNED_IN_BEFORE: Demand = { requires: ['USER'], accepts: ['ACTIVE', 'EXPIRED', 'REVOKED'] }

/** Makes the resolvers for `revocationTypeDefs`, on a store of yours. */
export function createRevocationResolvers(options: RevocationResolverOptions): IResolvers {
  const { tokens, revocations, check, log, reauthentication } = options
  const recentUser = demandRecent(USER, reauthentication?.maxAgeSeconds)
  const recentAdmin = demandRecent(ADMIN, reauthentication?.adminMaxAgeSeconds)

  /** Whether an entry ended a session so long ago that all its tokens have expired: then nothing is left to revoke. */
  function hasOutlivedTokens({ revokedAt }: Revocation): boolean {
    return revocations.now() - revokedAt.getTime() / 1000 > revocations.maxTokenLifetimeSeconds
  }

  async function revoke(
    event: 'logout' | 'revocation',
    { ipAddress }: Authentication,
    request: RevocationRequest,
  ): Promise<RevocationOutcome> {
    const outcome = await revocations.revoke(request)
    if (!outcome.alreadyRevoked) {
      log?.({ event, actor: request.by, ...describeRevocation(outcome.revocation), ipAddress })
    }
    return outcome
  }

  function identifyPasted(given: string): { text: string; identified: IdentifiedToken | null } {
    const text = readPastedToken(given)
    const identified = tokens.identify(text)
    // What cannot be verified is revoked as it was meant: a stray blank alone says that something else was.
    const isDoubtful =
      identified?.kind === 'UNVERIFIED' && text !== given && !/[\r\n]|bearer/i.test(given)
    return { text, identified: isDoubtful ? null : identified }
  }

  const logout: Resolve = async (_parent, _args, { auth }) => {
    const caller = await auth.authenticate(SIGNED_IN_BEFORE)
    const { sessionId, subject } = caller

    const before = await check(caller)
    const stood =
      before === null || before.scope === 'TOKEN'
        ? null
        : { alreadyRevoked: true, revocation: before }
    if (stood && hasOutlivedTokens(stood.revocation)) return stood

    // An entry of its own even where a cut-off reaches as far: that may be restored, and this is to stay.
    const target = { scope: 'SESSION', sessionId, subject } as const
    const outcome = await revoke('logout', auth, { target, reason: 'logout', by: subject })
    return stood ?? outcome
  }

  const logoutAllDevices: Resolve<{ keepCurrent: boolean }> = async (
    _parent,
    { keepCurrent },
    { auth },
  ) => {
    const { subject, sessionId } = await auth.authenticate(recentUser)

    const target = {
      scope: 'SUBJECT',
      subject,
      ...(keepCurrent && { keptSessionId: sessionId }),
    } as const
    return revoke('logout', auth, { target, reason: 'logout_all_devices', by: subject })
  }

  const revokeToken: Resolve<RevokeArgs & { token: string }> = async (_parent, args, { auth }) => {
    const { subject: by } = await auth.authenticate(ADMIN)
    const why = {
      reason: readReason(args.reason, 'revoked_by_admin'),
      note: readNote(args.note),
      by,
    }

    const { text, identified } = identifyPasted(args.token)
    if (identified?.kind === 'VERIFIED') {
      const { token } = identified
      // Of a longer life than allowed today it is refused here, but a node with older settings may accept it.
      if (token.expiresAt <= revocations.now()) {
        const [standing] = await revocations.findFor([token])
        return { verified: true, alreadyRevoked: Boolean(standing), revocation: standing ?? null }
      }
      const target = { scope: 'TOKEN', token } as const
      return { verified: true, ...(await revoke('revocation', auth, { target, ...why })) }
    }
    if (identified?.kind === 'UNVERIFIED') {
      const target = { scope: 'TOKEN', digest: identified.digest } as const
      return { verified: false, ...(await revoke('revocation', auth, { target, ...why })) }
    }

    const opaque = await options.findOpaqueToken?.(text)
    if (!opaque) {
      throw new BadInputError(
        'token',
        'MALFORMED_TOKEN',
        'This is neither an access token nor a refresh token of ours',
      )
    }
    if (opaque.isExpired) return { verified: true, alreadyRevoked: false, revocation: null }

    const { sessionId, subject } = opaque
    const target = { scope: 'SESSION', sessionId, subject } as const
    return { verified: true, ...(await revoke('revocation', auth, { target, ...why })) }
  }

  const revokeUser: Resolve<RevokeArgs & { userId: string }> = async (_parent, args, { auth }) => {
    const { subject: by } = await auth.authenticate(recentAdmin)
    const why = {
      reason: readReason(args.reason, 'revoked_by_admin'),
      note: readNote(args.note),
      by,
    }

    const readSubject = options.readSubject ?? readAnySubject
    const target = { scope: 'SUBJECT', subject: await readSubject(args.userId) } as const
    return revoke('revocation', auth, { target, ...why })
  }

  const revokeEveryone: Resolve<RevokeArgs> = async (_parent, args, { auth }) => {
    const { subject: by } = await auth.authenticate(recentAdmin)
    const why = {
      reason: readReason(args.reason, 'revoked_by_admin'),
      note: readNote(args.note),
      by,
    }

    return revoke('revocation', auth, { target: { scope: 'EVERYONE' }, ...why })
  }

  const restore: Resolve<{ revocationId: string; note?: string }> = async (
    _parent,
    args,
    { auth },
  ) => {
    const { subject: by } = await auth.authenticate(recentAdmin)
    const id = readId('revocationId', args.revocationId)
    const note = readNote(args.note)

    const found = await revocations.findById(id)
    if (!found) throw createUnknownIdError('revocationId')
    await options.assertRestorable?.(found)

    const outcome = await revocations.restore(id, { by, note })
    if (!outcome) throw createUnknownIdError('revocationId')
    if (!outcome.alreadyRestored) {
      const { scope, subject, sessionId, tokenId } = outcome.revocation
      log?.({
        event: 'restoration',
        actor: by,
        subject,
        sessionId,
        tokenId,
        scope,
        revocationId: id,
        ipAddress: auth.ipAddress,
      })
    }
    return outcome
  }

  const tokenStatus: Resolve<{ token: string }> = async (_parent, args, { auth }) => {
    await auth.authenticate(ADMIN)

    const { identified } = identifyPasted(args.token)
    if (identified === null) return { state: 'INVALID' }
    if (identified.kind === 'UNVERIFIED') {
      return { state: 'INVALID', revocation: await revocations.findByDigest(identified.digest) }
    }

    const { token, isExpired } = identified
    const revocation = await check(token)
    const state: TokenState = isExpired ? 'EXPIRED' : revocation ? 'REVOKED' : 'ACTIVE'
    const issuedAt = new Date(token.issuedAt * 1000)
    const expiresAt = new Date(token.expiresAt * 1000)
    return { ...token, state, issuedAt, expiresAt, revocation }
  }

  const listRevocations: Resolve<ListArgs> = async (_parent, args, { auth }) => {
    countItems(auth, args.first ?? DEFAULT_PAGE)
    await auth.authenticate(ADMIN)
    const page = readPage(args, revocationCursor)
    refuseExcess(auth)
    const filter = readFilter(args.filter)

    const found = await revocations.listInForce({ ...page, filter })
    return createConnection(found, revocationCursor, page.after, () =>
      revocations.countInForce(filter),
    )
  }

  const listEvents: Resolve<ListArgs> = async (
    _parent,
    args,
    { auth },
  ): Promise<Connection<RevocationEvent>> => {
    countItems(auth, args.first ?? DEFAULT_PAGE)
    await auth.authenticate(ADMIN)
    const page = readPage(args, eventCursor)
    refuseExcess(auth)
    const filter = readFilter(args.filter)

    const found = await revocations.listEvents({ ...page, filter })
    return createConnection(found, eventCursor, page.after, () => revocations.countEvents(filter))
  }

  return {
    DateTime,
    RevocationConnection: connectionResolvers,
    RevocationEventConnection: connectionResolvers,
    Revocation: {
      tokenId: ({ tokenId, digest }: Revocation) => tokenId ?? digest,
      note: ({ note }: Revocation, _args: object, { auth }: AuthContext) =>
        isAdmin(auth.caller) ? note : null,
      // A person may know what they did themselves; of others, only that it was done.
      revokedBy: ({ revokedBy, subject }: Revocation, _args: object, { auth }: AuthContext) =>
        isAdmin(auth.caller) || revokedBy === subject ? revokedBy : null,
    },
    Query: { tokenStatus, revocations: listRevocations, revocationEvents: listEvents },
    Mutation: { logout, logoutAllDevices, revokeToken, revokeUser, revokeEveryone, restore },
  }
}

const revocationCursor: CursorForm<RevocationCursor> = {
  format: ({ revokedAt, id }) => `${revokedAt.getTime()}.${id}`,
  parse: (text) => {
    const [, millis, id] = /^(\d{1,14})\.(\S{36})$/.exec(text) ?? []
    return millis && id && isId(id) ? { revokedAt: new Date(Number(millis)), id } : null
  },
}

export function readFilter(filter: RevocationFilter | null | undefined): RevocationFilter {
  const { scope, since, until } = filter ?? {}
  return {
    scope,
    since,
    until,
    subject: readName('filter.subject', filter?.subject),
    sessionId: readName('filter.sessionId', filter?.sessionId),
    tokenId: readName('filter.tokenId', filter?.tokenId),
    reason: readName('filter.reason', filter?.reason),
    revokedBy: readName('filter.revokedBy', filter?.revokedBy),
  }
}

async function readAnySubject(userId: string): Promise<string> {
  const subject = readName('userId', userId)
  if (subject === null) throw createUnknownIdError('userId')
  return subject
}
