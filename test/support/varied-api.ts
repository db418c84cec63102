import { makeExecutableSchema } from '@graphql-tools/schema'
import fc from 'fast-check'
import type { GraphQLSchema } from 'graphql'
import { BadInputError } from '../../src/errors.ts'
import type { AuthContext } from '../../src/graphql/auth-directive.ts'
import type { Portcullis } from '../../src/portcullis.ts'

const typeDefs = `
  type Query {
    open: String @public
    me: Person! @auth
    maybeMe: Person @auth
    admin: String @auth(requires: ADMIN)
    late: String @auth
    wrong: String @public
    lateWrong: String @public
    refused: String @public
    people: [Named!]! @public
    holes: [Int] @public
    echo(text: String!, times: Int = 2): [String!]! @public
    find(where: Where!): String @auth
  }
  input Where { id: ID!  names: [String!] = ["a"] }
  interface Named @auth { name: String!  friend: Named }
  type Person implements Named { name: String!  friend: Named  secret: String @auth(requires: ADMIN)  nick: String @public  broken: String! }
  type Robot implements Named @public { name: String!  friend: Named  model: String! }
`

/** An API with what a document can meet: types behind interfaces, errors of every kind, answers that take a while. */
export interface VariedApi {
  readonly schema: GraphQLSchema
  /** The resolvers that ran, in order; empty it as you like. */
  readonly ran: string[]
}

export function createVariedApi(portcullis: Portcullis): VariedApi {
  const ran: string[] = []
  const note =
    <Value>(name: string, give: () => Value) =>
    (): Value => {
      ran.push(name)
      return give()
    }
  const fail = (): never => {
    throw new Error('wrong on purpose')
  }
  const ada = { kind: 'Person', name: 'ada “ß” 𝛀', nick: 'a' }
  const robot = { kind: 'Robot', name: 'r2', model: 'd2', friend: ada }

  const schema = makeExecutableSchema({
    typeDefs: [...portcullis.typeDefs, typeDefs],
    resolvers: [
      portcullis.resolvers,
      {
        Query: {
          open: note('open', () => 'open'),
          me: note('me', () => ada),
          maybeMe: note('maybeMe', () => ada),
          admin: (_parent: unknown, _args: unknown, { auth }: AuthContext) => {
            ran.push('admin')
            return `for ${auth.caller?.subject}`
          },
          late: note('late', async () => 'late'),
          wrong: note('wrong', fail),
          lateWrong: note('lateWrong', async () => fail()),
          refused: note('refused', () => {
            throw new BadInputError('text', 'EMPTY', 'Say something')
          }),
          people: note('people', () => [ada, robot]),
          holes: note('holes', () => [1, 'two', 3]),
          echo: (_parent: unknown, { text, times }: { text: string; times: number }) =>
            Array<string>(times).fill(text),
          find: (_parent: unknown, { where }: { where: object }) => JSON.stringify(where),
        },
        Person: {
          secret: note('secret', () => 'hers'),
          friend: note('friend', () => robot),
          broken: note('broken', fail),
        },
        Named: { __resolveType: ({ kind }: { kind: string }) => kind },
      },
    ],
  })
  return { schema: portcullis.protect(schema), ran }
}

type Selections = Record<'Person' | 'Robot' | 'Named' | 'root', string>

const { root } = fc.letrec<Selections>((tie) => {
  const set = (on: keyof Selections) =>
    fc.array(tie(on), { minLength: 1, maxLength: 3 }).map((all) => `{ ${all.join(' ')} }`)
  const leaf = (...names: string[]) => fc.constantFrom(...names)
  const branch = (name: string, on: keyof Selections) => set(on).map((inner) => `${name} ${inner}`)
  const fragment = (type: keyof Selections) => branch(`... on ${type}`, type)
  const once = { maxDepth: 3, depthIdentifier: 'selection' }
  return {
    Person: fc.oneof(
      once,
      leaf('name', 'nick', 'secret', 'called: name', '__typename'),
      leaf('name', 'nick', 'broken'),
      branch('friend', 'Named'),
    ),
    Robot: fc.oneof(once, leaf('name', 'model', '__typename'), branch('friend', 'Named')),
    Named: fc.oneof(
      once,
      leaf('name', '__typename', 'called: name'),
      fragment('Person'),
      fragment('Robot'),
      branch('friend', 'Named'),
    ),
    root: fc.oneof(
      once,
      leaf('open', 'late', 'again: open', 'echo(text: "ß")', '__typename', 'holes'),
      leaf('open', 'admin', 'wrong', 'lateWrong', 'refused', 'open @include(if: true)'),
      branch('me', 'Person'),
      branch('maybeMe', 'Person'),
      branch('people', 'Named'),
    ),
  }
})

/** Documents for {@link createVariedApi}: without variables, or with `$text` and `$times`. */
export const variedDocuments = fc
  .tuple(
    fc.array(root, { minLength: 1, maxLength: 4 }),
    fc.constantFrom(
      '',
      'query Named',
      'query ($text: String!, $times: Int)',
      'query Named($text: String!, $times: Int)',
      'query ($text: String = "by default", $times: Int)',
    ),
  )
  .map(([all, head]) => {
    const used = head.includes('$') ? 'used: echo(text: $text, times: $times)' : ''
    return `${head} { ${all.join(' ')} ${used} }`
  })
