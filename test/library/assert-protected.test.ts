import { ApolloServer } from '@apollo/server'
import type { ApolloServerOptionsWithGateway } from '@apollo/server'
import { addResolversToSchema, makeExecutableSchema, mergeSchemas } from '@graphql-tools/schema'
import { MapperKind, filterSchema, mapSchema } from '@graphql-tools/utils'
import Fastify from 'fastify'
import { defaultFieldResolver, execute, lexicographicSortSchema, validateSchema } from 'graphql'
import type { GraphQLField, GraphQLObjectType, GraphQLSchema } from 'graphql'
import { createYoga } from 'graphql-yoga'
import mercurius from 'mercurius'
import { describe, expect, it, vi } from 'vitest'
import {
  MemoryRevocationStore,
  createKeyRing,
  createPortcullis,
  createStatusPlugin,
} from '../../src/index.ts'
import { SECRET } from '../support/service.ts'

const portcullis = createPortcullis({
  keys: createKeyRing({ signWith: SECRET }),
  issuer: 'https://api.example',
  audience: 'api',
  store: new MemoryRevocationStore(),
})

const typeDefs = `
  type Query { open: String @public secret: String @auth(requires: ADMIN) diary: Diary @public }
  type Mutation { act: Int @auth }
  type Subscription { ticks: Int @auth }
  type Diary @auth { text: String }`

const resolvers = {
  Query: { open: () => 'for all', secret: () => 'for admins', diary: () => ({ text: 'dear' }) },
  Mutation: { act: () => 1 },
  Subscription: {
    ticks: {
      async *subscribe() {
        yield { ticks: 1 }
      },
    },
  },
}

function createUnguarded(): GraphQLSchema {
  return makeExecutableSchema({
    typeDefs: [...portcullis.typeDefs, typeDefs],
    resolvers: [portcullis.resolvers, resolvers],
  })
}

const createGuarded = (): GraphQLSchema => portcullis.protect(createUnguarded())

function fieldOf(schema: GraphQLSchema, type: string, name: string): GraphQLField<any, any> {
  return (schema.getType(type) as GraphQLObjectType).getFields()[name]!
}

/** What one of the schema's makers does after `protect`. */
function change(edit: (schema: GraphQLSchema) => void): () => GraphQLSchema {
  return () => {
    const schema = createGuarded()
    edit(schema)
    return schema
  }
}

function replaceResolver(schema: GraphQLSchema, coordinate: string): GraphQLSchema {
  return mapSchema(schema, {
    [MapperKind.OBJECT_FIELD]: (field, name, type) => {
      const { resolve = defaultFieldResolver } = field
      if (`${type}.${name}` !== coordinate) return undefined
      return { ...field, resolve: (...args) => resolve(...args) }
    },
  })
}

const ALL = ['Query.secret', 'Mutation.act', 'Subscription.ticks', 'Diary.text']

describe('assertProtected names the fields whose guard is not there', () => {
  it.each([
    ['when protect was forgotten', createUnguarded, ALL],
    [
      'when protect was called on another schema',
      () => {
        const schema = createUnguarded()
        portcullis.protect(schema)
        return schema
      },
      ALL,
    ],
    [
      'when the schema was made again of the same type definitions',
      () => makeExecutableSchema({ typeDefs: [...portcullis.typeDefs, typeDefs], resolvers: {} }),
      ALL,
    ],
    [
      'when a resolver was set on a field',
      change((schema) => {
        fieldOf(schema, 'Query', 'secret').resolve = () => 'open'
      }),
      ['Query.secret'],
    ],
    [
      'when a resolver was removed from a field',
      change((schema) => {
        delete fieldOf(schema, 'Diary', 'text').resolve
      }),
      ['Diary.text'],
    ],
    [
      'when the source of a subscription was set',
      change((schema) => {
        fieldOf(schema, 'Subscription', 'ticks').subscribe = resolvers.Subscription.ticks.subscribe
      }),
      ['Subscription.ticks'],
    ],
    [
      'when resolvers were added',
      () =>
        addResolversToSchema({
          schema: createGuarded(),
          resolvers: { Query: { secret: () => 'open' } },
        }),
      ['Query.secret'],
    ],
    [
      'when a wrapper stands before it, which may or may not call it',
      () => replaceResolver(createGuarded(), 'Mutation.act'),
      ['Mutation.act'],
    ],
    [
      'when the directives were taken away after the guard was replaced',
      () =>
        mapSchema(createGuarded(), {
          [MapperKind.OBJECT_FIELD]: (field, name) => {
            const resolve = name === 'secret' ? { resolve: () => 'open' } : {}
            return { ...field, ...resolve, astNode: null }
          },
        }),
      ['Query.secret'],
    ],
    [
      'when the guard of another field stands there',
      change((schema) => {
        fieldOf(schema, 'Query', 'secret').resolve = fieldOf(schema, 'Diary', 'text').resolve
      }),
      ['Query.secret'],
    ],
    [
      'when it asks for less than the directive, which was changed',
      () => {
        const guarded = createGuarded()
        const strict = makeExecutableSchema({
          typeDefs: [
            ...portcullis.typeDefs,
            typeDefs.replace('act: Int @auth', 'act: Int @auth(requires: ADMIN)'),
          ],
        })
        return mapSchema(strict, {
          [MapperKind.OBJECT_FIELD]: (field, name, type) => {
            const { resolve, subscribe } = fieldOf(guarded, type, name)
            return { ...field, ...(resolve && { resolve }), ...(subscribe && { subscribe }) }
          },
        })
      },
      ['Mutation.act'],
    ],
  ])('%s', (_how, create, open) => {
    const schema = create()

    expect(() => portcullis.assertProtected(schema)).toThrow(TypeError)
    expect(() => portcullis.assertProtected(schema)).toThrow('expected the guard of @auth')
    for (const coordinate of ALL) {
      const isNamed = new RegExp(`\\b${coordinate}\\b`)
      if (open.includes(coordinate)) {
        expect(() => portcullis.assertProtected(schema)).toThrow(isNamed)
      } else {
        expect(() => portcullis.assertProtected(schema)).not.toThrow(isNamed)
      }
    }
  })
})

describe('assertProtected accepts a schema whose guards are there', () => {
  it.each([
    ['as protect returned it', createGuarded],
    ['protected twice', () => portcullis.protect(createGuarded())],
    ['mapped without touching resolvers', () => mapSchema(createGuarded(), {})],
    ['sorted', () => lexicographicSortSchema(createGuarded())],
    [
      'with fewer fields',
      () =>
        filterSchema({ schema: createGuarded(), rootFieldFilter: (_op, name) => name !== 'act' }),
    ],
    ['merged with another', () => mergeSchemas({ schemas: [createGuarded()] })],
    [
      'wrapped by others first',
      () => portcullis.protect(replaceResolver(createUnguarded(), 'Mutation.act')),
    ],
    ['without any @auth', () => makeExecutableSchema({ typeDefs: 'type Query { a: Int }' })],
  ])('%s', (_how, create) => {
    const schema = create()

    expect(validateSchema(schema)).toEqual([])
    expect(() => portcullis.assertProtected(schema)).not.toThrow()
  })
})

describe('an Apollo Server with createStatusPlugin', () => {
  const createServer = (schema: GraphQLSchema): ApolloServer =>
    new ApolloServer({ schema, plugins: [createStatusPlugin()], logger: silent })
  const error = vi.fn<(message: unknown) => void>()
  const silent = { debug: error, info: error, warn: error, error }

  async function ask(server: ApolloServer, query: string): Promise<any> {
    const contextValue = portcullis.context({ authorization: undefined })
    const { body } = await server.executeOperation({ query }, { contextValue })
    return body.kind === 'single' ? body.singleResult : null
  }

  it('does not start when protect was forgotten', async () => {
    await expect(createServer(createUnguarded()).start()).rejects.toThrow('Query.secret')
  })

  it('starts when it was not, also where another server has wrapped the same schema', async () => {
    const schema = createGuarded()
    const servers = [createServer(schema), createServer(schema), createServer(schema)]

    for (const server of servers) {
      await server.start()
      const { data, errors } = await ask(server, '{ open secret }')
      expect(data).toEqual({ open: 'for all', secret: null })
      expect(errors[0].extensions.reason).toBe('TOKEN_MISSING')
    }

    expect(() => portcullis.live.webSocketOptions({ schema })).not.toThrow()
    fieldOf(schema, 'Query', 'secret').resolve = () => 'open'
    expect(() => portcullis.assertProtected(schema)).toThrow('Query.secret')
    await Promise.all(servers.map(async (server) => server.stop()))
  })

  it('serves nothing of a schema that a gateway brings later and that is not protected', async () => {
    let update: (event: { apiSchema: GraphQLSchema; coreSupergraphSdl: string }) => void = () => {}
    let schema = createGuarded()
    const gateway: ApolloServerOptionsWithGateway<object>['gateway'] = {
      onSchemaLoadOrUpdate: (listener) => {
        update = listener
        return () => undefined
      },
      async load() {
        update({ apiSchema: schema, coreSupergraphSdl: '' })
        const executor = async ({ document, context }: any): Promise<any> =>
          execute({ schema, document, contextValue: context })
        return { executor }
      },
      stop: async () => undefined,
    }
    const server = new ApolloServer({ gateway, plugins: [createStatusPlugin()], logger: silent })
    await server.start()
    expect((await ask(server, '{ open }')).data).toEqual({ open: 'for all' })

    schema = createUnguarded()
    update({ apiSchema: schema, coreSupergraphSdl: '' })
    expect(await ask(server, '{ secret }')).toMatchObject({
      errors: [{ message: 'Internal server error' }],
    })
    expect(error).toHaveBeenCalledWith(
      expect.objectContaining({ message: expect.stringContaining('Query.secret') }),
    )

    schema = createGuarded()
    update({ apiSchema: schema, coreSupergraphSdl: '' })
    expect((await ask(server, '{ open }')).data).toEqual({ open: 'for all' })
    await server.stop()
  })
})

describe('the options for live connections', () => {
  it.each(['webSocketOptions', 'eventStreamOptions'] as const)(
    '%s refuses a schema whose fields are not guarded',
    (make) => {
      expect(() => portcullis.live[make]({ schema: createUnguarded() })).toThrow('Query.secret')
      expect(() => portcullis.live[make]({ schema: createGuarded() })).not.toThrow()
    },
  )
})

describe('a server of another make that asks assertProtected when it is ready', () => {
  const loaders = { Diary: { text: async (queries: unknown[]) => queries.map(() => 'open') } }

  it('is not served by Mercurius when a loader has taken the place of a guard', async () => {
    const app = Fastify()
    await app.register(mercurius, { schema: createGuarded(), loaders } as object)
    app.addHook('onReady', async () => portcullis.assertProtected(app.graphql.schema))

    await expect(app.ready()).rejects.toThrow('Diary.text')
    await app.close()
  })

  it('is served by Mercurius, loaders and all, when its schema is protected last', async () => {
    const app = Fastify()
    await app.register(mercurius, { schema: createUnguarded(), loaders } as object)
    app.addHook('onReady', async () => {
      app.graphql.replaceSchema(portcullis.protect(app.graphql.schema))
      portcullis.assertProtected(app.graphql.schema)
    })
    await app.ready()
    const query = { query: '{ open diary { text } }' }

    expect((await app.inject({ url: '/graphql', query })).json()).toMatchObject({
      data: { open: 'for all', diary: { text: null } },
    })
    await app.close()
  })

  it('is not served by Yoga when protect was forgotten', () => {
    const create = (schema: GraphQLSchema): unknown =>
      createYoga({
        schema,
        plugins: [{ onSchemaChange: (event) => portcullis.assertProtected(event.schema) }],
      })

    expect(() => create(createUnguarded())).toThrow('Query.secret')
    expect(() => create(createGuarded())).not.toThrow()
  })
})
