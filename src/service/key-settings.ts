import { existsSync, readFileSync } from 'node:fs'
import { createKeyRing } from '../token/keys.ts'

/** What the environment says of keys. */
interface GivenKeys {
  readonly JWT_SECRET?: string | undefined
  readonly JWT_PRIVATE_KEY_FILE?: string | undefined
  /** The entries of `JWT_PREVIOUS_KEYS`. */
  readonly previous: readonly string[]
}

/** What `createKeyRing` takes; `signWith` is `null` when no key was given, or a wrong one. */
interface Keys {
  readonly signWith: string | null
  readonly previousKeys: readonly string[]
}

/** Reads key files and tries every key, so that a wrong one is found now. */
export function readKeys(given: GivenKeys, faults: string[]): Keys {
  const attempt = <Result>(name: string, make: () => Result): Result | null => {
    try {
      return make()
    } catch (error) {
      faults.push(`${name}: ${(error as Error).message}`)
      return null
    }
  }

  const { JWT_SECRET: secret, JWT_PRIVATE_KEY_FILE: file, previous } = given
  if (secret) attempt('JWT_SECRET', () => createKeyRing({ signWith: secret }))
  const signWith = file
    ? attempt('JWT_PRIVATE_KEY_FILE', () => readPrivateKey(file))
    : (secret ?? null)
  const previousKeys = previous.map((entry, index) =>
    attempt(`JWT_PREVIOUS_KEYS (entry ${index + 1})`, () => readPreviousKey(entry)),
  )
  return { signWith, previousKeys: previousKeys.filter((key) => key !== null) }
}

function readPrivateKey(file: string): string {
  if (isPem(file)) throw new TypeError('expected the name of a file, got a key')

  const signWith = readKeyFile(file, file)
  if (!isPem(signWith)) throw new TypeError(`expected a PEM private key in ${file}`)
  createKeyRing({ signWith })
  return signWith
}

function readPreviousKey(entry: string): string {
  const isFile = existsSync(entry) || looksLikeFile(entry)
  const description = 'what looks like a file (a secret that does goes into one)'
  const key = isFile ? readKeyFile(entry, description).trim() : entry
  createKeyRing({ signWith: '0'.repeat(32), previous: [key] })
  return key
}

/**
 * Whether a file is meant, be it there or not: its name must not become a secret that can be guessed.
 *
 * A secret may hold a slash when it is base64.
 */
function looksLikeFile(entry: string): boolean {
  if (isPem(entry)) return false
  if (entry.startsWith('/') || /\.(pem|key|pub|crt|cer|der|jwk|json|txt)$/i.test(entry)) return true
  return entry.includes('/') && Buffer.from(entry, 'base64').toString('base64') !== entry
}

function isPem(text: string): boolean {
  return text.includes('-----BEGIN ')
}

/** @param description - What to call the file: an entry that may be a secret is not quoted. */
function readKeyFile(file: string, description: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new TypeError(`cannot read ${description}: ${code}`, { cause: error })
  }
}
