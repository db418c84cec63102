import { EntitySchema } from 'typeorm'

export type Role = 'USER' | 'ADMIN'

/** A person who can sign in. */
export interface Account {
  readonly id: string
  /** In lower case. */
  readonly email: string
  /** argon2id, in PHC form. */
  readonly passwordHash: string
  readonly roles: readonly Role[]
  readonly suspendedAt: Date | null
  /** The revocation that came with the suspension. */
  readonly suspensionId: string | null
  readonly createdAt: Date
}

/** Failures in a row, by whom they are counted against. */
export interface FailedAttempt {
  readonly key: string
  readonly failures: number
  readonly expiresAt: Date
}

const instant = { type: 'timestamp with time zone', precision: 3 } as const

export const AccountEntity = new EntitySchema<Account>({
  name: 'Account',
  tableName: 'account',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'account_pkey' },
    email: { type: 'text' },
    passwordHash: { name: 'password_hash', type: 'text' },
    roles: { type: 'text', array: true },
    suspendedAt: { name: 'suspended_at', ...instant, nullable: true },
    suspensionId: { name: 'suspension_id', type: 'uuid', nullable: true },
    createdAt: { name: 'created_at', ...instant },
  },
  indices: [{ name: 'account_email', columns: ['email'], unique: true }],
})

export const FailedAttemptEntity = new EntitySchema<FailedAttempt>({
  name: 'FailedAttempt',
  tableName: 'failed_attempt',
  columns: {
    key: { type: 'text', primary: true, primaryKeyConstraintName: 'failed_attempt_pkey' },
    failures: { type: 'integer' },
    expiresAt: { name: 'expires_at', ...instant },
  },
  indices: [{ name: 'failed_attempt_expires_at', columns: ['expiresAt'] }],
})

/** A way back for a person who forgot the password, known by its token's hash only. */
export interface PasswordResetRow {
  readonly accountId: string
  readonly hash: Buffer
  readonly createdBy: string
  readonly createdAt: Date
  readonly expiresAt: Date
}

export const PasswordResetEntity = new EntitySchema<PasswordResetRow>({
  name: 'PasswordReset',
  tableName: 'password_reset',
  columns: {
    accountId: {
      name: 'account_id',
      type: 'uuid',
      primary: true,
      primaryKeyConstraintName: 'password_reset_pkey',
    },
    hash: { type: 'bytea' },
    createdBy: { name: 'created_by', type: 'text' },
    createdAt: { name: 'created_at', ...instant },
    expiresAt: { name: 'expires_at', ...instant },
  },
  indices: [
    { name: 'password_reset_hash', columns: ['hash'], unique: true },
    { name: 'password_reset_expires_at', columns: ['expiresAt'] },
  ],
  foreignKeys: [
    {
      target: 'Account',
      columnNames: ['accountId'],
      referencedColumnNames: ['id'],
      name: 'password_reset_account',
      onDelete: 'CASCADE',
    },
  ],
})
