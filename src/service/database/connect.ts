import { Client } from 'pg'
import { StartError } from '../../lib/start-error.ts'

/** How long the first connection may take, in milliseconds. */
const CONNECT_MS = 10_000

/**
 * Connects for a look at the database before anything is changed in it.
 *
 * @throws {@link StartError} with what to do, as far as the failure tells.
 */
export async function connect(url: string): Promise<Client> {
  try {
    const client = new Client({
      connectionString: url,
      connectionTimeoutMillis: CONNECT_MS,
      query_timeout: CONNECT_MS,
      application_name: 'portcullis',
    })
    // What breaks it fails the next question.
    client.on('error', () => undefined)
    await client.connect()
    return client
  } catch (error) {
    throw new StartError(describeFailure(url, error))
  }
}

/** Host, port and database of a URL: what may be shown of it. */
export function describeUrl(url: string): string {
  try {
    const { host, port, database = '' } = new Client({ connectionString: url })
    const isUsual = port === 5432 && !/:5432\b/.test(url)
    const name = host.includes(':') && !host.startsWith('/') ? `[${host}]` : host
    return `${name}${isUsual || host.startsWith('/') ? '' : `:${port}`}/${database}`
  } catch {
    return 'DATABASE_URL'
  }
}

export function describeFailure(url: string, error: unknown): string {
  const reason = reasonOf(error)
  const advice = ADVICE.find(([pattern]) => pattern.test(`${codeOf(error)} ${reason}`))?.[1]
  return `Cannot use the database at ${describeUrl(url)}: ${reason}${advice ? `; ${advice}` : ''}`
}

export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0])
  return error instanceof Error ? error.message || error.name : String(error)
}

/** What the settings can do about a failure; the first that fits. */
const ADVICE: ReadonlyArray<readonly [RegExp, string]> = [
  [
    /does not support SSL connections/,
    'turn TLS on there, or say sslmode=disable where the way is safe',
  ],
  [
    /no encryption|SSL off|SSL required|SSL connection is required|TLS required/i,
    'say sslmode=verify-full (or sslmode=no-verify for a certificate that is not checked)',
  ],
  [
    /ERR_TLS_CERT_ALTNAME_INVALID/,
    'name the host as its certificate does, or say sslmode=no-verify where the way is safe',
  ],
  [
    /SELF_SIGNED|UNABLE_TO_(VERIFY|GET)|CERT_UNTRUSTED|self-signed|unable to verify|unable to get/i,
    'name the authority of its certificate with sslrootcert=<file>, or say sslmode=no-verify where the way is safe',
  ],
  [
    /unsupported startup parameter/,
    'take it out of DATABASE_URL, or have PgBouncer pass it over (ignore_startup_parameters)',
  ],
]

function codeOf(error: unknown): string {
  const { code } = error as { readonly code?: unknown }
  return typeof code === 'string' ? code : ''
}
