import { Kind } from 'graphql'
import type { DocumentNode, SelectionSetNode } from 'graphql'

/**
 * Counts the fields of a document's first operation: those of a fragment as often as it is spread.
 *
 * @param document - A valid one: its fragments go in no circle.
 */
export function countFields({ definitions }: DocumentNode): number {
  const counts = new Map<string, number>()
  const fragments = new Map(
    definitions
      .filter((one) => one.kind === Kind.FRAGMENT_DEFINITION)
      .map((fragment) => [fragment.name.value, fragment]),
  )

  const countSpread = (name: string): number => {
    const known = counts.get(name) ?? countIn(fragments.get(name)?.selectionSet)
    counts.set(name, known)
    return known
  }
  const countIn = (set: SelectionSetNode | undefined): number => {
    let count = 0
    for (const selection of set?.selections ?? []) {
      switch (selection.kind) {
        case Kind.FIELD:
          count += 1 + countIn(selection.selectionSet)
          break
        case Kind.INLINE_FRAGMENT:
          count += countIn(selection.selectionSet)
          break
        case Kind.FRAGMENT_SPREAD:
          count += countSpread(selection.name.value)
      }
    }
    return count
  }

  const operation = definitions.find((one) => one.kind === Kind.OPERATION_DEFINITION)
  return countIn(operation?.selectionSet)
}
