/** What a check says of a token. */
export type TokenState = 'ACTIVE' | 'REVOKED' | 'EXPIRED' | 'INVALID'

export const TOKEN_STATES: readonly TokenState[] = ['ACTIVE', 'REVOKED', 'EXPIRED', 'INVALID']

/** What a protected field asks of its caller. */
export interface Demand {
  /** Roles that the token must all carry; `ADMIN` includes every other. */
  readonly requires: readonly string[]
  /** States in which a token is let through. */
  readonly accepts: readonly TokenState[]
  /** How long ago the person may have signed in, in seconds; any time, when not given. */
  readonly maxLoginAgeSeconds?: number
}

/** Where the extensions of a guarded field say what it asks. */
export const DEMAND = 'portcullis'

/** Any signed-in caller: what a bare `@auth` asks for. */
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

/** Whether two demands let the same callers through: neither order nor repeats count. */
export function isSameDemand(one: Demand, other: Demand): boolean {
  return keyOf(one) === keyOf(other)
}

function keyOf({ requires, accepts, maxLoginAgeSeconds }: Demand): string {
  const sorted = [requires, accepts].map((names) => [...new Set(names)].toSorted())
  return JSON.stringify([...sorted, maxLoginAgeSeconds])
}

/** Whether a value found in a schema's extensions is a demand. */
export function isDemand(value: unknown): value is Demand {
  const { requires, accepts } = (value ?? {}) as Partial<Demand>
  return Array.isArray(requires) && Array.isArray(accepts)
}
