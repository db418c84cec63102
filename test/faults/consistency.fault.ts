import { describe, expect, it } from 'vitest'
import { createRandom } from '../support/random.ts'
import { checkHistory, checkRows, describeViolation } from './history/check.ts'
import type { Promised, Violation } from './history/check.ts'
import { countOutcomes } from './history/history.ts'
import { Clients } from './support/clients.ts'
import { Cluster } from './support/cluster.ts'
import { LOUD, QUIET, disturb } from './support/disturbances.ts'
import { fault } from './support/fault.ts'
import { STALENESS_MS } from './support/node.ts'
import type { Check } from './support/node.ts'
import { Pair, until } from './support/pair.ts'
import { BUGS, plant } from './support/planted-bug.ts'

/**
 * Clients write down what they hear while things fail at random, and the history is held against the promises afterwards.
 *
 * `FAULTS_SEED` chooses who does what and what fails; when, the machine decides, so the same seed may take another course.
 * `FAULTS_SECONDS`: for how long.
 */
const SECONDS = Number(process.env['FAULTS_SECONDS'] ?? 45)
const SEED = Number(process.env['FAULTS_SEED'] ?? Date.now() % 1_000_000)

/** Nothing expires or is refused for another reason than a revocation. */
const ENV = {
  ACCESS_TOKEN_TTL: '7200',
  ADMIN_REAUTHENTICATION_MAX_AGE: '7200',
  FAILED_ATTEMPTS_PER_ACCOUNT: '1000000',
  FAILED_ATTEMPTS_PER_ADDRESS: '1000000',
  MAX_SESSIONS_PER_USER: '1000000',
  SWEEP_INTERVAL: '1',
  LOG_LEVEL: 'warn',
}

// Q01, Q02, Q03, Q08, Q12
describe('clients of two nodes', () => {
  fault(
    'hear of every acknowledged revocation, whatever fails',
    async ({ cluster, pair }) => {
      const clients = new Clients(pair, SEED)
      const durationMs = SECONDS * 1000
      const [loud, quiet] = await Promise.all([
        disturb({ cluster, pair, clients, random: createRandom(SEED + 1) }, LOUD, {
          durationMs,
          calmMs: 1500,
        }),
        disturb({ cluster, pair, clients, random: createRandom(SEED + 2) }, QUIET, {
          durationMs,
          calmMs: 500,
        }),
        clients.run(durationMs),
      ])
      await until(() => clients.areServed(), 15_000)

      const violations = await findViolations(pair, clients)
      const counts = countOutcomes(clients.deeds.recorder.history)
      console.info(`FAULTS_SEED=${SEED} ${pair.check}`, { ...loud, ...quiet }, counts)
      expect(violations.map(describeViolation)).toEqual([])
      expectToSaySomething(counts)
      for (const node of [0, 1]) {
        expect(pair.node(node).log).not.toMatch(/unhandled error|internal error/)
      }
    },
    { env: ENV, timeoutMs: SECONDS * 1000 + 120_000 },
  )
})

/** How often clients act for how long until a bug has to have shown. */
const ROUNDS = 6
const ROUND_MS = 3000

describe('the checker', () => {
  it.concurrent.for(BUGS)('finds out that $title', { timeout: 120_000 }, async (bug, test) => {
    const { program, remove } = await plant(bug)
    test.onTestFinished(remove)
    const cluster = await Cluster.create(bug.server)
    test.onTestFinished(async () => cluster.remove())
    const database = await cluster.createDatabase()
    const pair = await Pair.start({ check: bug.check, database, env: ENV, program })
    test.onTestFinished(async () => pair.stop())

    const clients = new Clients(pair, SEED)
    const stage = { cluster, pair, clients, random: createRandom(SEED) }
    let found: readonly Violation[] = []
    const isFound = (): boolean => found.some(({ promised }) => promised === bug.breaks)
    for (let round = 0; round < ROUNDS && !isFound(); round += 1) {
      await Promise.all([
        disturb(stage, bug.disturbances, { durationMs: ROUND_MS, calmMs: 500 }),
        clients.run(ROUND_MS),
      ])
      await until(() => clients.areServed(), 15_000)
      found = await findViolations(pair, clients)
    }
    console.info(`FAULTS_SEED=${SEED} ${bug.title}`, countPromises(found))
    expect(countPromises(found)).toHaveProperty(bug.breaks)
  })
})

/** Of all that was heard so far, with one look at every token and at the tables. */
async function findViolations(pair: Pair, clients: Clients): Promise<readonly Violation[]> {
  await clients.tryAll()
  const { history } = clients.deeds.recorder
  return [
    ...checkHistory(history, { staleMs: staleMsOf(pair.check) }),
    ...checkRows(history, await clients.deeds.readRows()),
  ]
}

function countPromises(violations: readonly Violation[]): Partial<Record<Promised, number>> {
  const counts: Partial<Record<Promised, number>> = {}
  for (const { promised } of violations) counts[promised] = (counts[promised] ?? 0) + 1
  return counts
}

function staleMsOf(check: Check): number | null {
  return check === 'replica' ? STALENESS_MS : null
}

/** A history in which nothing happened proves nothing. */
function expectToSaySomething(counts: Readonly<Record<string, number>>): void {
  expect(counts['use OK']).toBeGreaterThan(4 * SECONDS)
  expect(counts['use TOKEN_REVOKED']).toBeGreaterThan(4 * SECONDS)
  expect(counts['refresh OK']).toBeGreaterThan(SECONDS / 2)
  expect(counts['refresh INVALID_REFRESH_TOKEN']).toBeGreaterThan(0)
  for (const act of ['logout', 'logoutAllDevices', 'revokeSession', 'revokeToken', 'restore']) {
    expect(counts[`${act} OK`]).toBeGreaterThan(SECONDS / 20)
  }
}
