import { createHash, createHmac, randomUUID } from 'node:crypto'
import { createKeyRing } from '../dist/src/token/keys.js'
import { createTokenSigner } from '../dist/src/token/signer.js'
import { USER_COUNT, users } from './data.ts'

/** What all contestants are told. */
export const ISSUER = 'portcullis'
export const AUDIENCE = 'portcullis'
export const SECRET = 'a secret for the benchmark only, of more than 32 bytes'
export const TOKEN_LIFETIME_SECONDS = 86_400

/** How a contestant is told who asks: a JWT, or the cookie of a session. */
export type CredentialKind = 'jwt' | 'session'

/** A person's credential, as it stands in a request. */
export interface Credential {
  readonly kind: CredentialKind
  readonly text: string
  /** Index into `users`. */
  readonly user: number
}

/** Everything that a contestant is asked with. */
export interface Credentials {
  readonly valid: readonly Credential[]
  /** To be revoked before the first measurement. */
  readonly revoked: readonly Credential[]
  /** To be revoked while the contestant runs. */
  readonly late: readonly Credential[]
  /** Of the right form, and not ours. */
  readonly foreign: Credential
}

const REVOKED_COUNT = 50
const LATE_COUNT = 5

/** Sessions that exist in the store of whoever looks up sessions. */
export const SESSION_COUNT = USER_COUNT + REVOKED_COUNT + LATE_COUNT

export const keys = createKeyRing({ signWith: SECRET })

const signerOptions = { issuer: ISSUER, audience: AUDIENCE }
const sign = createTokenSigner({ ...signerOptions, keys, lifetimeSeconds: TOKEN_LIFETIME_SECONDS })
const signForeign = createTokenSigner({
  ...signerOptions,
  keys: createKeyRing({ signWith: 'another secret, which also has more than 32 bytes' }),
  lifetimeSeconds: TOKEN_LIFETIME_SECONDS,
})

export function createCredentials(kind: CredentialKind): Credentials {
  const create = kind === 'jwt' ? createJwt : createSessionCookie
  const all = Array.from({ length: SESSION_COUNT }, (_, index) => create(index))
  return {
    valid: all.slice(0, USER_COUNT),
    revoked: all.slice(USER_COUNT, USER_COUNT + REVOKED_COUNT),
    late: all.slice(USER_COUNT + REVOKED_COUNT),
    foreign: kind === 'jwt' ? createForeignJwt() : createSessionCookie(SESSION_COUNT),
  }
}

/** A token of a session of one's own making. */
export function signToken(
  user: number,
  sessionId: string,
  subject = subjectOf(user),
  roles: readonly string[] = ['USER'],
): string {
  const now = new Date()
  return sign({ subject, sessionId, roles, issuedAt: now, authenticatedAt: now }).text
}

function createJwt(index: number): Credential {
  const user = index % USER_COUNT
  return { kind: 'jwt', user, text: signToken(user, randomUUID()) }
}

function createForeignJwt(): Credential {
  const grant = { subject: subjectOf(0), sessionId: randomUUID(), roles: ['USER'] }
  return { kind: 'jwt', user: 0, text: signForeign({ ...grant, issuedAt: new Date() }).text }
}

/** The same in every process, so that nobody has to hand over a thousand of them. */
export function sessionTokenOf(index: number): string {
  return createHash('sha256').update(`session ${index}`).digest('hex').slice(0, 32)
}

/** better-auth's cookie: the token, and its HMAC. */
function createSessionCookie(index: number): Credential {
  const token = sessionTokenOf(index)
  const mac = createHmac('sha256', SECRET).update(token).digest('base64')
  return { kind: 'session', user: index % USER_COUNT, text: encodeURIComponent(`${token}.${mac}`) }
}

function subjectOf(user: number): string {
  return (users[user] as { id: string }).id
}
