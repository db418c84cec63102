import { setTimeout as sleep } from 'node:timers/promises'
import type { Revocation } from '../../contract.ts'
import { keyOfEntry, toWords } from '../key.ts'
import { reachOf } from '../revocation.ts'
import type { TakeEntry } from './copied-entries.ts'

/** What a node tells the others of an entry: as much as a replica keeps. */
export interface Hint {
  readonly high: number
  readonly low: number
  readonly reachMs: number
  readonly expiresAtMs: number
}

export function hintOf(entry: Revocation): Hint {
  const [high, low] = toWords(keyOfEntry(entry))
  return { high, low, reachMs: reachOf(entry).getTime(), expiresAtMs: entry.expiresAt.getTime() }
}

/** Milliseconds between two notifications. */
const INTERVAL_MS = 5

/** More hints than a notification can hold. */
const MAX_HINTS = 1000

/** Sends hints, not more often than every few milliseconds: what comes meanwhile goes with the next. */
export class HintSender {
  readonly #notify: (text: string) => Promise<void>
  #waiting: Hint[] = []
  #isSending = false

  /** @param notify - Must not throw. */
  constructor(notify: (text: string) => Promise<void>) {
    this.#notify = notify
  }

  add(hint: Hint): void {
    // The rest of a multitude is read.
    if (this.#waiting.length < MAX_HINTS) this.#waiting.push(hint)
  }

  send(): void {
    if (!this.#isSending) void this.#sendAll()
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true
    while (this.#waiting.length > 0) {
      const hints = this.#waiting
      this.#waiting = []
      await this.#notify(formatHints(hints))
      await sleep(INTERVAL_MS)
    }
    this.#isSending = false
  }
}

/** PostgreSQL allows a payload of less than 8,000 bytes. */
const MAX_LENGTH = 7900

/** @returns Text for a notification; empty when it would be too long: then the others read the journal. */
export function formatHints(hints: readonly Hint[]): string {
  const text = hints
    .map(({ high, low, reachMs, expiresAtMs }) => [high, low, reachMs, expiresAtMs].join(' '))
    .join(',')
  return text.length > MAX_LENGTH ? '' : text
}

/**
 * Reads what {@link formatHints} wrote.
 *
 * Any role that may NOTIFY may write anything here. The worst effect of a false entry is one look-up more.
 *
 * @returns Whether it was understood whole; nothing is taken of what was not.
 */
export function takeHints(text: string, take: TakeEntry): boolean {
  const form = /^\d{1,10} \d{1,10} \d{1,15} \d{1,15}$/
  const hints = text.split(',')
  if (!hints.every((hint) => form.test(hint))) return false

  for (const hint of hints) {
    const [high = 0, low = 0, reachMs = 0, expiresAtMs = 0] = hint.split(' ').map(Number)
    take(high >>> 0, low >>> 0, reachMs, expiresAtMs)
  }
  return true
}
