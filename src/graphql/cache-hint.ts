import type { GraphQLResolveInfo } from 'graphql'

/** For how long and for whom an answer may be kept: what Apollo Server adds to `info`, and resolvers change. */
interface CacheHint {
  maxAge?: number | undefined
  scope?: 'PUBLIC' | 'PRIVATE' | undefined
  replace(hint: Pick<CacheHint, 'maxAge' | 'scope'>): void
}

/**
 * Has what a field answers be kept for its caller only, whatever hints say: those of `@cacheControl`, and those that its
 * resolver gives later.
 */
export function keepPrivate(info: GraphQLResolveInfo): void {
  const { cacheControl } = info as { readonly cacheControl?: { readonly cacheHint: CacheHint } }
  if (!cacheControl) return
  cacheControl.cacheHint.scope = 'PRIVATE'
  // Assigned, not defined: a list asks for thousands.
  cacheControl.cacheHint.replace = replaceAge
}

function replaceAge(this: CacheHint, { maxAge }: Pick<CacheHint, 'maxAge'>): void {
  if (maxAge !== undefined) this.maxAge = maxAge
}
