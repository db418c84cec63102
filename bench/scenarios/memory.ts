/** (i): what the replica costs in memory, and how long it takes to load. */
import type { Bench, Filled, Section } from '../bench.ts'
import type { ContestantSpec } from '../contestants.ts'
import { formatCount, formatMs } from '../format.ts'
import { waitUntilReady } from '../http.ts'
import { findOurs, notThere, startNode } from '../ours.ts'
import type { Database } from '../postgres.ts'
import { withScope } from '../scope.ts'

/** What `/readyz` says of a replica. */
interface Readiness {
  readonly replica?: { readonly state: string; readonly entries: number; readonly bytes: number }
}

const LOAD_LIMIT_MS = 120_000

interface Loaded {
  readonly entries: number
  /** Of the replica's tables. */
  readonly bytes: number
  readonly readyMs: number
  readonly rssBytes: number
  readonly longestBlockMs: number
}

export async function measureMemory(bench: Bench, { empty, full }: Filled): Promise<Section> {
  const title = 'Memory and loading of the replica'
  const spec = findOurs(bench, 'replica')
  if (spec === null) return { id: 'i', title, tables: [], notes: [], failure: notThere('replica') }

  const without = await loadReplica(spec, empty)
  const loaded = await loadReplica(spec, full)
  const perEntry = loaded.bytes / loaded.entries
  const rssPerEntry = (loaded.rssBytes - without.rssBytes) / (loaded.entries - without.entries)
  const loadMs = loaded.readyMs - without.readyMs
  bench.say(`(i) ${perEntry.toFixed(1)} bytes an entry, ${formatMs(loadMs)} ms to load`)

  const { numbers } = bench.findings
  numbers.set('bytesPerEntry', perEntry)
  numbers.set('loadMs', loadMs)
  numbers.set('longestBlockMs', loaded.longestBlockMs)
  return {
    id: 'i',
    title,
    tables: [
      {
        columns: [
          'entries',
          'start until ready, s',
          'tables, MiB',
          'RSS, MiB',
          'longest block of the event loop, ms',
        ],
        rows: [toRow(without), toRow(loaded)],
      },
    ],
    notes: [
      `${perEntry.toFixed(1)} bytes of the replica's tables an entry. One row less the other: ${rssPerEntry.toFixed(1)} bytes of RSS an entry, buffers of the loading included; ${(loadMs / 1000).toFixed(1)} s to load.`,
    ],
  }
}

async function loadReplica(spec: ContestantSpec, database: Database): Promise<Loaded> {
  return withScope(async (scope) => {
    const startedAt = performance.now()
    const runner = await startNode(scope, spec, database, { MONITOR_EVENT_LOOP: '1' })
    const readiness = (await waitUntilReady(runner.port, LOAD_LIMIT_MS)) as Readiness
    const readyMs = performance.now() - startedAt

    if (!readiness.replica) throw new Error('/readyz says nothing of a replica')
    const { entries, bytes } = readiness.replica
    return { ...(await runner.stats()), readyMs, entries, bytes }
  })
}

function toRow({ entries, bytes, readyMs, rssBytes, longestBlockMs }: Loaded): string[] {
  return [
    formatCount(entries),
    (readyMs / 1000).toFixed(2),
    formatCount(bytes / 2 ** 20),
    formatCount(rssBytes / 2 ** 20),
    formatMs(longestBlockMs),
  ]
}
