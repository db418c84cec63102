/**
 * The client side of Portcullis, for Apollo Client. `portcullis/client/core` is the same without its link.
 *
 * @packageDocumentation
 */
export { createAuthLink } from './apollo-link.ts'
export * from './core.ts'
