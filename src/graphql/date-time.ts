import { GraphQLError, GraphQLScalarType, Kind } from 'graphql'

/** RFC 3339 §5.6, with an offset: without one an instant is ambiguous. */
const FORM = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/i

/** An instant: a `Date` inside, ISO 8601 in UTC with milliseconds on the wire. */
export const DateTime: GraphQLScalarType<Date, string> = new GraphQLScalarType<Date, string>({
  name: 'DateTime',
  serialize: (value) => {
    if (value instanceof Date) return value.toISOString()
    throw new TypeError(`expected a Date, got ${typeof value}`)
  },
  parseValue: parse,
  parseLiteral: (node) => parse(node.kind === Kind.STRING ? node.value : null),
})

function parse(value: unknown): Date {
  const date = new Date(typeof value === 'string' && FORM.test(value) ? value : Number.NaN)
  if (Number.isNaN(date.getTime())) {
    throw new GraphQLError('expected an instant such as "2026-11-22T09:30:00Z"')
  }
  return date
}
