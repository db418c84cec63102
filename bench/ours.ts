import type { Bench, Mode } from './bench.ts'
import { contestants } from './contestants.ts'
import type { ContestantSpec } from './contestants.ts'
import type { Database } from './postgres.ts'
import { startContestant } from './runner.ts'
import type { Runner } from './runner.ts'
import type { Scope } from './scope.ts'

/** The contestant that checks in this way, or `null` when it is not there, or not wanted. */
export function findOurs({ options }: Bench, mode: Mode): ContestantSpec | null {
  const spec = contestants.find(({ name }) => name === `portcullis-${mode}`)
  return spec?.isThere && options.contestants.has(spec.name) ? spec : null
}

/** One of our nodes on a database. */
export async function startNode(
  scope: Scope,
  spec: ContestantSpec,
  { url }: Database,
  env: Readonly<Record<string, string>> = {},
): Promise<Runner> {
  return startContestant(scope, spec, { ...env, DATABASE_URL: url })
}

export function notThere(mode: Mode): string {
  return `REVOCATION_CHECK=${mode}: not run, this build does not have it or it was not asked for.`
}
