/**
 * Measures what becomes of a node that is asked for more than it can do: a query of twenty fields, sent at 1, 2 and 4 times of
 * what it can serve, whatever becomes of it, to a node that refuses what is too much and to one that never does.
 *
 *     npx tsx scripts/overload.ts [database | replica, the former if not given] [seconds a phase, 8] [rounds, 3]
 */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startEmbeddedPostgres } from '../src/embedded-postgres/embedded-postgres.ts'
import { Connection, write } from './load/connection.ts'
import { runOpenLoop } from './load/open-loop.ts'
import type { OpenLoopResult } from './load/open-loop.ts'

const [check = 'database', secondsGiven = '8', roundsGiven = '3'] = process.argv.slice(2)
const seconds = Number(secondsGiven)
const CONNECTIONS = 2000
const QUERY = `{ ${Array.from({ length: 20 }, (_, n) => `me${n}: me { id email }`).join(' ')} }`
const TIMES = [1, 2, 4]
const NODES = { 'with shedding': 500, 'without shedding': Infinity }

/** An answer that comes later is of no use. */
const USEFUL_MS = 1000

/** So many callers, who wait for their answers, keep a node busy and have no queue stand before it. */
const CALLERS = 128

const dataDir = await mkdtemp(join(tmpdir(), 'portcullis-overload-'))
const database = await startEmbeddedPostgres({ dataDir })
const results = new Map<string, OpenLoopResult[]>()
try {
  for (let round = 1; round <= Number(roundsGiven); round++) {
    for (const [name, maxUnderWay] of Object.entries(NODES)) await runRound(name, maxUnderWay)
  }
} finally {
  await database.stop()
  await rm(dataDir, { recursive: true, force: true })
}

console.log(`\nmedians of ${roundsGiven} rounds, ${check}:`)
for (const [what, runs] of results) console.log(`${what}: ${describe(runs)}`)

async function runRound(name: string, maxUnderWay: number): Promise<void> {
  const node = fork('scripts/load/overload-node.ts', {
    env: {
      PATH: process.env['PATH'],
      PORT: '0',
      NODE_ENV: 'production',
      LOG_LEVEL: 'error',
      DATABASE_URL: database.url,
      JWT_SECRET: 'a secret of the load, of more than 32 bytes',
      REVOCATION_CHECK: check,
      MAX_UNDER_WAY: String(maxUnderWay),
    },
  })
  try {
    const [{ url }] = (await once(node, 'message')) as [{ url: string }]
    const port = Number(new URL(url).port)
    const requests = [write({ query: QUERY }, await signIn(port))]
    await measureCapacity(port, requests[0] ?? '', 4)
    const capacity = await measureCapacity(port, requests[0] ?? '', 3)

    for (const times of TIMES) {
      const perSecond = capacity * times
      const result = await runOpenLoop({
        port,
        perSecond,
        seconds,
        requests,
        connections: CONNECTIONS,
      })
      const what = `${name}, ${times} x`
      results.set(what, [...(results.get(what) ?? []), result])
      console.log(`${what} of ${capacity.toFixed(0)}/s: ${describe([result])}`)
      await sleep(1500)
    }
  } finally {
    await stop(node)
  }
}

async function signIn(port: number): Promise<string> {
  const query = `mutation ($email: String!, $password: String!) {
    register(email: $email, password: $password) { accessToken }
  }`
  const variables = { email: `person${Date.now()}@example.com`, password: 'correct horse battery' }
  const body = await new Promise<string>((resolve) => {
    const connection = new Connection(port)
    connection.send(write({ query, variables }), (answer) => {
      connection.close()
      resolve(answer?.body ?? '')
    })
  })
  const [, token] = /"accessToken":"([^"]+)"/.exec(body) ?? []
  if (token === undefined) throw new Error(`no token in ${body}`)
  return token
}

/** @returns How many a second are answered when every caller waits for his answer before he asks again. */
async function measureCapacity(port: number, request: string, forSeconds: number): Promise<number> {
  const connections = Array.from({ length: CALLERS }, () => new Connection(port))
  let answers = 0
  const ask = (connection: Connection): void =>
    connection.send(request, (answer) => {
      if (answer === null) return
      if (answer.status !== 200) throw new Error(`answered ${answer.status}`)
      answers += 1
      ask(connection)
    })
  for (const connection of connections) ask(connection)
  await sleep(forSeconds * 1000)
  for (const connection of connections) connection.close()
  return answers / forSeconds
}

function describe(runs: readonly OpenLoopResult[]): string {
  const of = (read: (run: OpenLoopResult) => number): number =>
    runs.map(read).toSorted((one, other) => one - other)[Math.floor(runs.length / 2)] ?? NaN
  const useful = of(({ servedMs }) => servedMs.filter((ms) => ms <= USEFUL_MS).length / seconds)
  const served = (part: number): number => of(({ servedMs }) => at(servedMs, part))
  return [
    `served within ${USEFUL_MS} ms ${useful.toFixed(0)}/s`,
    `p50 ${served(0.5).toFixed(0)} ms, p99 ${served(0.99).toFixed(0)} ms`,
    `503: ${of(({ statuses }) => statuses[503] ?? 0)}, in p99 ${of(({ refusedMs }) => at(refusedMs, 0.99)).toFixed(0)} ms`,
    `no answer: ${of(({ statuses }) => statuses[0] ?? 0)}`,
    ...(runs.length === 1 ? [JSON.stringify(runs[0]?.statuses)] : []),
  ].join('; ')
}

function at(inOrder: readonly number[], part: number): number {
  return inOrder[Math.floor(part * inOrder.length)] ?? NaN
}

async function stop(node: ChildProcess): Promise<void> {
  const isOver = once(node, 'exit')
  node.kill('SIGKILL')
  await isOver
}
