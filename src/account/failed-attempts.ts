import { createHash } from 'node:crypto'
import type { DataSource } from 'typeorm'
import { runTransaction } from '../database/transaction.ts'
import { RateLimitedError } from '../errors.ts'

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
  /** What is being guessed: an e-mail address for instance. */
  readonly of: string
  readonly from: string | null
}

/**
 * Counts failed attempts in PostgreSQL, for all nodes together.
 *
 * Against an account only those from one address count, so that a stranger cannot lock a person out.
 */
export class FailedAttempts {
  readonly #dataSource: DataSource
  readonly #limits: AttemptLimits

  constructor(dataSource: DataSource, limits: AttemptLimits) {
    this.#dataSource = dataSource
    this.#limits = limits
  }

  /** @throws {@link RateLimitedError} when there were too many. */
  async check(attempt: Attempt): Promise<void> {
    const keys = keysOf(attempt)
    const { perAccount, perAddress } = this.#limits
    const rows = await runTransaction(this.#dataSource, (manager) =>
      manager.query<Array<{ secondsLeft: number }>>(
        `select ceil(extract(epoch from expires_at - clock_timestamp()))::integer as "secondsLeft"
         from failed_attempt
         where expires_at > clock_timestamp()
           and ((key = $1 and failures >= $3) or (key = $2 and failures >= $4))`,
        [keys.account, keys.address, perAccount, perAddress],
      ),
    )
    if (rows.length > 0) throw new RateLimitedError(Math.max(...rows.map((row) => row.secondsLeft)))
  }

  async count(attempt: Attempt): Promise<void> {
    const { account, address } = keysOf(attempt)
    await runTransaction(this.#dataSource, (manager) =>
      manager.query(
        `insert into failed_attempt as standing (key, failures, expires_at)
         select key, 1, clock_timestamp() + make_interval(secs => $2)
         from unnest($1::text[]) as key order by key
         on conflict (key) do update
         set failures = case when standing.expires_at > clock_timestamp() then standing.failures + 1 else 1 end,
             expires_at = case when standing.expires_at > clock_timestamp()
                               then standing.expires_at else excluded.expires_at end`,
        [[account, address], this.#limits.windowSeconds],
      ),
    )
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
}

function keysOf({ of, from }: Attempt): { account: string; address: string } {
  return {
    account: createHash('sha256')
      .update(JSON.stringify([of, from]))
      .digest('base64url'),
    address: createHash('sha256')
      .update(JSON.stringify([from]))
      .digest('base64url'),
  }
}
