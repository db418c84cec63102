import { GraphQLError, parse, specifiedRules, validate } from 'graphql'
import type { DocumentNode, GraphQLSchema, ValidationRule } from 'graphql'
import { findDemands } from '../../graphql/auth-directive.ts'
import {
  MAX_DOCUMENT_CHARACTERS,
  MAX_DOCUMENT_TOKENS,
  MAX_VALIDATION_ERRORS,
} from '../apollo/document-limits.ts'

/** Which documents may be executed over live connections. */
export interface LiveDocumentsOptions {
  /** From `protect`. */
  readonly schema: GraphQLSchema
  /** Rules beside those of the GraphQL specification. */
  readonly validationRules?: readonly ValidationRule[] | undefined
  /**
   * What a document may hold, in tokens of the GraphQL language, with at most 25 characters for each.
   *
   * @defaultValue 2000
   */
  readonly maxTokens?: number | undefined
}

/** A document that may be executed. */
export interface LiveDocument {
  readonly document: DocumentNode
  /** Whether a field of it asks who calls. */
  readonly isGuarded: boolean
}

/** Characters of a document for each token that it may hold: what is ignored between them takes time too. */
const CHARACTERS_A_TOKEN = MAX_DOCUMENT_CHARACTERS / MAX_DOCUMENT_TOKENS

/** Ten thousand clients subscribe to the same: what one of them sent is remembered. Documents, and characters of one. */
const MAX_REMEMBERED = 200
const MAX_REMEMBERED_LENGTH = 5000

/** Parses and validates what comes over live connections, as Apollo Server does with what comes over HTTP. */
export class LiveDocuments {
  readonly #options: LiveDocumentsOptions
  readonly #remembered = new Map<string, LiveDocument>()

  constructor(options: LiveDocumentsOptions) {
    this.#options = options
  }

  /** @returns What is wrong with it, when it may not be executed. */
  read(query: string): LiveDocument | readonly GraphQLError[] {
    const known = this.#remembered.get(query)
    if (known) return known

    const { schema, validationRules = [], maxTokens = MAX_DOCUMENT_TOKENS } = this.#options
    const document = tryToParse(query, maxTokens)
    if (document instanceof GraphQLError) return [withCode(document, 'GRAPHQL_PARSE_FAILED')]
    // Limits first: what they refuse may take long to validate.
    const excess = validate(schema, document, validationRules)
    const told = { maxErrors: MAX_VALIDATION_ERRORS }
    const faults = excess.length > 0 ? excess : validate(schema, document, specifiedRules, told)
    if (faults.length > 0)
      return faults.map((fault) => withCode(fault, 'GRAPHQL_VALIDATION_FAILED'))

    const read = { document, isGuarded: findDemands(schema, document).length > 0 }
    if (query.length <= MAX_REMEMBERED_LENGTH) this.#remember(query, read)
    return read
  }

  #remember(query: string, read: LiveDocument): void {
    const [oldest] = this.#remembered.keys()
    if (oldest !== undefined && this.#remembered.size >= MAX_REMEMBERED)
      this.#remembered.delete(oldest)
    this.#remembered.set(query, read)
  }
}

function tryToParse(query: string, maxTokens: number): DocumentNode | GraphQLError {
  const maxCharacters = CHARACTERS_A_TOKEN * maxTokens
  if (query.length > maxCharacters)
    return new GraphQLError(`Send a document of at most ${maxCharacters} characters`)

  try {
    // The newer name is unknown to graphql 16.11, which would then set no limit.
    // oxlint-disable-next-line typescript/no-deprecated
    return parse(query, { maxTokens })
  } catch (error) {
    if (error instanceof GraphQLError) return error
    throw error
  }
}

function withCode(error: GraphQLError, code: string): GraphQLError {
  const { message, nodes, source, positions, path, extensions } = error
  return new GraphQLError(message, {
    nodes: nodes ?? null,
    source: source ?? null,
    positions: positions ?? null,
    path: path ?? null,
    extensions: { ...extensions, code },
  })
}
