/** What every contestant serves: the same people and things, held in memory, under the same schema. */

export interface User {
  readonly id: string
  readonly email: string
  readonly roles: readonly string[]
}

export interface Item {
  readonly id: string
  readonly name: string
  readonly price: number
}

export const USER_COUNT = 1000

export const users: readonly User[] = Array.from({ length: USER_COUNT }, (_, index) => ({
  id: `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`,
  email: `user-${index}@bench.example`,
  roles: ['USER'],
}))

const userById: ReadonlyMap<string, User> = new Map(users.map((user) => [user.id, user]))

export const items: readonly Item[] = Array.from({ length: 1000 }, (_, index) => ({
  id: `item-${index}`,
  name: `Item number ${index}`,
  price: 100 + index,
}))

export function findUser(id: string): User | null {
  return userById.get(id) ?? null
}

/**
 * The schema, with each contestant's own directives.
 *
 * @param guard - What guards a field, or each field of a type; empty for none.
 * @param open - What says that a root field is open on purpose; empty for nothing.
 */
export function typeDefsOf(guard: string, open = ''): string {
  return `
    type Query {
      me: User! ${guard}
      items: [Item!]! ${guard}
      plainItems: [PlainItem!]! ${open}
    }
    type User { id: ID! email: String! roles: [Role!]! }
    type Item ${guard} { id: ID! name: String! price: Int! }
    type PlainItem { id: ID! name: String! price: Int! }`
}

export const roleTypeDefs = 'enum Role { USER ADMIN }'

/** The operations, by the letter of their scenario. */
export const operations = {
  me: '{ me { id email roles } }',
  items: '{ items { id name price } }',
  plainItems: '{ plainItems { id name price } }',
  twentyFields: `{ ${Array.from({ length: 20 }, (_, n) => `a${n}: me { id email roles }`).join(' ')} }`,
} as const

export type Operation = keyof typeof operations

/** The one right answer to an operation. */
export function answerTo(operation: Operation, { id, email, roles }: User): string {
  const me = { id, email, roles }
  switch (operation) {
    case 'me':
      return JSON.stringify({ data: { me } })
    case 'items':
      return JSON.stringify({ data: { items } })
    case 'plainItems':
      return JSON.stringify({ data: { plainItems: items } })
    case 'twentyFields':
      return JSON.stringify({
        data: Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`a${n}`, me])),
      })
  }
}
