import { randomUUID } from 'node:crypto'
import type { DataSource, EntityManager } from 'typeorm'
import type { Revocation } from '../../contract.ts'
import { createLines } from '../../database/lines.ts'
import { read } from '../../database/read.ts'
import { runTransaction } from '../../database/transaction.ts'
import { BadInputError, InvalidRefreshTokenError, TokenInvalidError } from '../../errors.ts'
import { createBatched } from '../../lib/batch.ts'
import type { PostgresRevocationStore } from '../../revocation/postgres/postgres-store.ts'
import type { SignedToken, TokenSigner } from '../../token/signer.ts'
import { isSessionId } from './entities.ts'
import type { Session } from './entities.ts'
import { addRefreshToken, replaceRefreshToken, spendRefreshTokens } from './refresh-token-rows.ts'
import {
  createRefreshToken,
  formatRefreshToken,
  hashRefreshToken,
  parseRefreshToken,
} from './refresh-token.ts'
import {
  REUSE,
  findExcessSessions,
  findReuse,
  findSessionById,
  findSessionsOfRefreshTokens,
  listSessions,
  lockLiveSession,
  sessionColumns,
} from './session-rows.ts'
import type { Ending } from './session-rows.ts'

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

/** Which part of a person's sessions is wanted. */
export interface SessionPage {
  /** How many at the most; not given, all. */
  readonly first?: number | null
  /** The id of the session to start behind. */
  readonly after?: string | null
}

interface ListQuestion extends Required<SessionPage> {
  readonly subject: string
  readonly currentId: string
}

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
  /** The same, while what the answer held is unused; not given, no longer than the grace. */
  readonly lostAnswerSeconds?: number
  readonly readGrant: ReadGrant
  /** Told after a session was ended because an old refresh token came back. */
  readonly onReuse: (session: Session, revocation: Revocation, by: Device) => void
  /** Told after a session had to give way to a new one. */
  readonly onGivenWay?: (session: Session, revocation: Revocation, by: Device) => void
}

/** How long a session is kept after its last token has expired, in days. */
const KEEP_EXPIRED_DAYS = 1

/** How a person's acts wait for each other; as long as for a connection to the database. */
const SHARE = { maxWaiting: 100, maxWaitMs: 2000 }

/** How long a look-up of sessions may take, in milliseconds. */
const READ_TIMEOUT_MS = 2000

/** Sign-ins on devices, and the refresh tokens that carry them. */
export class Sessions {
  readonly #options: SessionsOptions
  /** Whatever is asked at the same time, by however many, goes in one statement: a page that is asked for twice, once. */
  readonly #listTogether = createBatched<ListQuestion, readonly Session[]>((questions) =>
    this.#listAll(questions),
  )
  readonly #inLineOf = createLines(SHARE)
  /** Guesses come in floods: what is presented at the same time is looked up together. */
  readonly #findOwners = createBatched<Buffer, Session | null>((tokens) => this.#findAll(tokens))

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
   * then the session ends, because one of two holders is a thief. Both are told.
   */
  async refresh(text: string, device: Device): Promise<IssuedTokens> {
    const token = parseRefreshToken(text)
    const found = token && (await this.#findOwners(token))
    if (!token || !found) throw new InvalidRefreshTokenError()

    const outcome = await this.#inLineOf(found.subject, () =>
      runTransaction(this.#options.dataSource, (manager) =>
        this.#refreshWithin(manager, token, found, device),
      ),
    )
    if ('accessToken' in outcome) return outcome
    if ('ending' in outcome) throw new InvalidRefreshTokenError(outcome.ending)

    const revocation = await this.#end(outcome.reused, REUSE, (made) =>
      this.#options.onReuse(outcome.reused, made, device),
    )
    throw new InvalidRefreshTokenError(revocation)
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
    return this.#inLineOf(subject, () =>
      runTransaction(this.#options.dataSource, async (manager) => {
        const issuedAt = await this.#options.revocations.issueInstantWithin(manager, subject)
        const grant = await readGrant(manager, subject)
        const live = isSessionId(sessionId) ? await lockLiveSession(manager, sessionId) : null
        if (!live) throw new TokenInvalidError('its session has ended')
        return this.#renew(manager, live, issuedAt, grant, device)
      }),
    )
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

  /**
   * The person's live sessions, newest first, and the one that asks, even if it has ended.
   *
   * @throws {@link BadInputError} when the one to start behind is not the person's.
   */
  async list(
    subject: string,
    currentId: string,
    { first = null, after = null }: SessionPage = {},
  ): Promise<readonly Session[]> {
    if (after !== null && !isSessionId(after)) throw createCursorError()
    return this.#listTogether({ subject, currentId, first, after })
  }

  async find(id: string): Promise<Session | null> {
    if (!isSessionId(id)) return null
    const { dataSource } = this.#options
    const [session] = await read<Session>(dataSource, findSessionById, [id], READ_TIMEOUT_MS)
    return session ?? null
  }

  /** Finds whose refresh token this is, used or not. */
  async findByRefreshToken(text: string): Promise<Session | null> {
    const token = parseRefreshToken(text)
    return token && this.#findOwners(token)
  }

  /**
   * Removes sessions whose last token has expired, with their refresh tokens.
   *
   * Those that ended before are kept until then: their tokens come back for as long, and are to be known from guesses.
   */
  async deleteEnded(limit: number): Promise<number> {
    return runTransaction(this.#options.dataSource, async (manager) => {
      const [, deleted] = await manager.query<[unknown, number]>(
        `delete from session where id = any(array(
           select id from session
           where expires_at < (select clock_timestamp() - make_interval(days => $2::integer))
           limit $1
           for update skip locked
         ))`,
        [limit, KEEP_EXPIRED_DAYS],
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
    { id, subject }: Session,
    device: Device,
  ): Promise<IssuedTokens | { reused: Session } | { ending: Ending | null }> {
    const { graceSeconds, lostAnswerSeconds = 0, idleSeconds } = this.#options
    const issuedAt = await this.#options.revocations.issueInstantWithin(manager, subject)
    const grant = await this.#options.readGrant(manager, subject)
    const session = await lockLiveSession(manager, id, idleSeconds)
    if (!session) return { ending: await findReuse(manager, id) }

    const patience = { graceSeconds, lostAnswerSeconds }
    const replacement = await replaceRefreshToken(manager, token, session.id, patience)
    switch (replacement.kind) {
      case 'REPLACED':
        return this.#issue(manager, session, issuedAt, grant, replacement.successor, device)
      case 'SPENT':
        return { ending: null }
      case 'REUSED':
        return { reused: session }
    }
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

  async #listAll(
    questions: readonly ListQuestion[],
  ): Promise<ReadonlyArray<readonly Session[] | Error>> {
    const keys = questions.map((question) => JSON.stringify(question))
    const distinct = [...new Map(questions.map((question, at) => [keys[at], question])).values()]
    const columns = [
      distinct.map(({ subject }) => subject),
      distinct.map(({ currentId }) => currentId),
      distinct.map(({ after }) => after),
      distinct.map(({ first }) => first),
    ]
    const { dataSource, idleSeconds = null } = this.#options
    const rows = await read<ListedRow>(
      dataSource,
      listSessions,
      [...columns, idleSeconds],
      READ_TIMEOUT_MS,
    )

    const places = new Map([...new Set(keys)].map((key, at) => [key, at + 1]))
    const pages = groupByPlace(rows)
    return keys.map((key) => pages.get(places.get(key) ?? 0) ?? createCursorError())
  }

  async #findAll(tokens: readonly Buffer[]): Promise<ReadonlyArray<Session | null>> {
    const hashes = tokens.map(hashRefreshToken)
    const { dataSource } = this.#options
    const found = await read<Session & { hash: Buffer }>(
      dataSource,
      findSessionsOfRefreshTokens,
      [hashes],
      READ_TIMEOUT_MS,
    )
    const byHash = new Map(found.map(({ hash, ...session }) => [hash.toString('hex'), session]))
    return hashes.map((hash) => byHash.get(hash.toString('hex')) ?? null)
  }

  /** In a transaction of its own: a revocation locks its entry first and the session second, a refresh the session. */
  async #end(
    { id: sessionId, subject }: Session,
    reason: string,
    tell: (revocation: Revocation) => void,
  ): Promise<Revocation> {
    const { revocation, alreadyRevoked } = await this.#options.revocations.revoke({
      target: { scope: 'SESSION', sessionId, subject },
      reason,
      by: null,
    })
    if (!alreadyRevoked) tell(revocation)
    return revocation
  }
}

type ListedRow = (Session | Record<keyof Session, null>) & {
  readonly place: number
  readonly isKnown: boolean
}

function createCursorError(): BadInputError {
  return new BadInputError('after', 'MALFORMED_CURSOR', 'Give the id of a session of yours')
}

/** @returns What was asked at each place, from 1 on; nothing where the session to start behind is not known. */
function groupByPlace(rows: readonly ListedRow[]): ReadonlyMap<number, readonly Session[]> {
  const pages = new Map<number, Session[]>()
  for (const { place, isKnown, ...session } of rows) {
    if (!isKnown) continue
    const page = pages.get(place) ?? []
    pages.set(place, page)
    if (session.id !== null) page.push(session)
  }
  return pages
}
