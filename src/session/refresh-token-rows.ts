import { randomBytes } from 'node:crypto'
import type { EntityManager } from 'typeorm'
import type { RefreshTokenRow } from './entities.ts'
import { deriveSuccessor, hashRefreshToken } from './refresh-token.ts'

/**
 * Replaces a token by its successor.
 *
 * @returns The successor: a new one, or, within the grace time and while it is unused, the same one again.
 * `null` means that the token was used before.
 */
export async function replaceRefreshToken(
  manager: EntityManager,
  token: Buffer,
  sessionId: string,
  graceSeconds: number,
): Promise<Buffer | null> {
  const salt = randomBytes(16)
  const [, replaced] = await manager.query<[unknown, number]>(
    `update refresh_token set replaced_at = clock_timestamp(), successor_salt = $2
     where hash = $1 and replaced_at is null`,
    [hashRefreshToken(token), salt],
  )
  if (replaced === 1) {
    const successor = deriveSuccessor(token, salt)
    await addRefreshToken(manager, sessionId, successor)
    return successor
  }

  const [row] = await manager.query<Array<Pick<RefreshTokenRow, 'successorSalt'>>>(
    `select successor_salt as "successorSalt" from refresh_token
     where hash = $1 and replaced_at > clock_timestamp() - make_interval(secs => $2)`,
    [hashRefreshToken(token), graceSeconds],
  )
  if (!row?.successorSalt) return null

  const successor = deriveSuccessor(token, row.successorSalt)
  const [unused] = await manager.query<unknown[]>(
    `select 1 from refresh_token where hash = $1 and replaced_at is null`,
    [hashRefreshToken(successor)],
  )
  return unused ? successor : null
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

/** Has every token of a session count as used, and long ago. */
export async function spendRefreshTokens(manager: EntityManager, sessionId: string): Promise<void> {
  await manager.query(
    `update refresh_token set replaced_at = to_timestamp(0)
     where session_id = $1 and replaced_at is null`,
    [sessionId],
  )
}
