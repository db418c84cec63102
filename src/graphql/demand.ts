/** What a check says of a token. */
export type TokenState = 'ACTIVE' | 'REVOKED' | 'EXPIRED' | 'INVALID'

/** What a protected field asks of its caller. */
export interface Demand {
  /** Roles that the token must all carry; `ADMIN` includes every other. */
  readonly requires: readonly string[]
  /** States in which a token is let through. */
  readonly accepts: readonly TokenState[]
  /** How long ago the person may have signed in, in seconds; any time, when not given. */
  readonly maxLoginAgeSeconds?: number
}

/** Anybody who signed in: what a bare `@auth` asks for. */
export const USER: Demand = { requires: ['USER'], accepts: ['ACTIVE'] }

/** Operators only. */
export const ADMIN: Demand = { requires: ['ADMIN'], accepts: ['ACTIVE'] }

/**
 * How long ago somebody may have signed in who wants to act on all sessions at once, in seconds. A token that does not
 * say when (`auth_time`) is not recent.
 */
export interface ReauthenticationRules {
  /** For the person's own: `logoutAllDevices`, `changePassword`. */
  readonly maxAgeSeconds: number
  /** For others': `revokeUser`, `revokeEveryone`. */
  readonly adminMaxAgeSeconds: number
}

/** @param maxLoginAgeSeconds - `undefined` for any. */
export function demandRecent(demand: Demand, maxLoginAgeSeconds: number | undefined): Demand {
  return maxLoginAgeSeconds === undefined ? demand : { ...demand, maxLoginAgeSeconds }
}
