import type { BaseContext, GraphQLRequestContextWillSendResponse } from '@apollo/server'
import { OperationTypeNode, execute } from 'graphql'
import type { DocumentNode, ExecutionResult, GraphQLSchema } from 'graphql'
import type { Authentication } from '../../caller/authentication.ts'
import type { Demand } from '../../caller/demand.ts'
import { findDemands } from '../../graphql/auth-directive.ts'
import type { AuthContext } from '../../graphql/auth-directive.ts'

type AnsweredRequest = Pick<
  GraphQLRequestContextWillSendResponse<BaseContext>,
  'schema' | 'document' | 'operation' | 'request' | 'contextValue'
>

/**
 * Judges answers that no resolver made: a plug-in had kept them.
 *
 * No guard was asked for such an answer, and the token that it was made for may have been revoked since.
 */
export class KeptAnswers {
  readonly #demands = new WeakMap<DocumentNode, { schema: GraphQLSchema; all: readonly Demand[] }>()

  /** @returns What to answer instead, made by the resolvers and their guards; `null`: the answer may go out. */
  async replace(request: AnsweredRequest): Promise<ExecutionResult | null> {
    const { schema, document, operation, contextValue } = request
    if (document === undefined || operation?.operation !== OperationTypeNode.QUERY) return null
    const { auth } = contextValue as Partial<AuthContext>
    if (await isEachMet(this.#findDemands(schema, document), auth)) return null

    return execute({
      schema,
      document,
      contextValue,
      variableValues: request.request.variables ?? null,
      operationName: request.request.operationName ?? null,
    })
  }

  #findDemands(schema: GraphQLSchema, document: DocumentNode): readonly Demand[] {
    const known = this.#demands.get(document)
    if (known?.schema === schema) return known.all
    const all = findDemands(schema, document)
    this.#demands.set(document, { schema, all })
    return all
  }
}

async function isEachMet(
  demands: readonly Demand[],
  auth: Authentication | undefined,
): Promise<boolean> {
  try {
    for (const demand of demands) {
      if (!auth) return false
      if (!auth.isMet(demand)) await auth.authenticate(demand)
    }
    return true
  } catch {
    // Why not is said by the guard that asks again.
    return false
  }
}
