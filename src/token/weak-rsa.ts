import { checkPrimeSync } from 'node:crypto'

/** What is wrong with an RSA key that looks sound, in a few words; `null` when nothing is known. */
export function findWeakness(modulus: bigint): string | null {
  if (SMALL_PRIMES.some((prime) => modulus % prime === 0n)) return 'a modulus with a small factor'
  if (checkPrimeSync(modulus)) return 'a modulus that is a prime'
  if (isRoca(modulus)) return 'the fingerprint of ROCA'
  if (hasCloseFactors(modulus)) return 'factors that are too close to each other'
  return null
}

/** Odd primes below 2,000; two would be found by any library. */
const SMALL_PRIMES: readonly bigint[] = listPrimes(2000)

/**
 * Infineon's chips made primes that are powers of 65537 modulo the product of the first primes. So is their product, modulo
 * each of these; of other keys one in 2^27 is.
 *
 * @see {@link https://nvd.nist.gov/vuln/detail/CVE-2017-15361 CVE-2017-15361}
 */
function isRoca(modulus: bigint): boolean {
  return SMALL_PRIMES.filter((prime) => prime <= 167n).every((prime) =>
    powersOf(65_537n, prime).has(modulus % prime),
  )
}

function powersOf(base: bigint, prime: bigint): ReadonlySet<bigint> {
  const powers = new Set<bigint>()
  for (let power = 1n; !powers.has(power); power = (power * base) % prime) powers.add(power)
  return powers
}

/**
 * Fermat's method finds primes whose upper halves are the same at once.
 *
 * @see {@link https://nvd.nist.gov/vuln/detail/CVE-2022-26320 CVE-2022-26320}
 */
function hasCloseFactors(modulus: bigint): boolean {
  let middle = squareRoot(modulus)
  if (middle * middle < modulus) middle += 1n
  for (let step = 0; step < 100; step++) {
    const rest = middle * middle - modulus
    const root = squareRoot(rest)
    if (root * root === rest) return true
    middle += 1n
  }
  return false
}

/** Rounded down, by Newton's method. */
function squareRoot(value: bigint): bigint {
  if (value < 2n) return value
  let root = 1n << BigInt(Math.ceil(value.toString(2).length / 2))
  for (;;) {
    const next = (root + value / root) >> 1n
    if (next >= root) return root
    root = next
  }
}

function listPrimes(below: number): readonly bigint[] {
  const primes: bigint[] = []
  for (let candidate = 3; candidate < below; candidate += 2) {
    const isPrime = primes.every((prime) => BigInt(candidate) % prime !== 0n)
    if (isPrime) primes.push(BigInt(candidate))
  }
  return primes
}
