import { isUtf8 } from 'node:buffer'
import type { FastifyInstance } from 'fastify'
import { RequestError } from './http-errors.ts'
import { refuseIntricateJson } from './json-size.ts'

/**
 * Reads JSON bodies in UTF-8, which is what JSON is in (RFC 8259 §8.1).
 *
 * Bytes that are not UTF-8 are refused: read with U+FFFD in their place, different passwords would be the same.
 */
export function readJsonStrictly(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    refuseOtherCharset(request.headers['content-type'] as string)
    refuseIntricateJson(body as Buffer)
    void parse(request, decodeUtf8(body as Buffer), done)
  })
}

function refuseOtherCharset(contentType: string): void {
  if (contentType === 'application/json') return
  for (const [, charset = ''] of contentType.matchAll(/;\s*charset\s*=\s*"?([^\s";]*)/gi)) {
    if (/^utf-?8$/i.test(charset)) continue
    throw new RequestError('Send JSON in UTF-8, with Content-Type: application/json', {
      status: 415,
      headers: { accept: 'application/json' },
    })
  }
}

function decodeUtf8(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw new RequestError('The body is not UTF-8; send JSON in UTF-8')
  return bytes.toString()
}
