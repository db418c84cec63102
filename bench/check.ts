import { operations } from './data.ts'
import { post } from './http.ts'
import { createJudge } from './load/judge.ts'
import type { Expectation } from './load/plan.ts'
import { expectData, refusal } from './plans.ts'
import type { Runner } from './runner.ts'
import type { Credential } from './tokens.ts'

/**
 * Sees whether a contestant does what it is measured for.
 *
 * @throws `Error` that says what it did instead: then it is disqualified.
 */
export async function checkContestant(runner: Runner): Promise<void> {
  const { spec, credentials } = runner
  const [first, second] = credentials.valid as [Credential, Credential]
  const [revoked] = credentials.revoked as [Credential]

  await expectAnswer(runner, 'a valid token', first, expectData(spec, 'me', first.user))
  await expectAnswer(runner, 'another valid token', second, expectData(spec, 'me', second.user))
  if (spec.refuses === 'none') return

  await expectAnswer(runner, 'no token', null, refusal)
  await expectAnswer(runner, 'a foreign token', credentials.foreign, refusal)
  if (spec.refuses === 'foreign') return

  await expectAnswer(runner, 'a revoked token', revoked, refusal)
  for (const late of credentials.late) {
    await expectAnswer(runner, 'a token not yet revoked', late, expectData(spec, 'me', late.user))
    await runner.revoke(late)
    await expectAnswer(runner, 'a token revoked just now', late, refusal)
  }
  const lists = spec.role === 'service' ? [] : (['items'] as const)
  for (const operation of [...lists, 'twentyFields'] as const) {
    await expectAnswer(
      runner,
      `${operation}, valid`,
      first,
      expectData(spec, operation, first.user),
      operation,
    )
    await expectAnswer(runner, `${operation}, revoked`, revoked, listRefusal, operation)
  }
}

/** The list has no e-mail addresses, but names. */
const listRefusal: Expectation = { ...refusal, excludes: '"name":"' }

async function expectAnswer(
  { port }: Runner,
  what: string,
  credential: Credential | null,
  expected: Expectation,
  operation: keyof typeof operations = 'me',
): Promise<void> {
  const { status, body } = await post(port, operations[operation], headersOf(credential))
  const data = Buffer.from(body)
  if (createJudge(expected)(status, data, 0, data.length)) return
  throw new Error(`${what}: it answered ${status} ${body.slice(0, 160).trim()}`)
}

function headersOf(credential: Credential | null): Record<string, string> {
  if (credential === null) return {}
  const { kind, text } = credential
  return kind === 'jwt'
    ? { authorization: `Bearer ${text}` }
    : { cookie: `better-auth.session_token=${text}` }
}
