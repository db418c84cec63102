import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ApolloServerPlugin, GraphQLRequestListener } from '@apollo/server'
import type { FastifyRequest } from 'fastify'
import { GraphQLError } from 'graphql'
import type { GraphQLSchema } from 'graphql'
import type { Authentication } from '../../caller/authentication.ts'
import { VariableCheck } from '../../graphql/variables.ts'
import { MAX_DOCUMENT_CHARACTERS } from '../../transport/apollo/document-limits.ts'
import type { ServiceContext } from '../graphql/context.ts'
import { DocumentTooLongError, RequestError } from './http-errors.ts'

/** How many operations one request may hold: they all run at the same time. */
const MAX_BATCH = 10

/** Characters of a SHA-256 in hexadecimal, by which a persisted query is named. */
const HASH_CHARACTERS = 64

/** Characters of a document that is read at once with the others of its batch. */
const SHORT_DOCUMENT_CHARACTERS = 2000

/** As it comes: any of it may be anything. */
interface Payload {
  readonly query?: unknown
  readonly extensions?: {
    readonly persistedQuery?: { readonly sha256Hash?: unknown } | null
  } | null
}

/**
 * Refuses what is no request of GraphQL, or too much of one, before anything reads its documents.
 *
 * @throws {@link RequestError}
 */
export function refuseMalformed({ method, body, query }: FastifyRequest): void {
  const payloads = method === 'GET' ? [readSearch(query)] : [body].flat(1)
  if (payloads.length > MAX_BATCH)
    throw new RequestError(`Send at most ${MAX_BATCH} operations at a time`)
  for (const payload of payloads) refuseMalformedPayload(payload ?? {})
}

function refuseMalformedPayload({ query, extensions }: Payload): void {
  if (typeof query === 'string' && query.length > MAX_DOCUMENT_CHARACTERS)
    throw new DocumentTooLongError(MAX_DOCUMENT_CHARACTERS)

  const persisted = extensions?.persistedQuery
  if (persisted === null || persisted === undefined) return
  const { sha256Hash: hash } = persisted
  if (typeof hash !== 'string' || hash.length > HASH_CHARACTERS)
    throw new RequestError('Name a persisted query by its SHA-256 in hexadecimal')
}

/** @returns What Apollo will find there; it says what is wrong with the rest. */
function readSearch(search: unknown): Payload {
  const { query, extensions } = search as Readonly<Record<string, unknown>>
  try {
    return { query, extensions: JSON.parse(String(extensions)) as Payload['extensions'] }
  } catch {
    return { query }
  }
}

/** Makes the Apollo plug-in that reads the rest of a request. */
export function createRequestReader(schema: GraphQLSchema): ApolloServerPlugin<ServiceContext> {
  const variables = new VariableCheck(schema)
  const turns = new BatchTurns()
  const listener: GraphQLRequestListener<ServiceContext> = {
    async didResolveOperation({ document, operation, request }) {
      const fault = variables.findFault(document, operation, request.variables ?? {})
      if (fault) throw asRefusal(fault)
    },
  }
  return {
    async requestDidStart({ request, contextValue, requestIsBatched }) {
      // An empty name is none.
      if (request.operationName === '') delete request.operationName
      if (requestIsBatched) await separate(contextValue, request.query, turns)
      return listener
    },
  }
}

/** Each operation of a batch has to find out for itself who calls: they run at the same time on one context. */
async function separate(
  context: ServiceContext,
  query: string | undefined,
  turns: BatchTurns,
): Promise<void> {
  const { auth } = context
  Object.assign(context, { auth: auth.fork() })
  if ((query?.length ?? 0) > SHORT_DOCUMENT_CHARACTERS) await turns.next(auth)
}

/** Long documents of one batch are read in turns of the event loop, so that others are served in between. */
class BatchTurns {
  readonly #last = new WeakMap<Authentication, Promise<void>>()

  /** @param batch - What all operations of one batch share. */
  async next(batch: Authentication): Promise<void> {
    const before = this.#last.get(batch) ?? Promise.resolve()
    const turn = before.then(() => nextTurn())
    this.#last.set(batch, turn)
    await turn
  }
}

function asRefusal({ message, nodes, extensions }: GraphQLError): GraphQLError {
  return new GraphQLError(message, {
    nodes: nodes ?? null,
    extensions: { ...extensions, http: { status: 400 } },
  })
}
