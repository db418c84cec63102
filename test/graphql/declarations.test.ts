import { makeExecutableSchema } from '@graphql-tools/schema'
import {
  GraphQLEnumType,
  GraphQLInputObjectType,
  GraphQLInterfaceType,
  GraphQLObjectType,
  GraphQLSchema,
  GraphQLString,
  GraphQLUnionType,
  graphql,
  parse,
} from 'graphql'
import type { GraphQLFieldConfig } from 'graphql'
import { describe, expect, it } from 'vitest'
import { findDemands } from '../../src/graphql/auth-directive.ts'
import {
  MemoryRevocationStore,
  applyAuthDirective,
  authTypeDefs,
  createKeyRing,
  createPortcullis,
} from '../../src/index.ts'
import { SECRET } from '../support/service.ts'

const portcullis = createPortcullis({
  keys: createKeyRing({ signWith: SECRET }),
  issuer: 'https://api.example',
  audience: 'api',
  store: new MemoryRevocationStore(),
})

/** A code-first schema with one field, which has these extensions. */
function createField(
  extensions: Record<string, unknown>,
  roles?: readonly string[],
): GraphQLSchema {
  const secret = { type: GraphQLString, resolve: () => 'secret', extensions }
  const values = Object.fromEntries((roles ?? []).map((role) => [role, {}]))
  return new GraphQLSchema({
    query: new GraphQLObjectType({ name: 'Query', fields: { secret } }),
    types: roles ? [new GraphQLEnumType({ name: 'Role', values })] : [],
  })
}

const withDirectives = (directives: unknown): Record<string, unknown> => ({ directives })

/** SDL as a server takes it that trusts its authors. */
function createUnchecked(sdl: string, assumeValidSDL = true): GraphQLSchema {
  return makeExecutableSchema({ typeDefs: [authTypeDefs, sdl], assumeValidSDL })
}

/** Who gets to see the field: roles of tokens, or none. */
async function seenBy(schema: GraphQLSchema, ...roles: readonly string[]): Promise<boolean> {
  const { text } = await portcullis.issue({ subject: 'ada', roles })
  const contextValue = portcullis.context({ authorization: `Bearer ${text}` })
  const source = '{ secret }'
  const { data } = await graphql({ schema: portcullis.protect(schema), source, contextValue })
  return data?.['secret'] === 'secret'
}

describe('@auth in the extensions of a code-first schema', () => {
  it.each([
    ['bare', { auth: {} }, 'USER'],
    ['bare, as true', { auth: true }, 'USER'],
    ['with a role', { auth: { requires: 'ADMIN' } }, 'ADMIN'],
    ['with a role of the team’s own', { auth: { requires: 'PACKER' } }, 'PACKER'],
    ['in a list', { auth: [{ requires: 'PACKER' }] }, 'PACKER'],
    ['in the older form', [{ name: 'auth', args: { requires: 'PACKER' } }], 'PACKER'],
    ['in the older form, bare', [{ name: 'auth' }], 'USER'],
    ['said twice', { auth: [{ requires: 'PACKER' }, { requires: 'PACKER' }] }, 'PACKER'],
    ['with an argument that is not given', { auth: { requires: undefined } }, 'USER'],
  ])('guards its field: %s', async (_how, directives, role) => {
    const create = (): GraphQLSchema =>
      createField(withDirectives(directives), ['USER', 'PACKER', 'ADMIN'])

    expect(await seenBy(create(), role)).toBe(true)
    expect(await seenBy(create(), 'STRANGER')).toBe(false)
    if (role !== 'USER') expect(await seenBy(create(), 'USER')).toBe(false)
  })

  it('may ask for any role where the schema has no enum of roles', async () => {
    const schema = createField(withDirectives({ auth: { requires: 'PACKER' } }))

    expect(await seenBy(schema, 'PACKER')).toBe(true)
    expect(await seenBy(schema, 'USER')).toBe(false)
  })

  it('is one declaration with an equal one in the SDL', async () => {
    const schema = createUnchecked(
      'type Query { secret: String @auth(accepts: [EXPIRED, ACTIVE]) }',
    )
    const { secret } = schema.getQueryType()!.getFields()
    secret!.extensions = withDirectives({
      auth: { accepts: ['ACTIVE', 'EXPIRED'], requires: 'USER' },
    })

    expect(() => portcullis.protect(schema)).not.toThrow()
  })

  it('is a fault beside an unequal one in the SDL', () => {
    const schema = createUnchecked('type Query { secret: String @auth }')
    schema.getQueryType()!.getFields()['secret']!.extensions = withDirectives({
      auth: { requires: 'ADMIN' },
    })

    expect(() => portcullis.protect(schema)).toThrow('Query.secret: expected one @auth on secret')
  })

  it.each([
    ['an unknown argument', { auth: { require: 'ADMIN' } }, 'got require'],
    ['roles in the plural', { auth: { roles: ['ADMIN'] } }, 'got roles'],
    [
      'an unknown argument beside a known one',
      { auth: { requires: 'ADMIN', scope: 'x' } },
      'got scope',
    ],
    ['a list of roles', { auth: { requires: ['A', 'B'] } }, 'got ["A","B"]'],
    ['a list of one role', { auth: { requires: ['ADMIN'] } }, 'expected one role (USER, ADMIN)'],
    ['an unknown role', { auth: { requires: 'ADMlN' } }, 'got "ADMlN"'],
    ['a role in small letters', { auth: { requires: 'admin' } }, 'got "admin"'],
    ['an empty role', { auth: { requires: '' } }, 'got ""'],
    ['no role', { auth: { requires: null } }, 'got null'],
    ['a number', { auth: { requires: 1 } }, 'got 1'],
    ['an unknown state', { auth: { accepts: ['DEAD'] } }, 'got "DEAD"'],
    ['no states', { auth: { accepts: null } }, 'got null'],
    ['the state INVALID', { auth: { accepts: 'INVALID' } }, 'other than INVALID'],
    ['arguments that are a text', { auth: 'ADMIN' }, 'as an object, got "ADMIN"'],
    ['arguments that are false', { auth: false }, 'as an object, got false'],
    ['arguments that are null', { auth: null }, 'as an object, got null'],
    ['the older form', [{ name: 'auth', args: { require: 'ADMIN' } }], 'got require'],
    ['both', { auth: {}, public: {} }, 'expected @auth or @public on secret, got both'],
    ['unequal ones', { auth: [{ requires: 'USER' }, { requires: 'ADMIN' }] }, 'expected one @auth'],
    ['an argument of @public', { public: { requires: 'USER' } }, 'expected no argument of @public'],
  ])('is refused by protect: %s', (_what, directives, message) => {
    const schema = createField(withDirectives(directives), ['USER', 'ADMIN'])

    expect(() => portcullis.protect(schema)).toThrow(TypeError)
    expect(() => portcullis.protect(schema)).toThrow(`Query.secret: `)
    expect(() => portcullis.protect(schema)).toThrow(message)
  })
})

describe('@auth in SDL that was not validated', () => {
  it.each([
    ['@auth(require: ADMIN)', 'got require'],
    ['@auth(roles: [ADMIN])', 'got roles'],
    ['@auth(requires: [USER, ADMIN])', 'expected one role'],
    ['@auth(requires: OWNER)', 'got "OWNER"'],
    ['@auth(requires: "ADMIN")', 'got a text'],
    ['@auth(accepts: [DEAD])', 'got "DEAD"'],
    ['@auth @auth(requires: ADMIN)', 'expected one @auth on secret'],
    ['@auht', 'expected @auth on secret, got @auht'],
    ['@auht(requires: ADMIN) @auth', 'expected @auth on secret, got @auht'],
    ['@Auth', 'expected @auth on secret, got @Auth'],
    ['@authenticated', 'expected @auth on secret, got @authenticated'],
    ['@pubilc', 'expected @public on secret, got @pubilc'],
  ])('is refused by protect: %s', (directive, message) => {
    const create = (): GraphQLSchema =>
      portcullis.protect(createUnchecked(`type Query { secret: String ${directive} }`))

    expect(create).toThrow(TypeError)
    expect(create).toThrow('Query.secret: ')
    expect(create).toThrow(message)
  })

  it('is refused by protect where SDL is validated: a word for @auth that the schema defines', () => {
    const sdl = `directive @authenticated on FIELD_DEFINITION | OBJECT
      type Query { secret: String @authenticated diary: Diary @public }
      type Diary @authenticated { text: String }`
    const beside = `directive @authenticated on FIELD_DEFINITION
      type Query { secret: String @authenticated @auth open: String @authenticated @public }`
    const federated = `directive @link(url: String!) repeatable on SCHEMA
      directive @authenticated on FIELD_DEFINITION
      type Query { secret: String @authenticated }`

    const create = (): GraphQLSchema => portcullis.protect(createUnchecked(sdl, false))
    expect(create).toThrow('Query.secret: expected @auth on secret, got @authenticated')
    expect(create).toThrow('expected @auth on Diary, got @authenticated')
    expect(() => portcullis.protect(createUnchecked(beside, false))).not.toThrow()
    expect(() => portcullis.protect(createUnchecked(federated, false))).not.toThrow()
  })

  it('leaves the directives of others alone', () => {
    const others = ['@auto', '@author', '@oauthScopes', '@deprecated', '@cacheControl(maxAge: 1)']
    const sdl = `type Query { ${others.map((other, at) => `f${at}: String ${other}`).join(' ')} }`

    expect(() => portcullis.protect(createUnchecked(sdl))).not.toThrow()
  })
})

describe('a near miss in the extensions', () => {
  it.each([
    ['extensions.auth', { auth: { requires: 'ADMIN' } }],
    ['extensions.auth', { auth: true }],
    ['extensions.Auth', { Auth: { requires: 'ADMIN' } }],
    ['extensions.authenticated', { authenticated: true }],
    ['extensions.portcullis', { portcullis: { require: 'ADMIN' } }],
    ['extensions.portcullis', { portcullis: true }],
    ['@auht', withDirectives({ auht: {} })],
    ['@Auth', withDirectives({ Auth: { requires: 'ADMIN' } })],
    ['@authorized', withDirectives([{ name: 'authorized', args: {} }])],
  ])('is named by protect: %s', (name, extensions) => {
    const create = (): GraphQLSchema => portcullis.protect(createField(extensions))

    expect(create).toThrow(TypeError)
    expect(create).toThrow(`Query.secret: expected`)
    expect(create).toThrow(`got ${name}`)
  })

  it('is no fault where the field says itself that it is open, or that nothing is asked', () => {
    const open = { auth: false, authorized: undefined }
    const declared = { auth: { of: 'another library' }, directives: { public: {} } }

    expect(() => portcullis.protect(createField(open))).not.toThrow()
    expect(() => portcullis.protect(createField(declared))).not.toThrow()
  })
})

it('protect lists all faults of a schema in one TypeError, with their coordinates', () => {
  const field = (directives: object): GraphQLFieldConfig<unknown, unknown> => ({
    type: GraphQLString,
    extensions: { directives },
  })
  const owned = new GraphQLInterfaceType({
    name: 'Owned',
    fields: { owner: field({ auth: { require: 'ADMIN' } }) },
  })
  const diary = new GraphQLObjectType({
    name: 'Diary',
    extensions: { directives: { auht: {} } },
    fields: { text: field({}) },
  })
  const schema = new GraphQLSchema({
    query: new GraphQLObjectType({
      name: 'Query',
      fields: {
        secret: field({ auth: { roles: ['ADMIN'] } }),
        found: {
          type: new GraphQLUnionType({
            name: 'Found',
            types: [diary],
            extensions: { directives: { auth: {} } },
          }),
          args: {
            by: {
              type: new GraphQLInputObjectType({
                name: 'By',
                fields: { id: { type: GraphQLString, extensions: { directives: { auth: {} } } } },
              }),
              extensions: { directives: { auth: {} } },
            },
          },
        },
      },
    }),
    types: [owned],
  })

  expect(() => portcullis.protect(schema)).toThrow(
    new TypeError(
      [
        'expected sound directives, got 6 faults:',
        'Owned.owner: expected the arguments requires and accepts of @auth on owner, got require',
        'Query.secret: expected the arguments requires and accepts of @auth on secret, got roles',
        'expected @auth on Diary, got @auht',
        'expected @auth on an object type, an interface or a field, got it on Query.found(by:)',
        'expected @auth on an object type, an interface or a field, got it on Found',
        'expected @auth on an object type, an interface or a field, got it on By.id',
      ].join('\n  '),
    ),
  )
})

describe('roles and states are the names of enum values, whatever is inside', () => {
  const sdl = `extend enum Role { PACKER }
    type Query {
      secret: String @auth(requires: PACKER)
      admins: String @auth(requires: ADMIN)
      members: String @auth
      expired: String @auth(accepts: [EXPIRED, REVOKED])
    }`
  const inner = {
    Role: { USER: 1, ADMIN: 'admin', PACKER: { may: 'pack' } },
    TokenState: { ACTIVE: 'a', REVOKED: 'r', EXPIRED: 'e', INVALID: 'i' },
  }
  const resolvers = { Query: { secret: () => 'secret', admins: () => 'x', members: () => 'y' } }

  it('in what a field asks for, in tokens, and in what a document is found to ask', async () => {
    const schema = makeExecutableSchema({
      typeDefs: [authTypeDefs, sdl],
      resolvers: { ...inner, ...resolvers },
    })
    const demands = findDemands(
      applyAuthDirective(schema),
      parse('{ secret admins members expired }'),
    )

    expect(demands).toEqual([
      { requires: ['PACKER'], accepts: ['ACTIVE'] },
      { requires: ['ADMIN'], accepts: ['ACTIVE'] },
      { requires: ['USER'], accepts: ['ACTIVE'] },
      { requires: ['USER'], accepts: ['EXPIRED', 'REVOKED'] },
    ])
    expect(await seenBy(schema, 'PACKER')).toBe(true)
    expect(await seenBy(schema, 'ADMIN')).toBe(true)
    expect(await seenBy(schema, 'USER')).toBe(false)
    expect(await seenBy(schema, 'admin')).toBe(false)
  })

  it('in the definition of a team’s own, whose defaults count', async () => {
    const schema = makeExecutableSchema({
      typeDefs: `enum Role { GUEST OWNER }
        directive @auth(requires: Role! = OWNER) on FIELD_DEFINITION | OBJECT
        type Query { secret: String @auth }`,
      resolvers: { Role: { GUEST: 'guest', OWNER: 'owner' }, Query: resolvers.Query },
      resolverValidationOptions: { requireResolversToMatchSchema: 'ignore' },
    })

    expect(await seenBy(schema, 'OWNER')).toBe(true)
    expect(await seenBy(schema, 'GUEST')).toBe(false)
    expect(await seenBy(schema, 'owner')).toBe(false)
  })
})
