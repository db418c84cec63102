import { hash, verify } from '@node-rs/argon2'
import commonPasswords from 'fxa-common-password-list'
import { BadInputError } from '../../errors.ts'

const MIN_CHARACTERS = 8
const MAX_BYTES = 1024

/** UTF-16 units. Letters come apart into three at the most, and those have two bytes together (ǖ): 1.5 units a byte. */
const MAX_TYPED = 1.5 * MAX_BYTES

/** Half of a surrogate pair: UTF-8 has none, so all halves would become the same character, and open the account. */
const LONE_SURROGATE = /\p{Cs}/u

/** argon2id with 19 MiB, two passes, one lane (OWASP Password Storage Cheat Sheet). */
const PARAMETERS = { memoryCost: 19_456, timeCost: 2, parallelism: 1 }

/**
 * Refuses a new password that is too short, too long, no well-formed text, or among the most used ones.
 *
 * @param argument - The argument to name in the error.
 * @throws {@link BadInputError}
 * @see {@link https://pages.nist.gov/800-63-4/sp800-63b.html NIST SP 800-63B-4 §3.1.1.2}
 */
export function checkNewPassword(newPassword: string, argument: string): void {
  const password = normalizeWithin(newPassword)
  if (password === null) {
    throw new BadInputError(argument, 'TOO_LONG', `Choose at most ${MAX_BYTES} bytes`)
  }
  if ([...password].length < MIN_CHARACTERS) {
    throw new BadInputError(argument, 'TOO_SHORT', `Choose at least ${MIN_CHARACTERS} characters`)
  }
  if (LONE_SURROGATE.test(password)) {
    throw new BadInputError(
      argument,
      'FORBIDDEN_CHARACTERS',
      'A password has no halves of characters (lone surrogates)',
    )
  }
  if (commonPasswords.test(password) || commonPasswords.test(password.toLowerCase())) {
    throw new BadInputError(
      argument,
      'COMMON_PASSWORD',
      'This password is known from leaks; choose another',
    )
  }
}

export async function hashPassword(password: string): Promise<string> {
  return hash(normalize(password), PARAMETERS)
}

let decoy: Promise<string> | undefined

/**
 * Compares a password with a hash.
 *
 * @param passwordHash - `null` when there is no account: that takes as long, so that the time does not tell who has an account.
 */
export async function isPassword(password: string, passwordHash: string | null): Promise<boolean> {
  const typed = normalizeWithin(password)
  if (typed === null || LONE_SURROGATE.test(typed)) return false

  decoy ??= hashPassword('nobody has this password')
  const nobody = await decoy
  const isMatch = await verify(passwordHash ?? nobody, typed)
  return isMatch && passwordHash !== null
}

/**
 * Judges the length first: to normalize takes a time that grows with the square of a run of combining marks.
 *
 * @returns `null` when it is too long.
 */
function normalizeWithin(password: string): string | null {
  if (password.length > MAX_TYPED) return null
  const normal = normalize(password)
  return Buffer.byteLength(normal) > MAX_BYTES ? null : normal
}

/** One form for all keyboards: some join an accent to its letter, some do not. */
function normalize(password: string): string {
  return password.normalize('NFC')
}
