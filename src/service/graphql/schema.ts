import { makeExecutableSchema } from '@graphql-tools/schema'
import type { GraphQLSchema } from 'graphql'
import { listUndeclaredRootFields } from '../../graphql/auth-directive.ts'
import { serviceTypeDefs } from '../../graphql/type-defs.ts'
import type { Portcullis } from '../../portcullis.ts'
import { createAccountResolvers } from './account-resolvers.ts'
import type { AccountResolverOptions } from './account-resolvers.ts'
import { createSessionResolvers } from './session-resolvers.ts'
import type { SessionResolverOptions } from './session-resolvers.ts'

export interface ServiceSchemaOptions
  extends AccountResolverOptions, Omit<SessionResolverOptions, 'revocations'> {
  readonly portcullis: Portcullis
}

/**
 * The schema of our own service, with `@auth` in force: the library's part, accounts and sessions.
 *
 * @throws `TypeError` naming every root field that is neither guarded nor open on purpose.
 */
export function createServiceSchema({
  portcullis,
  ...services
}: ServiceSchemaOptions): GraphQLSchema {
  const { revocations } = portcullis
  const schema = makeExecutableSchema({
    typeDefs: [...portcullis.typeDefs, portcullis.live.typeDefs, ...serviceTypeDefs],
    resolvers: [
      portcullis.resolvers,
      portcullis.live.resolvers,
      createSessionResolvers({ ...services, revocations }),
      createAccountResolvers(services),
    ],
  })

  const undeclared = listUndeclaredRootFields(schema)
  if (undeclared.length > 0) {
    throw new TypeError(
      `expected @auth or @public on every root field, got neither on ${undeclared.join(', ')}`,
    )
  }
  return portcullis.protect(schema)
}
