import { createHash } from 'node:crypto'
import { isIPv6 } from 'node:net'
import ipaddr from 'ipaddr.js'
import type { DataSource, EntityManager } from 'typeorm'
import { read } from '../../database/read.ts'
import { runTransaction } from '../../database/transaction.ts'
import { RateLimitedError } from '../../errors.ts'
import { createBatched } from '../../lib/batch.ts'

/** How many failures are allowed, and for how long they count. */
export interface AttemptLimits {
  /** Against one account from one address. */
  readonly perAccount: number
  /** From one address, whatever the account. */
  readonly perAddress: number
  readonly windowSeconds: number
}

/** Whose failures are counted. */
export interface Attempt {
  /**
   * Each kind is counted by itself: after `revokeEveryone` a whole office refreshes in vain, and has to be able to sign in.
   */
  readonly kind: 'SIGN_IN' | 'REFRESH' | 'RESET'
  /** What is being guessed: an e-mail address for instance; `null` when that cannot be known. */
  readonly of: string | null
  readonly from: string | null
}

interface Standing {
  readonly key: string
  readonly failures: number
  readonly secondsLeft: number
}

const selectSecondsLeft = `ceil(extract(epoch from expires_at - clock_timestamp()))::integer as "secondsLeft"`

const findStandings = {
  name: 'portcullis-failed-attempts',
  text: `
    select key, failures, ${selectSecondsLeft}
    from failed_attempt where key = any($1::text[]) and expires_at > clock_timestamp()`,
}

/** How long a look-up of failures may take, in milliseconds. */
const READ_TIMEOUT_MS = 2000

/**
 * Counts failed attempts in PostgreSQL, for all nodes together.
 *
 * Against an account only those from one address count, so that a stranger cannot lock a person out.
 */
export class FailedAttempts {
  readonly #dataSource: DataSource
  readonly #limits: AttemptLimits
  /** A flood of attempts must not keep the database's connections from the checks: what comes together asks together. */
  readonly #findTogether = createBatched<Keys, readonly Standing[]>((asked) => this.#findAll(asked))

  constructor(dataSource: DataSource, limits: AttemptLimits) {
    this.#dataSource = dataSource
    this.#limits = limits
  }

  /**
   * Ask before the work, once more after the wait for it, and once more before its success is told: so a burst learns no
   * more than what comes one after the other.
   *
   * @throws {@link RateLimitedError} when there were too many.
   */
  async check(attempt: Attempt): Promise<void> {
    const keys = keysOf(attempt)
    this.#refuse(keys, await this.#findTogether(keys))
  }

  /** As {@link check}, in a transaction of the caller's, which must not wait for a second connection. */
  async checkWithin(manager: EntityManager, attempt: Attempt): Promise<void> {
    const keys = keysOf(attempt)
    const values = [[keys.account, keys.address]]
    this.#refuse(keys, await manager.query<Standing[]>(findStandings.text, values))
  }

  #refuse(keys: Keys, standings: readonly Standing[]): void {
    const { perAccount, perAddress } = this.#limits
    refuseAny(
      standings.filter(
        ({ key, failures }) => failures >= (key === keys.account ? perAccount : perAddress),
      ),
    )
  }

  /**
   * Counts one failure.
   *
   * @param options.isGuess - Whether it is held against the address, too: a person who knows an earlier secret does
   * not guess.
   * @throws {@link RateLimitedError} when it was one too many: of guesses sent all at once, those beyond the limit must
   * not hear whether they were right.
   */
  async count(attempt: Attempt, { isGuess = true }: { isGuess?: boolean } = {}): Promise<void> {
    const { account, address } = keysOf(attempt)
    const { perAccount, perAddress, windowSeconds } = this.#limits
    const allowed = new Map<string, number>()
    if (account !== null) allowed.set(account, perAccount)
    if (isGuess) allowed.set(address, perAddress)

    const exceeded = await runTransaction(this.#dataSource, (manager) =>
      manager.query<Array<Pick<Standing, 'secondsLeft'>>>(
        `with counted as (
           insert into failed_attempt as standing (key, failures, expires_at)
           select key, 1, clock_timestamp() + make_interval(secs => $3)
           from unnest($1::text[]) as key order by key
           on conflict (key) do update
           set failures = case when standing.expires_at > clock_timestamp() then standing.failures + 1 else 1 end,
               expires_at = case when standing.expires_at > clock_timestamp()
                                 then standing.expires_at else excluded.expires_at end
           returning key, failures, expires_at
         )
         select ${selectSecondsLeft}
         from counted join unnest($1::text[], $2::integer[]) as allowed (key, most) using (key)
         where failures > most`,
        [[...allowed.keys()], [...allowed.values()], windowSeconds],
      ),
    )
    refuseAny(exceeded)
  }

  async forget(attempt: Attempt): Promise<void> {
    await runTransaction(this.#dataSource, (manager) =>
      manager.query(`delete from failed_attempt where key = $1`, [keysOf(attempt).account]),
    )
  }

  async deleteExpired(limit: number): Promise<number> {
    return runTransaction(this.#dataSource, async (manager) => {
      const [, deleted] = await manager.query<[unknown, number]>(
        `delete from failed_attempt where key = any(array(
           select key from failed_attempt where expires_at <= clock_timestamp()
           limit $1 for update skip locked
         ))`,
        [limit],
      )
      return deleted
    })
  }

  async #findAll(asked: readonly Keys[]): Promise<ReadonlyArray<readonly Standing[]>> {
    const keys = asked.flatMap(({ account, address }) => [account, address])
    const found = await read<Standing>(
      this.#dataSource,
      findStandings,
      [[...new Set(keys)]],
      READ_TIMEOUT_MS,
    )
    const byKey = new Map(found.map((standing) => [standing.key, standing]))
    return asked.map(({ account, address }) =>
      [byKey.get(account ?? ''), byKey.get(address)].filter((standing) => standing !== undefined),
    )
  }
}

function refuseAny(exceeded: ReadonlyArray<Pick<Standing, 'secondsLeft'>>): void {
  if (exceeded.length === 0) return
  throw new RateLimitedError(Math.max(1, ...exceeded.map(({ secondsLeft }) => secondsLeft)))
}

interface Keys {
  readonly account: string | null
  readonly address: string
}

function keysOf({ kind, of, from }: Attempt): Keys {
  const network = from === null ? null : networkOf(from)
  return {
    account: of === null ? null : hash([kind, network, of]),
    address: hash([kind, network]),
  }
}

function hash(parts: ReadonlyArray<string | null>): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url')
}

/**
 * Names the network that an address stands for.
 *
 * Of IPv6 that is the first 64 bits: a household has as many addresses beyond them as it likes (RFC 6177). An IPv4
 * address may come written as one of IPv6, and some proxies add the port, which is another for each connection.
 */
export function networkOf(text: string): string {
  const address = text.replace(/^\[(.*)\](:\d+)?$/, '$1').replace(/^([\d.]+):\d+$/, '$1')
  if (!isIPv6(address)) return address
  const parsed = ipaddr.process(address.replace(/%.*$/, ''))
  if (parsed instanceof ipaddr.IPv4) return parsed.toString()
  const firstHalf = parsed.parts.slice(0, 4).map((part) => part.toString(16))
  return `${firstHalf.join(':')}::/64`
}
