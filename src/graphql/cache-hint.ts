import type { GraphQLResolveInfo } from 'graphql'

/** What Apollo Server adds to `info`: for how long and for whom an answer may be kept. */
interface CacheControl {
  readonly cacheHint: object
}

const PRIVATE: PropertyDescriptor = {
  enumerable: true,
  configurable: true,
  get: () => 'PRIVATE',
  set: () => undefined,
}

/**
 * Has what a field answers be kept for its caller only, whatever hints say: those of `@cacheControl`, and those that its
 * resolver gives later.
 */
export function keepPrivate(info: GraphQLResolveInfo): void {
  const { cacheControl } = info as { readonly cacheControl?: CacheControl }
  if (cacheControl) Object.defineProperty(cacheControl.cacheHint, 'scope', PRIVATE)
}
