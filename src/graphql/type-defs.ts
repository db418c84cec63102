import { readFileSync } from 'node:fs'

const folder = new URL('../../schema/', import.meta.url)

/** SDL of `@auth`, `@public`, `Role`, `TokenState` and `DateTime`; `extend enum Role` adds roles of yours. */
export const authTypeDefs: string = readFileSync(new URL('auth.graphql', folder), 'utf8')

/** SDL of the revocation queries and mutations, to merge with a schema of yours; it wants `authTypeDefs` beside it. */
export const revocationTypeDefs: string = readFileSync(
  new URL('revocation.graphql', folder),
  'utf8',
)

/** SDL of the subscriptions, and of the query for live connections; it wants `revocationTypeDefs` beside it. */
export const liveTypeDefs: string = readFileSync(new URL('live.graphql', folder), 'utf8')

/** SDL of our own service's accounts and sessions. */
export const serviceTypeDefs: readonly string[] = ['session.graphql', 'account.graphql'].map(
  (name) => readFileSync(new URL(name, folder), 'utf8'),
)
