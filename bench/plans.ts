/** Turns credentials and operations into requests that are ready to be sent, and the answers that they must get. */
import type { ContestantSpec } from './contestants.ts'
import { answerTo, operations, users } from './data.ts'
import type { Operation, User } from './data.ts'
import type { Expectation, Plan, PlannedRequest } from './load/plan.ts'
import type { Credential } from './tokens.ts'

/** A request as a client sends it: a query without a client library's extras. */
export function writeRequest(query: string, credential: Credential | null): Buffer {
  const body = JSON.stringify({ query })
  const head = [
    'POST /graphql HTTP/1.1',
    'host: 127.0.0.1',
    'accept: application/json',
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    ...(credential ? [writeCredential(credential)] : []),
  ]
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n${body}`)
}

function writeCredential({ kind, text }: Credential): string {
  return kind === 'jwt'
    ? `authorization: Bearer ${text}`
    : `cookie: better-auth.session_token=${text}`
}

/** An answer that gives the data of this person, and nothing else. */
export function expectData(spec: ContestantSpec, operation: Operation, user: number): Expectation {
  const whom = users[spec.answersAs === 'caller' ? user : 0] as User
  return { statuses: [200], body: answerTo(operation, whom) }
}

/** An answer that gives errors and nobody's data; each server has its own words for it. */
export const refusal: Expectation = {
  statuses: [200, 401, 403],
  includes: '"errors":[',
  excludes: '"email":"',
}

/** All valid credentials in turn. */
export function planValid(
  spec: ContestantSpec,
  operation: Operation,
  credentials: readonly Credential[],
): Plan {
  const isPersonal = operation === 'me' || operation === 'twentyFields'
  return {
    requests: credentials.map((credential, index) => ({
      bytes: writeRequest(operations[operation], credential),
      expects: isPersonal ? index : 0,
    })),
    expectations: isPersonal
      ? credentials.map(({ user }) => expectData(spec, operation, user))
      : [expectData(spec, operation, 0)],
  }
}

/** As `planValid`, with every twentieth request carrying a revoked credential: 5%. */
export function planWithRevoked(
  spec: ContestantSpec,
  valid: readonly Credential[],
  revoked: readonly Credential[],
): Plan {
  const { requests, expectations } = planValid(spec, 'me', valid)
  const expects = expectations.length
  const mixed = requests.map((request, index): PlannedRequest => {
    const credential = index % 20 === 19 ? revoked[((index - 19) / 20) % revoked.length] : undefined
    return credential ? { bytes: writeRequest(operations.me, credential), expects } : request
  })
  return { requests: mixed, expectations: [...expectations, refusal] }
}
