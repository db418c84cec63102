import { setTimeout as sleep } from 'node:timers/promises'
import type { DataSource } from 'typeorm'
import { runTransaction } from '../../database/transaction.ts'
import { endNext, keepPlace, lockCutOff, removeCutOff } from './cut-off-rows.ts'

export interface SessionEnderOptions {
  readonly dataSource: DataSource
  /** Told of a failure; the next sweep tries again. */
  readonly onError: (error: unknown) => void
}

/** Sessions that end in one transaction. */
const BATCH = 1000

/** The longest rest between two batches, in milliseconds. */
const MAX_REST_MS = 500

/**
 * Ends the sessions of cut-offs that reach too many for their own transaction.
 *
 * Nothing depends on when that is done, nor by which node: what a cut-off reached has ended since its commit. Nodes need
 * not agree: each takes a cut-off that no other is at work on, a batch at a time, from where the last batch ended.
 */
export class SessionEnder {
  readonly #options: SessionEnderOptions
  #running: Promise<void> | null = null
  #isAsked = false
  #isStopping = false

  constructor(options: SessionEnderOptions) {
    this.#options = options
  }

  /** Ends what is left, in the background. */
  start(): void {
    this.#isAsked = true
    this.#running ??= this.#run().finally(() => {
      this.#running = null
    })
  }

  /** Ends after the batch under way. */
  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#running
  }

  /** @returns How many sessions have ended; less than `limit` when nothing is left that this node can do now. */
  async endBatch(limit: number): Promise<number> {
    return runTransaction(this.#options.dataSource, async (manager) => {
      const cutOff = await lockCutOff(manager)
      if (cutOff === null) return 0

      const batch = await endNext(manager, cutOff, limit)
      const areAllEnded = batch.ended === batch.found
      if (!areAllEnded) return batch.ended
      if (batch.found === limit) await keepPlace(manager, cutOff, batch)
      else await removeCutOff(manager, cutOff)
      // Another cut-off may be left.
      return limit
    })
  }

  async #run(): Promise<void> {
    while (this.#isAsked && !this.#isStopping) {
      this.#isAsked = false
      try {
        await this.#endAll()
      } catch (error) {
        this.#options.onError(error)
      }
    }
  }

  /** With rests as long as the work, so that half of the database's time is left to others. */
  async #endAll(): Promise<void> {
    for (;;) {
      const startedAt = performance.now()
      const ended = await this.endBatch(BATCH)
      if (ended < BATCH || this.#isStopping) return
      await sleep(Math.min(MAX_REST_MS, performance.now() - startedAt))
    }
  }
}
