import type { Revocation } from '../../contract.ts'
import { BadInputError } from '../../errors.ts'
import type { Accounts } from './accounts.ts'

/** Undoing must not give tokens to a suspended person, nor roles that were taken away. */
export async function assertRestorable(
  { scope, subject, reason }: Revocation,
  accounts: Accounts,
): Promise<void> {
  if (scope !== 'SUBJECT' || subject === null) return
  const account = await accounts.findById(subject)

  if (account?.suspendedAt) {
    throw new BadInputError(
      'revocationId',
      'ACCOUNT_SUSPENDED',
      'This person is suspended; reinstate first',
    )
  }
  if (reason === 'password_reset') {
    throw new BadInputError(
      'revocationId',
      'NOT_RESTORABLE',
      'These tokens are of the time before a password was reset',
    )
  }
  if (reason === 'roles_changed') {
    throw new BadInputError(
      'revocationId',
      'NOT_RESTORABLE',
      'These tokens carry roles that the person no longer has',
    )
  }
}
