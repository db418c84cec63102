/**
 * Fuzzes the bearer parser and the verifier, guided by coverage: V8 says which code an input reached, and an input that
 * reached something new is what the next ones are made of.
 *
 *     npx tsx scripts/fuzz-tokens.ts [seconds, 60 if not given] [seed]
 *
 * Nothing may be accepted that we did not sign, what is signed must be refused or be sound, every refusal is one of
 * ours, and none takes 100 ms. (Jazzer.js would be the tool for this; its binaries want a newer C library than many
 * machines have.)
 */
import { strict as assert } from 'node:assert'
import { createHmac } from 'node:crypto'
import { Session } from 'node:inspector/promises'
import { TokenExpiredError, TokenInvalidError } from '../src/errors.ts'
import { readBearerToken } from '../src/token/bearer.ts'
import { createKeyRing } from '../src/token/keys.ts'
import { TokenVerifier } from '../src/token/verifier.ts'

const SECRET = 'a secret for the fuzzer, of more than 32 bytes'
const NOW = 1_763_800_000
const RULES = { issuer: 'portcullis', audience: 'portcullis', maxLifetimeSeconds: 900 }

const keys = createKeyRing({ signWith: SECRET })
const tokens = new TokenVerifier({ keys, ...RULES, now: () => NOW })

const HEADER = JSON.stringify({ alg: 'HS256', kid: keys.signing.kid, typ: 'at+jwt' })
const CLAIMS = JSON.stringify({
  iss: 'portcullis',
  aud: 'portcullis',
  sub: 'ada',
  jti: 'token of ada',
  sid: 'laptop',
  iat: NOW - 60,
  exp: NOW + 840,
  auth_time: NOW - 60,
  roles: ['USER'],
})

/** What an input means, by its first byte, and one to begin with. */
const WAYS: ReadonlyArray<{ readonly seed: string; feed(data: Buffer): void }> = [
  { seed: `Bearer ${sign(encode(HEADER), encode(CLAIMS))}`, feed: (data) => readHeader(data) },
  {
    seed: `${encode(HEADER)}.${encode(CLAIMS)}.${'A'.repeat(43)}`,
    feed: (data) => expectRefusal(data.toString()),
  },
  {
    seed: 'A'.repeat(43),
    feed: (data) => expectRefusal(`${encode(HEADER)}.${encode(CLAIMS)}.${data.toString()}`),
  },
  { seed: CLAIMS, feed: (data) => expectSoundness(sign(encode(HEADER), encode(data))) },
  { seed: HEADER, feed: (data) => expectSoundness(sign(encode(data), encode(CLAIMS))) },
  { seed: encode(CLAIMS), feed: (data) => expectSoundness(sign(encode(HEADER), data.toString())) },
]

const DICTIONARY = [
  ['.', '..', '=', '-', '_', '+', '/', ' ', ',', '\0', '\n', 'é', '🏰', '\ufeff', '{', '}'],
  ['[', ']', '"', ':', 'null', 'true', '{}', '[]', '""', '0', '-1', '1e999', '1e308', '-0'],
  ['"alg":"none"', '"alg":"HS256"', '"kid":"x"', '"typ":"JWT"', '"typ":"at+jwt"', '"zip":"DEF"'],
  ['"crit":["exp"]', '"b64":false', '"jku":"https://e.example"', '"jwk":{}', '"__proto__":{}'],
  ['"iss":"portcullis"', '"aud":["portcullis"]', '"sub":"ada"', '"jti":1', '"exp":1763800001'],
  ['"nbf":1763800001', '"auth_time":1', '"roles":["ADMIN"]', '"iat":1763799940.5', '\\u0000'],
  ['\\ud800', 'Bearer ', 'bearer', 'Basic '],
].flat()

const seconds = Number(process.argv[2] ?? 60)
let state = Number(process.argv[3] ?? Date.now() % 2 ** 31)
console.log(`seed ${state}`)

const corpus: Buffer[] = []
const reached = new Set<string>()
let runs = 0
let slowestMs = 0

const session = new Session()
session.connect()
await session.post('Profiler.enable')
await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })

for (const [way, { seed }] of WAYS.entries()) {
  await run(Buffer.concat([Buffer.from([way]), Buffer.from(seed)]))
}
const until = performance.now() + 1000 * seconds
while (performance.now() < until) await run(mutate(pick(corpus)))
console.log(
  `${runs} inputs, ${corpus.length} kept, ${reached.size} ranges of code reached; the slowest took ${slowestMs.toFixed(1)} ms`,
)

async function run(input: Buffer): Promise<void> {
  try {
    let tookMs = feed(input)
    // Others may have had the processor meanwhile.
    for (let again = 0; again < 3 && tookMs > 20; again++) tookMs = Math.min(tookMs, feed(input))
    assert.ok(tookMs < 100, `it took ${tookMs} ms`)
    slowestMs = Math.max(slowestMs, tookMs)
  } catch (error) {
    console.error(`fails with (base64): ${input.toString('base64')}`)
    throw error
  }
  runs += 1
  if (await reachesNewCode()) corpus.push(input)
}

function feed(input: Buffer): number {
  const startedAt = performance.now()
  WAYS[(input[0] ?? 0) % WAYS.length]?.feed(input.subarray(1))
  return performance.now() - startedAt
}

async function reachesNewCode(): Promise<boolean> {
  const before = reached.size
  const { result } = await session.post('Profiler.takePreciseCoverage')
  for (const { url, functions } of result) {
    if (!/\/src\/|\/jsonwebtoken\/|\/jws\//.test(url)) continue
    for (const { startOffset, count } of functions.flatMap(({ ranges }) => ranges)) {
      // How often, in powers of two: a loop that runs markedly more is new.
      if (count > 0) reached.add(`${url}:${startOffset}:${Math.floor(Math.log2(count))}`)
    }
  }
  return reached.size > before
}

function mutate(input: Buffer): Buffer {
  let output = input
  for (let times = 1 + random(4); times > 0; times--) {
    const from = random(output.length + 1)
    const to = random(2) === 0 ? from : Math.min(output.length, from + random(16))
    const between = [
      () => '',
      () => Buffer.from([random(256)]),
      () => pick(DICTIONARY),
      () => pick(DICTIONARY).repeat(1 + random(500)),
      () => output.subarray(random(output.length), random(output.length)),
      () => pick(corpus).subarray(1, 1 + random(60)),
    ]
    const middle = Buffer.from(pick(between)() as Buffer)
    output = Buffer.concat([output.subarray(0, from), middle, output.subarray(to)])
  }
  return output.subarray(0, 20_000)
}

function readHeader(data: Buffer): void {
  for (const header of [data.toString(), data.toString('latin1')]) {
    const text = attempt(() => readBearerToken(header))
    if (typeof text === 'string') assert.match(text, /^[\w.~+/=-]+$/)
  }
}

/** What the fuzzer makes up is not ours. */
function expectRefusal(text: string): void {
  assert.ok(attempt(() => tokens.verify(text)) instanceof Error, 'accepted')
  assert.notEqual(tokens.identify(text)?.kind, 'VERIFIED')
}

function expectSoundness(text: string): void {
  const token = attempt(() => tokens.verify(text))
  if (token === null || token instanceof Error) return

  assert.equal(token.issuer, RULES.issuer)
  for (const name of [token.subject, token.tokenId, token.sessionId, ...token.roles]) {
    assert.ok(typeof name === 'string' && name.length > 0 && name.length <= 255)
    assert.doesNotMatch(name, /[\p{Cc}\p{Cs}]/u)
  }
  assert.ok(token.issuedAt > 0 && token.issuedAt <= NOW + 60)
  assert.ok(token.expiresAt > NOW && token.expiresAt - token.issuedAt <= 900.001)
  assert.ok((token.authenticatedAt ?? 0) <= token.issuedAt + 0.001)
}

/** Gives an error of ours, and throws any other. */
function attempt<Result>(call: () => Result): Result | Error {
  try {
    return call()
  } catch (error) {
    if (error instanceof TokenInvalidError || error instanceof TokenExpiredError) return error
    throw error
  }
}

function encode(content: string | Buffer): string {
  return Buffer.from(content as string).toString('base64url')
}

function sign(header: string, payload: string): string {
  const input = `${header}.${payload}`
  return `${input}.${createHmac('sha256', SECRET).update(input).digest('base64url')}`
}

function pick<Item>(list: readonly Item[]): Item {
  return list[random(list.length)] as Item
}

/** Mulberry32: the same seed makes the same inputs. */
function random(max: number): number {
  state = (state + 0x6d2b79f5) | 0
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
  return max === 0 ? 0 : ((mixed ^ (mixed >>> 14)) >>> 0) % max
}
