import { EntitySchema } from 'typeorm'
import type { Revocation } from '../../contract.ts'
import type { RevocationKey } from '../key.ts'
import type { RevocationEventKind } from '../ports.ts'

/** A row of the blacklist. */
export interface RevocationRow extends Revocation {
  readonly key: RevocationKey
}

/** A row of the journal; it repeats the revocation, which will be forgotten sooner than the journal. */
export interface RevocationEventRow extends Omit<Revocation, 'id' | 'note'> {
  readonly id: string
  readonly kind: RevocationEventKind
  readonly occurredAt: Date
  readonly actor: string | null
  readonly note: string | null
  readonly revocationId: string
  readonly revocationNote: string | null
  /** The transaction that wrote it, so that a follower can tell what may still be uncommitted. */
  readonly transactionId: string
}

const instant = { type: 'timestamp with time zone', precision: 3 } as const

const whatItHits = {
  scope: { type: 'text' },
  issuer: { type: 'text', nullable: true },
  subject: { type: 'text', nullable: true },
  sessionId: { name: 'session_id', type: 'text', nullable: true },
  tokenId: { name: 'token_id', type: 'text', nullable: true },
  digest: { type: 'text', nullable: true },
  keptSessionId: { name: 'kept_session_id', type: 'text', nullable: true },
  revokedAt: { name: 'revoked_at', ...instant },
  expiresAt: { name: 'expires_at', ...instant },
  reason: { type: 'text' },
  revokedBy: { name: 'revoked_by', type: 'text', nullable: true },
} as const

/** The blacklist: TypeORM entity of the table `revocation`. */
export const RevocationEntity = new EntitySchema<RevocationRow>({
  name: 'Revocation',
  tableName: 'revocation',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'revocation_pkey' },
    key: { type: 'uuid' },
    ...whatItHits,
    note: { type: 'text', nullable: true },
  },
  indices: [
    {
      name: 'revocation_once',
      columns: ['key'],
      unique: true,
      where: `scope = ANY (ARRAY['TOKEN'::text, 'SESSION'::text])`,
    },
    { name: 'revocation_key', columns: ['key'] },
    { name: 'revocation_expires_at', columns: ['expiresAt'] },
    { name: 'revocation_newest', columns: ['revokedAt', 'id'] },
  ],
  checks: [
    {
      name: 'revocation_scope',
      expression: `scope = ANY (ARRAY['TOKEN'::text, 'SESSION'::text, 'SUBJECT'::text, 'EVERYONE'::text])`,
    },
  ],
})

/** The journal: TypeORM entity of the table `revocation_event`. */
export const RevocationEventEntity = new EntitySchema<RevocationEventRow>({
  name: 'RevocationEvent',
  tableName: 'revocation_event',
  columns: {
    id: {
      type: 'bigint',
      primary: true,
      primaryKeyConstraintName: 'revocation_event_pkey',
      generated: 'increment',
    },
    kind: { type: 'text' },
    occurredAt: { name: 'occurred_at', ...instant },
    actor: { type: 'text', nullable: true },
    note: { type: 'text', nullable: true },
    revocationId: { name: 'revocation_id', type: 'uuid' },
    revocationNote: { name: 'revocation_note', type: 'text', nullable: true },
    transactionId: {
      name: 'transaction_id',
      type: 'bigint',
      // A function without a cast, because TypeORM strips casts when it compares.
      default: () => 'txid_current()',
    },
    ...whatItHits,
  },
  indices: [
    { name: 'revocation_event_once', columns: ['revocationId', 'kind'], unique: true },
    { name: 'revocation_event_occurred_at', columns: ['occurredAt'] },
    { name: 'revocation_event_transaction', columns: ['transactionId', 'id'] },
  ],
  checks: [
    {
      name: 'revocation_event_kind',
      expression: `kind = ANY (ARRAY['REVOKED'::text, 'RESTORED'::text, 'REINSTATED'::text])`,
    },
  ],
})
