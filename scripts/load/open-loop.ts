import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Connection } from './connection.ts'

/** Requests sent at a rate, whatever becomes of them. */
export interface OpenLoop {
  readonly port: number
  readonly perSecond: number
  readonly seconds: number
  /** Taken in turn. */
  readonly requests: readonly string[]
  /** Opened beforehand, as a load balancer keeps them. */
  readonly connections: number
}

export interface OpenLoopResult {
  /** How often each status came; 0 stands for no answer. */
  readonly statuses: Readonly<Record<number, number>>
  /** Of 200, from the moment at which each was due, in milliseconds, in order. */
  readonly servedMs: readonly number[]
  /** Of 503, likewise. */
  readonly refusedMs: readonly number[]
}

/** How long answers may take after the last request, in milliseconds. */
const PATIENCE_MS = 10_000

/** Runs it in a process of its own, so that what it costs to send them is not taken for a slow answer. */
export async function runOpenLoop(loop: OpenLoop): Promise<OpenLoopResult> {
  const child = fork(fileURLToPath(import.meta.url))
  child.send(loop)
  const [result] = (await once(child, 'message')) as [OpenLoopResult]
  child.kill()
  return result
}

if (process.send !== undefined && process.argv[1] === fileURLToPath(import.meta.url)) {
  process.once('message', (loop: OpenLoop) => {
    void send(loop).then((result) => process.send?.(result))
  })
}

async function send(loop: OpenLoop): Promise<OpenLoopResult> {
  const { port, perSecond, seconds, requests, connections } = loop
  const total = Math.round(perSecond * seconds)
  const statuses: Record<number, number> = {}
  const servedMs: number[] = []
  const refusedMs: number[] = []
  const idle = await openAll(port, connections)
  const start = performance.now()
  let due = 0
  let begun = 0
  let answered = 0

  /** In the order in which they are due; a request without a free connection waits, and that counts. */
  function sendNext(connection: Connection): void {
    if (begun >= due) {
      idle.push(connection)
      return
    }
    const dueAt = start + (begun / perSecond) * 1000
    const request = requests[begun % requests.length] ?? ''
    begun += 1
    connection.send(request, (answer) => {
      const ms = performance.now() - dueAt
      const status = answer?.status ?? 0
      statuses[status] = (statuses[status] ?? 0) + 1
      if (status === 200) servedMs.push(ms)
      if (status === 503) refusedMs.push(ms)
      answered += 1
      if (connection.isOpen) sendNext(connection)
    })
  }

  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const ms = performance.now() - start
      due = Math.min(total, Math.floor((ms / 1000) * perSecond))
      while (begun < due) {
        const connection = idle.pop()
        if (connection === undefined) break
        sendNext(connection)
      }
      if (answered < total && ms < seconds * 1000 + PATIENCE_MS) return
      clearInterval(timer)
      resolve()
    }, 1)
  })
  statuses[0] = (statuses[0] ?? 0) + total - answered
  const inOrder = (all: number[]): number[] => all.toSorted((one, other) => one - other)
  return { statuses, servedMs: inOrder(servedMs), refusedMs: inOrder(refusedMs) }
}

/** Some at a time: more than wait to be accepted would be dropped. */
async function openAll(port: number, count: number): Promise<Connection[]> {
  const all: Connection[] = []
  while (all.length < count) {
    const some = Array.from(
      { length: Math.min(100, count - all.length) },
      () => new Connection(port),
    )
    await Promise.all(some.map((connection) => connection.opened()))
    all.push(...some)
  }
  return all
}
