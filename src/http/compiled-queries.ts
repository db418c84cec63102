import { HeaderMap } from '@apollo/server'
import type { ApolloServerPlugin } from '@apollo/server'
import { OperationTypeNode, visit } from 'graphql'
import type { DocumentNode, ExecutionResult, GraphQLSchema, OperationDefinitionNode } from 'graphql'
import { compileQuery, isCompiledQuery } from 'graphql-jit'
import { findDemands } from '../graphql/auth-directive.ts'
import type { AuthContext } from '../graphql/auth-directive.ts'
import type { Authentication } from '../graphql/authentication.ts'
import type { Demand } from '../graphql/demand.ts'
import { countFields } from '../graphql/document-size.ts'

export interface CompiledQueriesOptions {
  /** With `@auth` in force: documents are validated against it, and it says what their fields ask of a caller. */
  readonly schema: GraphQLSchema
  /** The same without the guards. */
  readonly unguarded: GraphQLSchema
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
 * Executes queries that come again and again as compiled functions.
 *
 * What the fields of a document ask of their caller is asked once, before anything runs; when all of it is met, no
 * guard would refuse, and the unguarded schema answers. Whatever is out of the ordinary is left to Apollo and the guards:
 * mutations, directives, a demand that is not met, and answers with errors, which are made again there.
 */
export function createCompiledQueries(
  options: CompiledQueriesOptions,
): ApolloServerPlugin<AuthContext> {
  const queries = new CompiledQueries(options)
  return {
    async requestDidStart() {
      return {
        async responseForOperation({ document, operation, request, contextValue }) {
          const query = isQuery(operation) ? queries.find(document) : null
          if (query === null || !(await isEachMet(query.demands, contextValue.auth))) return null

          const singleResult = await query.run(contextValue, request.variables ?? {})
          if (singleResult.errors) return null
          return { http: { headers: new HeaderMap() }, body: { kind: 'single', singleResult } }
        },
      }
    },
  }
}

/** @param operation - `undefined` when the request names none of the document's, whatever Apollo's type says. */
function isQuery(operation: OperationDefinitionNode | undefined): boolean {
  return operation?.operation === OperationTypeNode.QUERY
}

async function isEachMet(demands: readonly Demand[], auth: Authentication): Promise<boolean> {
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

interface CompiledQuery {
  readonly demands: readonly Demand[]
  run(context: AuthContext, variables: object): Promise<ExecutionResult> | ExecutionResult
}

/** Kept as long as Apollo keeps the parsed document. */
class CompiledQueries {
  readonly #options: CompiledQueriesOptions
  readonly #queries = new WeakMap<DocumentNode, { uses: number; query?: CompiledQuery | null }>()
  #compiledAtMs = -Infinity

  constructor(options: CompiledQueriesOptions) {
    this.#options = options
  }

  /** @returns `null` when the document is not compiled, or not yet. */
  find(document: DocumentNode): CompiledQuery | null {
    const known = this.#queries.get(document) ?? { uses: 0 }
    if (known.query !== undefined) return known.query

    this.#queries.set(document, known)
    known.uses += 1
    if (!this.#isWorthwhile(known.uses)) return null
    this.#compiledAtMs = performance.now()
    known.query = this.#compile(document)
    return known.query
  }

  #isWorthwhile(uses: number): boolean {
    const { compileAfter = 2 } = this.#options
    if (compileAfter === 0) return true
    return uses > compileAfter && performance.now() - this.#compiledAtMs > COMPILE_INTERVAL_MS
  }

  #compile(document: DocumentNode): CompiledQuery | null {
    if (!isPlain(document)) return null
    const compiled = compileQuery(this.#options.unguarded, document)
    if (!isCompiledQuery(compiled)) return null
    return {
      demands: findDemands(this.#options.schema, document),
      run: (context, variables) => compiled.query(undefined, context, variables),
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
