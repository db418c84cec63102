import { migrate } from '../dist/src/service/database/migrate.js'
import type { Bench, Lineup } from './bench.ts'
import { checkContestant } from './check.ts'
import { contestants } from './contestants.ts'
import type { ContestantSpec } from './contestants.ts'
import type { Environment } from './processes.ts'
import { startContestant } from './runner.ts'
import type { Runner } from './runner.ts'
import type { Scope } from './scope.ts'

/** Starts and checks every contestant that was asked for. Who fails is absent, with the reason. */
export async function callTogether(scope: Scope, bench: Bench): Promise<Lineup> {
  const runners: Runner[] = []
  const absent: Array<{ spec: ContestantSpec; why: string }> = []

  for (const spec of contestants.filter(({ name }) => bench.options.contestants.has(name))) {
    bench.say(`starting ${spec.name}`)
    const why = findHindrance(bench, spec)
    if (why !== null) {
      absent.push({ spec, why: `not run: ${why}` })
      continue
    }
    try {
      runners.push(await admit(scope, bench, spec))
    } catch (error) {
      absent.push({ spec, why: (error as Error).message })
    }
  }
  for (const { spec, why } of absent) bench.say(`${spec.name}: ${why}`)
  return { runners, absent }
}

function findHindrance({ redis }: Bench, { isThere, needs }: ContestantSpec): string | null {
  if (!isThere) return 'this build does not have it'
  if (needs.includes('redis') && redis === null) return 'no Redis'
  return null
}

async function admit(scope: Scope, bench: Bench, spec: ContestantSpec): Promise<Runner> {
  let runner: Runner
  try {
    runner = await startContestant(scope, spec, await createEnvironment(scope, bench, spec))
  } catch (error) {
    throw new Error(`failed: ${(error as Error).message}`, { cause: error })
  }

  try {
    for (const credential of runner.credentials.revoked) {
      if (spec.refuses === 'both') await runner.revoke(credential)
    }
    await checkContestant(runner)
    return runner
  } catch (error) {
    await runner.stop()
    throw new Error(`disqualified: ${(error as Error).message}`, { cause: error })
  }
}

async function createEnvironment(
  scope: Scope,
  { postgres, redis }: Bench,
  spec: ContestantSpec,
): Promise<Environment> {
  const env: Record<string, string> = {}
  if (spec.needs.includes('redis') && redis) {
    env.REDIS_URL = redis.url
    env.REDIS_PREFIX = `${redis.prefix}${spec.name}:`
  }
  if (spec.needs.includes('postgres')) {
    const { url } = await postgres.createDatabase(scope, spec.name)
    if (spec.role !== 'peer') await migrate(url)
    env.DATABASE_URL = url
  }
  return env
}
