import { checkPrimeSync, generateKeyPairSync, generatePrimeSync, randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { createKeyRing } from '../../src/token/keys.ts'
import { errorOf, pemOf } from './forge.ts'

const HALF_BITS = 1024

function primeOf(bits: number): bigint {
  return generatePrimeSync(bits, { bigint: true })
}

function randomBits(bits: number): bigint {
  return BigInt(`0x${randomBytes(Math.ceil(bits / 8)).toString('hex')}`) >> BigInt(-bits & 7)
}

/** As Infineon's library made them: k times the product of the first primes, plus a power of 65537 modulo that. */
function rocaPrime(): bigint {
  let product = 1n
  for (let prime = 2; prime <= 167; prime++) {
    if (checkPrimeSync(BigInt(prime))) product *= BigInt(prime)
  }
  let power = 1n
  for (let times = randomBytes(1)[0]! + 1; times > 0; times--) power = (power * 65_537n) % product
  for (;;) {
    const high = 3n << BigInt(HALF_BITS - 2)
    const k = (high + randomBits(HALF_BITS - 3)) / product
    const candidate = k * product + power
    if (checkPrimeSync(candidate)) return candidate
  }
}

function nextPrime(after: bigint): bigint {
  for (let candidate = after + 2n; ; candidate += 2n)
    if (checkPrimeSync(candidate)) return candidate
}

function closePrimes(): bigint {
  const one = primeOf(HALF_BITS)
  return one * nextPrime(one)
}

function faultOf(modulus: bigint): unknown {
  const hex = modulus.toString(16)
  const n = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex').toString(
    'base64url',
  )
  const previous = [pemOf({ kty: 'RSA', n, e: 'AQAB' })]
  return errorOf(() => createKeyRing({ signWith: 'x'.repeat(32), previous }))
}

describe('an RSA key that is known to be weak', () => {
  it.each([
    ['the fingerprint of ROCA', () => rocaPrime() * rocaPrime()],
    ['a small factor', () => 1999n * primeOf(2045)],
    ['a modulus that is a prime', () => primeOf(2048)],
    ['factors that are too close', closePrimes],
    ['factors that are too close', () => primeOf(HALF_BITS) ** 2n],
  ])('is refused with %s', (weakness, makeModulus) => {
    const error = faultOf(makeModulus())

    expect(error).toBeInstanceOf(TypeError)
    expect((error as Error).message).toMatch(/^expected a sound RSA key, got one with /)
    expect((error as Error).message).toContain(weakness)
  })

  it('is never a key that was just made', () => {
    for (const modulusLength of [2048, 2048, 3072, 4096]) {
      const { privateKey } = generateKeyPairSync('rsa', { modulusLength })
      const signWith = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
      expect(createKeyRing({ signWith }).signing.algorithm).toBe('RS256')
    }
  })
})
