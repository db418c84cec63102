import type { IncomingMessage, ServerResponse } from 'node:http'
import helmet from 'helmet'

const setHeaders = helmet({
  contentSecurityPolicy: {
    useDefaults: false,
    directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
  },
})

/** How browsers are to treat every answer, put together once. */
export const SECURITY_HEADERS: ReadonlyArray<readonly [name: string, value: string]> =
  recordHeaders()

/** Gives an answer its security headers: each answer, whatever makes it. */
export function secure(response: ServerResponse): void {
  for (const [name, value] of SECURITY_HEADERS) response.setHeader(name, value)
}

function recordHeaders(): Array<[string, string]> {
  const headers: Array<[string, string]> = []
  const recorder = {
    setHeader: (name: string, value: string) => headers.push([name, value]),
    removeHeader: () => undefined,
  }
  setHeaders({} as IncomingMessage, recorder as unknown as ServerResponse, () => undefined)
  return headers
}
