import {
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isIntrospectionType,
  isObjectType,
} from 'graphql'
import type {
  GraphQLField,
  GraphQLInterfaceType,
  GraphQLNamedType,
  GraphQLObjectType,
  GraphQLSchema,
} from 'graphql'
import { DEMAND, isDemand, isSameDemand } from '../caller/demand.ts'
import type { Demand } from '../caller/demand.ts'
import { readArguments } from './directive-arguments.ts'
import { listUses } from './directive-use.ts'
import type { Bearer, Use } from './directive-use.ts'
import { findMeantDirective, isMeantForAuth } from './near-miss.ts'

type Field = GraphQLField<unknown, unknown>
type Guardable = GraphQLObjectType | GraphQLInterfaceType | Field

/** What a type or a field says of its callers. */
export type Declaration = Demand | 'PUBLIC'

/** What the types and fields of one schema say, read once. */
export class Declarations {
  readonly #found = new Map<Guardable, Declaration>()

  /** @throws `TypeError` that names all that is wrong, each with its coordinate. */
  constructor(schema: GraphQLSchema) {
    const faults = [
      ...listGuardable(schema).flatMap((place) => this.#read(schema, place)),
      ...listOthers(schema).flatMap(listMisplaced),
    ]
    if (faults.length > 0) throw new TypeError(describeFaults(faults))
  }

  /** @returns `null` when it says nothing itself. */
  of(bearer: Guardable): Declaration | null {
    return this.#found.get(bearer) ?? null
  }

  /**
   * What stands nearest counts: the field, then its type, then the interfaces that the type implements, all of them together.
   *
   * @returns `null` when the field is open.
   */
  demandOf(type: GraphQLObjectType, field: Field): Demand | null {
    const own = this.of(field) ?? this.of(type)
    if (own !== null) return own === 'PUBLIC' ? null : own

    const inherited = type
      .getInterfaces()
      .map((parent) => {
        const parentField = parent.getFields()[field.name]
        return (parentField && this.of(parentField)) ?? this.of(parent)
      })
      .filter((declaration) => declaration !== null && declaration !== 'PUBLIC')
    if (inherited.length === 0) return null
    return inherited.reduce((one, other) => ({
      requires: [...new Set([...one.requires, ...other.requires])],
      accepts: one.accepts.filter((state) => other.accepts.includes(state)),
    }))
  }

  /** @returns What is wrong there. */
  #read(schema: GraphQLSchema, { bearer, coordinate }: Place<Guardable>): readonly string[] {
    const uses = listUses(bearer)
    const auths = uses.filter(({ name }) => name === 'auth')
    const publics = uses.filter(({ name }) => name === 'public')

    const { name } = bearer
    const found = auths.map((use) => readArguments(schema, use, name))
    const demands = found.map(({ demand }) => demand).filter((demand) => demand !== null)
    const faults = found.flatMap((one) => one.faults)
    const [demand] = demands
    if (demand && publics.length > 0) faults.push(`expected @auth or @public on ${name}, got both`)
    // The SDL and `extensions` may say the same.
    if (demand && !demands.every((other) => isSameDemand(demand, other)))
      faults.push(`expected one @auth on ${name}, got another on its extension`)
    faults.push(...publics.flatMap((use) => listArgumentsOfPublic(use, name)))
    faults.push(...listNearMisses(schema, bearer, uses))

    const declaration = demand ?? (publics.length > 0 ? 'PUBLIC' : null)
    if (declaration !== null) this.#found.set(bearer, declaration)
    return faults.map((fault) => (coordinate === name ? fault : `${coordinate}: ${fault}`))
  }
}

/** A part of a schema, and where it stands: such as `Query.me`. */
interface Place<Part extends Bearer> {
  readonly bearer: Part
  readonly coordinate: string
}

function listGuardable(schema: GraphQLSchema): ReadonlyArray<Place<Guardable>> {
  return listComposites(schema).flatMap((type) => [
    { bearer: type, coordinate: type.name },
    ...listFields(type),
  ])
}

function listComposites(
  schema: GraphQLSchema,
): ReadonlyArray<GraphQLObjectType | GraphQLInterfaceType> {
  return Object.values(schema.getTypeMap())
    .filter((type) => isObjectType(type) || isInterfaceType(type))
    .filter((type) => !isIntrospectionType(type))
}

function listFields(type: GraphQLObjectType | GraphQLInterfaceType): ReadonlyArray<Place<Field>> {
  return Object.values(type.getFields()).map((bearer) => ({
    bearer,
    coordinate: `${type.name}.${bearer.name}`,
  }))
}

/** Parts of a schema on which `@auth` guards nothing. */
function listOthers(schema: GraphQLSchema): ReadonlyArray<Place<Bearer>> {
  const args = listComposites(schema)
    .flatMap(listFields)
    .flatMap(({ bearer, coordinate }) =>
      bearer.args.map((arg) => ({ bearer: arg, coordinate: `${coordinate}(${arg.name}:)` })),
    )
  const types = Object.values(schema.getTypeMap()).filter(
    (type) => !isObjectType(type) && !isInterfaceType(type),
  )
  return [{ bearer: schema, coordinate: 'schema' }, ...args, ...types.flatMap(listMembers)]
}

function listMembers(type: GraphQLNamedType): ReadonlyArray<Place<Bearer>> {
  const inner = isEnumType(type)
    ? type.getValues()
    : isInputObjectType(type)
      ? Object.values(type.getFields())
      : []
  return [
    { bearer: type, coordinate: type.name },
    ...inner.map((bearer) => ({ bearer, coordinate: `${type.name}.${bearer.name}` })),
  ]
}

function listMisplaced({ bearer, coordinate }: Place<Bearer>): readonly string[] {
  if (!listUses(bearer).some(({ name }) => name === 'auth')) return []
  return [`expected @auth on an object type, an interface or a field, got it on ${coordinate}`]
}

function listNearMisses(schema: GraphQLSchema, bearer: Guardable, uses: readonly Use[]): string[] {
  const isDeclared = uses.some(({ name }) => name === 'auth' || name === 'public')
  const directives = uses.flatMap(({ name }) => {
    const meant = findMeantDirective(schema, name)
    // A directive that is another's, and is defined, may stand beside ours.
    const isExcused = isDeclared && schema.getDirective(name) !== undefined
    return meant === null || isExcused ? [] : [`expected @${meant} on ${bearer.name}, got @${name}`]
  })
  const members = Object.entries(bearer.extensions)
    .filter(([, value]) => value !== undefined && value !== null && value !== false)
    .filter(([key, value]) => isMisplaced(key, value) || (isMeantForAuth(key) && !isDeclared))
    .map(([key]) => `expected extensions.directives.auth on ${bearer.name}, got extensions.${key}`)
  return [...directives, ...members]
}

/** Only `protect` writes there. */
function isMisplaced(key: string, value: unknown): boolean {
  return key === DEMAND && !isDemand(value)
}

function listArgumentsOfPublic({ args }: Use, place: string): string[] {
  return Object.keys(args ?? {}).map(
    (name) => `expected no argument of @public on ${place}, got ${name}`,
  )
}

function describeFaults(faults: readonly string[]): string {
  if (faults.length === 1) return faults[0] as string
  return [`expected sound directives, got ${faults.length} faults:`, ...faults].join('\n  ')
}
