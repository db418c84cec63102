import { hash } from 'node:crypto'
import type { Revocation } from '../contract.ts'
import type { Token } from '../token/claims.ts'
import type { RevocationTarget } from './revocation.ts'

/**
 * What an entry is looked up by: 128 bits of a hash, written as a UUID.
 *
 * A fixed size whatever a token calls itself, so that no name can be too long, hold a NUL byte or fail its
 * neighbours in a batch. The rule (`isRevokedBy`) decides on what is found, so the hash only selects.
 */
export type RevocationKey = string

/** The key of `EVERYONE`. */
export const EVERYONE_KEY: RevocationKey = toKey(['EVERYONE'])

/** Every key under which something that revokes this token can stand. */
export function keysOfToken(token: Token): readonly RevocationKey[] {
  return [
    toKey(['TOKEN', token.issuer, token.tokenId]),
    digestKey(token.digest),
    toKey(['SESSION', token.sessionId]),
    subjectKey(token.subject),
    EVERYONE_KEY,
  ]
}

/** The key under which a revocation of this target stands. */
export function keyOfTarget(target: RevocationTarget): RevocationKey {
  switch (target.scope) {
    case 'TOKEN':
      return 'token' in target
        ? toKey(['TOKEN', target.token.issuer, target.token.tokenId])
        : digestKey(target.digest)
    case 'SESSION':
      return toKey(['SESSION', target.sessionId])
    case 'SUBJECT':
      return subjectKey(target.subject)
    case 'EVERYONE':
      return EVERYONE_KEY
  }
}

/** The members of an entry that make its key. */
export type WhatItHits = Pick<
  Revocation,
  'scope' | 'issuer' | 'tokenId' | 'digest' | 'sessionId' | 'subject'
>

/** The key under which an entry stands. */
export function keyOfEntry(entry: WhatItHits): RevocationKey {
  const { scope, issuer, tokenId, digest, sessionId, subject } = entry
  switch (scope) {
    case 'TOKEN':
      return digest === null ? toKey(['TOKEN', issuer, tokenId]) : digestKey(digest)
    case 'SESSION':
      return toKey(['SESSION', sessionId])
    case 'SUBJECT':
      return subjectKey(subject as string)
    case 'EVERYONE':
      return EVERYONE_KEY
  }
}

export function digestKey(digest: string): RevocationKey {
  return toKey(['DIGEST', digest])
}

export function subjectKey(subject: string): RevocationKey {
  return toKey(['SUBJECT', subject])
}

/** The first 64 bits of a key. */
export function toWords(key: RevocationKey): [high: number, low: number] {
  return [parseInt(key.slice(0, 8), 16), parseInt(key.slice(9, 18).replace('-', ''), 16)]
}

function toKey(parts: ReadonlyArray<string | null>): RevocationKey {
  const hex = hash('sha256', JSON.stringify(parts), 'hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`
}
