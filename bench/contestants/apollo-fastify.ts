import { ApolloServer } from '@apollo/server'
import { fastifyApolloHandler } from '@as-integrations/fastify'
import { makeExecutableSchema } from '@graphql-tools/schema'
import Fastify from 'fastify'
import type { FastifyRequest } from 'fastify'
import type { GraphQLSchema } from 'graphql'
import { findUser, items, roleTypeDefs, typeDefsOf } from '../data.ts'
import { applyAuthDirective, authDirectiveTypeDefs } from './auth-directive.ts'
import type { CallerContext } from './auth-directive.ts'

/** The schema with the plain directive, for every contestant that uses it. */
export function createPlainSchema(): GraphQLSchema {
  return applyAuthDirective(
    makeExecutableSchema({
      typeDefs: [authDirectiveTypeDefs, roleTypeDefs, typeDefsOf('@auth')],
      resolvers: {
        Query: {
          me: (_parent: unknown, _args: object, { caller }: CallerContext) =>
            caller && findUser(caller.id),
          items: () => items,
          plainItems: () => items,
        },
      },
    }),
  )
}

/** Apollo Server behind Fastify, by the integration that our own server uses, without our plug-ins. */
export async function listenWithFastify(
  findCaller: (request: FastifyRequest) => Promise<CallerContext['caller']>,
): Promise<number> {
  const apollo = new ApolloServer<CallerContext>({
    schema: createPlainSchema(),
    introspection: false,
    stopOnTerminationSignals: false,
  })
  await apollo.start()

  const app = Fastify()
  app.route({
    url: '/graphql',
    method: ['GET', 'POST'],
    handler: fastifyApolloHandler(apollo, {
      context: async (request) => ({ caller: await findCaller(request) }),
    }),
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as { port: number }).port
}
