import { access } from 'node:fs/promises'
import { it } from 'vitest'
import type { TestContext } from 'vitest'
import { Cluster } from './cluster.ts'
import type { ServerSettings } from './cluster.ts'
import type { Check } from './node.ts'
import { Pair } from './pair.ts'
import type { PairOptions } from './pair.ts'

/** Two nodes and their PostgreSQL, which are this test's own. */
export interface Scene {
  readonly cluster: Cluster
  readonly pair: Pair
  readonly check: Check
  /** Runs at the end of the test, while nodes and server still run. */
  readonly onEnd: TestContext['onTestFinished']
}

export interface FaultOptions extends Pick<PairOptions, 'envs'> {
  /** For both nodes; both check modes run at the same time. */
  readonly env?: PairOptions['env'] | ((check: Check) => PairOptions['env'])
  readonly server?: ServerSettings
  /** What the machine must have, and what it is for. */
  readonly needs?: Need
  readonly timeoutMs?: number
}

/** Something that not every machine has. */
export interface Need {
  readonly what: string
  isMet(): Promise<boolean>
}

export const ROOT: Need = {
  what: 'root, to mount a small disk',
  isMet: async () => process.getuid?.() === 0,
}

/** Where Debian puts it. */
export const FAKETIME = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/faketime/libfaketime.so.1`

export const LIBFAKETIME: Need = {
  what: 'libfaketime (apt-get install libfaketime)',
  isMet: async () =>
    access(FAKETIME).then(
      () => true,
      () => false,
    ),
}

const CHECKS: readonly Check[] = ['database', 'replica']

/** One fault, provoked in both check modes, each time on two nodes and a PostgreSQL of its own. */
export function fault(
  title: string,
  provoke: (scene: Scene) => Promise<void>,
  { server, needs, timeoutMs = 90_000, env, ...options }: FaultOptions = {},
): void {
  // oxlint-disable-next-line vitest/expect-expect -- what is expected stands in `provoke`
  it.concurrent.for(CHECKS)(`${title} (%s)`, { timeout: timeoutMs }, async (check, test) => {
    if (needs) await demand(needs, test)

    const cluster = await Cluster.create(server)
    test.onTestFinished(async () => cluster.remove())
    const database = await cluster.createDatabase()
    const given = typeof env === 'function' ? env(check) : env
    const pair = await Pair.start({ check, database, ...(given && { env: given }), ...options })
    test.onTestFinished(async () => pair.stop())
    await provoke({ cluster, pair, check, onEnd: test.onTestFinished })
  })
}

/** On a person's machine a fault may be left out, and says so; in CI none is. */
async function demand({ what, isMet }: Need, { skip }: TestContext): Promise<void> {
  if (await isMet()) return
  if (process.env['CI']) throw new Error(`not run: it needs ${what}`)
  skip(`not run: it needs ${what}`)
}
