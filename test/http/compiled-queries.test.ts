import { ApolloServer } from '@apollo/server'
import { makeExecutableSchema } from '@graphql-tools/schema'
import fc from 'fast-check'
import type { GraphQLFormattedError } from 'graphql'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { AuthContext } from '../../src/graphql/auth-directive.ts'
import { createPortcullis } from '../../src/portcullis.ts'
import { MemoryRevocationStore } from '../../src/revocation/memory/memory-store.ts'
import { createKeyRing } from '../../src/token/keys.ts'
import {
  CompiledQueries,
  createCompiledQueries,
} from '../../src/transport/apollo/compiled-queries.ts'
import { SECRET } from '../support/service.ts'

const store = new MemoryRevocationStore()
const portcullis = createPortcullis({
  keys: createKeyRing({ signWith: SECRET }),
  issuer: 'portcullis',
  audience: 'portcullis',
  store,
})

const typeDefs = `
  type Query {
    open: String @public
    me: Person! @auth
    admin: String @auth(requires: ADMIN)
    late: String @auth
    wrong: String @public
    named: [Named!]! @public
    things: [Thing!]! @public
    echo(text: String!, times: Int = 2): [String!]! @public
  }
  interface Named @auth { name: String!  friend: Named }
  type Person implements Named { name: String!  friend: Named  secret: String @auth(requires: ADMIN)  nick: String @public }
  type Robot implements Named @public { name: String!  friend: Named  model: String! }
  type Key @auth(requires: ADMIN) { bits: Int! }
  union Thing = Person | Robot | Key
`

/** What ran, in order. */
let ran: string[]
/** How many documents Apollo executed itself. */
let executed = 0

const ada = { kind: 'Person', name: 'ada', nick: 'a' }
const robot = { kind: 'Robot', name: 'r2', model: 'd2', friend: ada }
const key = { kind: 'Key', bits: 256 }

function note<Value>(name: string, value: Value): () => Value {
  return () => {
    ran.push(name)
    return value
  }
}

const resolveType = { __resolveType: ({ kind }: { kind: string }) => kind }
const schema = portcullis.protect(
  makeExecutableSchema({
    typeDefs: [...portcullis.typeDefs, typeDefs],
    resolvers: [
      portcullis.resolvers,
      {
        Query: {
          open: note('open', 'open'),
          me: note('me', ada),
          admin: note('admin', 'for admins'),
          late: async () => note('late', 'late')(),
          wrong: () => {
            throw new Error('wrong on purpose')
          },
          named: note('named', [ada, robot]),
          things: note('things', [ada, robot, key]),
          echo: (_parent: unknown, { text, times }: { text: string; times: number }) =>
            Array<string>(times).fill(text),
        },
        Person: { secret: note('secret', 'hers'), friend: note('friend', robot) },
        Key: { bits: note('bits', 256) },
        Named: resolveType,
        Thing: resolveType,
      },
    ],
  }),
)

let guarded: ApolloServer<AuthContext>
let compiled: ApolloServer<AuthContext>
/** By whom a request is sent. */
const tokens = new Map<string, string | undefined>()

beforeAll(async () => {
  guarded = new ApolloServer({ schema })
  compiled = new ApolloServer({
    schema,
    plugins: [
      createCompiledQueries(new CompiledQueries({ schema, compileAfter: 0 }), {
        formatError: (formatted) => formatted,
      }),
      {
        // Asked only where nothing compiled has answered.
        requestDidStart: async () => ({
          executionDidStart: async () => {
            executed += 1
          },
        }),
      },
    ],
  })
  await Promise.all([guarded.start(), compiled.start()])

  const issue = async (roles: string[]): Promise<string> =>
    (await portcullis.issue({ subject: 'ada', roles })).text
  tokens.set('nobody', undefined)
  tokens.set('a user', await issue(['USER']))
  tokens.set('an admin', await issue(['ADMIN']))
  tokens.set('somebody without roles', await issue([]))
  tokens.set('a forger', `${await issue(['ADMIN'])}x`)
  const revoked = await issue(['ADMIN'])
  tokens.set('somebody revoked', revoked)
  const target = { scope: 'TOKEN', token: portcullis.tokens.verify(revoked) } as const
  await store.revoke({ target, reason: 'lost', by: null })
})

afterAll(async () => {
  await Promise.all([guarded.stop(), compiled.stop()])
})

beforeEach(() => {
  ran = []
})

interface Answer {
  readonly data: unknown
  readonly errors: readonly GraphQLFormattedError[]
  readonly ran: readonly string[]
}

async function ask(
  server: ApolloServer<AuthContext>,
  query: string,
  who: string,
  variables: Record<string, unknown> = {},
): Promise<Answer> {
  ran = []
  const token = tokens.get(who)
  const authorization = token === undefined ? undefined : `Bearer ${token}`
  const { body } = await server.executeOperation(
    { query, variables },
    { contextValue: portcullis.context({ authorization }) },
  )
  if (body.kind !== 'single') throw new Error('expected one result')
  const { data, errors = [] } = body.singleResult
  // As it goes over the wire: without prototypes and undefined members.
  return JSON.parse(
    JSON.stringify({
      data,
      errors: errors.map(({ message, path, extensions }) => ({
        message,
        path,
        code: extensions?.['code'],
        reason: extensions?.['reason'],
      })),
      ran,
    }),
  ) as Answer
}

const who = fc.constantFrom(
  'nobody',
  'a user',
  'an admin',
  'somebody without roles',
  'a forger',
  'somebody revoked',
)

/** Selections on each type, with aliases, fragments and conditions, so deep. */
const fields = (names: readonly string[]) => fc.constantFrom(...names)
/** Seldom: a document with one is not compiled. */
const condition = fc.oneof(
  { weight: 40, arbitrary: fc.constant('') },
  { weight: 1, arbitrary: fc.constantFrom('@include(if: $yes)', '@skip(if: $yes)') },
)

type Selections = Record<'Person' | 'Robot' | 'Key' | 'Named' | 'Thing' | 'selection', string>

const { selection } = fc.letrec<Selections>((tie) => {
  const set = (on: keyof Selections) =>
    fc.array(tie(on), { minLength: 1, maxLength: 4 }).map((all) => `{ ${all.join(' ')} }`)
  const leaf = (...names: string[]) =>
    fc.tuple(fields(names), condition).map(([name, when]) => `${name} ${when}`)
  const branch = (name: string, on: keyof Selections) =>
    fc.tuple(condition, set(on)).map(([when, inner]) => `${name} ${when} ${inner}`)
  const fragment = (type: keyof Selections) =>
    fc.tuple(condition, set(type)).map(([when, inner]) => `... on ${type} ${when} ${inner}`)
  const once = { maxDepth: 3, depthIdentifier: 'selection' }
  return {
    Person: fc.oneof(
      once,
      leaf(
        'name',
        'nick',
        'secret',
        'called: name',
        'then: name',
        'constructor: nick',
        '__typename',
      ),
      branch('friend', 'Named'),
    ),
    Robot: fc.oneof(once, leaf('name', 'model', '__typename'), branch('friend', 'Named')),
    Key: leaf('bits', '__typename'),
    Named: fc.oneof(
      once,
      leaf('name', '__typename', 'called: name'),
      fragment('Person'),
      fragment('Robot'),
      fc.constant('...onPerson'),
      branch('friend', 'Named'),
    ),
    Thing: fc.oneof(
      once,
      leaf('__typename'),
      fragment('Person'),
      fragment('Robot'),
      fragment('Key'),
      fragment('Named'),
    ),
    selection: fc.oneof(
      once,
      leaf('open', 'admin', 'late', 'wrong', 'again: admin', 'echo(text: $text)', '__typename'),
      branch('me', 'Person'),
      branch('named', 'Named'),
      branch('things', 'Thing'),
    ),
  }
})

const documents = fc.array(selection, { minLength: 1, maxLength: 4 }).map(
  (all) => `
    query ($yes: Boolean = true, $text: String!) {
      ${all.join('\n')}
      used: echo(text: $text)
      named { ...onPerson }
    }
    fragment onPerson on Person { nick }`,
)

describe('compiled queries', () => {
  // Q45, Q46
  it('answer as the guards do, for all queries and callers', { timeout: 120_000 }, async () => {
    let left = 0
    let compiledAnswers = 0
    await fc.assert(
      fc.asyncProperty(documents, who, async (document, person) => {
        const variables = { text: 'x' }
        const expected = await ask(guarded, document, person, variables)
        const before = executed
        const answer = await ask(compiled, document, person, variables)

        expect(JSON.stringify(answer.data)).toBe(JSON.stringify(expected.data))
        expect(answer.errors).toEqual(expected.errors)
        // What a guard keeps from running does not run.
        expect(new Set(answer.ran)).toEqual(new Set(expected.ran))
        if (executed > before) left += 1
        else compiledAnswers += 1
      }),
      { numRuns: 600 },
    )
    expect(left).toBeGreaterThan(50)
    expect(compiledAnswers).toBeGreaterThan(50)
  })

  // Q46
  it.each([
    ['nobody', '{ me { name } }'],
    ['a user', '{ admin }'],
    ['a user', '{ it: admin }'],
    ['a user', '{ ...all } fragment all on Query { admin }'],
    ['a user', '{ me { secret } }'],
    ['a user', '{ me { friend { ... on Robot { friend { ... on Person { secret } } } } } }'],
    ['a user', '{ things { ... on Key { bits } } }'],
    ['nobody', '{ named { name } }'],
    ['a forger', '{ late }'],
    ['somebody revoked', '{ late }'],
    ['somebody without roles', '{ me { name } }'],
  ])('run nothing that is refused: %s asks %s', async (person, query) => {
    for (const server of [compiled, guarded]) {
      const answer = await ask(server, query, person)
      expect(answer.errors.length).toBeGreaterThan(0)
      expect(
        answer.ran.filter((name) => ['admin', 'secret', 'bits', 'late'].includes(name)),
      ).toEqual([])
    }
  })

  it('are checked anew in every request', async () => {
    const { text } = await portcullis.issue({ subject: 'bob' })
    tokens.set('bob', text)
    const query = '{ me { nick } }'
    expect(await ask(compiled, query, 'bob')).toMatchObject({ data: { me: { nick: 'a' } } })

    const target = { scope: 'SUBJECT', subject: 'bob' } as const
    await store.revoke({ target, reason: 'gone', by: null })
    const { errors, ran: run } = await ask(compiled, query, 'bob')
    expect(errors).toMatchObject([{ reason: 'TOKEN_REVOKED' }])
    expect(run).toEqual([])
  })

  it('coerce variables as usual', async () => {
    const query = 'query ($text: String!, $times: Int) { echo(text: $text, times: $times) }'
    for (const variables of [
      { text: 'x' },
      { text: 'x', times: 3 },
      {},
      { text: 1 },
      { text: 'x', times: 'y' },
    ]) {
      const answer = await ask(compiled, query, 'nobody', variables)
      expect(answer).toEqual(await ask(guarded, query, 'nobody', variables))
    }
  })

  // Names that mean something to JavaScript, to promises, to objects, or to the compiler's own code.
  const NAMES = `
    ${Object.getOwnPropertyNames(Object.prototype).join(' ')}
    then catch toJSON length name prototype arguments caller data errors
    null undefined NaN Infinity true this new delete function
    _ __ _0 a1 parent context __context __parent __internal input coerced idx0 hasValue resolvers executor variables
    e err args info`
    .trim()
    .split(/\s+/)

  it.each(NAMES)(
    'answer as executed ones, to the letter, where something is called %s',
    async (name) => {
      for (const query of [
        `{ me { ${name}: name } }`,
        `{ me { name ${name}: nick id: name } ${name}: open late }`,
        `{ ${name}: me { ${name}: name friend { ${name}: __typename } } }`,
        `{ named { ${name}: name ... on Robot { model } } }`,
        `query ${name} { ${name}: open }`,
        `query ($${name}: String = "default") { echo(text: $${name}) }`,
        `query ($${name}: String!) { echo(text: $${name}) }`,
        `{ ...${name} } fragment ${name} on Query { ${name}: open me { name } }`,
      ]) {
        // As a JSON body has it: `__proto__` is a member like another.
        const variables = JSON.parse(`{"${name}":"given"}`) as Record<string, unknown>
        for (const given of [{}, variables]) {
          const answer = await ask(compiled, query, 'a user', given)
          const expected = await ask(guarded, query, 'a user', given)
          expect([query, JSON.stringify(answer.data)]).toEqual([
            query,
            JSON.stringify(expected.data),
          ])
          expect(answer.errors).toEqual(expected.errors)
        }
      }
    },
  )

  // Q43
  it.each([
    ['as it stands', `{ ${Array.from({ length: 201 }, (_, n) => `a${n}: open`).join(' ')} }`, 1],
    [
      'once its fragments are written out',
      `{ named { ...a } again: named { ...a } }
       fragment a on Named { ...b x: __typename ...b }
       fragment b on Named { ${Array.from({ length: 60 }, (_, n) => `a${n}: __typename`).join(' ')} }`,
      1,
    ],
    ['not quite', `{ ${Array.from({ length: 200 }, (_, n) => `a${n}: open`).join(' ')} }`, 0],
  ])('are not made of a document that is too large %s', async (_how, query, times) => {
    const before = executed
    const answer = await ask(compiled, query, 'nobody')
    expect(executed - before).toBe(times)
    expect(answer.data).toEqual((await ask(guarded, query, 'nobody')).data)
  })

  it('leave it to Apollo to say that there is no such operation', async () => {
    const request = { query: 'query A { open }', operationName: 'B' }
    const answers = await Promise.all(
      [compiled, guarded].map((server) =>
        server.executeOperation(request, {
          contextValue: portcullis.context({ authorization: undefined }),
        }),
      ),
    )
    expect(answers[0]!.body).toEqual(answers[1]!.body)
    expect(answers[0]!.body).toMatchObject({
      singleResult: { errors: [{ extensions: { code: 'OPERATION_RESOLUTION_FAILURE' } }] },
    })
  })

  it('are of documents with one operation, and of queries', async () => {
    const several = 'query A { open } query B { admin }'
    const { body } = await compiled.executeOperation(
      { query: several, operationName: 'A' },
      { contextValue: portcullis.context({ authorization: undefined }) },
    )
    expect(body).toMatchObject({ singleResult: { data: { open: 'open' } } })
    const { errors } = await ask(compiled, 'mutation { logout { alreadyRevoked } }', 'nobody')
    expect(errors).toMatchObject([{ reason: 'TOKEN_MISSING' }])
  })
})
