import { z } from 'zod'
import { BadInputError } from '../../errors.ts'

/** RFC 5321 §4.5.3.1.3 allows 256 with the angle brackets. */
const MAX_CHARACTERS = 254

/** What may be typed, in UTF-16 units: an address, and white space around it. */
const MAX_TYPED = 1024

/**
 * One form for all spellings of an address.
 *
 * Normalization takes a time that grows with the square of a run of combining marks, so what is too long to be an address
 * is cut instead: to a text that is no address either.
 */
export function normalizeEmail(email: string): string {
  if (email.length > MAX_TYPED) return email.slice(0, MAX_CHARACTERS + 1)
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
  return address.length <= MAX_CHARACTERS && z.regexes.html5Email.test(address)
}

/** Whether a registration failed because the address is taken. */
export function isEmailTaken(error: unknown): error is BadInputError {
  return error instanceof BadInputError && error.extensions.reason === 'EMAIL_TAKEN'
}
