import type { IncomingMessage, Server } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { listHeader } from '../../transport/request-origin.ts'
import { RequestError, formatFault, listMethods } from './http-errors.ts'
import { secure } from './security-headers.ts'

/** What has to hold of every request before its path is looked at. */
export function judgeHeads(app: FastifyInstance): void {
  app.addHook('onRequest', (request, _reply, next) => next(findFaultyHost(request.raw)))
  answerOptions(app)
  refuseExpectations(app.server)
}

/** RFC 9112 §3.2: HTTP/1.1 needs a Host. HTTP/1.0 does not, and speaks to this machine without one. */
function findFaultyHost(request: IncomingMessage): RequestError | undefined {
  if (request.headers.host !== undefined) return undefined
  if (request.httpVersion !== '1.0') return new RequestError('The Host header is missing')
  request.headers.host = 'localhost'
  return undefined
}

/** What is no browser's question whether a page may ask is answered with what there is (RFC 9110 §9.3.7). */
function answerOptions(app: FastifyInstance): void {
  app.addHook('onRequest', (request, reply, next) => {
    const { method, headers, url } = request
    if (method !== 'OPTIONS') return next()
    if (headers.origin && headers['access-control-request-method']) return next()

    const [path = ''] = url.split('?')
    const allowed = path === '*' ? ['GET', 'HEAD', 'POST'] : listMethods(app, path)
    if (allowed.length === 0) {
      reply.callNotFound()
      return
    }
    void reply
      .code(204)
      .header('allow', [...allowed, 'OPTIONS'].join(', '))
      .send()
  })
}

/** RFC 9110 §10.1.1: other expectations than `100-continue`. */
function refuseExpectations(server: Server): void {
  const body = JSON.stringify(formatFault('BAD_REQUEST', 'Send Expect: 100-continue, or none'))
  server.on('checkExpectation', (_request, response) => {
    secure(response)
    response.writeHead(417, {
      'content-type': 'application/json; charset=utf-8',
      'content-length': Buffer.byteLength(body),
    })
    response.end(body)
  })
}

/** Of two hosts a proxy may have taken the other one; and Apollo's integration makes a URL of it. */
export function refuseMalformedHost({ hostname, raw }: FastifyRequest): void {
  if (!URL.canParse(`http://${hostname}/`)) throw new RequestError('The Host header is malformed')
  if (listHeader(raw.rawHeaders, 'host').length > 1)
    throw new RequestError('The Host header stands there more than once')
}

/** Read with U+FFFD in the place of what cannot be read, a query would say something else. */
export function refuseUndecodableSearch({ url }: FastifyRequest): void {
  const at = url.indexOf('?')
  if (at < 0) return
  const search = url.slice(at)
  if (!isPercentEncoded(search))
    throw new RequestError('Send the parameters of the URL in UTF-8, percent-encoded')
}

function isPercentEncoded(text: string): boolean {
  if (!/^[!-~]*$/.test(text)) return false
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}

/** A body that was compressed is read by nothing here, and one that was not must not say so (RFC 9110 §15.5.16). */
export function refuseContentCoding({ headers }: FastifyRequest): void {
  const coding = headers['content-encoding']
  if (coding === undefined || /^(identity)?$/i.test(coding)) return
  throw new RequestError('Send the body as it is, without Content-Encoding', {
    status: 415,
    headers: { 'accept-encoding': 'identity' },
  })
}
