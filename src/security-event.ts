import type { Revocation, RevocationScope } from './contract.ts'
import { callOut } from './lib/call-out.ts'

/** What is worth a line in the security log: who, what, about whom. Never a token, a password or a secret. */
export interface SecurityEvent {
  readonly event:
    | 'register'
    | 'login'
    | 'register_failed'
    | 'login_failed'
    | 'refresh_failed'
    | 'logout'
    | 'revocation'
    | 'restoration'
    | 'revoked_token_refused'
    | 'connections_cut'
    | 'refresh_token_reused'
    | 'password_changed'
    | 'reauthenticated'
    | 'password_reset_created'
    | 'password_reset'
    | 'password_reset_failed'
    | 'user_suspended'
    | 'user_reinstated'
    | 'roles_changed'
  /** Who did it, if known. */
  readonly actor?: string | null
  /** To whom. */
  readonly subject?: string | null
  readonly sessionId?: string | null
  readonly tokenId?: string | null
  readonly revocationId?: string
  readonly scope?: RevocationScope
  readonly reason?: string
  readonly ipAddress?: string | null
  /** How many ended. */
  readonly connections?: number
}

/** What a line says of a revocation. */
export function describeRevocation({
  id: revocationId,
  scope,
  subject,
  sessionId,
  tokenId,
  reason,
}: Revocation): Pick<
  SecurityEvent,
  'revocationId' | 'scope' | 'subject' | 'sessionId' | 'tokenId' | 'reason'
> {
  return { subject, sessionId, tokenId, scope, reason, revocationId }
}

/** Takes note of a security event. */
export type SecurityLog = (event: SecurityEvent) => void

/** Keeps what goes wrong in a log away from what it tells of: that is committed by then, and must be answered. */
export function shieldLog(log: SecurityLog): SecurityLog {
  return (event) => callOut(() => log(event))
}
