import { setTimeout as sleep } from 'node:timers/promises'
import { MapperKind, getDirective, mapSchema } from '@graphql-tools/utils'
import {
  TypeInfo,
  defaultFieldResolver,
  isAbstractType,
  isObjectType,
  visit,
  visitWithTypeInfo,
} from 'graphql'
import type {
  DocumentNode,
  FieldNode,
  GraphQLField,
  GraphQLFieldConfig,
  GraphQLFieldResolver,
  GraphQLInterfaceType,
  GraphQLObjectType,
  GraphQLSchema,
} from 'graphql'
import { RevocationUnavailableError, TokenExpiredError, TokenRevokedError } from '../errors.ts'
import { admitSource, endAdmitted, isSource } from './admitted-sources.ts'
import type { Authentication, Caller } from './authentication.ts'
import type { Demand } from './demand.ts'

/** What `@auth` needs of a GraphQL context. */
export interface AuthContext {
  readonly auth: Authentication
}

type Resolver = GraphQLFieldResolver<unknown, AuthContext>

/**
 * Makes `@auth` hold: wraps the resolver of every field that it guards.
 *
 * What stands nearest counts: the field, then its type, then the interfaces that the type implements (all of them
 * together). The resolver of a refused field never runs; once the caller is known, a guarded field is as synchronous
 * as an unguarded one. Every mutation is checked anew, because the one before it may have revoked the token; and every
 * event of a subscription, because anybody may have. An event that cannot be checked waits until it can, for half a minute
 * at the most.
 *
 * @param schema - An executable schema whose type definitions include the directive (`authTypeDefs`).
 */
export function applyAuthDirective(schema: GraphQLSchema): GraphQLSchema {
  return mapSchema(schema, {
    [MapperKind.OBJECT_FIELD]: (field, fieldName, typeName) => {
      const type = schema.getType(typeName) as GraphQLObjectType
      const demand = findDemand(schema, type, type.getFields()[fieldName] as Field)
      const isEvent = type === schema.getSubscriptionType()
      const guarded = demand === null ? field : guard(field, demand, { isEvent })
      if (isEvent) return endWithToken(startAnew(guarded))
      return type === schema.getMutationType() ? startAnew(guarded) : guarded
    },
  })
}

/**
 * Names the root fields that are neither guarded nor open on purpose: perhaps somebody forgot.
 *
 * @returns Names such as `Query.me`; empty when every root field says `@auth` or `@public`.
 */
export function listUndeclaredRootFields(schema: GraphQLSchema): readonly string[] {
  const roots = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()]
  return roots
    .filter((type) => type !== null && type !== undefined)
    .flatMap((type) =>
      Object.values(type.getFields())
        .filter(
          (field) =>
            readDeclaration(schema, field) === null && readDeclaration(schema, type) === null,
        )
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

/** How long an event waits to be checked, and about how long until that is tried again; milliseconds. */
const MAX_EVENT_WAIT_MS = 30_000
const EVENT_RETRY_MS = 300

/** Where a guarded field says what it asks. */
const DEMAND = 'portcullis'

type Field = GraphQLField<unknown, unknown>
type Guardable = GraphQLObjectType | GraphQLInterfaceType | Field

function readDeclaration(schema: GraphQLSchema, node: Guardable): Demand | 'PUBLIC' | null {
  const [auth, another] = getDirective(schema, node, 'auth') ?? []
  const isPublic = getDirective(schema, node, 'public') !== undefined

  if (auth && isPublic) throw new TypeError(`expected @auth or @public on ${node.name}, got both`)
  if (another)
    throw new TypeError(`expected one @auth on ${node.name}, got another on its extension`)
  if (isPublic) return 'PUBLIC'
  if (!auth) return null

  const { requires = 'USER', accepts = ['ACTIVE'] } = auth as {
    requires?: string
    accepts?: Demand['accepts']
  }
  if (accepts.includes('INVALID')) {
    throw new TypeError(
      `expected accepted states other than INVALID on ${node.name}: nobody is behind such a token`,
    )
  }
  return { requires: [requires], accepts }
}

function findDemand(schema: GraphQLSchema, type: GraphQLObjectType, field: Field): Demand | null {
  const own = readDeclaration(schema, field) ?? readDeclaration(schema, type)
  if (own !== null) return own === 'PUBLIC' ? null : own

  const inherited = type
    .getInterfaces()
    .map((parent) => {
      const parentField = parent.getFields()[field.name]
      return (
        (parentField && readDeclaration(schema, parentField)) ?? readDeclaration(schema, parent)
      )
    })
    .filter((declaration) => declaration !== null && declaration !== 'PUBLIC')
  if (inherited.length === 0) return null
  return inherited.reduce((one, other) => ({
    requires: [...new Set([...one.requires, ...other.requires])],
    accepts: one.accepts.filter((state) => other.accepts.includes(state)),
  }))
}

type FieldConfig = GraphQLFieldConfig<unknown, AuthContext>

/** Has a mutation, or an event, begin with nothing found out. */
function startAnew(field: FieldConfig): FieldConfig {
  const { resolve = defaultFieldResolver } = field
  return {
    ...field,
    resolve: (source, args, context: Partial<AuthContext> | undefined, info) => {
      // A public field needs no context.
      context?.auth?.startAnew()
      return resolve(source, args, context as AuthContext, info)
    },
  }
}

function guard(
  field: FieldConfig,
  demand: Demand,
  { isEvent }: { readonly isEvent: boolean },
): FieldConfig {
  const { resolve = defaultFieldResolver, subscribe = defaultFieldResolver } = field

  const guarded = (next: Resolver, authenticate: typeof ask): Resolver => {
    return (source, args, context, info) => {
      const auth = readAuthentication(context)
      if (auth.isMet(demand)) return next(source, args, context, info)
      return authenticate(auth, demand).then(
        () => next(source, args, context, info),
        (refusal: unknown) => {
          if (endsEvents(refusal)) endAdmitted(auth, info.operation)
          throw refusal
        },
      )
    }
  }

  return {
    ...field,
    extensions: { ...field.extensions, [DEMAND]: demand },
    resolve: guarded(resolve, isEvent ? askUntilAnswered : ask),
    ...(isEvent && { subscribe: guarded(subscribe, ask) }),
  }
}

/** Has the events of a subscription end when one of them is refused because of its token. */
function endWithToken(field: FieldConfig): FieldConfig {
  const { subscribe } = field
  if (!subscribe) return field
  return {
    ...field,
    async subscribe(source, args, context: Partial<AuthContext> | undefined, info) {
      const events: unknown = await subscribe(source, args, context as AuthContext, info)
      if (!context?.auth || !isSource(events)) return events
      return admitSource(events, context.auth, info.operation)
    },
  }
}

/** Whether a token that admitted a subscription will admit no more of its events. */
function endsEvents(refusal: unknown): boolean {
  return refusal instanceof TokenRevokedError || refusal instanceof TokenExpiredError
}

async function ask(auth: Authentication, demand: Demand): Promise<Caller> {
  return auth.authenticate(demand)
}

/** A request is answered that it cannot be checked, and asks again. An event would be lost. */
async function askUntilAnswered(auth: Authentication, demand: Demand): Promise<Caller> {
  const startedAt = performance.now()
  for (;;) {
    try {
      return await auth.authenticate(demand)
    } catch (error) {
      const isOver = performance.now() - startedAt > MAX_EVENT_WAIT_MS
      if (isOver || !(error instanceof RevocationUnavailableError)) throw error
    }
    await sleep(EVENT_RETRY_MS * (0.5 + Math.random()))
    auth.startAnew()
  }
}

function readAuthentication(context: Partial<AuthContext> | undefined | null): Authentication {
  const auth = context?.auth
  if (auth === undefined) {
    throw new TypeError(
      'expected a GraphQL context with `auth`, got none: spread portcullis.context(...) into yours',
    )
  }
  return auth
}
