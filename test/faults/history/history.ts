/**
 * What clients of several nodes asked for and heard, and when.
 *
 * Tokens go by names: an access token's `jti`, a digest of a refresh token. People, sessions and entries go by their ids.
 */
export interface Operation {
  /** In the order in which they began. */
  readonly number: number
  readonly client: string
  readonly node: number
  readonly deed: Deed
  /** Before it was sent; this instant and the next are of one clock, in milliseconds. */
  readonly startedAt: number
  /** After the answer had come, or was given up. */
  readonly endedAt: number
  readonly outcome: Outcome
}

export type Deed =
  | { readonly do: 'login'; readonly person: string }
  | { readonly do: 'refresh'; readonly refreshToken: string }
  | { readonly do: 'use'; readonly token: string }
  | { readonly do: 'logout'; readonly token: string }
  | { readonly do: 'logoutAllDevices'; readonly token: string; readonly keepCurrent: boolean }
  /** One of the caller's own. */
  | { readonly do: 'revokeSession'; readonly token: string; readonly session: string }
  /** These by an admin, whose own token nothing reaches. */
  | { readonly do: 'revokeToken'; readonly token: string }
  | { readonly do: 'revokeRefreshToken'; readonly refreshToken: string }
  | { readonly do: 'revokeUser'; readonly person: string }
  | { readonly do: 'restore'; readonly entry: string }

export type Outcome =
  | {
      readonly kind: 'OK'
      readonly issued?: Issued
      /** The entry that the answer named, and whether it said that it was new; some do not say. */
      readonly entry?: string
      readonly isNew?: boolean
    }
  /** For certain: nothing was done. */
  | { readonly kind: 'REFUSED'; readonly why: string }
  /** Whether it was done is unknown, and it may be done yet: a commit can be held up on its way. */
  | { readonly kind: 'UNKNOWN' }

/** What a login or a refresh gave. */
export interface Issued {
  readonly token: string
  readonly refreshToken: string
  readonly session: string
  readonly person: string
}

/** Takes operations down as they happen. */
export class Recorder {
  readonly #done: Operation[] = []
  readonly #underWay = new Map<number, Omit<Operation, 'endedAt' | 'outcome'>>()
  #count = 0

  async during(
    who: Pick<Operation, 'client' | 'node' | 'deed'>,
    ask: () => Promise<Outcome>,
  ): Promise<Operation> {
    const begun = { ...who, number: (this.#count += 1), startedAt: performance.now() }
    this.#underWay.set(begun.number, begun)
    const outcome = await ask()
    const operation = { ...begun, endedAt: performance.now(), outcome }
    this.#underWay.delete(begun.number)
    this.#done.push(operation)
    return operation
  }

  /** What has happened so far; the outcome of what is under way is unknown. */
  get history(): readonly Operation[] {
    const open = [...this.#underWay.values()].map((begun): Operation => ({
      ...begun,
      endedAt: Infinity,
      outcome: { kind: 'UNKNOWN' },
    }))
    return [...this.#done, ...open].toSorted((a, b) => a.number - b.number)
  }
}

/** One line for people. */
export function describeOperation(operation: Operation): string {
  const { number, client, node, deed, startedAt, endedAt, outcome } = operation
  const { do: what, ...withWhat } = deed
  const { kind, ...details } = outcome
  const span = `${startedAt.toFixed(1)}-${endedAt.toFixed(1)}`
  return `#${number} ${span} ${client} node ${node}: ${what} ${JSON.stringify(withWhat)} ${kind} ${JSON.stringify(details)}`
}

/** How often each came to what. */
export function countOutcomes(history: readonly Operation[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { deed, outcome } of history) {
    const name = `${deed.do} ${outcome.kind === 'REFUSED' ? outcome.why : outcome.kind}`
    counts[name] = (counts[name] ?? 0) + 1
  }
  return Object.fromEntries(Object.entries(counts).toSorted(([a], [b]) => a.localeCompare(b)))
}
