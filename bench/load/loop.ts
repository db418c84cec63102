import { createDeferred } from '../deferred.ts'
import { Connection } from './connection.ts'
import { Histogram } from './histogram.ts'
import { createJudge, quote } from './judge.ts'
import type { Job, JobResult, Plan } from './plan.ts'

/** How many connections may break before the job is given up. */
const MAX_BROKEN = 1000

/** A closed loop under way. */
export interface Loop {
  readonly result: Promise<JobResult>
  stop(): void
}

export function startLoop(job: Job, { requests, expectations }: Plan): Loop {
  const judges = expectations.map(createJudge)
  const latencies = new Histogram()
  const connections = new Set<Connection>()
  const finished = createDeferred<JobResult>()
  const cpuBefore = process.cpuUsage()
  const startedAt = performance.now()

  let measuredFrom = startedAt + job.warmUpMs
  let next = 0
  let inAll = 0
  let wrong = 0
  let firstWrong: string | null = null
  let broken = 0
  let isOver = false

  function open(): void {
    let sentAt = 0
    let expected = 0

    const connection = new Connection(
      job.port,
      (status, data, start, end) => {
        if (isOver) return
        const now = performance.now()
        inAll += 1
        if (now >= measuredFrom) latencies.record((now - sentAt) * 1000)
        if (!judges[expected]!(status, data, start, end)) {
          wrong += 1
          firstWrong ??= quote(status, data, start, end)
        }
        send()
      },
      () => {
        connections.delete(connection)
        broken += 1
        if (broken > MAX_BROKEN) finish()
        else if (!isOver) setTimeout(open, 10)
      },
    )
    connections.add(connection)

    function send(): void {
      if (job.once && next === requests.length) {
        connections.delete(connection)
        connection.close()
        if (connections.size === 0) finish()
        return
      }
      const request = requests[next % requests.length]!
      next += 1
      expected = request.expects
      sentAt = performance.now()
      connection.send(request.bytes)
    }
    send()
  }

  function finish(): void {
    if (isOver) return
    isOver = true
    clearTimeout(timer)
    for (const connection of connections) connection.close()

    const endedAt = performance.now()
    const { user, system } = process.cpuUsage(cpuBefore)
    const seconds = (endedAt - measuredFrom) / 1000
    finished.resolve({
      answers: latencies.total,
      answersInAll: inAll,
      perSecond: latencies.total / seconds,
      p50Ms: latencies.percentile(50),
      p99Ms: latencies.percentile(99),
      maxMs: latencies.max,
      wrong,
      firstWrong,
      brokenConnections: broken,
      loadCpu: (user + system) / 1000 / (endedAt - startedAt),
    })
  }

  const timer = setTimeout(finish, job.warmUpMs + job.durationMs)
  for (let n = 0; n < job.connections; n += 1) open()
  return {
    result: finished.promise,
    stop() {
      // Stopped during its warm-up it has measured nothing.
      measuredFrom = Math.min(measuredFrom, performance.now())
      finish()
    },
  }
}
