import {
  GraphQLError,
  TypeInfo,
  ValidationContext,
  getVariableValues,
  isNonNullType,
  typeFromAST,
} from 'graphql'
import type {
  DocumentNode,
  GraphQLInputType,
  GraphQLSchema,
  OperationDefinitionNode,
  VariableDefinitionNode,
} from 'graphql'
import { shorten } from './message.ts'

/** Characters of a message, which quotes the value. */
const MAX_FOR_SUGGESTIONS = 1000

type Values = Readonly<Record<string, unknown>>

/** A place that takes no `null`, and the variable that stands there although it may be `null`. */
interface NullableUse {
  readonly variable: string
  readonly type: GraphQLInputType
}

/** Judges the variables of an operation before anything of it runs. */
export class VariableCheck {
  readonly #schema: GraphQLSchema
  /** Found once a document: a hot one is asked thousands of times a second. */
  readonly #nullableUses = new WeakMap<OperationDefinitionNode, readonly NullableUse[]>()

  constructor(schema: GraphQLSchema) {
    this.#schema = schema
  }

  /**
   * Finds the first fault, which is enough to mend a call.
   *
   * Execution would describe all faults and quote the value that holds them for each: of an input object with a hundred
   * thousand unknown members that is an answer of gigabytes.
   *
   * @param document - Valid for the schema.
   * @param operation - `undefined` when the request names none of the document's: execution says so.
   * @returns `null` when every value fits.
   */
  findFault(
    document: DocumentNode,
    operation: OperationDefinitionNode | undefined,
    given: Values,
  ): GraphQLError | null {
    const { variableDefinitions: definitions = [] } = operation ?? {}
    if (operation === undefined || definitions.length === 0) return null

    const { coerced, errors } = this.#coerce(definitions, given, { hideSuggestions: true })
    if (coerced !== undefined) return this.#findNull(document, operation, coerced)

    // What is long is like nothing in the schema, and to find that out takes long.
    const isLong = (errors[0]?.message.length ?? 0) > MAX_FOR_SUGGESTIONS
    return describe(isLong ? errors[0] : this.#coerce(definitions, given, {}).errors?.[0])
  }

  #coerce(
    definitions: readonly VariableDefinitionNode[],
    given: Values,
    options: { readonly hideSuggestions?: boolean },
  ): ReturnType<typeof getVariableValues> {
    return getVariableValues(this.#schema, definitions, given, { maxErrors: 1, ...options })
  }

  /**
   * Finds a `null` that the variable's own type allows, `$keep: Boolean` for instance, and the place where it stands does
   * not. Validation lets it pass where either has a default, and execution fails half way through.
   *
   * @see {@link https://spec.graphql.org/October2021/#sec-All-Variable-Usages-are-Allowed GraphQL §5.8.5}
   */
  #findNull(
    document: DocumentNode,
    operation: OperationDefinitionNode,
    values: Values,
  ): GraphQLError | null {
    const known = this.#nullableUses.get(operation)
    const uses = known ?? findNullableUses(this.#schema, document, operation)
    if (known === undefined) this.#nullableUses.set(operation, uses)

    const use = uses.find(({ variable }) => values[variable] === null)
    if (use === undefined) return null
    const { variable, type } = use
    const nodes = operation.variableDefinitions?.filter(
      (one) => one.variable.name.value === variable,
    )
    return describe(
      new GraphQLError(
        `Variable "$${variable}" of non-null type "${String(type)}" must not be null.`,
        {
          nodes: nodes ?? null,
        },
      ),
    )
  }
}

function describe(error: GraphQLError | undefined): GraphQLError {
  const { message = 'The variables do not fit', nodes = [] } = error ?? {}
  const [definition] = nodes as readonly VariableDefinitionNode[]
  return new GraphQLError(shorten(message), {
    nodes,
    extensions: {
      code: 'BAD_USER_INPUT',
      reason: 'INVALID_VALUE',
      argument: definition?.variable.name.value,
    },
  })
}

function findNullableUses(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
): readonly NullableUse[] {
  const nullable = new Set(
    operation.variableDefinitions
      ?.filter(({ type }) => !isNonNullType(typeFromAST(schema, type)))
      .map(({ variable }) => variable.name.value),
  )
  const context = new ValidationContext(schema, document, new TypeInfo(schema), () => undefined)
  return context
    .getRecursiveVariableUsages(operation)
    .flatMap(({ node: { name }, type }) =>
      nullable.has(name.value) && isNonNullType(type) ? [{ variable: name.value, type }] : [],
    )
}
