import { z } from 'zod'
import { BadInputError } from '../errors.ts'

/** One form for all spellings of an address. */
export function normalizeEmail(email: string): string {
  return email.trim().normalize('NFC').toLowerCase()
}

/** @throws {@link BadInputError} unless it is an e-mail address. */
export function readEmail(email: string): string {
  const address = normalizeEmail(email)
  if (!isEmail(address)) {
    throw new BadInputError('email', 'INVALID_EMAIL', 'This is not an e-mail address')
  }
  return address
}

/** The form that browsers accept; only a mail that arrives proves an address. */
export function isEmail(address: string): boolean {
  return address.length <= 254 && z.regexes.html5Email.test(address)
}

/** Whether a registration failed because somebody has this address. */
export function isEmailTaken(error: unknown): error is BadInputError {
  return error instanceof BadInputError && error.extensions.reason === 'EMAIL_TAKEN'
}
