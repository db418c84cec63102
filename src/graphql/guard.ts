import { setTimeout as sleep } from 'node:timers/promises'
import { defaultFieldResolver } from 'graphql'
import type { GraphQLFieldConfig, GraphQLFieldResolver } from 'graphql'
import type { Authentication, Caller } from '../caller/authentication.ts'
import { DEMAND, isSameDemand } from '../caller/demand.ts'
import type { Demand } from '../caller/demand.ts'
import { RevocationUnavailableError, TokenExpiredError, TokenRevokedError } from '../errors.ts'
import { admitSource, endAdmitted, isSource } from './admitted-sources.ts'
import { keepPrivate } from './cache-hint.ts'

/** What `@auth` needs of a GraphQL context. */
export interface AuthContext {
  readonly auth: Authentication
}

export type FieldConfig = GraphQLFieldConfig<unknown, AuthContext>
type Resolver = GraphQLFieldResolver<unknown, AuthContext>

/** Which type's field it is, where that makes a difference. */
export type Root = 'MUTATION' | 'SUBSCRIPTION' | null

/** How long an event waits to be checked, and about how long until that is tried again; milliseconds. */
const MAX_EVENT_WAIT_MS = 30_000
const EVENT_RETRY_MS = 300

/** What a guard asks, and the resolver behind it. */
interface Guard {
  readonly demand: Demand
  /** `undefined`: the default one. */
  readonly guarded: Resolver | undefined
}

/** By the function that asks for a caller before anything else. A wrapper around a guard is another function. */
const guards = new WeakMap<object, Guard>()

/** Whether a function lets through only who meets a demand. */
export function isGuard(resolver: unknown, demand: Demand): boolean {
  const known = typeof resolver === 'function' ? guards.get(resolver) : undefined
  return known !== undefined && isSameDemand(known.demand, demand)
}

/**
 * Gives a field of a query its own resolver back.
 *
 * @throws `TypeError` when something has taken the guard's place.
 */
export function unguardField(field: FieldConfig, coordinate: string): FieldConfig {
  if (field.extensions?.[DEMAND] === undefined) return field
  const known = field.resolve && guards.get(field.resolve)
  if (known) return { ...field, resolve: known.guarded }
  throw new TypeError(`expected the guard of @auth on ${coordinate}, got another resolver`)
}

/**
 * Has a field ask for its caller before anything of it runs.
 *
 * @param demand - `null` for an open one, of which mutations and events begin with nothing found out all the same.
 */
export function guardField(field: FieldConfig, demand: Demand | null, root: Root): FieldConfig {
  const guarded = demand === null ? field : guard(field, demand, root)
  const ready = root === null ? guarded : startAnew(guarded)
  const ended = root === 'SUBSCRIPTION' ? endWithToken(ready) : ready

  if (demand !== null) {
    if (ended.resolve) guards.set(ended.resolve, { demand, guarded: field.resolve })
    if (ended.subscribe) guards.set(ended.subscribe, { demand, guarded: field.subscribe })
  }
  return ended
}

function guard(field: FieldConfig, demand: Demand, root: Root): FieldConfig {
  const { resolve = defaultFieldResolver, subscribe = defaultFieldResolver } = field
  const isEvent = root === 'SUBSCRIPTION'

  const guarded = (next: Resolver, authenticate: typeof ask): Resolver => {
    return (source, args, context, info) => {
      const auth = readAuthentication(context)
      keepPrivate(info)
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
