import { randomBytes } from 'node:crypto'
import type { EntityManager } from 'typeorm'
import { deriveSuccessor, hashRefreshToken } from './refresh-token.ts'

/** For how long a refresh token that was replaced is not taken for stolen. */
export interface RefreshPatience {
  /** For how long a repeated request is taken for a lost answer, in seconds. */
  readonly graceSeconds: number
  /** For how long that is so while what the answer held is unused, in seconds. */
  readonly lostAnswerSeconds: number
}

/**
 * What becomes of a refresh token that is presented. `SPENT`: a password that was asked for gave new tokens a moment ago, so this
 * one gives nothing, and is no sign of a theft.
 */
export type Replacement =
  | { readonly kind: 'REPLACED'; readonly successor: Buffer }
  | { readonly kind: 'SPENT' }
  | { readonly kind: 'REUSED' }

/** Replaces a token by its successor: a new one, or the same one again for a client that lost the answer. */
export async function replaceRefreshToken(
  manager: EntityManager,
  token: Buffer,
  sessionId: string,
  patience: RefreshPatience,
): Promise<Replacement> {
  const salt = randomBytes(16)
  const [, replaced] = await manager.query<[unknown, number]>(
    `update refresh_token set replaced_at = clock_timestamp(), successor_salt = $2
     where hash = $1 and replaced_at is null`,
    [hashRefreshToken(token), salt],
  )
  if (replaced === 0) return findReplacement(manager, token, patience)

  const successor = deriveSuccessor(token, salt)
  await addRefreshToken(manager, sessionId, successor)
  return { kind: 'REPLACED', successor }
}

export async function addRefreshToken(
  manager: EntityManager,
  sessionId: string,
  token: Buffer,
): Promise<void> {
  await manager.query(
    `insert into refresh_token (hash, session_id, created_at) values ($1, $2, clock_timestamp())`,
    [hashRefreshToken(token), sessionId],
  )
}

/** Has every token of a session count as used; without a salt, none has a successor. */
export async function spendRefreshTokens(manager: EntityManager, sessionId: string): Promise<void> {
  await manager.query(
    `update refresh_token set replaced_at = clock_timestamp()
     where session_id = $1 and replaced_at is null`,
    [sessionId],
  )
}

/** A token of the past. */
interface PastToken {
  readonly salt: Buffer | null
  readonly isInGrace: boolean
  /** Whether its answer may still have got lost, as far as the time tells. */
  readonly mayBeLost: boolean
  /** Whether a token that its session got after it was used. */
  readonly isLaterUsed: boolean
}

async function findReplacement(
  manager: EntityManager,
  token: Buffer,
  patience: RefreshPatience,
): Promise<Replacement> {
  const past = await findPast(manager, token, patience)
  if (!past?.mayBeLost) return { kind: 'REUSED' }
  if (past.salt === null) return isHarmless(past) ? { kind: 'SPENT' } : { kind: 'REUSED' }

  const successor = deriveSuccessor(token, past.salt)
  const next = await findPast(manager, successor, patience)
  if (next === null) return { kind: 'REPLACED', successor }
  // The successor was not used, but spent.
  return next.mayBeLost && next.salt === null && isHarmless(next)
    ? { kind: 'SPENT' }
    : { kind: 'REUSED' }
}

function isHarmless({ isInGrace, isLaterUsed }: PastToken): boolean {
  return isInGrace || !isLaterUsed
}

/** @returns `null` when the token was not replaced. */
async function findPast(
  manager: EntityManager,
  token: Buffer,
  { graceSeconds, lostAnswerSeconds }: RefreshPatience,
): Promise<PastToken | null> {
  const [past] = await manager.query<PastToken[]>(
    `select successor_salt as salt,
            replaced_at > clock_timestamp() - make_interval(secs => $2) as "isInGrace",
            replaced_at > clock_timestamp() - make_interval(secs => greatest($2, $3)) as "mayBeLost",
            exists (
              select 1 from refresh_token as later
              where later.session_id = past.session_id and later.hash <> past.hash
                and later.created_at >= past.replaced_at
                and later.replaced_at is not null
            ) as "isLaterUsed"
     from refresh_token as past
     where hash = $1 and replaced_at is not null`,
    [hashRefreshToken(token), graceSeconds, lostAnswerSeconds],
  )
  return past ?? null
}
