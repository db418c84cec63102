import { randomBytes } from 'node:crypto'
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { destination, pino, stdTimeFunctions } from 'pino'
import type { Logger } from 'pino'
import type { Service } from './service.ts'
import { readSettings } from './settings.ts'
import type { Settings } from './settings.ts'
import { StartError } from './start-error.ts'

/** Something that runs until it is stopped. */
interface Part {
  stop(): Promise<void>
}

/** The process: settings, database, service, signals. */
async function main(): Promise<void> {
  const settings = readSettings(process.env)
  const log = createLog(settings)
  const running: Part[] = []
  keepAlive(log)
  stopOnSignals(log, running)

  try {
    // Most of the start is loading code, and PostgreSQL's own start: side by side.
    const [database, { startService }] = await Promise.all([
      openDatabase(settings, running),
      import('./service.ts'),
    ])
    const signWith = settings.signWith ?? (await readDevelopmentKey(settings.dataDir))
    const service = await startService({ ...settings, databaseUrl: database.url, signWith }, log)
    running.push(service)
    greet(service, database, settings.isProduction)
  } catch (error) {
    await stopAll(running)
    throw error
  }
}

function createLog({ logLevel: level }: Settings): Logger {
  const options = { level, base: undefined, timestamp: stdTimeFunctions.isoTime }
  return pino(options, destination({ sync: true }))
}

interface Database {
  readonly url: string
  readonly isOurOwn: boolean
}

async function openDatabase(settings: Settings, running: Part[]): Promise<Database> {
  if (settings.databaseUrl !== null) return { url: settings.databaseUrl, isOurOwn: false }

  // Loaded only when wanted: with DATABASE_URL its packages need not even be installed.
  const { startEmbeddedPostgres } = await import('./database/embedded-postgres.ts')
  const starting = startEmbeddedPostgres({ dataDir: settings.dataDir })
  // Before it is there: a signal that comes meanwhile must not leave it behind.
  running.push({
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

function greet({ url, newAdmin }: Service, database: Database, isProduction: boolean): void {
  const explorer = isProduction ? '' : `, explorer at ${url}/`
  const lines = [`Portcullis listens on ${url} (GraphQL at ${url}/graphql${explorer})`]
  if (database.isOurOwn)
    lines.push(`PostgreSQL of its own listens on ${new URL(database.url).host}`)
  if (newAdmin) {
    lines.push('', `First admin: ${newAdmin.email}`, `Password:    ${newAdmin.password}`)
    lines.push('This is shown once.', '')
  }
  process.stdout.write(`${lines.join('\n')}\n`)
}

/** The last resort: what nobody handled is logged, and the process lives. */
function keepAlive(log: Logger): void {
  const report = (error: unknown): void => {
    const { name, message, stack } = error instanceof Error ? error : new Error(String(error))
    log.error({ err: { name, message, stack } }, 'unhandled error')
  }
  process.on('uncaughtException', report)
  process.on('unhandledRejection', report)
}

function stopOnSignals(log: Logger, running: Part[]): void {
  let isStopping = false
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (isStopping) return
      isStopping = true
      log.info({ signal }, 'stopping')
      stopAll(running).then(
        () => process.exit(0),
        (error: unknown) => {
          log.error({ err: { message: (error as Error).message } }, 'stop failed')
          process.exit(1)
        },
      )
    })
  }
}

/** The last that was started goes first. */
async function stopAll(running: Part[]): Promise<void> {
  for (const part of running.toReversed()) await part.stop()
}

try {
  await main()
} catch (error) {
  const text =
    error instanceof StartError ? error.message : `Could not start: ${(error as Error).stack}`
  process.stderr.write(`${text}\n`)
  process.exit(1)
}
