import type { ApolloServerPlugin } from '@apollo/server'
import { GraphQLError, Kind } from 'graphql'
import type { DocumentNode, ValidationRule } from 'graphql'
import { findExcess } from '../graphql/document-size.ts'
import type { DocumentSize } from '../graphql/document-size.ts'

export interface DocumentLimits {
  /** Refuses, also where there is no Apollo Server. */
  readonly rule: ValidationRule
  /** Sees to it that refusing costs nothing. */
  readonly plugin: ApolloServerPlugin
}

/**
 * Refuses documents that ask for too much.
 *
 * Validation compares every field with every other of its name, in a time that grows with the square of their number:
 * a document that is refused anyway must not cost that. Apollo lets no plugin answer before validation, so the plugin
 * puts an empty document into the place of such a one, and the rule says why.
 */
export function createDocumentLimits(limits: DocumentSize): DocumentLimits {
  const excesses = new WeakMap<DocumentNode, string>()
  const listener = {
    async validationDidStart(context: { document: DocumentNode }): Promise<void> {
      const excess = findExcess(context.document, limits)
      if (excess === null) return
      context.document = { kind: Kind.DOCUMENT, definitions: [] }
      excesses.set(context.document, excess)
    },
  }

  return {
    rule: (context) => {
      const document = context.getDocument()
      const excess = excesses.get(document) ?? findExcess(document, limits)
      return {
        Document() {
          if (excess !== null) context.reportError(new GraphQLError(excess))
        },
      }
    },
    plugin: { requestDidStart: async () => listener },
  }
}
