import { randomUUID } from 'node:crypto'
import type { DataSource, EntityManager } from 'typeorm'
import { read } from '../database/read.ts'
import { runTransaction } from '../database/transaction.ts'
import { InvalidRefreshTokenError, TokenInvalidError } from '../errors.ts'
import type { PostgresRevocationStore } from '../revocation/postgres-store.ts'
import type { Revocation } from '../revocation/revocation.ts'
import type { SignedToken, TokenSigner } from '../token/signer.ts'
import { isSessionId } from './entities.ts'
import type { Session } from './entities.ts'
import { createRefreshToken, formatRefreshToken, parseRefreshToken } from './refresh-token.ts'
import { addRefreshToken, replaceRefreshToken, spendRefreshTokens } from './refresh-token-rows.ts'
import {
  findExcessSessions,
  findSessionOfRefreshToken,
  isInUse,
  lockLiveSession,
  sessionColumns,
} from './session-rows.ts'

/** Where a request comes from, for the person's list of devices. */
export interface Device {
  readonly name: string | null
  readonly userAgent: string | null
  readonly ipAddress: string | null
}

/** Reads, and locks against change, whose token it will be; throws when that person may have none. */
export type ReadGrant = (
  manager: EntityManager,
  subject: string,
) => Promise<{ roles: readonly string[] }>

/** What a person gets who signs in or refreshes. */
export interface IssuedTokens {
  readonly session: Session
  readonly accessToken: SignedToken
  readonly refreshToken: string
}

export interface SessionsOptions {
  readonly dataSource: DataSource
  readonly revocations: PostgresRevocationStore
  readonly sign: TokenSigner
  readonly lifetimeSeconds: number
  /** After how long without a refresh a session is over, in seconds; not given, none is. */
  readonly idleSeconds?: number | null
  /** How many sessions a person may have; not given, any number. The oldest give way to a new one. */
  readonly maxPerPerson?: number | null
  /** For how long a repeated refresh is taken for a lost answer, in seconds. */
  readonly graceSeconds: number
  readonly readGrant: ReadGrant
  /** Told after a session was ended because an old refresh token came back. */
  readonly onReuse: (session: Session, revocation: Revocation, by: Device) => void
  /** Told after a session had to give way to a new one. */
  readonly onGivenWay?: (session: Session, revocation: Revocation, by: Device) => void
}

/** What is kept of a session after its end, in days, so that an old refresh token is still known. */
const KEEP_ENDED_DAYS = 1

/** How long a look-up of sessions may take, in milliseconds. */
const READ_TIMEOUT_MS = 2000

/** Sign-ins on devices, and the refresh tokens that carry them. */
export class Sessions {
  readonly #options: SessionsOptions

  constructor(options: SessionsOptions) {
    this.#options = options
  }

  /**
   * Opens a session: a new id, a new access token, a new refresh token, whatever the caller held before.
   *
   * @param readGrant - Checks again, under the locks, that this person may sign in.
   */
  async open(subject: string, device: Device, readGrant: ReadGrant): Promise<IssuedTokens> {
    const tokens = await runTransaction(this.#options.dataSource, (manager) =>
      this.#openWithin(manager, subject, device, readGrant),
    )

    // Afterwards, because sign-ins under way do not see one another: whichever comes last sees them all.
    const excess = await this.#findExcess(subject)
    await Promise.all(
      excess.map((session) =>
        this.#end(session, 'session_limit', (revocation) =>
          this.#options.onGivenWay?.(session, revocation, device),
        ),
      ),
    )
    return tokens
  }

  /**
   * Exchanges a refresh token for a new pair.
   *
   * @throws {@link InvalidRefreshTokenError} when it is unknown, its session has ended, or it was used before:
   * then the session ends, because one of two holders is a thief.
   */
  async refresh(text: string, device: Device): Promise<IssuedTokens> {
    const token = parseRefreshToken(text)
    if (!token) throw new InvalidRefreshTokenError()

    const outcome = await runTransaction(this.#options.dataSource, (manager) =>
      this.#refreshWithin(manager, token, device),
    )
    if ('accessToken' in outcome) return outcome

    await this.#end(outcome.reused, 'refresh_token_reuse', (revocation) =>
      this.#options.onReuse(outcome.reused, revocation, device),
    )
    throw new InvalidRefreshTokenError()
  }

  /**
   * Gives a live session new tokens, because its person has just proved to be there.
   *
   * @param readGrant - Checks again, under the locks, that this is still that person.
   * @throws {@link TokenInvalidError} when the session has ended meanwhile.
   */
  async reauthenticate(
    sessionId: string,
    subject: string,
    device: Device,
    readGrant: ReadGrant,
  ): Promise<IssuedTokens> {
    return runTransaction(this.#options.dataSource, async (manager) => {
      const issuedAt = await this.#options.revocations.issueInstantWithin(manager, subject)
      const grant = await readGrant(manager, subject)
      const live = isSessionId(sessionId) ? await lockLiveSession(manager, sessionId) : null
      if (!live) throw new TokenInvalidError('its session has ended')
      return this.#renew(manager, live, issuedAt, grant, device)
    })
  }

  /**
   * Gives a live session new tokens in a transaction of the caller's, whose person has just proved to be there; one that
   * has ended is opened anew.
   */
  async renewWithin(
    manager: EntityManager,
    sessionId: string,
    subject: string,
    device: Device,
  ): Promise<IssuedTokens> {
    const { readGrant } = this.#options
    const live = isSessionId(sessionId) ? await lockLiveSession(manager, sessionId) : null
    if (!live) return this.#openWithin(manager, subject, device, readGrant)

    const issuedAt = await this.#options.revocations.issueInstantWithin(manager, subject)
    return this.#renew(manager, live, issuedAt, await readGrant(manager, subject), device)
  }

  /** The person's live sessions, newest first, and the one that asks, even if it has ended. */
  async list(subject: string, currentId: string): Promise<readonly Session[]> {
    return runTransaction(this.#options.dataSource, (manager) =>
      manager.query<Session[]>(
        `select ${sessionColumns} from session
         where subject = $1
           and ((ended_at is null and expires_at > clock_timestamp() and ${isInUse('$3')})
                or id::text = $2)
         order by created_at desc, id`,
        [subject, currentId, this.#options.idleSeconds ?? null],
      ),
    )
  }

  async find(id: string): Promise<Session | null> {
    if (!isSessionId(id)) return null
    return runTransaction(this.#options.dataSource, async (manager) => {
      const [session] = await manager.query<Session[]>(
        `select ${sessionColumns} from session where id = $1`,
        [id],
      )
      return session ?? null
    })
  }

  /** Finds whose refresh token this is, used or not. */
  async findByRefreshToken(text: string): Promise<Session | null> {
    const token = parseRefreshToken(text)
    if (!token) return null
    return runTransaction(this.#options.dataSource, (manager) =>
      findSessionOfRefreshToken(manager, token),
    )
  }

  /** Removes sessions that ended some time ago, with their refresh tokens. */
  async deleteEnded(limit: number): Promise<number> {
    return runTransaction(this.#options.dataSource, async (manager) => {
      const [, deleted] = await manager.query<[unknown, number]>(
        `delete from session where id = any(array(
           select id from session
           where ended_at < clock_timestamp() - make_interval(days => $2::integer)
              or expires_at < clock_timestamp() - make_interval(days => $2::integer)
           limit $1
           for update skip locked
         ))`,
        [limit, KEEP_ENDED_DAYS],
      )
      return deleted
    })
  }

  async #openWithin(
    manager: EntityManager,
    subject: string,
    device: Device,
    readGrant: ReadGrant,
  ): Promise<IssuedTokens> {
    const issuedAt = await this.#options.revocations.issueInstantWithin(manager, subject)
    const grant = await readGrant(manager, subject)

    const refreshToken = createRefreshToken()
    const expiresAt = new Date(issuedAt.getTime() + this.#options.lifetimeSeconds * 1000)
    const [session] = await manager.query<[Session]>(
      `insert into session (
         id, subject, device, user_agent, ip_address,
         created_at, authenticated_at, last_seen_at, last_issued_at, expires_at
       )
       values ($1, $2, $3, $4, $5, $6, $6, $6, $6, $7)
       returning ${sessionColumns}`,
      [randomUUID(), subject, device.name, device.userAgent, device.ipAddress, issuedAt, expiresAt],
    )
    await addRefreshToken(manager, session.id, refreshToken)
    return this.#sign(session, issuedAt, grant.roles, refreshToken)
  }

  async #refreshWithin(
    manager: EntityManager,
    token: Buffer,
    device: Device,
  ): Promise<IssuedTokens | { reused: Session }> {
    const found = await findSessionOfRefreshToken(manager, token)
    if (!found) throw new InvalidRefreshTokenError()

    const issuedAt = await this.#options.revocations.issueInstantWithin(manager, found.subject)
    const grant = await this.#options.readGrant(manager, found.subject)
    const session = await lockLiveSession(manager, found.id, this.#options.idleSeconds)
    if (!session) throw new InvalidRefreshTokenError()

    const successor = await replaceRefreshToken(
      manager,
      token,
      session.id,
      this.#options.graceSeconds,
    )
    if (!successor) return { reused: session }
    return this.#issue(manager, session, issuedAt, grant, successor, device)
  }

  async #renew(
    manager: EntityManager,
    session: Session,
    issuedAt: Date,
    grant: { roles: readonly string[] },
    device: Device,
  ): Promise<IssuedTokens> {
    await spendRefreshTokens(manager, session.id)
    await manager.query(`update session set authenticated_at = $2 where id = $1`, [
      session.id,
      issuedAt,
    ])
    const refreshToken = createRefreshToken()
    await addRefreshToken(manager, session.id, refreshToken)
    return this.#issue(manager, session, issuedAt, grant, refreshToken, device)
  }

  async #issue(
    manager: EntityManager,
    { id }: Session,
    issuedAt: Date,
    { roles }: { roles: readonly string[] },
    refreshToken: Buffer,
    device: Device,
  ): Promise<IssuedTokens> {
    const [[session]] = await manager.query<[[Session], number]>(
      `update session
       set last_issued_at = greatest(last_issued_at, $2), last_seen_at = $2,
           user_agent = $3, ip_address = $4
       where id = $1
       returning ${sessionColumns}`,
      [id, issuedAt, device.userAgent, device.ipAddress],
    )
    return this.#sign(session, issuedAt, roles, refreshToken)
  }

  #sign(
    session: Session,
    issuedAt: Date,
    roles: readonly string[],
    refreshToken: Buffer,
  ): IssuedTokens {
    const { id: sessionId, subject, authenticatedAt, expiresAt: notAfter } = session
    const grant = { subject, sessionId, roles, issuedAt, authenticatedAt, notAfter }
    const accessToken = this.#options.sign(grant)
    return { session, accessToken, refreshToken: formatRefreshToken(refreshToken) }
  }

  /** The oldest beyond the limit. */
  async #findExcess(subject: string): Promise<readonly Session[]> {
    const { dataSource, maxPerPerson = null, idleSeconds = null } = this.#options
    if (maxPerPerson === null) return []
    const values = [subject, maxPerPerson, idleSeconds]
    return read<Session>(dataSource, findExcessSessions, values, READ_TIMEOUT_MS)
  }

  /** In a transaction of its own: a revocation locks its entry first and the session second, a refresh the session. */
  async #end(
    { id: sessionId, subject }: Session,
    reason: string,
    tell: (revocation: Revocation) => void,
  ): Promise<void> {
    const { revocation, alreadyRevoked } = await this.#options.revocations.revoke({
      target: { scope: 'SESSION', sessionId, subject },
      reason,
      by: null,
    })
    if (!alreadyRevoked) tell(revocation)
  }
}
