import { MapperKind, mapSchema } from '@graphql-tools/utils'
import { TypeInfo, isAbstractType, isObjectType, visit, visitWithTypeInfo } from 'graphql'
import type {
  DocumentNode,
  FieldNode,
  GraphQLField,
  GraphQLObjectType,
  GraphQLSchema,
} from 'graphql'
import { Declarations } from './declaration.ts'
import { DEMAND, isDemand } from './demand.ts'
import type { Demand } from './demand.ts'
import { guardField, isGuard, trustGuard } from './guard.ts'
import type { Root } from './guard.ts'

export type { AuthContext } from './guard.ts'

type Field = GraphQLField<unknown, unknown>

/**
 * Makes `@auth` hold: wraps the resolver of every field that it guards.
 *
 * What stands nearest counts: the field, then its type, then the interfaces that the type implements (all of them
 * together). The resolver of a refused field never runs; once the caller is known, a guarded field is as synchronous
 * as an unguarded one. Every mutation is checked anew, because the one before it may have revoked the token; and every
 * event of a subscription, because anybody may have. An event that cannot be checked waits until it can, for half a minute
 * at the most; one that is refused because its token was revoked or has expired is the last of its source.
 *
 * The directives may stand in the SDL or, as code-first schemas have them, in `extensions.directives`.
 *
 * @param schema - An executable schema. Do last what makes it: a resolver that is set afterwards takes the guard's place
 * ({@link assertProtected} finds that).
 * @throws `TypeError` that lists all that is wrong with the directives, by coordinates such as `Query.me`: arguments that
 * the definition does not have, contrary declarations, and names that were meant to be `auth`.
 */
export function applyAuthDirective(schema: GraphQLSchema): GraphQLSchema {
  const declarations = new Declarations(schema)
  return mapSchema(schema, {
    [MapperKind.OBJECT_FIELD]: (field, fieldName, typeName) => {
      const type = schema.getType(typeName) as GraphQLObjectType
      const demand = declarations.demandOf(type, type.getFields()[fieldName] as Field)
      return guardField(field, demand, rootOf(schema, type))
    },
  })
}

/** Schemas whose fields carried their guards when they were looked at. */
const inOrder = new WeakSet<GraphQLSchema>()

/**
 * Makes sure that every field with `@auth` carries its guard.
 *
 * The plug-ins for servers do it when they start. Call it yourself on a server without one, when it is ready:
 * `portcullis.assertProtected(app.graphql.schema)` for Mercurius, whose loaders take the places of resolvers.
 *
 * A wrapper around a guard is not a guard, because nobody can tell from the outside whether it calls what it wraps. Only those that Apollo
 * Server sets at its first request are trusted, in a schema that was in order before.
 *
 * @throws `TypeError` that names every field whose guard is not there, and what {@link applyAuthDirective} throws.
 */
export function assertProtected(schema: GraphQLSchema): void {
  const demands = listDemands(schema)
  if (isInstrumented(schema) && inOrder.has(schema)) {
    inOrder.delete(schema)
    for (const { field, demand } of demands) trustGuard(field.resolve ?? field, demand)
  }

  const open = demands.filter(({ field, demand, isEvent }) => {
    return !isGuard(field.resolve, demand) || (isEvent && !isGuard(field.subscribe, demand))
  })
  if (open.length > 0) {
    const names = open.map(({ coordinate }) => coordinate).join(', ')
    throw new TypeError(
      `expected the guard of @auth on every field that asks for it, got none on ${names}: serve what portcullis.protect returns, and set no resolver after it`,
    )
  }
  if (!isInstrumented(schema)) inOrder.add(schema)
}

/**
 * Names the root fields that are neither guarded nor open on purpose: perhaps somebody forgot.
 *
 * @returns Names such as `Query.me`; empty when every root field says `@auth` or `@public`.
 */
export function listUndeclaredRootFields(schema: GraphQLSchema): readonly string[] {
  const declarations = new Declarations(schema)
  const roots = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()]
  return roots
    .filter((type) => type !== null && type !== undefined)
    .filter((type) => declarations.of(type) === null)
    .flatMap((type) =>
      Object.values(type.getFields())
        .filter((field) => declarations.of(field) === null)
        .map((field) => `${type.name}.${field.name}`),
    )
}

/**
 * Finds what the fields of a document ask of their caller, whatever types its abstract fields turn out to be.
 *
 * @param schema - From {@link applyAuthDirective}.
 * @param document - Valid for it.
 * @returns Each demand once.
 */
export function findDemands(schema: GraphQLSchema, document: DocumentNode): readonly Demand[] {
  const found = new Map<string, Demand>()
  const typeInfo = new TypeInfo(schema)
  const visitor = {
    Field({ name }: FieldNode): void {
      const parent = typeInfo.getParentType()
      const types = isAbstractType(parent) ? schema.getPossibleTypes(parent) : [parent]
      for (const type of types) {
        const field = isObjectType(type) ? type.getFields()[name.value] : undefined
        const demand = field?.extensions[DEMAND] as Demand | undefined
        if (demand) found.set(JSON.stringify(demand), demand)
      }
    },
  }
  visit(document, visitWithTypeInfo(typeInfo, visitor))
  return [...found.values()]
}

/** A field that asks for its caller. */
interface DemandingField {
  readonly coordinate: string
  readonly field: Field
  readonly demand: Demand
  readonly isEvent: boolean
}

function listDemands(schema: GraphQLSchema): readonly DemandingField[] {
  const declarations = new Declarations(schema)
  return Object.values(schema.getTypeMap())
    .filter((type) => isObjectType(type))
    .flatMap((type) =>
      Object.values(type.getFields()).flatMap((field) => {
        const demand = declarations.demandOf(type, field) ?? readDemand(field)
        if (demand === null) return []
        const isEvent = rootOf(schema, type) === 'SUBSCRIPTION'
        return [{ coordinate: `${type.name}.${field.name}`, field, demand, isEvent }]
      }),
    )
}

/** What a field asked for when it was protected; its directives may have been removed since. */
function readDemand({ extensions }: Field): Demand | null {
  const demand = extensions[DEMAND]
  return isDemand(demand) ? demand : null
}

function rootOf(schema: GraphQLSchema, type: GraphQLObjectType): Root {
  if (type === schema.getMutationType()) return 'MUTATION'
  return type === schema.getSubscriptionType() ? 'SUBSCRIPTION' : null
}

/** Whether Apollo Server has wrapped every resolver, to tell its plug-ins; it leaves a mark. */
function isInstrumented(schema: GraphQLSchema): boolean {
  return Object.getOwnPropertySymbols(schema).some(
    ({ description }) => description === 'apolloServerPluginsEnabled',
  )
}
