import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pair } from './pair.ts'

/** Clients that keep their connections, and come back when they are lost. */
export interface Herd {
  /** How many of them were served by a request that began since then; `performance.now()`. */
  servedSince(instant: number): number
  /** @returns The answers that no client should get. */
  stop(): Promise<string[]>
}

/** What an answer may be while everything comes back. */
const EXPECTED = new Set([200, 503])

/** The first pause before a client tries again, in milliseconds; it doubles, and a part is chance. */
const RETRY_MS = 100
const MAX_RETRY_MS = 1000

/** Clients that ask who they are once a second, each with a token of its own. */
export function startHerd(pair: Pair, size: number): Herd {
  const agent = new Agent({ keepAlive: true })
  const servedAt = Array.from({ length: size }, () => -Infinity)
  const unexpected: string[] = []
  let isStopping = false

  const clients = servedAt.map(async (_, client) => {
    const { text: token } = pair.mintToken()
    await sleep(Math.random() * 1000)
    let retryMs = RETRY_MS
    while (!isStopping) {
      const beganAt = performance.now()
      const status = await askStatus(agent, pair.node(client % 2).url, token)
      if (status === 200) servedAt[client] = beganAt
      if (status !== null && !EXPECTED.has(status)) unexpected.push(`client ${client}: ${status}`)

      retryMs = status === 200 ? RETRY_MS : Math.min(2 * retryMs, MAX_RETRY_MS)
      await sleep(status === 200 ? 1000 : retryMs * (0.5 + Math.random() / 2))
    }
  })

  return {
    servedSince: (instant) => servedAt.filter((at) => at >= instant).length,
    async stop() {
      isStopping = true
      await Promise.all(clients)
      agent.destroy()
      return unexpected
    },
  }
}

/** @returns `null` when there was no answer. */
async function askStatus(agent: Agent, url: string, token: string): Promise<number | null> {
  return new Promise((resolve) => {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${token}` }
    const asking = request(`${url}/graphql`, { method: 'POST', agent, headers, timeout: 10_000 })
    asking.on('response', (response) => {
      response.resume()
      response.on('end', () => resolve(response.statusCode ?? null))
      response.on('error', () => resolve(null))
    })
    asking.on('timeout', () => asking.destroy())
    asking.on('error', () => resolve(null))
    asking.end(JSON.stringify({ query: '{ me { email } }' }))
  })
}
