import { GraphQLError, Kind } from 'graphql'
import type { SelectionSetNode, ValidationContext, ValidationRule } from 'graphql'

/**
 * Makes the rule that refuses an operation with too many root fields: those of a query run at the same time, each with
 * reads of its own, so a document full of aliases would keep the connections from all other callers.
 *
 * @param max - Fields of the same name in the answer are one, wherever they stand.
 */
export function createRootFieldLimit(max: number): ValidationRule {
  return (context) => ({
    OperationDefinition(operation) {
      const names = new Set<string>()
      collectNames(context, operation.selectionSet, names, new Set())

      if (names.size > max) {
        const message = `Ask for at most ${max} fields of ${operation.operation} at a time`
        context.reportError(new GraphQLError(message, { nodes: operation }))
      }
    },
  })
}

function collectNames(
  context: ValidationContext,
  { selections }: SelectionSetNode,
  names: Set<string>,
  seen: Set<string>,
): void {
  for (const selection of selections) {
    switch (selection.kind) {
      case Kind.FIELD:
        names.add((selection.alias ?? selection.name).value)
        break
      case Kind.INLINE_FRAGMENT:
        collectNames(context, selection.selectionSet, names, seen)
        break
      case Kind.FRAGMENT_SPREAD: {
        const { value: name } = selection.name
        const fragment = seen.has(name) ? null : context.getFragment(name)
        seen.add(name)
        if (fragment) collectNames(context, fragment.selectionSet, names, seen)
      }
    }
  }
}
