import { setTimeout as sleep } from 'node:timers/promises'
import { createDeferred } from '../deferred.ts'
import { Caller } from './caller.ts'
import { HeldSocket } from './held-socket.ts'
import { createJudge } from './judge.ts'
import type { CutStream, EventRace, EventRaceResult, NodeName } from './live-plan.ts'
import { Noise } from './noise.ts'

const CLOSE_LIMIT_MS = 10_000

/** Has events flow on both nodes, revokes their reader on one of them, and sees what still comes. */
export async function raceEvents(race: EventRace): Promise<EventRaceResult> {
  const { ports, party, flowMs } = race
  const answer: Answer = { at: null, isTurnOver: false }
  const streams = {
    'same node': new Stream('same node', ports['same node'], party, answer),
    'other node': new Stream('other node', ports['other node'], party, answer),
  }
  await Promise.all(Object.values(streams).map((stream) => stream.connected()))

  const noise = Noise.start(Object.values(ports), race.noise, race.noiseConnections)
  const startedAt = performance.now()
  const caller = new Caller(ports['same node'])
  try {
    await sleep(flowMs)
    const { events } = streams['same node']
    const seconds = (performance.now() - startedAt) / 1000
    const perSecond = {
      eventsPerSecond: events / seconds,
      revocationsPerSecond: noise.answers / seconds,
    }

    await caller.ask(race.revoke, createJudge(race.revoked))
    answer.at = performance.now()
    setImmediate(() => {
      answer.isTurnOver = true
    })
    const cut = async (stream: Stream): Promise<CutStream> => stream.result()
    return {
      ...perSecond,
      streams: {
        'same node': await cut(streams['same node']),
        'other node': await cut(streams['other node']),
      },
    }
  } finally {
    caller.close()
    await noise.stop()
    for (const stream of Object.values(streams)) stream.close()
  }
}

interface Answer {
  at: number | null
  isTurnOver: boolean
}

class Stream {
  events = 0
  #late = 0
  #latestMs = 0
  readonly #answer: Answer
  readonly #socket: HeldSocket
  readonly #closed = createDeferred<void>()

  constructor(node: NodeName, port: number, party: EventRace['party'], answer: Answer) {
    this.#answer = answer
    this.#socket = new HeldSocket({
      ...party,
      node,
      port,
      onEvent: () => this.#noteEvent(),
      onClosed: () => this.#closed.resolve(),
    })
  }

  async connected(): Promise<void> {
    await this.#socket.connected()
  }

  async result(): Promise<CutStream> {
    await Promise.race([this.#closed.promise, sleep(CLOSE_LIMIT_MS, undefined, { ref: false })])
    const { closedAt, closing } = this.#socket
    return {
      events: this.events,
      late: this.#late,
      latestMs: this.#latestMs,
      closedMs: closedAt === null ? Infinity : Math.max(0, closedAt - (this.#answer.at as number)),
      closing,
    }
  }

  close(): void {
    this.#socket.close()
  }

  #noteEvent(): void {
    this.events += 1
    const { at, isTurnOver } = this.#answer
    if (at === null || !isTurnOver) return
    this.#late += 1
    this.#latestMs = performance.now() - at
  }
}
