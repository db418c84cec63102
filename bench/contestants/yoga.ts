/** GraphQL Yoga and @envelop/generic-auth in its mode `protect-granular`, asking Redis. JIT=1: with graphql-jit. */
import { createServer } from 'node:http'
import { getDocumentString } from '@envelop/core'
import { useGenericAuth } from '@envelop/generic-auth'
import { useGraphQlJit } from '@envelop/graphql-jit'
import { print } from 'graphql'
import type { DocumentNode } from 'graphql'
import { createSchema, createYoga } from 'graphql-yoga'
import type { Plugin, YogaInitialContext } from 'graphql-yoga'
import { findUser, items, roleTypeDefs, typeDefsOf } from '../data.ts'
import { readBearer, verifyToken } from './jwt.ts'
import { connectDenylist } from './redis.ts'
import type { Denylist } from './redis.ts'
import { listenOn, present } from './serve.ts'

interface Caller {
  readonly id: string
}

const schema = createSchema<YogaInitialContext & { currentUser: Caller | null }>({
  typeDefs: [
    'directive @authenticated on FIELD_DEFINITION | OBJECT | INTERFACE',
    roleTypeDefs,
    typeDefsOf('@authenticated'),
  ],
  resolvers: {
    Query: {
      me: (_parent, _args, { currentUser }) => currentUser && findUser(currentUser.id),
      items: () => items,
      plainItems: () => items,
    },
  },
})

/**
 * generic-auth makes a new document of every request. JIT finds what it has compiled by the document's text, which
 * nobody gives the new one: without this it would be compiled at every request.
 */
const nameDocument: Plugin = {
  onExecute({ args }) {
    getDocumentString(args.document as DocumentNode, print)
  },
}

/**
 * Parsing and validation are cached by default; what a production server of this kind does not need is off.
 *
 * @see {@link https://the-guild.dev/graphql/yoga-server/docs/features/parsing-and-validation-caching}
 * @see {@link https://the-guild.dev/graphql/envelop/plugins/use-generic-auth}
 * @see {@link https://the-guild.dev/graphql/yoga-server/docs/comparison} which also names Yoga with JIT
 * @see {@link https://the-guild.dev/graphql/envelop/plugins/use-graphql-jit} `cache`
 */
await present(async () => {
  const denylist = await connectDenylist()
  const yoga = createYoga({
    schema,
    logging: false,
    cors: false,
    graphiql: false,
    landingPage: false,
    batching: false,
    plugins: [
      useGenericAuth({
        mode: 'protect-granular',
        resolveUserFn: async ({ request }: YogaInitialContext) => findCaller(denylist, request),
      }),
      ...(process.env.JIT === '1' ? [nameDocument, useGraphQlJit({}, { cache: new Map() })] : []),
    ],
  })

  return {
    listen: async () => listenOn(createServer((request, response) => void yoga(request, response))),
    revoke: async (text) => denylist.add(verifyToken(text).jti),
  }
})

async function findCaller(denylist: Denylist, request: Request): Promise<Caller | null> {
  const text = readBearer(request.headers.get('authorization'))
  if (text === null) return null
  try {
    const { sub, jti } = verifyToken(text)
    return (await denylist.has(jti)) ? null : { id: sub }
  } catch {
    return null
  }
}
