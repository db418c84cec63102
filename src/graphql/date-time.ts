import { GraphQLError, GraphQLScalarType, Kind } from 'graphql'

/**
 * RFC 3339 §5.6, with an offset: without one an instant is ambiguous.
 *
 * The scalar's specification asks for three digits of a second; we take none to nine.
 */
const FORM = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(?:Z|([+-])(\d\d):(\d\d))$/i

/**
 * An instant: a `Date` inside, ISO 8601 in UTC with milliseconds on the wire.
 *
 * @see {@link https://scalars.graphql.org/andimarek/date-time.html}
 */
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
  const parts = typeof value === 'string' ? FORM.exec(value) : null
  const date = new Date(parts && isOnCalendar(parts) ? parts[0] : Number.NaN)
  if (Number.isNaN(date.getTime())) {
    throw new GraphQLError('expected an instant such as "2026-11-22T09:30:00Z"')
  }
  return date
}

/** JavaScript reads 30 February as 2 March, and takes 24:00. */
function isOnCalendar(parts: RegExpExecArray): boolean {
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts
    .slice(1, 7)
    .map(Number)
  const [offsetHour = 0, offsetMinute = 0] = parts.slice(8, 10).map(Number)

  const isDay = month >= 1 && month <= 12 && day >= 1 && day <= daysIn(year, month)
  const isTime = hour <= 23 && minute <= 59 && second <= 59
  if (parts[7] === undefined) return isDay && isTime

  // RFC 3339 §4.3: "-00:00" says that the offset is not known.
  const isOffset = offsetHour <= 23 && offsetMinute <= 59 && !parts[0].endsWith('-00:00')
  return isDay && isTime && isOffset
}

function daysIn(year: number, month: number): number {
  if (month !== 2) return [4, 6, 9, 11].includes(month) ? 30 : 31
  const isLeapYear = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0
  return isLeapYear ? 29 : 28
}
