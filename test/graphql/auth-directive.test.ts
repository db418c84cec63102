import { makeExecutableSchema } from '@graphql-tools/schema'
import type { IResolvers } from '@graphql-tools/utils'
import { buildSchema, extendSchema, graphql, parse, subscribe } from 'graphql'
import type { ExecutionResult, GraphQLObjectType, GraphQLResolveInfo, GraphQLSchema } from 'graphql'
import { describe, expect, it, vi } from 'vitest'
import {
  MemoryRevocationStore,
  applyAuthDirective,
  authTypeDefs,
  createKeyRing,
  createPortcullis,
  listUndeclaredRootFields,
} from '../../src/index.ts'
import type { AuthContext, Portcullis } from '../../src/index.ts'
import { createServiceSchema } from '../../src/service/graphql/schema.ts'

const LIFETIME_SECONDS = 900

/** A service of an API team, made of the library's exports. */
interface World {
  readonly portcullis: Portcullis
  readonly schema: GraphQLSchema
  /** How many tokens each look-up asked for. */
  lookUps(): number[]
  /** Names of the resolvers that ran. */
  readonly ran: string[]
  /** Sets the store's clock this many seconds on. */
  wait(seconds: number): void
  issue(...roles: string[]): Promise<string>
  context(token?: string | null): AuthContext
  run(source: string, token?: string | null): Promise<ExecutionResult<any>>
}

function createWorld(typeDefs: string, resolvers: IResolvers = {}): World {
  let now = Date.now()
  const store = new MemoryRevocationStore({
    maxTokenLifetimeSeconds: LIFETIME_SECONDS,
    clock: () => now,
  })
  const findFor = vi.spyOn(store, 'findFor')
  const portcullis = createPortcullis({
    keys: createKeyRing({ signWith: 'a secret of at least thirty-two bytes' }),
    issuer: 'library',
    audience: 'library',
    store,
  })

  const ran: string[] = []
  const schema = portcullis.protect(
    makeExecutableSchema({
      typeDefs: [...portcullis.typeDefs, typeDefs],
      resolvers: [portcullis.resolvers, recording(resolvers, ran)],
    }),
  )
  const context = (token: string | null = null): AuthContext =>
    portcullis.context({ authorization: token === null ? undefined : `Bearer ${token}` })

  return {
    portcullis,
    schema,
    lookUps: () => findFor.mock.calls.map(([tokens]) => tokens.length),
    ran,
    wait: (seconds) => {
      now += seconds * 1000
    },
    issue: async (...roles) => (await portcullis.issue({ subject: 'ada', roles })).text,
    context,
    run: async (source, token) => {
      const result = await graphql({ schema, source, contextValue: context(token) })
      return result as ExecutionResult<any>
    },
  }
}

/** Takes note of every resolver that runs. */
function recording(resolvers: IResolvers, ran: string[]): IResolvers {
  const wrap = (value: any, name: string): any => {
    if (typeof value === 'function') {
      return (...args: unknown[]) => {
        ran.push(name)
        return value(...args)
      }
    }
    if (typeof value !== 'object') return value
    return Object.fromEntries(
      Object.entries(value).map(([key, inner]) => [
        key,
        wrap(inner, name ? `${name}.${key}` : key),
      ]),
    )
  }
  return Object.fromEntries(
    Object.entries(resolvers).map(([name, type]) => [name, wrap(type, name)]),
  )
}

/** What was refused: path and reason of each error. */
function refusals({ errors = [] }: ExecutionResult): string[] {
  return errors.map(({ path, extensions }) => `${path?.join('.')} ${String(extensions['reason'])}`)
}

const SECRETIVE = /* GraphQL */ `
  extend type Query {
    open: String @public
    secret: String @auth
    node: Node @public
    anything: Anything @public
    diary: Diary @public
    diaries: [Diary!] @public
    shelf: Shelf @public
  }
  interface Node {
    id: ID!
  }
  union Anything = Diary | Shelf
  type Diary implements Node @auth {
    id: ID!
    text: String
  }
  type Shelf {
    name: String
    diary: Diary
  }
`

const diary = { __typename: 'Diary', id: '1', text: 'dear diary' }

const secretive: IResolvers = {
  Query: {
    open: () => 'for all',
    secret: () => 'for members',
    node: () => diary,
    anything: () => diary,
    diary: () => diary,
    diaries: () => [diary, diary],
    shelf: () => ({ name: 'oak', diary }),
  },
  Diary: { id: () => '1', text: () => 'dear diary' },
}

describe('@auth', () => {
  it('guards its field and no other', async () => {
    const world = createWorld(SECRETIVE, secretive)

    const result = await world.run('{ open secret }')

    expect(result.data).toEqual({ open: 'for all', secret: null })
    expect(refusals(result)).toEqual(['secret TOKEN_MISSING'])
    expect(await world.run('{ open secret }', await world.issue('USER'))).toEqual({
      data: { open: 'for all', secret: 'for members' },
    })
  })

  // Q45, Q46
  it.each([
    ['by its name', '{ diary { text } }', ['diary.text']],
    ['by an alias', '{ mine: diary { words: text } }', ['mine.words']],
    ['in a list', '{ diaries { text } }', ['diaries.0.text', 'diaries.1.text']],
    ['through a relation', '{ shelf { name diary { text } } }', ['shelf.diary.text']],
    ['through an interface', '{ node { id ... on Diary { text } } }', ['node.id', 'node.text']],
    ['through a union', '{ anything { ... on Diary { text } } }', ['anything.text']],
    ['in a fragment', '{ diary { ...Words } } fragment Words on Diary { text }', ['diary.text']],
    ['in an inline fragment', '{ diary { ... { text } } }', ['diary.text']],
    ['with @include', '{ diary { text @include(if: true) } }', ['diary.text']],
    ['from a named operation', 'query Mine { diary { text } }', ['diary.text']],
  ])('holds for a field of a guarded type that is reached %s', async (_how, source, paths) => {
    const world = createWorld(SECRETIVE, secretive)

    const refused = await world.run(source)

    expect(refusals(refused).toSorted()).toEqual(paths.map((path) => `${path} TOKEN_MISSING`))
    expect(world.ran.filter((name) => name.startsWith('Diary.'))).toEqual([])
    expect((await world.run(source, await world.issue('USER'))).errors).toBeUndefined()
  })

  it('holds for what `extend type` adds to a guarded type, and where the extension says it', async () => {
    const world = createWorld(
      `${SECRETIVE}
       extend type Diary { mood: String }
       type Note { title: String }
       extend type Note @auth { body: String }
       extend type Query { note: Note @public }`,
      {
        ...secretive,
        Query: { ...(secretive['Query'] as object), note: () => ({ title: 't', body: 'b' }) },
      },
    )

    expect(refusals(await world.run('{ diary { mood } note { title body } }'))).toEqual([
      'diary.mood TOKEN_MISSING',
      'note.title TOKEN_MISSING',
      'note.body TOKEN_MISSING',
    ])
  })

  describe('on an interface', () => {
    const typeDefs = /* GraphQL */ `
      extend type Query {
        owned: Owned @public
        pet: Pet @public
        gift: Gift @public
        tree: Tree @public
      }
      interface Owned @auth {
        owner: String
      }
      interface Priced {
        price: Int @auth(requires: ADMIN)
        name: String
      }
      type Pet implements Owned {
        owner: String
        name: String
      }
      type Gift implements Owned & Priced {
        owner: String
        price: Int
        name: String
      }
      type Tree implements Priced {
        price: Int
        name: String
      }
    `
    const gift = { __typename: 'Gift', owner: 'ada', price: 3, name: 'box' }
    const resolvers = {
      Query: { owned: () => gift, pet: () => gift, gift: () => gift, tree: () => gift },
    }

    // Q45
    it('guards every field of the types that implement it', async () => {
      const world = createWorld(typeDefs, resolvers)

      expect(refusals(await world.run('{ pet { owner name } owned { owner } }'))).toEqual([
        'pet.owner TOKEN_MISSING',
        'pet.name TOKEN_MISSING',
        'owned.owner TOKEN_MISSING',
      ])
    })

    it('guards one field of those types when one field says so', async () => {
      const world = createWorld(typeDefs, resolvers)

      const result = await world.run('{ tree { price name } }')

      expect(result.data).toEqual({ tree: { price: null, name: 'box' } })
      expect(refusals(result)).toEqual(['tree.price TOKEN_MISSING'])
    })

    it('adds its demand to that of the other interfaces', async () => {
      const world = createWorld(typeDefs, resolvers)

      const asUser = await world.run('{ gift { owner price } }', await world.issue('USER'))
      const asAdmin = await world.run('{ gift { owner price } }', await world.issue('ADMIN'))

      expect(asUser.data).toEqual({ gift: { owner: 'ada', price: null } })
      expect(refusals(asUser)).toEqual(['gift.price ROLE_REQUIRED'])
      expect(asAdmin).toEqual({ data: { gift: { owner: 'ada', price: 3 } } })
    })

    it('lets through only the states that all of its type’s interfaces accept', async () => {
      const world = createWorld(
        `extend type Query { both: Both @public }
         interface A @auth(accepts: [ACTIVE, EXPIRED]) { name: String }
         interface B @auth(accepts: [ACTIVE, REVOKED]) { name: String }
         type Both implements A & B { name: String }`,
        { Query: { both: () => ({ name: 'both' }) } },
      )
      const token = await world.issue('USER')

      expect((await world.run('{ both { name } }', token)).errors).toBeUndefined()
      world.wait(LIFETIME_SECONDS)
      expect(refusals(await world.run('{ both { name } }', token))).toEqual([
        'both.name TOKEN_EXPIRED',
      ])
    })
  })

  it('follows the nearest declaration: the field, then its type, then its interfaces', async () => {
    const world = createWorld(
      /* GraphQL */ `
        extend type Query {
          account: Account @public
          page: Page @public
        }
        interface Guarded @auth(requires: ADMIN) {
          name: String
        }
        type Account implements Guarded @auth {
          name: String
          balance: Int @auth(requires: ADMIN)
          motto: String @public
        }
        type Page implements Guarded @public {
          name: String
          draft: String @auth
        }
      `,
      {
        Query: {
          account: () => ({ name: 'ada', balance: 1, motto: 'on' }),
          page: () => ({ name: 'home', draft: 'soon' }),
        },
      },
    )
    const source = '{ account { name balance motto } page { name draft } }'

    expect((await world.run(source)).data).toEqual({
      account: { name: null, balance: null, motto: 'on' },
      page: { name: 'home', draft: null },
    })
    expect((await world.run(source, await world.issue('USER'))).data).toEqual({
      account: { name: 'ada', balance: null, motto: 'on' },
      page: { name: 'home', draft: 'soon' },
    })
  })

  describe('requires', () => {
    const typeDefs = `
      extend enum Role { EDITOR }
      extend type Query {
        any: Int @auth
        edit: Int @auth(requires: EDITOR)
        rule: Int @auth(requires: ADMIN)
      }`
    const resolvers = { Query: { any: () => 1, edit: () => 1, rule: () => 1 } }

    it.each([
      { roles: ['USER'], sees: ['any'] },
      { roles: ['USER', 'EDITOR'], sees: ['any', 'edit'] },
      { roles: ['ADMIN'], sees: ['any', 'edit', 'rule'] },
      { roles: ['EDITOR'], sees: ['edit'] },
      { roles: [], sees: [] },
    ])('lets roles $roles see $sees', async ({ roles, sees }) => {
      const world = createWorld(typeDefs, resolvers)

      const { data, errors = [] } = await world.run(
        '{ any edit rule }',
        await world.issue(...roles),
      )

      expect(Object.keys(data).filter((name) => data[name] === 1)).toEqual(sees)
      for (const { extensions } of errors) {
        expect(extensions).toEqual({ code: 'FORBIDDEN', reason: 'ROLE_REQUIRED' })
      }
      expect(world.ran).toEqual(sees.map((name) => `Query.${name}`))
    })

    it('names the role that is missing', async () => {
      const world = createWorld(typeDefs, resolvers)

      const { errors } = await world.run('{ edit }', await world.issue('USER'))

      expect(errors?.[0]?.message).toBe('This needs the role EDITOR')
    })
  })

  describe('accepts', () => {
    const typeDefs = `
      extend type Query {
        active: Int @auth
        expired: Int @auth(accepts: [EXPIRED])
        revoked: Int @auth(accepts: [REVOKED])
        past: Int @auth(accepts: [EXPIRED, REVOKED])
        all: Int @auth(accepts: [ACTIVE, EXPIRED, REVOKED])
      }`
    const names = ['active', 'expired', 'revoked', 'past', 'all']
    const resolvers = { Query: Object.fromEntries(names.map((name) => [name, () => 1])) }

    it.each([
      { state: 'ACTIVE', sees: ['active', 'all'] },
      { state: 'EXPIRED', sees: ['expired', 'past', 'all'] },
      { state: 'REVOKED', sees: ['revoked', 'past', 'all'] },
      { state: 'REVOKED and EXPIRED', sees: ['expired', 'past', 'all'] },
      { state: 'INVALID', sees: [] },
      { state: 'missing', sees: [] },
    ])('lets a token that is $state see $sees', async ({ state, sees }) => {
      const world = createWorld(typeDefs, resolvers)
      const issued = await world.issue('USER')
      if (state.includes('REVOKED'))
        await world.run('mutation { logout { alreadyRevoked } }', issued)
      if (state.includes('EXPIRED')) world.wait(LIFETIME_SECONDS)
      const token = state === 'missing' ? null : state === 'INVALID' ? `${issued}x` : issued

      const seen = []
      for (const name of names) {
        const { data } = await world.run(`{ ${name} }`, token)
        if (data[name] === 1) seen.push(name)
      }
      expect(seen).toEqual(sees)
    })
  })

  describe('once the caller is known', () => {
    const typeDefs = `
      extend type Query { items: [Item!]! @public  own: [Item!]! @auth }
      type Item @auth { id: ID!  name: String  price: Int @auth(requires: ADMIN) }`
    const items = Array.from({ length: 1000 }, (_, id) => ({ id, name: `item ${id}`, price: id }))
    const resolvers = { Query: { items: () => items, own: () => items } }

    it.each(['items', 'own'])('looks a thousand guarded objects up once (%s)', async (root) => {
      const world = createWorld(typeDefs, resolvers)

      const { data, errors } = await world.run(
        `{ ${root} { id name price } }`,
        await world.issue('USER', 'ADMIN'),
      )

      expect(errors).toBeUndefined()
      expect(data[root]).toHaveLength(1000)
      expect(world.lookUps()).toEqual([1])
    })

    it('adds no promise to a field', async () => {
      const world = createWorld(typeDefs, resolvers)
      const item = world.schema.getType('Item') as GraphQLObjectType
      const context = world.context(await world.issue('USER'))
      const resolve = (name: string): unknown =>
        item.getFields()[name]?.resolve?.(items[7], {}, context, {
          fieldName: name,
        } as GraphQLResolveInfo)

      expect(resolve('name')).toBeInstanceOf(Promise)
      await context.auth.authenticate()

      expect(resolve('name')).toBe('item 7')
      expect(world.lookUps()).toEqual([1])
      await expect(resolve('price')).rejects.toMatchObject({
        extensions: { reason: 'ROLE_REQUIRED' },
      })
      expect(world.lookUps()).toEqual([1])
    })
  })

  describe('on a subscription', () => {
    const typeDefs = `
      type Subscription {
        ticks: Int @auth
        open: Int @public
        forwarded: Int @auth
      }`

    async function* count(): AsyncGenerator<object> {
      yield { ticks: 1, open: 1 }
      yield { ticks: 2, open: 2 }
    }
    const resolvers = { Subscription: { ticks: { subscribe: count }, open: { subscribe: count } } }

    // Q50
    it.each(['ticks', 'forwarded'])('refuses before the source is asked (%s)', async (name) => {
      const world = createWorld(typeDefs, resolvers)
      const source = vi.fn<typeof count>(count)

      const result = await subscribe({
        schema: world.schema,
        document: parse(`subscription { ${name} }`),
        contextValue: world.context(),
        rootValue: { forwarded: source },
      })

      expect(refusals(result as ExecutionResult)).toEqual([`${name} TOKEN_MISSING`])
      expect(world.ran).toEqual([])
      expect(source).not.toHaveBeenCalled()
    })

    it('lets the events through to a known caller, and looks up for each', async () => {
      const world = createWorld(typeDefs, resolvers)

      const events = await subscribe({
        schema: world.schema,
        document: parse('subscription { ticks }'),
        contextValue: world.context(await world.issue('USER')),
      })

      const seen = []
      for await (const { data } of events as AsyncIterable<ExecutionResult>)
        seen.push(data?.['ticks'])
      expect(seen).toEqual([1, 2])
      expect(world.lookUps()).toEqual([1, 1, 1])
    })

    it('leaves a public one open', async () => {
      const world = createWorld(typeDefs, resolvers)

      const events = await subscribe({
        schema: world.schema,
        document: parse('subscription { open }'),
        contextValue: world.context('garbage'),
      })

      const seen = []
      for await (const { data } of events as AsyncIterable<ExecutionResult>)
        seen.push(data?.['open'])
      expect(seen).toEqual([1, 2])
    })
  })

  // Q01, Q57
  it('checks each mutation of a document anew: the one after `logout` is refused', async () => {
    const world = createWorld('extend type Mutation { act: Int @auth }', {
      Mutation: { act: () => 1 },
    })
    const token = await world.issue('USER')

    const result = await world.run(
      'mutation { before: act logout { alreadyRevoked } after: act }',
      token,
    )

    expect(result.data).toEqual({
      before: 1,
      logout: { alreadyRevoked: false },
      after: null,
    })
    expect(refusals(result)).toEqual(['after TOKEN_REVOKED'])
    expect(world.ran).toEqual(['Mutation.act'])
  })

  // Q46
  it('refuses without running the resolver of a mutation', async () => {
    const world = createWorld('extend type Mutation { act: Int @auth(requires: ADMIN) }', {
      Mutation: { act: () => 1 },
    })

    for (const token of [null, 'garbage', await world.issue('USER')]) {
      expect((await world.run('mutation { act }', token)).data).toEqual({ act: null })
    }
    expect(world.ran).toEqual([])
  })
})

describe('@public', () => {
  it.each([null, 'garbage', 'a.b.c'])('does not look at the token (%s)', async (token) => {
    const world = createWorld(SECRETIVE, secretive)

    expect(await world.run('{ open }', token)).toEqual({ data: { open: 'for all' } })
    expect(world.lookUps()).toEqual([])
  })

  it('asks no store even for an authentic token', async () => {
    const world = createWorld(SECRETIVE, secretive)

    await world.run('{ open shelf { name } }', await world.issue('USER'))

    expect(world.lookUps()).toEqual([])
  })
})

describe('misuse', () => {
  it.each([
    [
      'INVALID accepted on a field',
      'extend type Query { all: Int @auth(accepts: [ACTIVE, INVALID]) }',
      'expected accepted states other than INVALID on all',
    ],
    [
      'INVALID accepted on a type',
      'type A @auth(accepts: [INVALID]) { b: Int } extend type Query { a: A }',
      'expected accepted states other than INVALID on A',
    ],
    [
      'both directives on a field',
      'extend type Query { both: Int @auth @public }',
      'expected @auth or @public on both, got both',
    ],
    [
      'both directives on a type',
      'type A @auth @public { b: Int } extend type Query { a: A }',
      'expected @auth or @public on A, got both',
    ],
    [
      'both directives on an interface',
      `interface I @auth @public { b: Int }
       type A implements I { b: Int } extend type Query { a: A }`,
      'expected @auth or @public on I, got both',
    ],
    [
      'a contrary extension',
      'type A @public { b: Int } extend type A @auth extend type Query { a: A }',
      'expected @auth or @public on A, got both',
    ],
  ])('is a TypeError: %s', (_what, typeDefs, message) => {
    expect(() => createWorld(typeDefs)).toThrow(TypeError)
    expect(() => createWorld(typeDefs)).toThrow(message)
  })

  it('is a TypeError: an extension that declares @auth again', () => {
    const schema = buildSchema(`${authTypeDefs} type Query { a: A } type A @auth { b: Int }`)
    const extended = extendSchema(schema, parse('extend type A @auth(requires: ADMIN)'))

    expect(() => applyAuthDirective(extended)).toThrow(
      new TypeError('expected one @auth on A, got another on its extension'),
    )
  })

  it.each([
    'type A @auth { b: Int } extend type A @auth(requires: ADMIN)',
    'type A @auth(requires: ADMIN) { b: Int } extend type A @auth',
  ])('takes the stricter one of two that graphql-tools merges (%s)', async (typeDefs) => {
    const world = createWorld(`${typeDefs} extend type Query { a: A @public }`, {
      Query: { a: () => ({ b: 1 }) },
    })

    expect(refusals(await world.run('{ a { b } }', await world.issue('USER')))).toEqual([
      'a.b ROLE_REQUIRED',
    ])
  })

  it.each([undefined, null, {}])(
    'is a TypeError: a guarded field with the context %j',
    async (contextValue) => {
      const world = createWorld(SECRETIVE, secretive)

      const { data, errors } = await graphql({
        schema: world.schema,
        source: '{ secret }',
        contextValue,
      })

      expect(data).toEqual({ secret: null })
      expect(errors?.[0]?.originalError).toBeInstanceOf(TypeError)
      expect(errors?.[0]?.message).toBe(
        'expected a GraphQL context with `auth`, got none: spread portcullis.context(...) into yours',
      )
      expect(world.ran).toEqual([])
    },
  )
})

describe('a schema in which @auth is not enforced', () => {
  // Q46: our resolvers ask for their caller themselves.
  it.each([
    ['me { id }', 'USER'],
    ['sessions { id }', 'USER'],
    ['user(id: "1") { id }', 'ADMIN'],
    ['tokenStatus(token: "x") { state }', 'ADMIN'],
    ['revocations { totalCount }', 'ADMIN'],
    ['revocationEvents { totalCount }', 'ADMIN'],
    ['mutation changePassword(currentPassword: "a", newPassword: "b") { tokenType }', 'USER'],
    ['mutation logout { alreadyRevoked }', 'USER'],
    ['mutation logoutAllDevices { endedSessions }', 'USER'],
    ['mutation revokeSession(id: "1") { alreadyRevoked }', 'USER'],
    ['mutation revokeToken(token: "x") { verified }', 'ADMIN'],
    ['mutation revokeUser(userId: "1") { alreadyRevoked }', 'ADMIN'],
    ['mutation revokeEveryone(reason: "x") { alreadyRevoked }', 'ADMIN'],
    ['mutation restore(revocationId: "1") { alreadyRestored }', 'ADMIN'],
    ['mutation suspendUser(userId: "1") { alreadySuspended }', 'ADMIN'],
    ['mutation reinstateUser(userId: "1") { alreadyReinstated }', 'ADMIN'],
    ['mutation setUserRoles(userId: "1", roles: [ADMIN]) { alreadySet }', 'ADMIN'],
    ['mutation createPasswordReset(userId: "1") { token }', 'ADMIN'],
  ])('still refuses %s to those without the role %s', async (act, role) => {
    const world = createWorld('type Unused { a: Int }')
    const schema = createServiceSchema({
      portcullis: { ...world.portcullis, protect: (unguarded) => unguarded },
      accounts: untouchable('accounts'),
      attempts: untouchable('attempts'),
      sessions: untouchable('sessions'),
      resets: untouchable('resets'),
      log: () => undefined,
    })
    const run = async (token: string | null): Promise<unknown[]> => {
      const source = act.startsWith('mutation ') ? act.replace(' ', ' { ') : `{ ${act}`
      const contextValue = world.context(token)
      return refusals(await graphql({ schema, source: `${source} }`, contextValue }))
    }
    const name = /^(?:mutation )?(\w+)/.exec(act)?.[1]

    expect(await run(null)).toEqual([`${name} TOKEN_MISSING`])
    expect(await run('garbage')).toEqual([`${name} TOKEN_INVALID`])
    if (role === 'ADMIN') {
      expect(await run(await world.issue('USER'))).toEqual([`${name} ROLE_REQUIRED`])
    }
  })

  /** Stands for a part that must not even be asked. */
  function untouchable(name: string): never {
    return new Proxy(
      {},
      {
        get: (_target, member) => {
          throw new Error(`${name}.${String(member)} was asked`)
        },
      },
    ) as never
  }
})

describe('a root field that says neither @auth nor @public', () => {
  it('is named by listUndeclaredRootFields', () => {
    const schema = makeExecutableSchema({
      typeDefs: [
        authTypeDefs,
        `type Query { forgotten: Int  guarded: Int @auth  open: Int @public }
         type Mutation @auth { guardedByItsType: Int }
         type Subscription { alsoForgotten: Int }`,
      ],
    })

    expect(listUndeclaredRootFields(schema)).toEqual([
      'Query.forgotten',
      'Subscription.alsoForgotten',
    ])
  })

  it('keeps our own service from starting', () => {
    const { portcullis } = createWorld('type Unused { a: Int }')
    const typeDefs = [...portcullis.typeDefs, 'extend type Query { forgotten: Int }']
    const options = { accounts: null, sessions: null, log: () => undefined } as never

    expect(() =>
      createServiceSchema({
        ...(options as object),
        portcullis: { ...portcullis, typeDefs },
      } as never),
    ).toThrow(
      new TypeError(
        'expected @auth or @public on every root field, got neither on Query.forgotten',
      ),
    )
  })
})
