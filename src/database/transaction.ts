import { once } from 'node:events'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { DataSource, EntityManager, QueryRunner } from 'typeorm'
import { RevocationUnavailableError } from '../errors.ts'
import { within } from '../lib/time-limit.ts'
import { accessOf } from './access.ts'
import { SET_UP_FORMS } from './connection-settings.ts'
import { closeIdle, isSilence, poolOf } from './pool.ts'

/** How long the server's first answer may take, in milliseconds; the pool bounds the wait for a connection. */
const BEGIN_TIMEOUT_MS = 800

/** SQLSTATEs after which the same call may succeed later: the fault is the database's, not the caller's. */
const UNAVAILABLE_STATES =
  /^(08...|25006|25P03|40001|40P01|53...|55P03|57014|57P0[1-4]|58...|XX00[0-2]|ECONN[A-Z]+|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN)$/

const UNAVAILABLE_MESSAGES =
  /timeout exceeded when trying to connect|Query read timeout|Connection terminated|connection error|Cannot use a pool after|Driver not Connected|did not answer in time|not currently accepting connections|query runner (was )?already released/i

/**
 * Runs work in one transaction; it is committed when the promise is fulfilled, and not before.
 *
 * A deadlock or serialization failure is tried once more. Every wait is bounded, and a connection whose server
 * stopped answering is destroyed: put back into the pool it would hold up the next who takes it.
 *
 * @throws {@link RevocationUnavailableError} when the database cannot do it now; it may or may not have committed.
 */
export async function runTransaction<Result>(
  dataSource: DataSource,
  work: (manager: EntityManager) => Promise<Result>,
): Promise<Result> {
  try {
    return await attempt(dataSource, work)
  } catch (error) {
    if (!isRollback(error)) throw asUnavailable(error)
  }

  // The other transaction goes first: at once, the two would often collide again.
  await sleep(20 + Math.random() * 30)
  try {
    return await attempt(dataSource, work)
  } catch (error) {
    throw asUnavailable(error)
  }
}

/** Whether an error means that the database is not there, or cannot do its work now. */
export function isDatabaseUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const { code } = error as { code?: unknown }
  if (typeof code === 'string' && UNAVAILABLE_STATES.test(code)) return true
  if (UNAVAILABLE_MESSAGES.test(error.message)) return true
  return error instanceof AggregateError && error.errors.some(isDatabaseUnavailable)
}

/** Whether a transaction failed because the database is out of order, not because of its own lock or value. */
export function isOutage(error: unknown): boolean {
  if (!(error instanceof RevocationUnavailableError)) return false
  const { code = '' } = error.cause as { readonly code?: string }
  return !/^(40001|40P01|55P03|57014)$/.test(code)
}

function asUnavailable(error: unknown): unknown {
  return isDatabaseUnavailable(error) ? new RevocationUnavailableError(error) : error
}

function isRollback(error: unknown): boolean {
  return ['40001', '40P01'].includes((error as { code?: string }).code ?? '')
}

async function attempt<Result>(
  dataSource: DataSource,
  work: (manager: EntityManager) => Promise<Result>,
): Promise<Result> {
  const runner = dataSource.createQueryRunner()
  const connection = (await runner.connect()) as Connection
  let isAnswering = false

  try {
    await within(BEGIN_TIMEOUT_MS, begin(runner))
    isAnswering = true
    ours.add(runner)
    const result = await work(runner.manager)
    await runner.commitTransaction()
    return result
  } catch (error) {
    if (isAnswering && !isSilence(error)) {
      await runner.rollbackTransaction().catch(() => hangUp(connection))
    } else {
      await hangUp(connection)
      closeIdle(poolOf(dataSource))
    }
    throw error
  } finally {
    ours.delete(runner)
    await runner.release()
  }
}

/** Those whose transaction we began ourselves. */
const ours = new WeakSet<QueryRunner>()

/**
 * Takes part in a transaction: in one that a library user began, values are read and written from now on as we do.
 *
 * @throws `TypeError` when it does not see what is committed while it waits for a lock: it would miss it.
 */
export async function joinTransaction(manager: EntityManager): Promise<void> {
  if (manager.queryRunner && ours.has(manager.queryRunner)) return
  const [row] = await manager.query<[{ isolation: string }]>(SET_UP_FORMS)
  if (row.isolation === 'read committed') return
  throw new TypeError(
    `expected a transaction whose isolation level is READ COMMITTED, got ${row.isolation.toUpperCase()}`,
  )
}

/** Whatever the database's own default is: a statement that has waited for a lock must see what was committed meanwhile. */
export async function begin(runner: QueryRunner): Promise<void> {
  const { beginning } = accessOf(runner.dataSource)
  await runner.startTransaction()
  if (beginning !== null) await runner.query(beginning)
}

/** What is used of the driver's client. */
interface Connection {
  readonly connection: { readonly stream: Socket }
}

/** Closes a connection; by the time it is closed the pool knows that it must be replaced. */
async function hangUp({ connection: { stream } }: Connection): Promise<void> {
  if (stream.closed) return
  stream.destroy()
  await once(stream, 'close')
}
