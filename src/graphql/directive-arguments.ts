import { Kind, getNamedType, isEnumType, valueFromASTUntyped } from 'graphql'
import type { GraphQLArgument, GraphQLInputType, GraphQLSchema } from 'graphql'
import { TOKEN_STATES, USER } from '../caller/demand.ts'
import type { Demand, TokenState } from '../caller/demand.ts'
import type { Use } from './directive-use.ts'

/** What `@auth` demands as it stands somewhere, and what is wrong with it. */
export interface ReadArguments {
  /** `null` when something is wrong. */
  readonly demand: Demand | null
  readonly faults: readonly string[]
}

/**
 * Reads the arguments of `@auth`, by the definition that the schema has of it. Roles and states are the names of enum values,
 * whatever values a schema gives them inside.
 *
 * @param place - The type or field that it stands on, for errors.
 */
export function readArguments(schema: GraphQLSchema, use: Use, place: string): ReadArguments {
  const { args, given } = use
  if (args === null) {
    const fault = `expected the arguments of @auth on ${place} as an object, got ${format(given)}`
    return { demand: null, faults: [fault] }
  }

  const definition = findDefinition(schema, 'requires')
  const { requires = readDefault(definition) ?? 'USER' } = args
  const { accepts = readDefault(findDefinition(schema, 'accepts')) ?? USER.accepts } = args
  const states: readonly unknown[] = Array.isArray(accepts) ? accepts : [accepts]
  const faults = [
    ...listUnknownArguments(args, place),
    ...listTexts(use, definition, place),
    ...listFaultsOfRole(requires, listRoles(schema, definition), place),
    ...listFaultsOfStates(states, place),
  ]
  if (faults.length > 0) return { demand: null, faults }
  return { demand: { requires: [requires as string], accepts: states as TokenState[] }, faults }
}

function findDefinition(schema: GraphQLSchema, argument: string): GraphQLArgument | undefined {
  return schema.getDirective('auth')?.args.find(({ name }) => name === argument)
}

/** By name. The SDL has it so; without, the value inside is looked up. */
function readDefault(definition: GraphQLArgument | undefined): unknown {
  if (definition === undefined) return undefined
  const { astNode, defaultValue, type } = definition
  if (astNode?.defaultValue) return valueFromASTUntyped(astNode.defaultValue)
  return Array.isArray(defaultValue)
    ? defaultValue.map((value) => nameOf(value, type))
    : nameOf(defaultValue, type)
}

function nameOf(inner: unknown, type: GraphQLInputType): unknown {
  const named = getNamedType(type)
  const found = isEnumType(named) ? named.getValues().find(({ value }) => value === inner) : null
  return found?.name ?? inner
}

/** @returns `null` when the schema does not say: then a role may have any name. */
function listRoles(
  schema: GraphQLSchema,
  definition: GraphQLArgument | undefined,
): readonly string[] | null {
  const type = definition ? getNamedType(definition.type) : schema.getType('Role')
  return isEnumType(type) ? type.getValues().map(({ name }) => name) : null
}

function listUnknownArguments(args: Readonly<Record<string, unknown>>, place: string): string[] {
  return Object.keys(args)
    .filter((name) => name !== 'requires' && name !== 'accepts')
    .map((name) => `expected the arguments requires and accepts of @auth on ${place}, got ${name}`)
}

/** SDL that was not validated may hold a text in the place of an enum value. */
function listTexts(
  { nodes }: Use,
  definition: GraphQLArgument | undefined,
  place: string,
): string[] {
  if (!definition || !isEnumType(getNamedType(definition.type))) return []
  return nodes
    .filter(({ value }) => value.kind === Kind.STRING)
    .map(({ name }) => `expected an enum value for ${name.value} of @auth on ${place}, got a text`)
}

function listFaultsOfRole(role: unknown, known: readonly string[] | null, place: string): string[] {
  const isRole = typeof role === 'string' && role !== '' && (known?.includes(role) ?? true)
  if (isRole) return []
  const roles = known === null ? '' : ` (${known.join(', ')})`
  return [`expected one role${roles} for requires of @auth on ${place}, got ${format(role)}`]
}

function listFaultsOfStates(states: readonly unknown[], place: string): string[] {
  const faults = states
    .filter((state) => !TOKEN_STATES.includes(state as TokenState))
    .map((state) => `expected token states for accepts of @auth on ${place}, got ${format(state)}`)
  if (states.includes('INVALID')) {
    faults.push(
      `expected accepted states other than INVALID on ${place}: nobody is behind such a token`,
    )
  }
  return faults
}

function format(value: unknown): string {
  return typeof value === 'string' ? `"${value}"` : (JSON.stringify(value) ?? typeof value)
}
