import { EntitySchema } from 'typeorm'

/** One sign-in on one device. */
export interface Session {
  readonly id: string
  readonly subject: string
  readonly device: string | null
  readonly userAgent: string | null
  readonly ipAddress: string | null
  readonly createdAt: Date
  /** When the person last proved to be there: the login, or a password that was asked for since. */
  readonly authenticatedAt: Date
  readonly lastSeenAt: Date
  /** When its last access token was issued; cut-offs are compared with it. */
  readonly lastIssuedAt: Date
  /** The absolute end; refreshing does not move it. */
  readonly expiresAt: Date
  readonly endedAt: Date | null
}

/** A session with what its holder is told after its end. */
interface SessionRow extends Session {
  /** The reason of the revocation that ended it; `null` when its time was over, or 0.1 ended it. */
  readonly endReason: string | null
}

/** A cut-off that still has sessions to end. */
export interface SessionCutOff {
  /** The id of its revocation. */
  readonly id: string
  /** `null`: everyone. */
  readonly subject: string | null
  readonly keptSessionId: string | null
  readonly revokedAt: Date
  readonly reason: string
  /** The sessions of the index `session_live` up to this one have been ended; `null`: none yet. */
  readonly endedToSubject: string | null
  readonly endedToId: string | null
}

/** A refresh token, known by its hash only. */
export interface RefreshTokenRow {
  readonly hash: Buffer
  readonly sessionId: string
  readonly createdAt: Date
  readonly replacedAt: Date | null
  /** With the token itself it gives the successor again, for a client that lost the answer. */
  readonly successorSalt: Buffer | null
}

/** Whether this can be the id of a session of ours: `sid` may be any text in a token that others signed. */
export function isSessionId(text: string): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)
}

const instant = { type: 'timestamp with time zone', precision: 3 } as const

export const SessionEntity = new EntitySchema<SessionRow>({
  name: 'Session',
  tableName: 'session',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'session_pkey' },
    subject: { type: 'text' },
    device: { type: 'text', nullable: true },
    userAgent: { name: 'user_agent', type: 'text', nullable: true },
    ipAddress: { name: 'ip_address', type: 'text', nullable: true },
    createdAt: { name: 'created_at', ...instant },
    authenticatedAt: { name: 'authenticated_at', ...instant },
    lastSeenAt: { name: 'last_seen_at', ...instant },
    lastIssuedAt: { name: 'last_issued_at', ...instant },
    expiresAt: { name: 'expires_at', ...instant },
    endedAt: { name: 'ended_at', ...instant, nullable: true },
    endReason: { name: 'end_reason', type: 'text', nullable: true },
  },
  indices: [
    { name: 'session_subject', columns: ['subject', 'createdAt'] },
    { name: 'session_expires_at', columns: ['expiresAt'] },
    { name: 'session_ended_at', columns: ['endedAt'] },
    { name: 'session_live', columns: ['subject', 'id'], where: 'ended_at IS NULL' },
    { name: 'session_last_issued_at', columns: ['lastIssuedAt'] },
  ],
})

export const SessionCutOffEntity = new EntitySchema<SessionCutOff>({
  name: 'SessionCutOff',
  tableName: 'session_cut_off',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'session_cut_off_pkey' },
    subject: { type: 'text', nullable: true },
    keptSessionId: { name: 'kept_session_id', type: 'text', nullable: true },
    revokedAt: { name: 'revoked_at', ...instant },
    reason: { type: 'text' },
    endedToSubject: { name: 'ended_to_subject', type: 'text', nullable: true },
    endedToId: { name: 'ended_to_id', type: 'uuid', nullable: true },
  },
})

export const RefreshTokenEntity = new EntitySchema<RefreshTokenRow>({
  name: 'RefreshToken',
  tableName: 'refresh_token',
  columns: {
    hash: { type: 'bytea', primary: true, primaryKeyConstraintName: 'refresh_token_pkey' },
    sessionId: { name: 'session_id', type: 'uuid' },
    createdAt: { name: 'created_at', ...instant },
    replacedAt: { name: 'replaced_at', ...instant, nullable: true },
    successorSalt: { name: 'successor_salt', type: 'bytea', nullable: true },
  },
  indices: [{ name: 'refresh_token_session_id', columns: ['sessionId'] }],
  foreignKeys: [
    {
      target: 'Session',
      columnNames: ['sessionId'],
      referencedColumnNames: ['id'],
      name: 'refresh_token_session',
      onDelete: 'CASCADE',
    },
  ],
})
