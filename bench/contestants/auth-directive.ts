import { MapperKind, getDirective, mapSchema } from '@graphql-tools/utils'
import { GraphQLError, defaultFieldResolver } from 'graphql'
import type { GraphQLSchema } from 'graphql'

/** What the directive looks at. */
export interface CallerContext {
  readonly caller: { readonly id: string } | null
}

export const authDirectiveTypeDefs = 'directive @auth on OBJECT | FIELD_DEFINITION'

/**
 * `@auth` as the documentation of Apollo Server and GraphQL Tools writes it: the context knows the caller, or not.
 *
 * @see {@link https://the-guild.dev/graphql/tools/docs/schema-directives#enforcing-access-permissions}
 * @see {@link https://www.apollographql.com/docs/apollo-server/security/authentication}
 */
export function applyAuthDirective(schema: GraphQLSchema): GraphQLSchema {
  const guardedTypes = new Set<string>()

  return mapSchema(schema, {
    [MapperKind.TYPE]: (type) => {
      if (getDirective(schema, type, 'auth')) guardedTypes.add(type.name)
      return undefined
    },
    [MapperKind.OBJECT_FIELD]: (field, _name, typeName) => {
      if (!getDirective(schema, field, 'auth') && !guardedTypes.has(typeName)) return field

      const { resolve = defaultFieldResolver } = field
      return {
        ...field,
        resolve(source, args, context: CallerContext, info) {
          if (context.caller === null) throw createRefusal()
          return resolve(source, args, context, info)
        },
      }
    },
  })
}

function createRefusal(): GraphQLError {
  return new GraphQLError('not signed in', {
    extensions: { code: 'UNAUTHENTICATED', http: { status: 401 } },
  })
}
