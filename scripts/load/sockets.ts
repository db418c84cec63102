import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import type { Client } from './client.ts'

const SUBSCRIPTION = 'subscription { sessionEnded { reason } }'

/** How long after the answer to its revocation a socket may still be open, in milliseconds. */
const CUT_MS = 2000

/** After an outage it may take longer, in milliseconds; for so long it is not asked again. */
const PATIENCE_MS = 15_000

export interface SocketsReport {
  opened: number
  cut: number
  readonly faults: Record<string, number>
}

/** Keeps one socket on a node: after some time its session is ended on the other node, and it must close. */
export async function keepSocket(
  [node, other]: readonly [Client, Client],
  email: string,
  report: SocketsReport,
  isOver: () => boolean,
  isExcused: (since: number) => boolean,
): Promise<void> {
  const fault = (what: string): void => {
    report.faults[what] = (report.faults[what] ?? 0) + 1
    console.log(`${new Date().toISOString()} ${what}`)
  }
  const act = `mutation ($email: String!) { login(email: $email, password: "correct horse battery") { accessToken } }`
  while (!isOver()) {
    const { data } = await node.ask(act, undefined, { email })
    const token = data?.login?.accessToken
    if (token === undefined) {
      await sleep(500)
      continue
    }
    const closing = open(`ws://127.0.0.1:${node.port}/graphql`, token)
    report.opened += 1
    let closed: number | null = null
    void closing.then((code) => {
      closed = code
    })

    for (let left = 10 + Math.random() * 20; left > 0 && closed === null && !isOver(); left -= 0.5)
      await sleep(500)
    if (closed !== null) {
      fault(`a socket closed by itself with ${String(closed)}`)
      continue
    }
    const { data: answer, endedAt } = await other.ask(
      'mutation { logout { alreadyRevoked } }',
      token,
    )
    const code = await Promise.race([closing, sleep(PATIENCE_MS, 'no close')])
    // Whether a logout that was refused happened is unknown; and in an outage no news comes.
    const isLate = performance.now() - endedAt > CUT_MS && !isExcused(endedAt)
    if (answer && code !== 4403) fault(`a socket of an ended session: ${code}`)
    else if (answer && isLate) fault('a socket of an ended session was closed late')
    if (code === 4403) report.cut += 1
  }
}

async function open(url: string, token: string): Promise<number> {
  return new Promise((resolve) => {
    const client = createClient({
      url,
      webSocketImpl: WebSocket,
      retryAttempts: 0,
      // It would close the socket itself as soon as it was told that its session ended.
      lazy: false,
      onNonLazyError: () => undefined,
      connectionParams: { authorization: `Bearer ${token}` },
      on: { closed: (event) => resolve((event as { code: number }).code) },
    })
    client.subscribe(
      { query: SUBSCRIPTION },
      { next: () => undefined, error: () => undefined, complete: () => undefined },
    )
  })
}
