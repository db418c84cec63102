import { Caller } from './caller.ts'
import { HeldSocket } from './held-socket.ts'
import { createJudge } from './judge.ts'
import type { Cut, CutResult, NodeName, Opened, Opening } from './live-plan.ts'

/** Handshakes under way at a time. */
const CONCURRENCY = 64

const REVOKED = '4403 TOKEN_REVOKED'
const MAX_REPORTED = 5

/** Holds sockets open, and sees which of them close, when and why. */
export class Holder {
  #sockets: HeldSocket[] = []
  #open = 0
  #onClosed: () => void = () => undefined

  get size(): number {
    return this.#open
  }

  async open({ node, port, parties }: Opening): Promise<Opened> {
    const wanted = parties.flatMap((party) =>
      Array.from({ length: party.sockets }, () => ({ ...party, node, port })),
    )
    const startedAt = performance.now()
    let firstFailure: string | null = null
    const openInTurn = async (): Promise<void> => {
      for (let options = wanted.pop(); options; options = wanted.pop()) {
        this.#open += 1
        const socket = new HeldSocket({ ...options, onClosed: () => this.#noteClosed() })
        this.#sockets.push(socket)
        await socket.connected().catch((error: unknown) => {
          firstFailure ??= (error as Error).message
        })
      }
    }
    await Promise.all(Array.from({ length: CONCURRENCY }, openInTurn))
    return { open: this.#open, elapsedMs: performance.now() - startedAt, firstFailure }
  }

  /** Those that went or were refused although nobody was revoked. */
  describeLost(): readonly string[] {
    return this.#sockets
      .filter(({ isOpen, fault }) => !isOpen || fault !== '')
      .slice(0, MAX_REPORTED)
      .map(({ closing, fault }) => `${closing} ${fault}`)
  }

  async cut({ port, request, answer, session, limitMs }: Cut): Promise<CutResult> {
    const mine = this.#sockets.filter(
      (socket) => socket.isOpen && (session === null || socket.session === session),
    )
    const openBefore = this.#open
    const caller = new Caller(port)
    await caller.ask(request, createJudge(answer))
    const answeredAt = performance.now()
    await this.#untilAllClosed(mine, limitMs)
    caller.close()

    const strangers = openBefore - this.#open - mine.filter(({ isOpen }) => !isOpen).length
    const faults = mine.flatMap(findFault)
    if (strangers > 0) faults.push(`${strangers} others closed`)
    this.#sockets = this.#sockets.filter(({ isOpen }) => isOpen)
    return {
      delaysMs: {
        'same node': delaysOf(mine, 'same node', answeredAt),
        'other node': delaysOf(mine, 'other node', answeredAt),
      },
      wrong:
        faults.length > MAX_REPORTED
          ? [...faults.slice(0, MAX_REPORTED), `${faults.length - MAX_REPORTED} more`]
          : faults,
    }
  }

  async closeAll(): Promise<void> {
    const sockets = this.#sockets
    for (const socket of sockets) socket.close()
    await this.#untilAllClosed(sockets, 10_000)
    this.#sockets = []
  }

  #noteClosed(): void {
    this.#open -= 1
    this.#onClosed()
  }

  async #untilAllClosed(sockets: readonly HeldSocket[], limitMs: number): Promise<void> {
    let left = sockets.filter(({ isOpen }) => isOpen).length
    if (left === 0) return
    const wanted = this.#open - left
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, limitMs)
      this.#onClosed = () => {
        // Cheap while thousands close; exact when it may be over.
        if (this.#open > wanted) return
        left = sockets.filter(({ isOpen }) => isOpen).length
        if (left > 0) return
        clearTimeout(timer)
        resolve()
      }
    })
    this.#onClosed = () => undefined
  }
}

function delaysOf(
  sockets: readonly HeldSocket[],
  wanted: NodeName,
  answeredAt: number,
): readonly number[] {
  return sockets
    .filter(({ node, isOpen }) => node === wanted && !isOpen)
    .map(({ closedAt }) => Math.max(0, (closedAt as number) - answeredAt))
}

function findFault({ node, isOpen, closing, isTold, events }: HeldSocket): string[] {
  if (isOpen) return [`one stayed open on the ${node}`]
  if (closing !== REVOKED) return [`one closed with ${closing} on the ${node}`]
  if (isTold && events !== 1) return [`one was told ${events} times on the ${node}`]
  return []
}
