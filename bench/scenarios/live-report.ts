import type { Bench, Section, Table } from '../bench.ts'
import { formatCount, formatMs } from '../format.ts'
import type { NodeName } from '../load/live-plan.ts'
import { versionOf } from '../machine.ts'
import { quantileOf } from './live-figures.ts'
import type { DrillFigures, LiveFigures, Occupancy } from './live-figures.ts'
import type { PeerFigures } from './live-peer.ts'

export interface LiveReport {
  readonly figures: readonly LiveFigures[]
  readonly peer: PeerFigures | null
  readonly notes: readonly string[]
}

const NODES: readonly NodeName[] = ['same node', 'other node']

export function toSection(bench: Bench, { figures, peer, notes }: LiveReport): Section {
  for (const one of figures) noteNumbers(bench, one)
  const { sockets, cuts } = bench.options.amounts
  return {
    id: 'k',
    title: `${formatCount(sockets)} live sockets, and the end of them`,
    tables: [
      tableOfOpening(figures, peer),
      tableOfCuts(figures, cuts),
      tableOfDrills(figures),
      tableOfEvents(figures),
      tableOfStuck(figures),
    ],
    notes: [
      ...notes,
      'Clients of `graphql-ws` in one process, ten a session, each with `subscription { sessionEnded }`; those of two admins with `revocationEvents`. All instants are that process’s, by one clock; it shares the two cores with both nodes and PostgreSQL, so its own work is in every figure, and so is whatever else the machine does; CPU times are what was computed for the drill. A closing is counted when the client library reports it, after the close frames have gone both ways; 0 when that was before the mutation’s answer.',
      'Wrong: a socket of the session that stayed, closed with anything but 4403 `TOKEN_REVOKED`, or was not told by one `sessionEnded` before; or any other socket that closed. Memory is read after a collection of garbage; the sockets’ buffers in the kernel are not in it. What was allocated outside of the heap the process keeps for the next sockets.',
      'Events: an admin’s `revocationEvents` on both nodes while 64 connections revoke as fast as they can, and the admin’s session is revoked on the one. Late are those that came in a later turn of the client’s event loop than the answer; what was on its way when the answer was written comes in the same.',
      ...(peer === null
        ? ['Without Redis the peer was not run.']
        : [
            `${peer.name}: Apollo Server ${versionOf('@apollo/server')} and \`useServer\` of graphql-ws ${versionOf('graphql-ws')}, token and Redis denylist looked at in \`onConnect\`; it knows no way to end what is open.`,
          ]),
    ],
  }
}

export function sayFigures({ say }: Bench, { mode, cuts, drills }: LiveFigures): void {
  const [same, other] = NODES.map((node) => formatMs(quantileOf(cuts.delaysMs[node], 0.99)))
  const drill = formatMs(Math.max(...drills.map(lastOf)))
  say(`(k) ${mode}: p99 ${same} ms, on the other node ${other} ms; everybody in ${drill} ms`)
}

function noteNumbers({ findings }: Bench, figures: LiveFigures): void {
  const { mode, start, cuts, drills, races, stuck } = figures
  const [first, second] = drills as [DrillFigures, DrillFigures]
  const wrong = [cuts, ...drills, stuck.cut].reduce((sum, one) => sum + one.wrong.length, 0)
  const numbers = {
    wrong,
    cutP99: quantileOf(cuts.delaysMs['same node'], 0.99),
    cutElsewhere: quantileOf(cuts.delaysMs['other node'], 1),
    everybody: Math.max(...drills.map(lastOf)),
    block: Math.max(...drills.map(({ longestBlockMs }) => longestBlockMs)),
    heapLeft: second.after.heapBytes / start.heapBytes,
    heapGrowth: second.after.heapBytes / first.after.heapBytes,
    rssGrowth: second.after.rssBytes / first.after.rssBytes,
    late: races.reduce((sum, { streams }) => sum + streams['same node'].late, 0),
    latestElsewhere: Math.max(...races.map(({ streams }) => streams['other node'].latestMs)),
    stuckMs: Math.max(...stuck.found.map(({ goneMs }) => goneMs)),
    besideStuck: quantileOf(stuck.cut.delaysMs['same node'], 1),
  }
  for (const [name, value] of Object.entries(numbers)) {
    findings.numbers.set(`live:${name}:${mode}`, value)
  }
}

function lastOf({ delaysMs }: DrillFigures): number {
  return Math.max(...NODES.flatMap((node) => quantileOf(delaysMs[node], 1)).filter((ms) => ms >= 0))
}

function tableOfOpening(figures: readonly LiveFigures[], peer: PeerFigures | null): Table {
  const rows = figures.map((one) => [
    one.mode,
    ...toOccupancy(one),
    formatMs(one.idleBlockMs),
    'closes',
  ])
  if (peer !== null) {
    const fate =
      peer.stayed === peer.revoked ? 'stays open' : `${peer.stayed} of ${peer.revoked} stay open`
    rows.push([peer.name, ...toOccupancy(peer), '', fate])
  }
  return {
    columns: [
      'opening',
      'sockets',
      's',
      'sockets/s',
      'RSS a socket, KiB',
      'heap a socket, KiB',
      'RSS, MiB',
      'longest block meanwhile, ms',
      'idle, ms',
      'when revoked',
    ],
    rows,
  }
}

function toOccupancy({ opened, start, open, longestBlockMs }: Occupancy): string[] {
  const kibASocket = (one: 'rssBytes' | 'heapBytes'): string =>
    ((open[one] - start[one]) / opened.open / 1024).toFixed(1)
  return [
    formatCount(opened.open),
    (opened.elapsedMs / 1000).toFixed(1),
    formatCount((opened.open * 1000) / opened.elapsedMs),
    kibASocket('rssBytes'),
    kibASocket('heapBytes'),
    formatCount(open.rssBytes / 2 ** 20),
    formatMs(longestBlockMs),
  ]
}

function tableOfCuts(figures: readonly LiveFigures[], count: number): Table {
  return {
    columns: [
      `${formatCount(count)} sessions revoked, one at a time`,
      'closings',
      'p50 ms',
      'p99 ms',
      'max ms',
      'longest block, ms',
      'wrong',
    ],
    rows: figures.flatMap(({ mode, cuts }) =>
      NODES.map((node) => [
        `${mode}, ${node}`,
        formatCount(cuts.delaysMs[node].length),
        ...[0.5, 0.99, 1].map((share) => formatMs(quantileOf(cuts.delaysMs[node], share))),
        node === 'same node' ? formatMs(cuts.longestBlockMs) : '',
        node === 'same node' ? describeFaults(cuts.wrong) : '',
      ]),
    ),
  }
}

function tableOfDrills(figures: readonly LiveFigures[]): Table {
  const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(1)
  return {
    columns: [
      '`revokeEveryone`',
      'sockets',
      'half closed after ms',
      'all closed after ms',
      'longest block, ms',
      'of the clients',
      'CPU of the node, ms',
      'of the clients',
      'heap after, MiB',
      'heap at the start',
      'RSS after, MiB',
      'RSS at the start',
      'wrong',
    ],
    rows: figures.flatMap(({ mode, drills, start }) =>
      drills.map((drill, index) => [
        `${mode}, ${index === 0 ? 'once' : 'again'}`,
        formatCount(drill.sockets),
        formatMs(quantileOf(drill.delaysMs['same node'], 0.5)),
        formatMs(lastOf(drill)),
        formatMs(drill.longestBlockMs),
        formatMs(drill.clientBlockMs),
        formatCount(drill.nodeCpuMs),
        formatCount(drill.clientCpuMs),
        mib(drill.after.heapBytes),
        mib(start.heapBytes),
        mib(drill.after.rssBytes),
        mib(start.rssBytes),
        describeFaults(drill.wrong),
      ]),
    ),
  }
}

function tableOfEvents(figures: readonly LiveFigures[]): Table {
  return {
    columns: [
      'a stream of events is cut',
      'times',
      'revocations/s',
      'events/s',
      'events',
      'late',
      'the last after ms',
      'closed after ms, p50',
      'max',
    ],
    rows: figures.flatMap(({ mode, races }) =>
      NODES.map((node) => {
        const streams = races.map((race) => race.streams[node])
        return [
          `${mode}, ${node}`,
          String(races.length),
          formatCount(meanOf(races.map((race) => race.revocationsPerSecond))),
          formatCount(meanOf(races.map((race) => race.eventsPerSecond))),
          formatCount(streams.reduce((sum, { events }) => sum + events, 0)),
          formatCount(streams.reduce((sum, { late }) => sum + late, 0)),
          formatMs(Math.max(...streams.map(({ latestMs }) => latestMs))),
          ...[0.5, 1].map((share) =>
            formatMs(
              quantileOf(
                streams.map(({ closedMs }) => closedMs),
                share,
              ),
            ),
          ),
        ]
      }),
    ),
  }
}

function tableOfStuck(figures: readonly LiveFigures[]): Table {
  const [{ stuck: first }] = figures as [LiveFigures]
  return {
    columns: [
      'five clients each',
      ...first.found.map(({ how }) => `${how}: gone after s`),
      'RSS at the most, MiB more',
      'heap after, MiB more',
      'their cut: others closed after ms',
      'gone after s',
      'wrong',
    ],
    rows: figures.map(({ mode, stuck }) => [
      mode,
      ...stuck.found.map(({ goneMs }) => (goneMs / 1000).toFixed(1)),
      (stuck.rssGrowthBytes / 2 ** 20).toFixed(1),
      (stuck.heapGrowthBytes / 2 ** 20).toFixed(1),
      formatMs(quantileOf(stuck.cut.delaysMs['same node'], 1)),
      (stuck.cut.goneMs / 1000).toFixed(1),
      describeFaults(stuck.cut.wrong),
    ]),
  }
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

function describeFaults(faults: readonly string[]): string {
  return faults.length === 0 ? '0' : `${faults.length} (${faults.slice(0, 3).join('; ')})`
}
