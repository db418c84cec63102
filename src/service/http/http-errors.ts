import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Logger } from 'pino'

/** The request is at fault before GraphQL reads it. */
export class RequestError extends Error {
  readonly statusCode: 400 | 415
  readonly headers: Readonly<Record<string, string>>

  /** @param answer - Status 400 and no headers, if not given. */
  constructor(
    message: string,
    { status = 400, headers = {} }: { status?: 400 | 415; headers?: Record<string, string> } = {},
  ) {
    super(message)
    this.statusCode = status
    this.headers = headers
  }
}

/** Nothing of the document was read. */
export class DocumentTooLongError extends RequestError {
  constructor(maxCharacters: number) {
    super(`Send a document of at most ${maxCharacters} characters`)
  }
}

/** There is no room for one more stream. */
export class BusyError extends Error {
  readonly statusCode = 503

  constructor() {
    super('Too many clients are connected; try again')
  }
}

/** What an answer is called that GraphQL did not make. */
export type FaultCode =
  | 'BAD_REQUEST'
  | 'GRAPHQL_PARSE_FAILED'
  | 'NOT_FOUND'
  | 'METHOD_NOT_ALLOWED'
  | 'SERVICE_UNAVAILABLE'
  | 'INTERNAL_SERVER_ERROR'

type RequestFault = Error & { readonly statusCode?: number; readonly code?: string }

/** What goes wrong before GraphQL is answered in its form too, so that clients read one kind of error. */
export function answerErrorsAsGraphQL(app: FastifyInstance, log: Logger): void {
  app.setErrorHandler<RequestFault>((error, _request, reply) => answerFault(error, reply, log))

  app.setNotFoundHandler((request, reply) => {
    const [path = ''] = request.url.split('?')
    const allowed = listMethods(app, path)
    const message = `There is no ${request.method} ${path}; GraphQL is at POST /graphql`

    if (allowed.length === 0) return answer(reply, 404, 'NOT_FOUND', message)
    return answer(reply.header('allow', allowed.join(', ')), 405, 'METHOD_NOT_ALLOWED', message)
  })
}

/** What may be sent to a path, but for OPTIONS. */
export function listMethods(app: FastifyInstance, path: string): string[] {
  return ['GET', 'HEAD', 'POST'].filter((method) => app.hasRoute({ method, url: path }))
}

export function answerFault(error: RequestFault, reply: FastifyReply, log: Logger): FastifyReply {
  const { statusCode: status = 500, message } = error
  if (error instanceof BusyError) {
    return answer(reply.header('retry-after', '1'), status, 'SERVICE_UNAVAILABLE', message)
  }
  if (error instanceof RequestError) void reply.headers(error.headers)
  if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return refuseType(reply)
  if (error instanceof DocumentTooLongError)
    return answer(reply, status, 'GRAPHQL_PARSE_FAILED', message)
  if (status < 500) return answer(reply, status, 'BAD_REQUEST', message)

  logFault(error, log)
  return answer(reply, status, 'INTERNAL_SERVER_ERROR', 'Internal server error')
}

/** RFC 9110 §15.5.16: with what would do. */
function refuseType(reply: FastifyReply): FastifyReply {
  const message = 'Send JSON, with Content-Type: application/json'
  return answer(reply.header('accept', 'application/json'), 415, 'BAD_REQUEST', message)
}

/** An unforeseen error. */
export function logFault(error: unknown, log: Logger): void {
  const { message, stack } = error instanceof Error ? error : new Error(String(error))
  log.error({ err: { message, stack } }, 'internal error')
}

/** An error in GraphQL's form. */
export function formatFault(code: FaultCode, message: string): object {
  return { errors: [{ message, extensions: { code } }] }
}

function answer(
  reply: FastifyReply,
  status: number,
  code: FaultCode,
  message: string,
): FastifyReply {
  return reply.code(status).send(formatFault(code, message))
}
