import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { Database } from './cluster.ts'
import { ANSWER_MS, STALENESS_MS } from './node.ts'
import type { Check } from './node.ts'

/** Two nodes, as far as they are watched. */
export interface Watched {
  readonly check: Check
  readonly database: Database
  /** These give `ACCEPTED`, the reason or code of the refusal, or `NO_ANSWER`. */
  whoAmIOnce(node: number, token: string): Promise<string>
  askPublicOnce(node: number): Promise<string>
  revokeTokenOnce(node: number, token: string): Promise<string>
  mintToken(): { readonly text: string; readonly tokenId: string }
  /** Whether a node is, or was since then, stopped or killed: then it owes no answer. */
  isExcused(node: number, since: number): boolean
}

/** What a node answered to a question, and when; instants are `performance.now()`. */
interface Answer {
  readonly node: number
  readonly question: 'public' | 'live' | 'dead' | 'revoke'
  readonly outcome: string
  readonly startedAt: number
  readonly endedAt: number
  readonly isExcused: boolean
}

/** A token whose revocation was acknowledged. */
interface Revoked {
  readonly token: string
  readonly tokenId: string
  readonly by: number
  readonly acknowledgedAt: number
}

/** Milliseconds between two rounds of questions to each node. */
const ROUND_MS = 100

/** Every so many rounds a token is revoked. */
const ROUNDS_A_REVOCATION = 3

/** How long a node may take, in milliseconds: what it promises, and more for a busy machine. */
const LIMITS_MS = { public: 3000, live: 3000, dead: 3000, revoke: ANSWER_MS }

/** What a node says, in either mode, when it has not heard of its database for so many milliseconds. */
export const REFUSED = ['REVOCATION_UNAVAILABLE']
export const REFUSING_MS = STALENESS_MS + 1000

/** How long recovery may take, in milliseconds. */
export const RECOVERY_MS = 5000

/**
 * What holds through every fault, asked of both nodes all the time: a public field, a token that lives, one that was
 * revoked before, and new ones that are revoked as it goes on.
 */
export class Watch {
  readonly #pair: Watched
  readonly #live: string
  readonly #dead: string
  readonly #answers: Answer[] = []
  readonly #revoked: Revoked[] = []
  /** Revoked tokens that were accepted after the bound. */
  readonly #violations: string[] = []
  readonly #pending = new Set<Promise<void>>()
  #isStopping = false
  readonly #rounds: Promise<void>

  constructor(pair: Watched, tokens: { readonly live: string; readonly dead: string }) {
    this.#pair = pair
    this.#live = tokens.live
    this.#dead = tokens.dead
    this.#rounds = this.#ask()
  }

  /** What a node has answered since then, each outcome once. */
  seen(question: Answer['question'], node: number, since: number): string[] {
    return [...new Set(this.#outcomes(question, node, since))]
  }

  /** Whether the fault did not concern a node; on a busy machine a check now and then gets no answer in its time. */
  serves(node: number, since: number): boolean {
    const outcomes = this.#outcomes('live', node, since)
    return 2 * outcomes.filter((outcome) => outcome === 'ACCEPTED').length > outcomes.length
  }

  /** Ends, and holds what was seen against the promises. */
  async conclude(): Promise<void> {
    this.#isStopping = true
    await this.#rounds
    await Promise.all(this.#pending)
    // Whatever a node did not hear of at its time, now it must know.
    await Promise.all(this.#revoked.flatMap((revoked) => this.#use(revoked)))

    expect(this.#violations, 'revoked tokens were accepted').toEqual([])
    expect(await this.#findMissing(), 'acknowledged revocations have no row').toEqual([])
    expect(this.#findUnexpected(), 'answers that were not promised').toEqual([])
    expect(this.#findLate(), 'answers that came too late').toEqual([])
    expect(this.#revoked.length, 'revocations that were acknowledged').toBeGreaterThan(0)
  }

  #outcomes(question: Answer['question'], node: number, since: number): string[] {
    return this.#answers
      .filter((answer) => answer.question === question && answer.node === node)
      .filter(({ startedAt }) => startedAt >= since)
      .map(({ outcome }) => outcome)
  }

  async #ask(): Promise<void> {
    for (let round = 0; !this.#isStopping; round += 1) {
      for (const node of [0, 1]) {
        this.#begin(this.#question('public', node, null))
        this.#begin(this.#question('live', node, this.#live))
        this.#begin(this.#question('dead', node, this.#dead))
        if (round % ROUNDS_A_REVOCATION === node) this.#begin(this.#revoke(node))
      }
      await sleep(ROUND_MS)
    }
  }

  #begin(asking: Promise<unknown>): void {
    const pending = asking.then(() => void this.#pending.delete(pending))
    this.#pending.add(pending)
  }

  async #question(
    question: 'public' | 'live' | 'dead',
    node: number,
    token: string | null,
  ): Promise<Answer> {
    const answer = await this.#note(question, node, async () =>
      question === 'public'
        ? this.#pair.askPublicOnce(node)
        : this.#pair.whoAmIOnce(node, token as string),
    )
    if (question === 'dead' && answer.outcome === 'ACCEPTED') {
      this.#violations.push(`node ${node} accepted one that was revoked long before`)
    }
    return answer
  }

  async #revoke(node: number): Promise<void> {
    const { text: token, tokenId } = this.#pair.mintToken()
    const { outcome, endedAt } = await this.#note('revoke', node, async () =>
      this.#pair.revokeTokenOnce(node, token),
    )
    if (outcome !== 'ACCEPTED') return

    const revoked = { token, tokenId, by: node, acknowledgedAt: endedAt }
    this.#revoked.push(revoked)
    await Promise.all(this.#use(revoked))
    await sleep(STALENESS_MS + 10)
    await Promise.all(this.#use(revoked))
  }

  #use({ token, by, acknowledgedAt }: Revoked): Array<Promise<void>> {
    return [0, 1].map(async (node) => {
      const startedAt = performance.now()
      const outcome = await this.#pair.whoAmIOnce(node, token)
      const age = startedAt - acknowledgedAt
      const boundMs = this.#pair.check === 'replica' && node !== by ? STALENESS_MS : 0
      if (outcome === 'ACCEPTED' && age > boundMs) {
        this.#violations.push(
          `node ${node} accepted one ${Math.round(age)} ms after node ${by} had revoked it`,
        )
      }
    })
  }

  async #note(
    question: Answer['question'],
    node: number,
    ask: () => Promise<string>,
  ): Promise<Answer> {
    const startedAt = performance.now()
    const outcome = await ask()
    const isExcused = this.#pair.isExcused(node, startedAt)
    const answer = { node, question, outcome, startedAt, endedAt: performance.now(), isExcused }
    this.#answers.push(answer)
    return answer
  }

  async #findMissing(): Promise<string[]> {
    const rows = await this.#pair.database.query<{ token_id: string }>(
      `select token_id from revocation where token_id = any($1)`,
      [this.#revoked.map(({ tokenId }) => tokenId)],
    )
    const found = new Set(rows.map(({ token_id }) => token_id))
    return this.#revoked.map(({ tokenId }) => tokenId).filter((tokenId) => !found.has(tokenId))
  }

  #findUnexpected(): string[] {
    const promised = {
      public: ['ACCEPTED'],
      live: ['ACCEPTED', 'REVOCATION_UNAVAILABLE'],
      dead: ['TOKEN_REVOKED', 'REVOCATION_UNAVAILABLE'],
      revoke: ['ACCEPTED', 'REVOCATION_UNAVAILABLE'],
    }
    return this.#answers
      .filter(({ isExcused }) => !isExcused)
      .filter(({ question, outcome }) => !promised[question].includes(outcome))
      .map(({ question, node, outcome }) => `${question}, node ${node}: ${outcome}`)
  }

  #findLate(): string[] {
    return this.#answers
      .filter(({ isExcused }) => !isExcused)
      .filter(({ question, startedAt, endedAt }) => endedAt - startedAt > LIMITS_MS[question])
      .map(
        ({ question, node, outcome, startedAt, endedAt }) =>
          `${question}, node ${node}: ${outcome} after ${Math.round(endedAt - startedAt)} ms`,
      )
  }
}
