import { randomBytes } from 'node:crypto'
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino, stdTimeFunctions } from 'pino'
import type { Logger } from 'pino'
import { StartError } from '../lib/start-error.ts'
import { openLineOutput } from './line-output.ts'
import type { Service } from './service.ts'
import { readSettings } from './settings.ts'
import type { Settings } from './settings.ts'
import { stopAll, stopOnSignals } from './shutdown.ts'
import type { Part } from './shutdown.ts'

/** How long a start that failed may take to stop what it had started, in milliseconds. */
const MAX_CLEAN_UP_MS = 10_000

const stdout = openLineOutput(1)
const stderr = openLineOutput(2)
const running: Part[] = []

/** The process: settings, database, service, signals. */
async function main(): Promise<void> {
  const settings = readSettings(process.env)
  const log = createLog(settings)
  stopOnSignals({
    parts: running,
    delaySeconds: settings.shutdownDelaySeconds,
    log,
    exit: (status) => process.exit(status),
  })

  // Most of the start is loading code, and PostgreSQL's own start: side by side.
  const [database, { startService }] = await Promise.all([
    openDatabase(settings),
    import('./service.ts'),
  ])
  const signWith = settings.signWith ?? (await readDevelopmentKey(settings.dataDir))
  const service = await startService(
    {
      ...settings,
      databaseUrl: database.url,
      signWith,
      countDroppedLogLines: () => stdout.dropped,
    },
    log,
  )
  running.push(service)
  await greet(service, database, settings, log)
  keepAlive(log)
}

function createLog({ logLevel: level }: Settings): Logger {
  const options = { level, base: undefined, timestamp: stdTimeFunctions.isoTime }
  return pino(options, stdout)
}

interface Database {
  readonly url: string
  readonly isOurOwn: boolean
}

async function openDatabase(settings: Settings): Promise<Database> {
  if (settings.databaseUrl !== null) return { url: settings.databaseUrl, isOurOwn: false }

  // Loaded only when wanted: with DATABASE_URL its packages need not even be installed.
  const { startEmbeddedPostgres } = await import('../embedded-postgres/embedded-postgres.ts')
  const starting = startEmbeddedPostgres({ dataDir: settings.dataDir })
  // Before it is there: a signal that comes meanwhile must not leave it behind.
  running.push({
    outlivesUs: true,
    stop: () =>
      starting.then(
        (server) => server.stop(),
        () => undefined,
      ),
  })
  return { url: (await starting).url, isOurOwn: true }
}

/** Lives beside the data, so that tokens survive a restart. Linked into place: it is there whole, or not at all. */
async function readDevelopmentKey(dataDir: string): Promise<string> {
  const file = join(dataDir, 'jwt-secret')
  const secret = await makeOrReadSecret(dataDir, file)
  if (secret.length < 32) {
    throw new StartError(
      `The signing key in ${file} is not whole; remove the file to start with a new one`,
    )
  }
  return secret
}

async function makeOrReadSecret(dataDir: string, file: string): Promise<string> {
  const draft = `${file}.${process.pid}`
  try {
    await mkdir(dataDir, { recursive: true })
    await writeFile(draft, randomBytes(48).toString('base64url'), { mode: 0o600 })
    await link(draft, file).catch(ignoreExisting)
    await rm(draft)
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new StartError(`Cannot keep a signing key in ${file}: ${(error as Error).message}`)
  }
}

function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error
}

async function greet(
  { url, newAdmin }: Service,
  database: Database,
  { isProduction, dataDir }: Settings,
  log: Logger,
): Promise<void> {
  const explorer = isProduction ? '' : `, explorer at ${url}/`
  const lines = [`Portcullis listens on ${url} (GraphQL at ${url}/graphql${explorer})`]
  if (database.isOurOwn)
    lines.push(`PostgreSQL of its own listens on ${new URL(database.url).host}`)
  if (newAdmin === null) return stdout.write(`${lines.join('\n')}\n`)

  lines.push('', `First admin: ${newAdmin.email}`, `Password:    ${newAdmin.password}`)
  const text = `${[...lines, 'This is shown once.', ''].join('\n')}\n`
  if ((await stdout.show(text)) || (await stderr.show(text))) return
  const file = await keepFirstAdmin(dataDir, text)
  log.warn({ file }, 'nothing shows what is written: the password of the first admin is in a file')
}

/** For the one text that must not be lost: no other start shows it again. */
async function keepFirstAdmin(dataDir: string, text: string): Promise<string> {
  const file = join(dataDir, 'first-admin.txt')
  try {
    await mkdir(dataDir, { recursive: true })
    await rm(file, { force: true })
    await writeFile(file, text, { mode: 0o600 })
    return file
  } catch (error) {
    const { message } = error as Error
    throw new StartError(
      `The first admin's password could not be shown, nor kept in ${file} (${message}); start with ADMIN_EMAIL and ADMIN_PASSWORD`,
    )
  }
}

/** The last resort once the service runs: what was not handled is logged, and the process lives. */
function keepAlive(log: Logger): void {
  onUnhandled((error) => {
    const { name, message, stack } = error instanceof Error ? error : new Error(String(error))
    log.error({ err: { name, message, stack } }, 'unhandled error')
  })
}

/** Until then it ends the process: what of the start is missing would be unknown. */
function endOnFault(): void {
  onUnhandled((error) => void failStart(error))
}

function onUnhandled(handle: (error: unknown) => void): void {
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.removeAllListeners(event)
    process.on(event, handle)
  }
}

async function failStart(error: unknown): Promise<void> {
  const text =
    error instanceof StartError ? error.message : `Could not start: ${describeError(error)}`
  await stderr.show(`${text}\n`)
  await cleanUp()
  process.exit(1)
}

async function cleanUp(): Promise<void> {
  const stopped = stopAll(running).catch(() => undefined)
  await Promise.race([stopped, sleep(MAX_CLEAN_UP_MS)])
}

function describeError(error: unknown): string {
  return error instanceof Error ? String(error.stack) : String(error)
}

endOnFault()
try {
  await main()
} catch (error) {
  await failStart(error)
}
