// What an error of the service says to the person in front of the page.

const CODES = new Set([
  'UNAUTHENTICATED',
  'FORBIDDEN',
  'BAD_USER_INPUT',
  'RATE_LIMITED',
  'REVOCATION_UNAVAILABLE',
])

/** The first error that refuses something, or `undefined`; a mistake in the document is none. */
export function findRefusal(errors = []) {
  return errors.find(({ extensions }) => CODES.has(extensions?.code))
}

/** `{ label, isAboutToken, message, revocation, place }` of what {@link findRefusal} found. */
export function describeRefusal({ message, path, extensions }) {
  const { code, reason, argument, revocation } = extensions
  const place = [...(path ?? []), argument && `(${argument}:)`].filter(Boolean)

  return {
    label: reason ?? code,
    isAboutToken: code === 'UNAUTHENTICATED',
    message: /[.?!]$/.test(message) ? message : `${message}.`,
    revocation,
    place: place.join('.').replace('.(', '('),
  }
}

/** The time, with the day when that is not today. */
export function formatInstant(text) {
  const at = new Date(text)
  const isToday = at.toDateString() === new Date().toDateString()
  return isToday ? at.toLocaleTimeString() : at.toLocaleString()
}
