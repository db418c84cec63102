import type { ApolloServerPlugin } from '@apollo/server'
import { GraphQLError, Kind } from 'graphql'
import type { DocumentNode, ValidationRule } from 'graphql'
import { findExcess } from '../../graphql/document-size.ts'
import type { DocumentSize } from '../../graphql/document-size.ts'

/**
 * What a document may hold, in tokens of the GraphQL language; the introspection query has some 250. So no document can
 * nest so deep that the parser's stack overflows, nor name so many fields that others wait long.
 */
export const MAX_DOCUMENT_TOKENS = 2000

/** As much as those tokens need, with comments and indentation: what is ignored between them takes time too. */
export const MAX_DOCUMENT_CHARACTERS = 25 * MAX_DOCUMENT_TOKENS

/** Faults of a document that are told. For each the lines of the document are counted from its beginning. */
export const MAX_VALIDATION_ERRORS = 5

/** Fields of one operation at its root: they all run at the same time. */
export const MAX_ROOT_FIELDS = 50

/**
 * What one operation may ask for, when the fields of a fragment are counted as often as it is spread: 2,000 tokens can
 * be written out to hundreds of thousands of fields, and each of them to as many as a list has items. The introspection
 * of tools has 230 fields, 15 deep.
 */
export const MAX_DOCUMENT_SIZE = {
  fields: 500,
  aliases: 100,
  directives: 50,
  spreads: 50,
  depth: 20,
}

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
