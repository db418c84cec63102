import { readFileSync } from 'node:fs'
import { request as openRequest } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import type { HeavyRequest } from './heavy-requests.ts'
import type { Node } from './node.ts'

/** What one request cost, and what came of it; of a batch, for each operation. */
export interface Cost {
  /**
   * Processor time of the thread that runs the event loop, in milliseconds, for each operation: that the machine is busy does not
   * count.
   */
  readonly ms: number
  /** 0 over a WebSocket, and when the connection was closed without an answer. */
  readonly status: number
  readonly bytes: number
}

/** What a request may cost, in milliseconds: then nothing else waits longer for it. */
export const MAX_MS = 100

/** What an answer may have, in bytes. The schema, asked for in every way there is room for, is the largest. */
export const MAX_ANSWER_BYTES = 512 * 1024

/** A machine that does much else at the same time makes everything slower; the least of so many is meant. */
const ATTEMPTS = 5

/** How long a stream or a socket is listened to, in milliseconds. */
const LISTEN_MS = 50

const ANSWER_MS = 60_000

/** Sends requests to a node one at a time, and measures each. */
export class HeavyClient {
  readonly #node: Node
  readonly #token: string | null

  constructor(node: Node, token: string | null) {
    this.#node = node
    this.#token = token
  }

  /** @returns The least of some attempts; of one, when that is little enough. */
  async measure(request: HeavyRequest): Promise<Cost> {
    let least = await this.#measureOnce(request)
    for (let attempt = 1; attempt < ATTEMPTS && least.ms > MAX_MS / 2; attempt += 1) {
      const cost = await this.#measureOnce(request)
      if (cost.ms < least.ms) least = { ...cost, bytes: Math.max(cost.bytes, least.bytes) }
    }
    return least
  }

  async #measureOnce(request: HeavyRequest): Promise<Cost> {
    const before = this.#readProcessorMs()
    const answer = request.over === 'WEBSOCKET' ? this.#say(request) : this.#send(request)
    const { status, bytes } = await answer
    // What is written to the kernel when the thread rests.
    await sleep(2)
    const ms = this.#readProcessorMs() - before
    const { operations = 1 } = request
    return { status, bytes: bytes / operations, ms: ms / operations }
  }

  #readProcessorMs(): number {
    const { pid } = this.#node
    const [nanoseconds] = readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ')
    return Number(nanoseconds) / 1e6
  }

  async #send({ method = 'POST', headers, search = '', body }: HeavyRequest): Promise<Answer> {
    return new Promise((resolve) => {
      const answer = { status: 0, bytes: 0 }
      const request = openRequest(`${this.#node.url}/graphql${search}`, {
        method,
        agent: false,
        timeout: ANSWER_MS,
        headers: {
          ...(method === 'GET'
            ? { 'apollo-require-preflight': '1' }
            : { 'content-type': 'application/json' }),
          ...this.#authorization,
          ...headers,
        },
      })
      request.on('timeout', () => request.destroy())
      request.on('error', () => resolve(answer))
      request.on('response', (response) => {
        answer.status = response.statusCode ?? 0
        response.on('data', ({ length }: Buffer) => (answer.bytes += length))
        response.once('close', () => resolve(answer))
        if (response.headers['content-type']?.includes('event-stream'))
          setTimeout(() => request.destroy(), LISTEN_MS)
      })
      request.end(body)
    })
  }

  async #say({ body = '' }: HeavyRequest): Promise<Answer> {
    const url = `${this.#node.url.replace('http', 'ws')}/graphql`
    const socket = new WebSocket(url, 'graphql-transport-ws')
    const answer = { status: 0, bytes: 0 }
    return new Promise((resolve) => {
      socket.on('error', () => resolve(answer))
      socket.once('close', () => resolve(answer))
      socket.once('open', () => {
        socket.send(JSON.stringify({ type: 'connection_init', payload: this.#authorization }))
        socket.once('message', () => {
          socket.send(body)
          socket.on('message', ({ length }: Buffer) => {
            answer.bytes += length
            setTimeout(() => socket.terminate(), LISTEN_MS)
          })
          setTimeout(() => socket.terminate(), ANSWER_MS).unref()
        })
      })
    })
  }

  get #authorization(): Readonly<Record<string, string>> {
    return this.#token === null ? {} : { authorization: `Bearer ${this.#token}` }
  }
}

interface Answer {
  readonly status: number
  readonly bytes: number
}
