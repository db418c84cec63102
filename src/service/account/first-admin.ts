import { randomBytes } from 'node:crypto'
import { BadInputError } from '../../errors.ts'
import { StartError } from '../../lib/start-error.ts'
import type { Accounts } from './accounts.ts'
import type { Account } from './entities.ts'
import { checkNewPassword } from './password.ts'

/** An admin with a generated password. */
export interface NewAdmin {
  readonly email: string
  readonly password: string
}

export interface FirstAdminSettings {
  readonly adminEmail: string | null
  readonly adminPassword: string | null
  /** In production no admin is invented, and a password known from leaks is refused. */
  readonly isProduction: boolean
}

/**
 * Makes the first admin if there is none yet; several nodes may do so at once.
 *
 * @returns The admin with a generated password, to be shown once; `null` when none was generated.
 * @throws {@link StartError} when the given password will not do.
 */
export async function ensureFirstAdmin(
  accounts: Accounts,
  settings: FirstAdminSettings,
  log: { warn(message: string): void },
): Promise<NewAdmin | null> {
  const { adminEmail, adminPassword, isProduction } = settings
  const hasAdmin = await accounts.hasAdmin()

  if (adminEmail === null && adminPassword === null) {
    if (hasAdmin) return null
    if (isProduction) {
      log.warn('there is no admin who can sign in: set ADMIN_EMAIL and ADMIN_PASSWORD')
      return null
    }
  }

  const email = adminEmail ?? 'admin@portcullis.local'
  const standing = await accounts.findByEmail(email)
  if (standing === null) return createAdmin(accounts, email, settings)

  const obstacle = findObstacle(standing)
  if (obstacle !== null) {
    const name = adminEmail === null ? email : 'ADMIN_EMAIL'
    log.warn(`${name} ${obstacle}; ${hasAdmin ? 'let an admin see to it' : WAY_OUT}`)
  }
  return null
}

/** An account that is there is not made an admin: a stranger may have registered its address. */
const WAY_OUT =
  'there is no admin who can sign in: set ADMIN_EMAIL to an address that has no account, and ADMIN_PASSWORD'

/** What keeps the person of an account from acting as an admin; `null` when nothing does. */
function findObstacle({ roles, suspendedAt }: Account): string | null {
  const faults = [
    ...(roles.includes('ADMIN') ? [] : ['has an account that is no admin']),
    ...(suspendedAt === null ? [] : ['is suspended']),
  ]
  return faults.length === 0 ? null : faults.join(' and ')
}

async function createAdmin(
  accounts: Accounts,
  email: string,
  { adminPassword, isProduction }: FirstAdminSettings,
): Promise<NewAdmin | null> {
  const password = adminPassword ?? randomBytes(15).toString('base64url')
  if (isProduction) checkAdminPassword(password)

  try {
    await accounts.create(email, password, ['USER', 'ADMIN'])
  } catch (error) {
    // Another node that starts now was quicker.
    if (error instanceof BadInputError && error.extensions.reason === 'EMAIL_TAKEN') return null
    throw error
  }
  return adminPassword === null ? { email, password } : null
}

function checkAdminPassword(password: string): void {
  try {
    checkNewPassword(password, 'ADMIN_PASSWORD')
  } catch (error) {
    throw new StartError(`ADMIN_PASSWORD: ${(error as Error).message}`)
  }
}
