// The tokens that this page holds, and what is known of whoever they belong to.
//
// They are kept in sessionStorage, so that a reload does not sign anybody out, and no further:
// localStorage would leave a refresh token that is good for weeks on the disk, after the tab is
// closed and for every later visitor of this origin. Whoever opens a new tab signs in anew, and
// gets a session of its own, as a second device would.

const KEY = 'portcullis.session'
const listeners = new Set()

let held = JSON.parse(sessionStorage.getItem(KEY) ?? 'null')

/**
 * `null`, or `{ accessToken, refreshToken, expiresAtMs, sessionId, email, roles, refused }`.
 * A refused token stays here and is still sent: to see it refused is what this page is for.
 */
export const getSession = () => held

export const isSignedIn = () => held !== null && held.refused === null

export function onSessionChange(listener) {
  listeners.add(listener)
}

/** Takes over the tokens of an `AuthPayload`, of which only the access token need be there. */
export function adoptTokens(payload) {
  const claims = readClaims(payload.accessToken)
  const before = held?.sessionId === claims.sid ? held : null
  const seconds = payload.expiresIn ?? claims.exp - claims.iat

  hold({
    accessToken: payload.accessToken,
    refreshToken: payload.refreshToken ?? before?.refreshToken ?? null,
    // Counted from the arrival: the clock of this machine may be wrong, a duration is not.
    expiresAtMs: Date.now() + seconds * 1000,
    sessionId: claims.sid,
    email: payload.user?.email ?? before?.email ?? null,
    roles: payload.user?.roles ?? claims.roles ?? [],
    refused: null,
  })
}

export function describeHolder({ email, roles }) {
  if (held) hold({ ...held, email, roles })
}

/** The service refused the token: `{ code, reason, revokedAt }`. */
export function markRefused(refused) {
  if (held) hold({ ...held, refused })
}

export function markExpired() {
  if (held) hold({ ...held, expiresAtMs: Math.min(held.expiresAtMs, Date.now()) })
}

export function forgetTokens() {
  hold(null)
}

function hold(next) {
  held = next
  if (held) sessionStorage.setItem(KEY, JSON.stringify(held))
  else sessionStorage.removeItem(KEY)
  for (const listener of listeners) listener(held)
}

/** For display only: a browser cannot verify a signature, and nothing here depends on it. */
function readClaims(token) {
  try {
    const bytes = atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/'))
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0))))
  } catch {
    return {}
  }
}
