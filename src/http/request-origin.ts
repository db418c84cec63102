import type { IncomingHttpHeaders } from 'node:http'

/** As much of a request as says where it comes from: also of a WebSocket's handshake. */
export interface OriginatingRequest {
  readonly headers: IncomingHttpHeaders
  readonly socket: { readonly remoteAddress?: string | undefined }
}

const MAX_USER_AGENT_CHARACTERS = 500

export function readUserAgent({ headers }: Pick<OriginatingRequest, 'headers'>): string | null {
  return headers['user-agent']?.slice(0, MAX_USER_AGENT_CHARACTERS) ?? null
}

/** The other end of the TCP connection. */
export function readRemoteAddress({ socket }: OriginatingRequest): string | null {
  return socket.remoteAddress ?? null
}

/** Whom the nearest proxy names; what stands left of that in `X-Forwarded-For` may be the client's own invention. */
export function readForwardedAddress(request: OriginatingRequest): string | null {
  const forwarded = [request.headers['x-forwarded-for'] ?? []].flat().join(',')
  const nearest = forwarded.split(',').at(-1)?.trim()
  if (nearest === undefined || nearest === '') return readRemoteAddress(request)
  return nearest
}
