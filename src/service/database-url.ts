import { Client } from 'pg'

const EXPECTED = 'expected postgresql://user:password@host:port/database'

/** Parameters by which other drivers choose a schema. */
const SCHEMA = ['schema', 'currentSchema', 'search_path', 'schema_search_path']

/** Parameters of other drivers that name the server or the database: ignored, they would lead elsewhere. */
const PLACES = ['dbname', 'hostaddr', 'service', 'servicefile', 'socket', 'unix_socket']

const SSL_MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify']

/**
 * Finds what keeps the driver from connecting where a URL says, or has it connect elsewhere without a word.
 *
 * @returns One sentence, without anything of the URL that may be secret; `null` when there is nothing.
 */
export function findUrlFault(url: string): string | null {
  if (!/^postgres(ql)?:\/\//i.test(url)) return EXPECTED
  if (hasListOfHosts(url))
    return 'expected one host, got a list: name the one that leads to the primary'

  try {
    decodeURIComponent(url)
    const { host, port } = new Client({ connectionString: url })
    if (host === '' || !Number.isInteger(port) || port < 1 || port > 65_535) return EXPECTED
    return findParameterFault(readParameters(url))
  } catch (error) {
    return describe(error as NodeJS.ErrnoException)
  }
}

function hasListOfHosts(url: string): boolean {
  const [, authority = ''] = /^[a-z]+:\/\/([^/?#]*)/i.exec(url) ?? []
  const hosts = authority.slice(authority.lastIndexOf('@') + 1)
  return hosts.includes(',') || (readParameters(url).get('host') ?? '').includes(',')
}

function readParameters(url: string): URLSearchParams {
  const [, ...query] = url.split('?')
  return new URLSearchParams(query.join('?'))
}

function findParameterFault(parameters: URLSearchParams): string | null {
  const schema = SCHEMA.find((name) => parameters.has(name))
  if (schema !== undefined) {
    return `expected no parameter ${schema}, which PostgreSQL does not know: say options=-c%20search_path%3D<schema>`
  }
  const place = PLACES.find((name) => parameters.has(name))
  if (place !== undefined) {
    return `expected no parameter ${place}, which this driver does not know: ${EXPECTED.replace('expected ', '')}`
  }
  const sslmode = parameters.get('sslmode')
  if (sslmode !== null && !SSL_MODES.includes(sslmode)) {
    return `expected sslmode to be ${SSL_MODES.slice(0, -1).join(', ')} or ${SSL_MODES.at(-1)}`
  }
  return null
}

function describe({ code, message, syscall }: NodeJS.ErrnoException): string {
  if (syscall !== undefined) {
    return `expected sslrootcert, sslcert and sslkey to name files that can be read (${code})`
  }
  if (/URI malformed/.test(message)) {
    return 'expected %25 for a % in the user, the password or the database'
  }
  // The driver's own words about its parameters hold nothing of a URL; the parser's would.
  if (/sslmode=verify-ca/.test(message))
    return 'expected sslrootcert=<file> beside sslmode=verify-ca'
  if (/sslnegotiation/.test(message)) return 'expected sslnegotiation=postgres, or direct with TLS'
  return `${EXPECTED} (percent-encode what is special in the user and the password)`
}
