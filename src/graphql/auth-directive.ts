import { MapperKind, mapSchema } from '@graphql-tools/utils'
import { TypeInfo, isAbstractType, isObjectType, visit, visitWithTypeInfo } from 'graphql'
import type {
  DocumentNode,
  FieldNode,
  GraphQLField,
  GraphQLObjectType,
  GraphQLSchema,
} from 'graphql'
import { DEMAND, isDemand } from '../caller/demand.ts'
import type { Demand } from '../caller/demand.ts'
import { Declarations } from './declaration.ts'
import { guardField, isGuard, unguardField } from './guard.ts'
import type { Root } from './guard.ts'

export type { AuthContext } from './guard.ts'

type Field = GraphQLField<unknown, unknown>

/**
 * Makes `@auth` hold: wraps the resolver of every field that it guards.
 *
 * What stands nearest counts: the field, then its type, then the interfaces that the type implements (all of them
 * together). The resolver of a refused field never runs; once the caller is known, a guarded field is as synchronous
 * as an unguarded one. Every mutation is checked anew, because the one before it may have revoked the token; and every
 * event of a subscription, because another caller may have. An event that cannot be checked waits until it can, for half a minute
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
  const protectedSchema = mapSchema(schema, {
    [MapperKind.OBJECT_FIELD]: (field, fieldName, typeName) => {
      const type = schema.getType(typeName) as GraphQLObjectType
      const demand = declarations.demandOf(type, type.getFields()[fieldName] as Field)
      return guardField(field, demand, rootOf(schema, type))
    },
  })
  inOrder.add(protectedSchema)
  return protectedSchema
}

/**
 * Makes the same schema without guards on queries: for documents whose demands are all known to be met.
 *
 * @param schema - From {@link applyAuthDirective}; one that it did not make has no guards.
 * @throws `TypeError` when something has taken a guard's place.
 */
export function withoutGuards(schema: GraphQLSchema): GraphQLSchema {
  return mapSchema(schema, {
    [MapperKind.OBJECT_FIELD]: (field, fieldName, typeName) => {
      const isQuery = rootOf(schema, schema.getType(typeName) as GraphQLObjectType) === null
      return isQuery ? unguardField(field, `${typeName}.${fieldName}`) : field
    },
  })
}

/** Schemas whose fields carried their guards when they were made, or looked at. */
const inOrder = new WeakSet<GraphQLSchema>()

/**
 * Makes sure that every field with `@auth` carries its guard.
 *
 * The plug-ins for servers do it when they start. Call it yourself on a server without one, when it is ready:
 * `portcullis.assertProtected(app.graphql.schema)` for Mercurius, whose loaders take the places of resolvers.
 *
 * A wrapper around a guard is not a guard, because it cannot be seen from the outside whether it calls what it wraps. Only those
 * that Apollo Server sets at its first request are trusted, in a schema that was in order before.
 *
 * @throws `TypeError` that names every field whose guard is not there, and what {@link applyAuthDirective} throws.
 */
export function assertProtected(schema: GraphQLSchema): void {
  const wrapper = inOrder.has(schema) ? findWrapper(schema) : null
  const open = listDemands(schema).filter(({ field, demand, isEvent }) => {
    const isTrusted = wrapper !== null && String(field.resolve) === wrapper
    const isAsked = isTrusted || isGuard(field.resolve, demand)
    return !isAsked || (isEvent && !isGuard(field.subscribe, demand))
  })
  if (open.length > 0) {
    const names = open.map(({ coordinate }) => coordinate).join(', ')
    throw new TypeError(
      `expected the guard of @auth on every field that asks for it, got none on ${names}: serve what portcullis.protect returns, and set no resolver after it`,
    )
  }
  inOrder.add(schema)
}

/**
 * Names the root fields that are neither guarded nor marked as public: a guard may have been forgotten.
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

/**
 * Finds the text of the function with which Apollo Server has wrapped every resolver, to tell its plug-ins: it leaves a mark on
 * the schema. `null`: it has not.
 */
function findWrapper(schema: GraphQLSchema): string | null {
  const isWrapped = Object.getOwnPropertySymbols(schema).some(
    ({ description }) => description === 'apolloServerPluginsEnabled',
  )
  if (!isWrapped) return null

  const counts = new Map<string, number>()
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type)) continue
    for (const { resolve } of Object.values(type.getFields())) {
      counts.set(String(resolve), (counts.get(String(resolve)) ?? 0) + 1)
    }
  }
  // What was set since is not the most frequent.
  const [most] = [...counts].toSorted(([, one], [, other]) => other - one)
  return most?.[0] ?? null
}
