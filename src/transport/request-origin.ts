import { isUtf8 } from 'node:buffer'
import type { IncomingHttpHeaders } from 'node:http'
import { isIP, isIPv4 } from 'node:net'

/** As much of a request as says where it comes from: also of a WebSocket's handshake. */
export interface OriginatingRequest {
  readonly headers: IncomingHttpHeaders
  /** Names and values in turn, as they came; without them a header that came twice is not noticed. */
  readonly rawHeaders?: readonly string[]
  readonly socket: { readonly remoteAddress?: string | undefined }
}

const MAX_USER_AGENT_CHARACTERS = 500

/** Node reads headers as ISO-8859-1; whose bytes are UTF-8 meant that. */
export function readUserAgent({ headers }: Pick<OriginatingRequest, 'headers'>): string | null {
  const text = headers['user-agent']
  if (text === undefined) return null
  if (!/[\u0080-\u00ff]/.test(text)) return text.slice(0, MAX_USER_AGENT_CHARACTERS)
  const bytes = Buffer.from(text, 'latin1')
  // Half a character at the end would be replaced where it is stored.
  return (isUtf8(bytes) ? bytes.toString() : text)
    .slice(0, MAX_USER_AGENT_CHARACTERS)
    .replace(/[\ud800-\udbff]$/, '')
}

/** The other end of the TCP connection. */
export function readRemoteAddress({ socket }: OriginatingRequest): string | null {
  return socket.remoteAddress ?? null
}

/**
 * Whom the nearest proxy names; what stands left of that in `X-Forwarded-For` may be the client's own invention.
 *
 * A proxy that names no address (`unknown`, `_hidden`, nothing) has its own taken: the client must not choose one.
 */
export function readForwardedAddress(request: OriginatingRequest): string | null {
  const forwarded = [request.headers['x-forwarded-for'] ?? []].flat().join(',')
  const nearest = forwarded.split(',').at(-1) ?? ''
  return readNodeAddress(nearest) ?? readRemoteAddress(request)
}

/**
 * An address without the port that some proxies add, which is another for each connection.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7239#section-6 RFC 7239 §6}
 */
function readNodeAddress(text: string): string | null {
  const node = text.trim().replace(/^"(.*)"$/, '$1')
  const [, bracketed] = /^\[([^\]]*)\](?::\w+)?$/.exec(node) ?? []
  const [, beforePort = node] = /^([\d.]+):\w+$/.exec(node) ?? []
  if (bracketed !== undefined) return isIP(bracketed) === 6 ? bracketed : null
  return isIPv4(beforePort) || isIP(node) === 6 ? beforePort : null
}

/** Every `Authorization` that there is: `headers` silently keeps the first of two. */
export function readAuthorization({
  headers,
  rawHeaders,
}: Pick<OriginatingRequest, 'headers' | 'rawHeaders'>): readonly string[] | undefined {
  const { authorization } = headers
  if (authorization === undefined) return undefined
  return rawHeaders === undefined ? [authorization] : listHeader(rawHeaders, 'authorization')
}

/** The values of a header, as often as it stands there. `headersDistinct` costs more than all else of a request's head. */
export function listHeader(rawHeaders: readonly string[], wanted: string): string[] {
  const all: string[] = []
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] as string
    if (name.length === wanted.length && name.toLowerCase() === wanted) {
      all.push(rawHeaders[at + 1] as string)
    }
  }
  return all
}
