import { createSecretKey } from 'node:crypto'
import jwt from 'jsonwebtoken'
import type { JwtPayload } from 'jsonwebtoken'
import { AUDIENCE, ISSUER, SECRET } from '../tokens.ts'

/** Made once: from a text jsonwebtoken would try a public key first, at every request, which is forty times slower. */
export const secretKey = createSecretKey(Buffer.from(SECRET))

export const verifyOptions = { algorithms: ['HS256' as const], issuer: ISSUER, audience: AUDIENCE }

export interface Claims extends JwtPayload {
  readonly sub: string
  readonly jti: string
}

/** Throws when the token is not authentic, or has expired. */
export function verifyToken(text: string): Claims {
  return jwt.verify(text, secretKey, verifyOptions) as Claims
}

export function readBearer(header: string | null | undefined): string | null {
  return header?.startsWith('Bearer ') ? header.slice('Bearer '.length) : null
}
