/**
 * Has two nodes of the built service live through everyday life at 80% of what they can do, with two restarts of
 * PostgreSQL, the second of them a crash; and says what should not have been (`npm run build` first).
 *
 *     npx tsx scripts/soak.ts [seconds, 600 if not given] [database | replica, the former if not given] [part of the capacity, 0.8]
 *
 * Ends with 1 when a token was accepted that is revoked, or refused that is not; when anything was shed, refused without
 * an outage, or not answered; or when memory grew, which less than some minutes cannot show.
 */
import { randomUUID } from 'node:crypto'
import { loadavg } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { STALENESS_MS } from '../test/faults/support/node.ts'
import type { Check } from '../test/faults/support/node.ts'
import { signToken } from '../test/support/people.ts'
import { SECRET } from '../test/support/service.ts'
import { Heap } from './load/heap.ts'
import { startPair } from './load/pair.ts'
import type { Pair } from './load/pair.ts'
import { keepSocket } from './load/sockets.ts'
import type { SocketsReport } from './load/sockets.ts'
import { Traffic } from './load/traffic.ts'

const [secondsGiven = '600', check = 'database', load = '0.8'] = process.argv.slice(2)
const runMs = 1000 * Number(secondsGiven)

const PERSONS = 40
const SOCKETS = 20
const CAPACITY_MS = 10_000
const CALLERS = 64
const LOAD = Number(load)
const VERIFIED_TOKENS = 20_000

/** More under way at once means that the nodes fell behind. */
const MAX_UNDER_WAY = 2000

/** How long after an outage refusals are excused, and how long before it began a request may have begun, in milliseconds. */
const RECOVERY_MS = 5000
const LONGEST_MS = 9000

/** How much more memory may be in use in the second half of the run than in the first. */
const MAX_GROWTH = 1.1

interface Sample {
  /** The least that was seen in some seconds, which is what there is after a collection; to force one would hold up the node. */
  readonly heap: readonly number[]
  readonly resident: readonly number[]
}

const outages: Array<{ from: number; to: number }> = []
/** While the capacity is measured, the nodes are given all that they can do. */
let isMeasuring = true
const isExcused = (since: number): boolean =>
  isMeasuring ||
  outages.some(({ from, to }) => since > from - LONGEST_MS && since < to + RECOVERY_MS)

const pair = await startPair(check as Check, {
  NODE_ENV: 'production',
  NODE_OPTIONS: '--inspect=127.0.0.1:0',
  LOG_LEVEL: 'warn',
  SWEEP_INTERVAL: '5',
  ACCESS_TOKEN_TTL: String(Math.max(900, Math.round(runMs / 1000) + 300)),
  ADMIN_REAUTHENTICATION_MAX_AGE: '86400',
})
let hasPassed = false
try {
  hasPassed = await soak(pair)
} finally {
  await pair.stop()
}
process.exit(hasPassed ? 0 : 1)

async function soak({ clients, nodes, cluster }: Pair): Promise<boolean> {
  const boundMs = check === 'replica' ? STALENESS_MS : 0
  const traffic = new Traffic({ nodes: clients, persons: PERSONS, boundMs, isExcused })
  await traffic.start()
  const capacity = await measureCapacity(traffic)
  console.log(
    `capacity: ${capacity.toFixed(0)} acts/s (${CALLERS} callers), load average ${loadavg()
      .map((one) => one.toFixed(1))
      .join(' ')}; ${LOAD * 100}% of it:`,
  )
  await fillMemory(clients)
  traffic.latencyMs.length = 0
  isMeasuring = false

  const startedAt = performance.now()
  const isOver = (): boolean => performance.now() - startedAt > runMs
  const sockets: SocketsReport = { opened: 0, cut: 0, faults: {} }
  const keeping = keepSockets(pair, sockets, isOver)
  const samples: Sample[] = []
  const watching = watchMemory()
  const restarting = restartTwice()
  await driveAtRate(traffic, LOAD * capacity, isOver)
  await Promise.all([watching, restarting, keeping])

  const verified = await traffic.verifyRevoked()
  const faults = { ...traffic.faults, ...sockets.faults }
  const inOrder = traffic.latencyMs.toSorted((one, other) => one - other)
  const at = (part: number): string =>
    (inOrder[Math.floor(part * inOrder.length)] ?? NaN).toFixed(1)
  console.log(`acts and answers: ${JSON.stringify(traffic.counts)}`)
  console.log(
    `latency: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${at(1 - 1 / inOrder.length)} ms`,
  )
  console.log(`revoked tokens asked for again on both nodes in the end: ${verified}`)
  console.log(`sockets: ${sockets.opened} opened, ${sockets.cut} cut by the end of their session`)
  const isMemoryFine = reportMemory(samples)
  const logged = nodes.flatMap(
    ({ log }) => log.match(/^.*(internal error|unhandled error).*$/gm) ?? [],
  )
  for (const line of new Set(logged)) console.log(`a node logged: ${line}`)
  reportRefusals(nodes)
  console.log(`faults: ${JSON.stringify(faults)}`)
  const isFine = Object.keys(faults).length === 0 && isMemoryFine && logged.length === 0
  console.log(isFine ? 'PASSED' : 'FAILED')
  return isFine

  async function watchMemory(): Promise<void> {
    const heaps = await Promise.all(nodes.map(async ({ log }) => Heap.of(log)))
    while (!isOver()) {
      const least = heaps.map(() => Infinity)
      const until = performance.now() + Math.max(15_000, runMs / 20)
      while (performance.now() < until) {
        await sleep(200)
        for (const [node, heap] of heaps.entries())
          least[node] = Math.min(least[node] ?? NaN, await heap.read())
      }
      samples.push({
        heap: least,
        resident: await Promise.all(nodes.map(async (node) => (await node.residentBytes) / 1e6)),
      })
    }
    for (const heap of heaps) heap.close()
  }

  async function restartTwice(): Promise<void> {
    for (const mode of ['fast', 'immediate'] as const) {
      await sleep(runMs / 3)
      const outage = { from: performance.now(), to: Infinity }
      outages.push(outage)
      await cluster.restart(mode)
      outage.to = performance.now()
      console.log(
        `${new Date().toISOString()} PostgreSQL restarted (${mode}): ${(outage.to - outage.from).toFixed(0)} ms away`,
      )
    }
  }
}

async function keepSockets(
  { clients }: Pair,
  report: SocketsReport,
  isOver: () => boolean,
): Promise<void> {
  const emails = Array.from({ length: SOCKETS }, (_, n) => `socket${n}@example.com`)
  const register = `mutation ($email: String!) { register(email: $email, password: "correct horse battery") { tokenType } }`
  for (const email of emails) await clients[0].ask(register, undefined, { email })
  const [one, other] = clients
  await Promise.all(
    emails.map(async (email, n) =>
      keepSocket(n % 2 === 0 ? [one, other] : [other, one], email, report, isOver, isExcused),
    ),
  )
}

async function measureCapacity(traffic: Traffic): Promise<number> {
  let acts = 0
  const call = async (until: number): Promise<void> => {
    while (performance.now() < until) {
      await traffic.act()
      acts += 1
    }
  }
  // Once to warm up.
  for (let round = 0; round < 2; round++) {
    acts = 0
    const until = performance.now() + CAPACITY_MS
    await Promise.all(Array.from({ length: CALLERS }, async () => call(until)))
  }
  return acts / (CAPACITY_MS / 1000)
}

/**
 * Shows each node as many tokens as it keeps verified ones (`src/token/verified-tokens.ts`): otherwise most of the run would
 * go by until that memory is full, and one could not tell it from a leak.
 */
async function fillMemory(clients: Pair['clients']): Promise<void> {
  for (const client of clients) {
    let left = VERIFIED_TOKENS
    const show = async (): Promise<void> => {
      while (left-- > 0) {
        const text = signToken(SECRET, { userId: randomUUID(), sessionId: randomUUID() })
        await client.ask('{ me { id } }', text)
      }
    }
    await Promise.all(Array.from({ length: CALLERS }, show))
  }
}

/** An open loop: a slow answer does not keep the next act back. */
async function driveAtRate(
  traffic: Traffic,
  perSecond: number,
  isOver: () => boolean,
): Promise<void> {
  const startedAt = performance.now()
  const underWay = new Set<Promise<void>>()
  let begun = 0
  while (!isOver()) {
    const due = ((performance.now() - startedAt) / 1000) * perSecond
    for (; begun < due; begun++) {
      if (underWay.size >= MAX_UNDER_WAY) {
        traffic.faults['fell behind'] = (traffic.faults['fell behind'] ?? 0) + 1
        continue
      }
      const acting = traffic.act()
      underWay.add(acting)
      void acting.finally(() => underWay.delete(acting))
    }
    await sleep(2)
  }
  await Promise.all(underWay)
}

/** The middle of the second half of the run beside that of the first; what is kept of verified tokens grows and is halved. */
function reportMemory(samples: readonly Sample[]): boolean {
  const half = Math.ceil(samples.length / 2)
  const middle = (of: readonly Sample[], what: 'heap' | 'resident', node: number): number =>
    of.map((sample) => sample[what][node] ?? NaN).toSorted((a, b) => a - b)[of.length >> 1] ?? NaN
  let isBounded = true
  for (const node of [0, 1]) {
    const [early, late] = [samples.slice(0, half), samples.slice(half)]
    const growth = middle(late, 'heap', node) / middle(early, 'heap', node)
    isBounded &&= growth <= MAX_GROWTH
    const course = samples.map(({ heap }) => heap[node]?.toFixed(0)).join(' ')
    console.log(`node ${node}: heap, MB, through the run: ${course}`)
    console.log(
      [
        `node ${node}: heap in the middle ${middle(early, 'heap', node).toFixed(1)} MB in the first half`,
        `${middle(late, 'heap', node).toFixed(1)} in the second (${growth.toFixed(3)})`,
        `resident ${middle(early, 'resident', node).toFixed(0)} and ${middle(late, 'resident', node).toFixed(0)} MB`,
      ].join(', '),
    )
  }
  return isBounded
}

/** Why a node could not ask the database while PostgreSQL was there, by the second. */
function reportRefusals(nodes: Pair['nodes']): void {
  const reasons: Record<string, number> = {}
  for (const [number, { log }] of nodes.entries()) {
    for (const line of log.match(/^.*Cannot check tokens at the moment.*$/gm) ?? []) {
      const { time, err } = JSON.parse(line) as { time: string; err?: { message?: string } }
      if (isExcused(Date.parse(time) - performance.timeOrigin)) continue
      const reason = `${time.slice(0, 19)} node ${number}: ${err?.message}`
      reasons[reason] = (reasons[reason] ?? 0) + 1
    }
  }
  for (const [reason, times] of Object.entries(reasons))
    console.log(`refused at ${reason}, ${times} times`)
}
