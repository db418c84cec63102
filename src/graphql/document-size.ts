import { BREAK, Kind, visit } from 'graphql'
import type {
  DirectiveNode,
  DocumentNode,
  FieldNode,
  NameNode,
  SelectionNode,
  SelectionSetNode,
} from 'graphql'

/** How much a definition asks for: what is in a fragment counts as often as it is spread. */
export interface DocumentSize {
  readonly fields: number
  /** Fields under another name than their own. Those under the same name are merged, and so bounded by the schema. */
  readonly aliases: number
  readonly directives: number
  readonly spreads: number
  /** How many fields stand within one another. */
  readonly depth: number
}

/** Measures every operation and fragment, in a time that grows with the text alone. */
export function measureDefinitions(document: DocumentNode): readonly DocumentSize[] {
  const measure = createMeasure(document)
  return document.definitions.map((definition) =>
    'selectionSet' in definition && definition.selectionSet
      ? addUp([ofDirectives(definition), measure(definition.selectionSet)])
      : NOTHING,
  )
}

/** Counts the fields of a document's first operation. */
export function countFields(document: DocumentNode): number {
  const operation = document.definitions.find(({ kind }) => kind === Kind.OPERATION_DEFINITION)
  return operation
    ? (measureDefinitions(document)[document.definitions.indexOf(operation)]?.fields ?? 0)
    : 0
}

/** Characters of a name. An alias stands in the answer as often as a list has items. */
const MAX_NAME_CHARACTERS = 255

/** Fields `__schema` and `__type` of a document: each may be answered with all of the schema. */
const MAX_INTROSPECTIONS = 4

/** @returns What of a document is too much, in words for its author; `null` when nothing is. */
export function findExcess(document: DocumentNode, limits: DocumentSize): string | null {
  if (hasLongName(document)) return `Use names of at most ${MAX_NAME_CHARACTERS} characters`
  if (countIntrospections(document) > MAX_INTROSPECTIONS)
    return `Ask at most ${MAX_INTROSPECTIONS} times for the schema`
  for (const { depth, ...counts } of measureDefinitions(document)) {
    if (depth > limits.depth) return `Nest fields at most ${limits.depth} deep`
    for (const name of ['fields', 'aliases', 'directives', 'spreads'] as const) {
      if (counts[name] > limits[name])
        return `Use at most ${limits[name]} ${name} in an operation, those of fragments counted at each spread`
    }
  }
  return null
}

function hasLongName(document: DocumentNode): boolean {
  let isFound = false
  visit(document, {
    Name({ value }: NameNode) {
      isFound = value.length > MAX_NAME_CHARACTERS
      return isFound ? BREAK : undefined
    },
  })
  return isFound
}

/** Where a fragment with one is spread again, the fields are merged. */
function countIntrospections(document: DocumentNode): number {
  let count = 0
  visit(document, {
    Field({ name }: FieldNode) {
      if (name.value === '__schema' || name.value === '__type') count += 1
    },
  })
  return count
}

const NOTHING: DocumentSize = { fields: 0, aliases: 0, directives: 0, spreads: 0, depth: 0 }

function createMeasure(
  document: DocumentNode,
): (set: SelectionSetNode | undefined) => DocumentSize {
  const fragments = new Map<string, SelectionSetNode>()
  for (const one of document.definitions) {
    if (one.kind === Kind.FRAGMENT_DEFINITION) fragments.set(one.name.value, one.selectionSet)
  }
  const sizes = new Map<string, DocumentSize>()

  function measureFragment(name: string): DocumentSize {
    const known = sizes.get(name)
    if (known) return known
    // Fragments may go in a circle: validation says so.
    sizes.set(name, NOTHING)
    const size = measure(fragments.get(name))
    sizes.set(name, size)
    return size
  }

  function measure(set: SelectionSetNode | undefined): DocumentSize {
    return addUp((set?.selections ?? []).flatMap((one) => [ofDirectives(one), measureOne(one)]))
  }

  function measureOne(selection: SelectionNode): DocumentSize {
    switch (selection.kind) {
      case Kind.FIELD: {
        const inner = measure(selection.selectionSet)
        const isAlias =
          selection.alias !== undefined && selection.alias.value !== selection.name.value
        return {
          ...inner,
          fields: inner.fields + 1,
          aliases: inner.aliases + Number(isAlias),
          depth: inner.depth + 1,
        }
      }
      case Kind.INLINE_FRAGMENT:
        return measure(selection.selectionSet)
      case Kind.FRAGMENT_SPREAD: {
        const inner = measureFragment(selection.name.value)
        return { ...inner, spreads: inner.spreads + 1 }
      }
    }
  }
  return measure
}

function ofDirectives({
  directives = [],
}: {
  readonly directives?: readonly DirectiveNode[] | undefined
}): DocumentSize {
  return { ...NOTHING, directives: directives.length }
}

function addUp(sizes: readonly DocumentSize[]): DocumentSize {
  return {
    fields: sumOf(sizes.map(({ fields }) => fields)),
    aliases: sumOf(sizes.map(({ aliases }) => aliases)),
    directives: sumOf(sizes.map(({ directives }) => directives)),
    spreads: sumOf(sizes.map(({ spreads }) => spreads)),
    depth: sizes.reduce((most, { depth }) => Math.max(most, depth), 0),
  }
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0)
}
