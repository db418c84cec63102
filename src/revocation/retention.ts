import { MAX_CLOCK_SKEW_SECONDS } from '../token/claims.ts'
import type { RevocationTarget } from './revocation.ts'

/** An entry for a token that cannot be verified is kept a day, whatever the token claims, so that it cannot bloat the table. */
const UNVERIFIED_RETENTION_SECONDS = 24 * 60 * 60

/** How long tokens live by default. */
export const DEFAULT_TOKEN_LIFETIME_SECONDS = 15 * 60

/**
 * How long an entry is kept after it expired: a clock that jumps ahead, and back, within a day has nothing forgotten that
 * counts. In force it is no longer, so replicas do not keep it.
 */
export const FORGET_AFTER_SECONDS = 24 * 60 * 60

/** Longer than the last token can be accepted by any node: skew once for its issue, once for its end. */
const MARGIN_SECONDS = 2 * MAX_CLOCK_SKEW_SECONDS

/**
 * From when an entry can be forgotten: no sooner than the last token that it hits is refused anyway.
 *
 * @param now - The instant of the revocation.
 */
export function forgetAt(
  target: RevocationTarget,
  now: Date,
  maxTokenLifetimeSeconds: number,
): Date {
  if (target.scope === 'TOKEN') {
    return 'token' in target
      ? new Date(Math.ceil((target.token.expiresAt + MARGIN_SECONDS) * 1000))
      : new Date(now.getTime() + UNVERIFIED_RETENTION_SECONDS * 1000)
  }
  return new Date(now.getTime() + (maxTokenLifetimeSeconds + MARGIN_SECONDS) * 1000)
}
