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
 * How long ago the caller may have signed in for acts that reach far, in seconds. A token that does not say when
 * (`auth_time`) is not recent.
 */
export interface ReauthenticationRules {
  /** For the person's own: `logoutAllDevices`, `changePassword`. */
  readonly maxAgeSeconds: number
  /**
   * For an admin's acts upon others: `revokeUser`, `revokeEveryone`, `restore`; in the service also `revokeSession` of
   * another person, `suspendUser`, `reinstateUser`, `setUserRoles`, `createPasswordReset`. Not for `revokeToken`, whose
   * caller shows the token.
   */
  readonly adminMaxAgeSeconds: number
}

/** @param maxLoginAgeSeconds - `undefined` for any. */
export function demandRecent(demand: Demand, maxLoginAgeSeconds: number | undefined): Demand {
  return maxLoginAgeSeconds === undefined ? demand : { ...demand, maxLoginAgeSeconds }
}
