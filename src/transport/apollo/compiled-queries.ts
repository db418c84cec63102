import { HeaderMap } from '@apollo/server'
import type { ApolloServerPlugin, GraphQLResponse } from '@apollo/server'
import { OperationTypeNode, getOperationAST, visit } from 'graphql'
import type { DocumentNode, ExecutionResult, GraphQLSchema, OperationDefinitionNode } from 'graphql'
import { compileQuery, isCompiledQuery } from 'graphql-jit'
import type { Authentication } from '../../caller/authentication.ts'
import type { Demand } from '../../caller/demand.ts'
import { findDemands, withoutGuards } from '../../graphql/auth-directive.ts'
import type { AuthContext } from '../../graphql/auth-directive.ts'
import { countFields } from '../../graphql/document-size.ts'
import { VariableCheck } from '../../graphql/variables.ts'
import { describeResult } from './graphql-answer.ts'
import type { DescribedResult, ResultOptions } from './graphql-answer.ts'

export interface CompiledQueriesOptions {
  /** With `@auth` in force: documents are validated against it, and it says what their fields ask of a caller. */
  readonly schema: GraphQLSchema
  /**
   * How often a document is executed before it is compiled.
   *
   * @defaultValue 2
   */
  readonly compileAfter?: number
}

/** Compiling so many takes ten milliseconds at the most: strangers' documents must not take more than a part of the time. */
const MAX_FIELDS = 200
const COMPILE_INTERVAL_MS = 50

/**
 * Queries that come again and again, as compiled functions.
 *
 * What the fields of a document ask of their caller is asked once, before anything runs; when all of it is met, no
 * guard would refuse, and the unguarded schema answers. Whatever is out of the ordinary is left to Apollo and the guards:
 * mutations, directives, variables of a wrong type, and a demand that is not met.
 */
export function createCompiledQueries(
  queries: CompiledQueries,
  options: ResultOptions,
): ApolloServerPlugin<AuthContext> {
  return {
    async requestDidStart() {
      return {
        async responseForOperation(requestContext) {
          const { document, operation, request, source, contextValue } = requestContext
          const query = isQuery(operation) ? queries.find(document, source) : null
          const { variables = {} } = request
          if (!query?.takes(variables)) return null
          if (!(await isEachMet(query.demands, contextValue.auth))) return null

          const result = await query.run(contextValue, variables)
          if (result === null) return null
          return toResponse(describeResult(result, options), requestContext.requestIsBatched)
        },
      }
    },
  }
}

/** Apollo formats only what it has executed itself. The answers of a batch have one head, which is not theirs. */
function toResponse({ head, errors, data }: DescribedResult, isBatched: boolean): GraphQLResponse {
  const headers = new HeaderMap(Object.entries(isBatched ? {} : head.headers))
  return {
    http: { status: isBatched ? undefined : head.status, headers },
    body: { kind: 'single', singleResult: errors ? { errors, data } : { data } },
  }
}

/** @param operation - `undefined` when the request names none of the document's, whatever Apollo's type says. */
function isQuery(operation: OperationDefinitionNode | undefined): boolean {
  return operation?.operation === OperationTypeNode.QUERY
}

/** Whether a caller meets all that a document asks; the store is waited for where it has to be. */
export async function isEachMet(
  demands: readonly Demand[],
  auth: Authentication,
): Promise<boolean> {
  for (const demand of demands) {
    if (auth.isMet(demand)) continue
    // Why not is said by the guard that asks again.
    const isKnown = await auth.authenticate(demand).then(
      () => true,
      () => false,
    )
    if (!isKnown || !auth.isMet(demand)) return false
  }
  return true
}

/** A document that is answered without being read again. */
export interface CompiledQuery {
  readonly document: DocumentNode
  readonly operationName: string | null
  /** What its fields ask of their caller. */
  readonly demands: readonly Demand[]
  /** Whether variables are of the types that the document declares. */
  takes(variables: Variables): boolean
  /**
   * Without guards: only when all its demands are met.
   *
   * @returns `null` when nothing ran, because the compiler reads some variables (a default in a place that takes no `null`)
   * in a way of its own.
   */
  run(context: AuthContext, variables: Variables): Promise<ExecutionResult> | ExecutionResult | null
}

type Variables = Readonly<Record<string, unknown>>

/** Documents that may be found by their text, and the longest such text, in characters. */
const MAX_TEXTS = 1000
const MAX_TEXT = 8192

/** The documents that were compiled, for as long as Apollo keeps them parsed. */
export class CompiledQueries {
  readonly #options: CompiledQueriesOptions
  readonly #unguarded: GraphQLSchema
  readonly #queries = new WeakMap<DocumentNode, { uses: number; query?: CompiledQuery | null }>()
  readonly #byText = new Map<string, CompiledQuery>()
  readonly #variables: VariableCheck
  #compiledAtMs = -Infinity

  constructor(options: CompiledQueriesOptions) {
    this.#options = options
    this.#unguarded = withoutGuards(options.schema)
    this.#variables = new VariableCheck(options.schema)
  }

  /** @returns `null` when no document of exactly this text is compiled. */
  findByText(text: string): CompiledQuery | null {
    return this.#byText.get(text) ?? null
  }

  /** @returns `null` when the document is not compiled, or not yet. */
  find(document: DocumentNode, text: string): CompiledQuery | null {
    const known = this.#queries.get(document) ?? { uses: 0 }
    // Again, because others may have taken its place.
    if (known.query) this.#remember(text, known.query)
    if (known.query !== undefined) return known.query

    this.#queries.set(document, known)
    known.uses += 1
    if (!this.#isWorthwhile(known.uses)) return null
    this.#compiledAtMs = performance.now()
    known.query = this.#compile(document)
    if (known.query !== null) this.#remember(text, known.query)
    return known.query
  }

  /** The oldest goes first. */
  #remember(text: string, query: CompiledQuery): void {
    if (text.length > MAX_TEXT) return
    this.#byText.set(text, query)
    const [oldest] = this.#byText.keys()
    if (this.#byText.size > MAX_TEXTS) this.#byText.delete(oldest as string)
  }

  #isWorthwhile(uses: number): boolean {
    const { compileAfter = 2 } = this.#options
    if (compileAfter === 0) return true
    return uses > compileAfter && performance.now() - this.#compiledAtMs > COMPILE_INTERVAL_MS
  }

  #compile(document: DocumentNode): CompiledQuery | null {
    if (!isPlain(document)) return null
    const { schema } = this.#options
    const compiled = compileQuery(this.#unguarded, document)
    if (!isCompiledQuery(compiled)) return null

    const operation = getOperationAST(document) as OperationDefinitionNode
    return {
      document,
      operationName: operation.name?.value ?? null,
      demands: findDemands(schema, document),
      takes: (variables) => this.#variables.findFault(document, operation, variables) === null,
      run: (context, variables) => {
        const result = compiled.query(undefined, context, variables)
        return result instanceof Promise || 'data' in result ? result : null
      },
    }
  }
}

/** In an object literal of the compiled code it would set the prototype, and the answer would lack the field. */
const NO_MEMBER = '__proto__'

/**
 * One operation, not too large and without directives: of a field that is skipped in one place and not in another, the
 * compiler takes all.
 */
function isPlain(document: DocumentNode): boolean {
  let operations = 0
  let directives = 0
  let isNamedPlainly = true
  visit(document, {
    OperationDefinition: () => {
      operations += 1
    },
    Directive: () => {
      directives += 1
    },
    Name: ({ value }) => {
      isNamedPlainly &&= value !== NO_MEMBER
    },
  })
  return (
    isNamedPlainly && operations === 1 && directives === 0 && countFields(document) <= MAX_FIELDS
  )
}
