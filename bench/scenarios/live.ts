/** (k): live sockets, and how fast a revocation ends them. */
import { setTimeout as sleep } from 'node:timers/promises'
import { MODES } from '../bench.ts'
import type { Bench, Mode, Section } from '../bench.ts'
import type { Stats } from '../contestants/serve.ts'
import type { ClientStats, CutResult, EventRaceResult, NodeName, Party } from '../load/live-plan.ts'
import { findOurs, notThere } from '../ours.ts'
import { withScope } from '../scope.ts'
import {
  FOLLOW_JOURNAL,
  LOGGED_OUT,
  SOCKETS_A_SESSION,
  createParties,
  logOut,
  openArena,
  readLevel,
  revokeEveryone,
  waitForProtected,
  watchLoop,
  writeLogout,
} from './live-arena.ts'
import type { Arena } from './live-arena.ts'
import type { CutFigures, DrillFigures, LiveFigures, Occupancy } from './live-figures.ts'
import { measurePeer } from './live-peer.ts'
import { sayFigures, toSection } from './live-report.ts'
import { measureStuck, writeNoise } from './live-stuck.ts'

/** Sessions whose sockets follow the journal, as an admin's page does. */
const ADMIN_SESSIONS = 2
const WARM_UP_SESSIONS = 20

/** Between two revocations, so that all of them see the pings of a few rounds; milliseconds. */
const PAUSE_MS = 60

/** A round of pings takes 12 s. Milliseconds. */
const IDLE_MS = 13_000

/** What sockets leave behind has gone by then: whoever is closed has 2 s to hear of it. Milliseconds. */
const LEAVE_MS = 3000

const NOISE_CONNECTIONS = 64
const NOISE_A_RACE = 6000
const FLOW_MS = 600

export async function measureLive(bench: Bench): Promise<Section> {
  const figures: LiveFigures[] = []
  const notes: string[] = []
  for (const mode of MODES) {
    if (findOurs(bench, mode) === null) notes.push(notThere(mode))
    else figures.push(await measureMode(bench, mode))
  }
  if (figures.length === 0) {
    const failure = notes.join(' ')
    return { id: 'k', title: 'Live sockets', tables: [], notes: [], failure }
  }
  const peer = await measurePeer(bench)
  return toSection(bench, { figures, peer, notes })
}

async function measureMode(bench: Bench, mode: Mode): Promise<LiveFigures> {
  return withScope(async (scope) => {
    const arena = await openArena(scope, bench, mode)
    const node = arena.nodes['same node']
    const { cuts } = bench.options.amounts

    await warmUp(arena)
    const start = await readLevel(node)
    const { parties, ...occupancy } = await occupy(arena, cuts)
    const idle = await watchLoop(node, () => sleep(IDLE_MS))
    const cutFigures = await revokeOneByOne(arena, parties.slice(0, cuts))
    const firstDrill = await drill(arena)

    await occupy(arena, 0)
    const drills = [firstDrill, await drill(arena)]
    const figures: LiveFigures = {
      mode,
      start,
      ...occupancy,
      idleBlockMs: idle.longestBlockMs,
      cuts: cutFigures,
      drills,
      races: await race(arena),
      stuck: await measureStuck(arena),
    }
    sayFigures(bench, figures)
    return figures
  })
}

async function warmUp(arena: Arena): Promise<void> {
  const parties = await createParties(arena.database, WARM_UP_SESSIONS)
  await openOn(arena, 'same node', parties)
  await openOn(arena, 'other node', parties)
  await revokeEveryone(arena)
  await sleep(LEAVE_MS)
}

/** All sockets on one node, and as many again of the first sessions on the other. */
async function occupy(
  arena: Arena,
  elsewhere: number,
): Promise<Omit<Occupancy, 'start'> & { readonly parties: readonly Party[] }> {
  const { bench, database, nodes } = arena
  const node = nodes['same node']
  const { sockets } = bench.options.amounts
  const people = await createParties(database, sockets / SOCKETS_A_SESSION - ADMIN_SESSIONS)
  const admins = await createParties(database, ADMIN_SESSIONS, {
    query: FOLLOW_JOURNAL,
    isAdmin: true,
  })

  const { result: opened, longestBlockMs } = await watchLoop(node, () =>
    openOn(arena, 'same node', [...people, ...admins]),
  )
  const open = await readLevel(node)
  await openOn(arena, 'other node', people.slice(0, elsewhere))
  return { opened, longestBlockMs, open, parties: people }
}

async function openOn(
  { nodes, load }: Arena,
  name: NodeName,
  parties: readonly Party[],
): ReturnType<Arena['load']['open']> {
  const { port } = nodes[name]
  const opened = await load.open(name, port, parties)
  if (opened.firstFailure !== null) throw new Error(`a socket failed: ${opened.firstFailure}`)
  const count = parties.reduce((sum, { sockets }) => sum + sockets, 0)
  await waitForProtected(port, count).catch(async (error: unknown) => {
    const lost = await load.ask<readonly string[]>({ kind: 'describeLost' })
    throw new Error(`${(error as Error).message}: ${lost.join('; ')}`, { cause: error })
  })
  return opened
}

async function revokeOneByOne(arena: Arena, parties: readonly Party[]): Promise<CutFigures> {
  const { result, longestBlockMs } = await watchLoop(arena.nodes['same node'], async () => {
    const results: CutResult[] = []
    for (const party of parties) {
      results.push(await logOut(arena, party))
      await sleep(PAUSE_MS)
    }
    return results
  })
  return {
    delaysMs: {
      'same node': result.flatMap(({ delaysMs }) => delaysMs['same node']),
      'other node': result.flatMap(({ delaysMs }) => delaysMs['other node']),
    },
    wrong: result.flatMap(({ wrong }) => wrong),
    longestBlockMs,
  }
}

async function drill(arena: Arena): Promise<DrillFigures> {
  const node = arena.nodes['same node']
  const sockets = await arena.load.ask<number>({ kind: 'count' })
  const before = await readStats(arena)
  await arena.load.ask({ kind: 'watchLoop' })
  const { result, longestBlockMs } = await watchLoop(node, () => revokeEveryone(arena))
  const after = await readStats(arena)
  await sleep(LEAVE_MS)
  return {
    ...result,
    sockets,
    longestBlockMs,
    nodeCpuMs: (after.node.cpu - before.node.cpu) / 1000,
    clientCpuMs: after.clients.cpuMs - before.clients.cpuMs,
    clientBlockMs: after.clients.longestBlockMs,
    after: await readLevel(node),
  }
}

async function readStats({
  nodes,
  load,
}: Arena): Promise<{ readonly node: Stats; readonly clients: ClientStats }> {
  return {
    node: await nodes['same node'].service.ask<Stats>({ kind: 'stats' }),
    clients: await load.ask<ClientStats>({ kind: 'stats' }),
  }
}

/** Events at full speed, and their reader revoked. */
async function race(arena: Arena): Promise<readonly EventRaceResult[]> {
  const { bench, database, nodes, load } = arena
  const ports = {
    'same node': nodes['same node'].port,
    'other node': nodes['other node'].port,
  }
  const results: EventRaceResult[] = []
  for (let count = 0; count < (bench.options.isQuick ? 2 : 10); count += 1) {
    const [party] = await createParties(database, 1, { query: FOLLOW_JOURNAL, isAdmin: true })
    const eventRace = {
      ports,
      party: party!,
      revoke: writeLogout(party!),
      revoked: LOGGED_OUT,
      noise: await writeNoise(arena, NOISE_A_RACE),
      noiseConnections: NOISE_CONNECTIONS,
      flowMs: FLOW_MS,
    }
    results.push(await load.ask<EventRaceResult>({ kind: 'raceEvents', race: eventRace }))
  }
  return results
}
