import { createKeyRing } from '../../src/token/keys.ts'
import { createTokenSigner } from '../../src/token/signer.ts'
import { SECRET } from './service.ts'
import type { GraphQLAnswer, Served } from './service.ts'

/** A person signed in on a device. */
export interface SignIn {
  readonly accessToken: string
  readonly refreshToken: string
  readonly sessionId: string
  readonly userId: string
}

const PAYLOAD = `accessToken refreshToken session { id } user { id }`

export function passwordOf(name: string): string {
  return `the password of ${name}`
}

/** Makes an account, and signs it in. */
export async function register(service: Served, name: string): Promise<SignIn> {
  const { data } = await service.graphql(
    `mutation ($email: String!, $password: String!) { register(email: $email, password: $password) { ${PAYLOAD} } }`,
    { variables: { email: `${name}@example.com`, password: passwordOf(name) } },
  )
  return toSignIn(data.register)
}

/** Signs in on one more device. */
export async function login(service: Served, name: string, device: string): Promise<SignIn> {
  const isAdmin = name === 'admin'
  const { data } = await service.graphql(
    `mutation ($email: String!, $password: String!, $device: String) {
       login(email: $email, password: $password, device: $device) { ${PAYLOAD} }
     }`,
    {
      variables: {
        email: isAdmin ? service.admin.email : `${name}@example.com`,
        password: isAdmin ? service.admin.password : passwordOf(name),
        device,
      },
    },
  )
  return toSignIn(data.login)
}

/** What `me` says with a token: an e-mail address, or the reason of the refusal. */
export async function whoAmI(service: Served, token: string | null): Promise<string> {
  const { data, errors } = await service.graphql('{ me { email } }', { token })
  return data?.me.email ?? errors[0]?.extensions.reason ?? errors[0]?.extensions.code
}

/** Exchanges a refresh token. */
export async function refresh(service: Served, refreshToken: string): Promise<GraphQLAnswer> {
  return service.graphql(
    `mutation ($refreshToken: String!) { refresh(refreshToken: $refreshToken) { ${PAYLOAD} } }`,
    { variables: { refreshToken } },
  )
}

/** The content of a token, unverified. */
export function claimsOf(token: string): Record<string, any> {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
}

/** An authentic token of a session, expired. */
export function expiredTokenOf({ userId, sessionId }: SignIn): string {
  const issuedAt = new Date(Date.now() - 24 * 60 * 60 * 1000)
  return signToken(SECRET, { userId, sessionId, issuedAt })
}

/** A token with the right claims and a stranger's signature. */
export function forgedTokenOf({ userId, sessionId }: SignIn): string {
  return signToken('a secret of more than 32 bytes, but not that of the tests', {
    userId,
    sessionId,
  })
}

interface Claims {
  readonly userId: string
  readonly sessionId: string
  readonly issuedAt?: Date
}

/** An authentic token, if this is the service's secret; without a login. */
export function signToken(
  secret: string,
  { userId, sessionId, issuedAt = new Date() }: Claims,
): string {
  const sign = createTokenSigner({
    keys: createKeyRing({ signWith: secret }),
    issuer: 'portcullis',
    audience: 'portcullis',
    lifetimeSeconds: 900,
  })
  return sign({ subject: userId, sessionId, roles: ['USER'], issuedAt }).text
}

function toSignIn(payload: any): SignIn {
  const { accessToken, refreshToken, session, user } = payload
  return { accessToken, refreshToken, sessionId: session.id, userId: user.id }
}
