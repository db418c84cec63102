import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'

/** What the lane needs of the head of a request in which nothing is out of the ordinary. */
export interface PlainHead {
  readonly authorization: string | undefined
  readonly origin: string | undefined
  /** The media type of the answer. */
  readonly mediaType: string
  /** Bytes of the body. */
  readonly length: number
}

const JSON_ANSWER = 'application/json; charset=utf-8'
const RESPONSE_ANSWER = 'application/graphql-response+json; charset=utf-8'

/** What clients of the field accept, and what they get: the long way negotiates the rest. */
const ANSWER_BY_ACCEPT: ReadonlyMap<string | undefined, string> = new Map([
  [undefined, JSON_ANSWER],
  ['*/*', JSON_ANSWER],
  ['application/json', JSON_ANSWER],
  ['application/json, text/plain, */*', JSON_ANSWER],
  ['application/json, multipart/mixed', JSON_ANSWER],
  ['application/graphql-response+json', RESPONSE_ANSWER],
  ['application/graphql-response+json, application/json', RESPONSE_ANSWER],
  ['application/graphql-response+json, application/json;q=0.9', RESPONSE_ANSWER],
  ['application/graphql-response+json,application/json;q=0.9', RESPONSE_ANSWER],
])

const JSON_BODIES = new Set([
  'application/json',
  'application/json; charset=utf-8',
  'application/json;charset=utf-8',
  'application/json; charset=UTF-8',
  'application/json;charset=UTF-8',
])

/** Larger bodies may come in several pieces, and are read by the server. */
const MAX_LENGTH = 16_384

/** Headers that make a request more than plain, each with what it would change. */
const OUT_OF_THE_ORDINARY = new Set([
  // The body is not what it looks like, or not all there.
  'content-encoding',
  'transfer-encoding',
  'expect',
  // The connection may speak another protocol afterwards (RFC 9110 §7.8).
  'upgrade',
  // A proxy's word on the host, which the server judges.
  'x-forwarded-host',
  // The answer to a page of another network has one header more.
  'access-control-request-private-network',
])

/**
 * Reads the head of a request to the lane.
 *
 * Goes by `rawHeaders`: `headers` would keep the first of two, and costs more than all else here.
 *
 * @returns `null` when anything about it is out of the ordinary.
 */
export function readPlainHead(request: IncomingMessage, path: string): PlainHead | null {
  if (request.method !== 'POST' || request.url !== path) return null
  // HTTP/1.0 knows no persistent connection and needs no Host.
  if (request.httpVersionMinor !== 1 || request.httpVersionMajor !== 1) return null

  const found: Found = {}
  const { rawHeaders } = request
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = (rawHeaders[at] as string).toLowerCase()
    if (OUT_OF_THE_ORDINARY.has(name)) return null
    if (!isWanted(name)) continue
    // Of two the server decides, or refuses.
    if (found[name] !== undefined) return null
    found[name] = rawHeaders[at + 1] as string
  }
  return judge(found)
}

type Wanted = 'accept' | 'authorization' | 'content-length' | 'content-type' | 'host' | 'origin'
type Found = { [name in Wanted]?: string }

function isWanted(name: string): name is Wanted {
  switch (name) {
    case 'accept':
    case 'authorization':
    case 'content-length':
    case 'content-type':
    case 'host':
    case 'origin':
      return true
    default:
      return false
  }
}

function judge(found: Found): PlainHead | null {
  const { accept, authorization, host, origin } = found
  const length = Number(found['content-length'])
  const mediaType = ANSWER_BY_ACCEPT.get(accept)

  if (mediaType === undefined || !JSON_BODIES.has(found['content-type'] ?? '')) return null
  if (!(length > 0 && length <= MAX_LENGTH)) return null
  if (host === undefined || !isHost(host)) return null
  return { authorization, origin, mediaType, length }
}

/** Most requests name the same hosts. */
const hosts = new Set<string>()

/** RFC 9112 §3.2: what is none, the server refuses. */
function isHost(host: string): boolean {
  if (hosts.has(host)) return true
  if (!URL.canParse(`http://${host}/`)) return false
  if (hosts.size < 100) hosts.add(host)
  return true
}

/** The body of a request for one operation, without extensions. */
export interface PlainBody {
  readonly query: string
  readonly variables: Readonly<Record<string, unknown>>
  readonly operationName: string | null
}

/** Member names that the server refuses wherever they stand, and the escape that may spell one. */
const SUSPICIOUS = /__proto__|constructor|\\u/

/** @returns `null` when it is anything else, or not sure to be that. */
export function parsePlainBody(bytes: Buffer): PlainBody | null {
  if (!isUtf8(bytes)) return null
  const text = bytes.toString()
  const body = SUSPICIOUS.test(text) ? null : parseObject(text)
  if (body === null) return null
  for (const name in body) {
    if (name !== 'query' && name !== 'variables' && name !== 'operationName') return null
  }

  const { query, variables = null, operationName = null } = body
  if (typeof query !== 'string') return null
  if (operationName !== null && typeof operationName !== 'string') return null
  if (typeof variables !== 'object' || Array.isArray(variables)) return null
  return { query, variables: (variables ?? {}) as PlainBody['variables'], operationName }
}

function parseObject(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && !Array.isArray(value)
      ? (value as Record<string, unknown> | null)
      : null
  } catch {
    return null
  }
}
