import { createClient } from 'graphql-ws'
import type { Client } from 'graphql-ws'
import { WebSocket } from 'ws'
import { createDeferred } from '../deferred.ts'
import type { NodeName } from './live-plan.ts'

export interface HeldSocketOptions {
  readonly node: NodeName
  readonly port: number
  readonly session: string
  readonly token: string
  readonly query: string
  readonly onEvent?: (() => void) | undefined
  readonly onClosed?: (() => void) | undefined
}

/** A client of `graphql-ws` with one subscription, until somebody closes it. */
export class HeldSocket {
  readonly node: NodeName
  readonly session: string
  /** Whether it is told of its end before. */
  readonly isTold: boolean
  events = 0
  closedAt: number | null = null
  closing = ''
  /** What the server said instead of an event. */
  fault = ''
  readonly #client: Client
  readonly #connected = createDeferred<void>()

  constructor({ node, port, session, token, query, onEvent, onClosed }: HeldSocketOptions) {
    this.node = node
    this.session = session
    this.isTold = query.includes('sessionEnded')
    this.#client = createClient({
      url: `ws://127.0.0.1:${port}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization: `Bearer ${token}` },
      retryAttempts: 0,
      onNonLazyError: () => undefined,
      on: {
        connected: () => this.#connected.resolve(),
        closed: (event) => {
          const { code, reason } = event as { code: number; reason: string }
          this.closedAt = performance.now()
          this.closing = `${code} ${reason}`
          this.#connected.reject(new Error(`closed with ${this.closing}`))
          onClosed?.()
        },
      },
    })
    this.#client.subscribe(
      { query },
      {
        next: ({ errors }) => {
          if (errors) this.fault = JSON.stringify(errors)
          this.events += 1
          onEvent?.()
        },
        error: (error) => {
          // Anything else is its close event.
          if (Array.isArray(error)) this.fault = JSON.stringify(error)
        },
        complete: () => undefined,
      },
    )
  }

  get isOpen(): boolean {
    return this.closedAt === null
  }

  /** Fulfilled when the server has admitted it. */
  async connected(): Promise<this> {
    await this.#connected.promise
    return this
  }

  close(): void {
    void this.#client.dispose()
  }
}
