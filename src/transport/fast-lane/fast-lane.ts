import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import { GraphQLError, execute } from 'graphql'
import type { ExecutionResult, GraphQLSchema } from 'graphql'
import type { AuthContext } from '../../graphql/auth-directive.ts'
import { callOut } from '../../lib/call-out.ts'
import { isEachMet } from '../apollo/compiled-queries.ts'
import type { CompiledQueries, CompiledQuery } from '../apollo/compiled-queries.ts'
import { describeResult } from '../apollo/graphql-answer.ts'
import type { ResultOptions } from '../apollo/graphql-answer.ts'
import { LearnedHeaders } from './learned-headers.ts'
import { parsePlainBody, readPlainHead } from './plain-request.ts'
import type { PlainHead } from './plain-request.ts'

/** How a request to the path was answered, for statistics. */
export type Way = 'fast' | 'long'

export interface FastLaneOptions<Context extends AuthContext> {
  /** Where GraphQL is served; a request with anything behind it goes the long way. */
  readonly path: string
  /** With `@auth` in force. */
  readonly schema: GraphQLSchema
  /** What the server has parsed, validated, executed and compiled before. */
  readonly queries: CompiledQueries
  /** The GraphQL context of a request, as the server makes it. It must cost nothing until it is asked. */
  readonly context: (request: IncomingMessage, authorization: string | undefined) => Context
  /** How the server tells errors. */
  readonly result: ResultOptions
  /** Whether the server may add headers that name the caller. */
  readonly mayNameCallers: boolean
  /** Whether requests may be answered here at the moment: not while the server is closing. */
  readonly isOpen: () => boolean
  /** Bounds what is under way. */
  readonly gate?: { hasRoom(): boolean; begin(): void; end(): void }
  readonly onAnswer?: ((way: Way) => void) | undefined
}

/** A request that may be answered here. */
interface Arrival {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly head: PlainHead
  /** The server behind the lane. */
  readonly listener: RequestListener
}

/** What a request asks for, when the answer to that is compiled. */
interface HotRequest {
  readonly query: CompiledQuery
  readonly variables: Readonly<Record<string, unknown>>
}

/** What a hot request is answered with. */
interface Means<Context> extends HotRequest {
  readonly context: Context
  /** What the server adds to its answers: names and values in turn. */
  readonly headers: readonly string[]
}

/**
 * A short cut in front of an HTTP server: queries that come again and again are answered without it.
 *
 * It is no second GraphQL server. It answers a plain POST of a document that the server itself has parsed, validated and
 * executed before, with what the server would have answered, refusals included. Whatever else comes goes the long way,
 * before anything was done for it.
 */
export class FastLane<Context extends AuthContext> {
  readonly #options: FastLaneOptions<Context>
  readonly #headers: LearnedHeaders
  readonly #servers = new WeakSet<Server>()
  #arrived: Arrival[] = []

  constructor(options: FastLaneOptions<Context>) {
    this.#options = options
    this.#headers = new LearnedHeaders(options)
  }

  /** Takes the requests of a server that has its listener; a second time it does nothing. */
  open(server: Server): void {
    if (this.#servers.has(server)) return
    // The first one answers; others, such as those that drain a server, are told of every request.
    const [listener, ...observers] = server.rawListeners('request') as RequestListener[]
    if (listener === undefined) throw new TypeError('expected a server that listens to requests')

    this.#servers.add(server)
    server.removeAllListeners('request')
    for (const each of [this.wrap(listener), ...observers]) server.on('request', each)
  }

  /** Takes the requests before a listener. */
  wrap(listener: RequestListener): RequestListener {
    const { path } = this.#options
    return (request, response) => {
      const head = readPlainHead(request, path)
      if (head === null) {
        listener(request, response)
        return
      }
      // What arrives in one turn of the event loop is answered together, while its code and data are at hand; and by
      // then the body of a small request is there, so that nothing has to be listened for.
      if (this.#arrived.push({ request, response, head, listener }) === 1) {
        setImmediate(this.#answerAll)
      }
    }
  }

  readonly #answerAll = (): void => {
    const arrivals = this.#arrived
    this.#arrived = []
    for (const arrival of arrivals) {
      try {
        this.#answer(arrival)
      } catch (error) {
        // Of the server's listener. It ends the process as it would without the lane, but not the loop.
        process.nextTick(() => {
          throw error
        })
      }
    }
  }

  #answer(arrival: Arrival): void {
    // The client has gone, and nothing was begun for it.
    if (arrival.request.destroyed) return

    const means = this.#isOpen() ? this.#prepare(arrival) : null
    if (means === null) this.#giveUp(arrival)
    else this.#execute(arrival, means)
  }

  /** @returns `null` when the server has to answer; the request is as it came then. */
  #prepare({ request, response, head }: Arrival): Means<Context> | null {
    const body = request.read() as Buffer | null
    if (body === null) return null

    const hot = this.#read(body, head)
    const headers = hot && this.#headers.find(head)
    const context = headers && this.#createContext(request, head)
    if (hot && headers && context) return { ...hot, headers, context }
    // Only answers to hot queries teach: one to a mutation may set a cookie.
    if (hot && !headers) this.#headers.watch(head, response)
    // Its end was not told yet, so the body can go back.
    request.unshift(body)
    return null
  }

  #isOpen(): boolean {
    return this.#options.isOpen() && (this.#options.gate?.hasRoom() ?? true)
  }

  #giveUp({ request, response, listener }: Arrival): void {
    this.#note('long')
    listener(request, response)
  }

  #note(way: Way): void {
    const { onAnswer } = this.#options
    if (onAnswer) callOut(() => onAnswer(way))
  }

  /** @returns `null` when it cannot be made: the server says so in its own way. */
  #createContext(request: IncomingMessage, { authorization }: PlainHead): Context | null {
    try {
      return this.#options.context(request, authorization)
    } catch {
      return null
    }
  }

  #read(bytes: Buffer, { length }: PlainHead): HotRequest | null {
    // A slow body: the server waits for the rest.
    const body = bytes.length === length ? parsePlainBody(bytes) : null
    const query = body && this.#options.queries.findByText(body.query)
    if (!body || !query) return null

    const { variables, operationName } = body
    if (operationName !== null && operationName !== query.operationName) return null
    return query.takes(variables) ? { query, variables } : null
  }

  /** From here on the request is answered, once. */
  #execute(arrival: Arrival, means: Means<Context>): void {
    const { gate } = this.#options
    const answer = (result: ExecutionResult): void => {
      gate?.end()
      this.#send(arrival, means.headers, result)
    }
    this.#note('fast')
    gate?.begin()
    const result = this.#attempt(means)
    if (result instanceof Promise) {
      void result.then(answer, (error: unknown) => answer(failed(error)))
    } else answer(result)
  }

  /** Never throws: what arrived in the same turn must not suffer. */
  #attempt(means: Means<Context>): ExecutionResult | Promise<ExecutionResult> {
    try {
      return this.#run(means)
    } catch (error) {
      return failed(error)
    }
  }

  #run(means: Means<Context>): ExecutionResult | Promise<ExecutionResult> {
    const { query, variables, context } = means
    const isMet = query.demands.every((demand) => context.auth.isMet(demand))
    if (!isMet) return this.#ask(means)
    return query.run(context, variables) ?? this.#guarded(means)
  }

  /** What is not met at once may be met when the store has answered. */
  async #ask(means: Means<Context>): Promise<ExecutionResult> {
    const { query, variables, context } = means
    const isMet = await isEachMet(query.demands, context.auth)
    return (isMet ? await query.run(context, variables) : null) ?? this.#guarded(means)
  }

  /** The guards say why a request is refused, and to which of its fields. */
  async #guarded({ query, variables, context }: Means<Context>): Promise<ExecutionResult> {
    const { schema } = this.#options
    const { document } = query
    return execute({ schema, document, contextValue: context, variableValues: variables })
  }

  #send({ response, head }: Arrival, headers: readonly string[], result: ExecutionResult): void {
    const { status, own, body } = this.#describe(result)
    response.writeHead(status, [
      'content-type',
      head.mediaType,
      'content-length',
      String(Buffer.byteLength(body)),
      ...headers,
      ...own,
    ])
    response.end(body)
  }

  #describe(result: ExecutionResult): { status: number; own: string[]; body: string } {
    try {
      const { head, errors, data } = describeResult(result, this.#options.result)
      // As Apollo Server writes it.
      const body = `${JSON.stringify(errors ? { errors, data } : { data })}\n`
      return { status: head.status, own: Object.entries(head.headers).flat(), body }
    } catch (error) {
      // A scalar that has no JSON.
      return this.#describe(failed(error))
    }
  }
}

function failed(error: unknown): ExecutionResult {
  const originalError = error instanceof Error ? error : new Error(String(error))
  return { errors: [new GraphQLError(originalError.message, { originalError })] }
}
