import { parse } from 'graphql'
import { describe, expect, it } from 'vitest'
import { measureDefinitions } from '../../src/graphql/document-size.ts'
import type { DocumentSize } from '../../src/graphql/document-size.ts'

const NOTHING: DocumentSize = { fields: 0, aliases: 0, directives: 0, spreads: 0, depth: 0 }

describe('the size of an operation', () => {
  it.each<[source: string, size: Partial<DocumentSize>]>([
    ['{ me { id email } }', { fields: 3, depth: 2 }],
    ['{ a: me { id b: email } }', { fields: 3, aliases: 2, depth: 2 }],
    ['{ me: me { id: id } }', { fields: 2, depth: 2 }],
    ['{ ... { ... on Query { me { id } } } }', { fields: 2, depth: 2 }],
    ['query @a { me @b @c { ... @d { id } } }', { fields: 2, directives: 4, depth: 2 }],
    [
      '{ me { ...f } you: me { ...f } } fragment f on User @e { id x: email @d }',
      { fields: 6, aliases: 3, directives: 2, spreads: 2, depth: 2 },
    ],
    [
      '{ ...f ...f } fragment f on Query { ...g ...g } fragment g on Query { ...h ...h } fragment h on Query { me { id } }',
      { fields: 16, spreads: 14, depth: 2 },
    ],
    ['{ ...missing }', { spreads: 1 }],
    ['{ ...f } fragment f on Query { me { id } ...f }', { fields: 2, spreads: 2, depth: 2 }],
  ])('%s', (source, size) => {
    expect(measureDefinitions(parse(source))[0]).toEqual({ ...NOTHING, ...size })
  })

  // Q43
  it('that writes out to more fields than there are atoms is measured all the same', () => {
    const doubling = Array.from(
      { length: 300 },
      (_, n) => `fragment f${n} on Query { ...f${n + 1} ...f${n + 1} }`,
    )
    const source = `{ ...f0 } ${doubling.join(' ')} fragment f300 on Query { me { id } }`

    expect(measureDefinitions(parse(source))[0]?.fields).toBe(2 ** 301)
  })

  it('is told of every operation and fragment, and of a type there is none', () => {
    const sizes = measureDefinitions(
      parse('{ a } query B { a b } fragment c on D { e } type F { g: Int }'),
    )

    expect(sizes.map(({ fields }) => fields)).toEqual([1, 2, 1, 0])
  })
})
