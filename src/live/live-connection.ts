import { randomUUID } from 'node:crypto'
import type { Revocation } from '../contract.ts'
import type { PortcullisError } from '../errors.ts'
import { callOut } from '../lib/call-out.ts'
import type { Token } from '../token/claims.ts'

/** A WebSocket carries any number of operations, an event stream one. */
export type LiveConnectionKind = 'WEBSOCKET' | 'EVENT_STREAM'

/** What carries a connection. Its methods do nothing once it is closed; what they throw is a warning. */
export interface Transport {
  /** Tells the client that its token expires soon. */
  announceExpiry(expiresAt: Date): void
  /** Closes the connection and says why. */
  end(why: PortcullisError): void
}

/** Where a connection comes from, and what carries it. */
export interface LiveConnectionOptions {
  readonly kind: LiveConnectionKind
  readonly transport: Transport
  readonly ipAddress: string | null
  readonly userAgent: string | null
}

/** A client that stays connected. */
export class LiveConnection {
  readonly id: string = randomUUID()
  /** Sequence number on this node; lists page by it. */
  readonly number: number
  readonly openedAt = new Date()
  readonly kind: LiveConnectionKind
  readonly transport: Transport
  readonly ipAddress: string | null
  readonly userAgent: string | null
  readonly operations = new Set<LiveOperation>()

  /** The one that it was opened with, or a later one; `null` when it has shown none. */
  token: Token | null = null
  /** Why it is about to end: from then on nothing is delivered but a farewell. */
  ending: PortcullisError | null = null

  constructor(number: number, { kind, transport, ipAddress, userAgent }: LiveConnectionOptions) {
    this.number = number
    this.kind = kind
    this.transport = {
      announceExpiry: (expiresAt) => callOut(() => transport.announceExpiry(expiresAt)),
      end: (why) => callOut(() => transport.end(why)),
    }
    this.ipAddress = ipAddress
    this.userAgent = userAgent
  }

  /** Whether something runs on it that must end with its token. */
  get isProtected(): boolean {
    return [...this.operations].some(({ isProtected }) => isProtected)
  }
}

/** An operation that runs on a connection. */
export class LiveOperation {
  readonly #isProtected: () => boolean
  #farewell: Farewell | null = null

  /** @param isProtected - Whether it is a subscription that depends on who calls. */
  constructor(isProtected: () => boolean) {
    this.#isProtected = isProtected
  }

  get isProtected(): boolean {
    return this.#isProtected()
  }

  /** Whether it is what tells the client of the end. */
  get isFarewell(): boolean {
    return this.#farewell !== null
  }

  /** Waits for what revokes the connection's token: it is told before the connection ends. `null`: nothing did. */
  async awaitRevocation(): Promise<Revocation | null> {
    this.#farewell ??= createFarewell()
    return this.#farewell.promise
  }

  tell(revocation: Revocation | null): void {
    this.#farewell?.resolve(revocation)
  }
}

interface Farewell {
  readonly promise: Promise<Revocation | null>
  resolve(revocation: Revocation | null): void
}

function createFarewell(): Farewell {
  let resolve: Farewell['resolve'] = () => undefined
  const promise = new Promise<Revocation | null>((fulfil) => {
    resolve = fulfil
  })
  return { promise, resolve }
}
