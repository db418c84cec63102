import type { GraphQLSchema } from 'graphql'

type Meant = 'auth' | 'public'

/** Other words for `@auth`, as people and other libraries have them. */
const WORDS_FOR_AUTH =
  /^(is|has|must|needs?|requires?|with|use)?auth(s|ed|enticat(e|ed|ion)|ori[sz](e|ed|ation))?(required|guard|only)?$/

/** Words that are one slip away from `auth` and mean something else. */
const OTHER_WORDS: ReadonlySet<string> = new Set(['auto'])

/** Directives of the federation specification, which a router enforces. */
const FEDERATION: ReadonlySet<string> = new Set(['authenticated', 'requiresScopes', 'policy'])

/**
 * Finds what the name of a directive was meant to be; `null`: something else.
 *
 * A name that the schema defines is no slip of the pen, but may still be a word for `@auth` that nothing enforces.
 */
export function findMeantDirective(schema: GraphQLSchema, name: string): Meant | null {
  if (name === 'auth' || name === 'public') return null
  const isDefined = schema.getDirective(name) !== undefined
  // With `@link`, the definition is the federation specification's.
  if (isDefined && FEDERATION.has(name) && schema.getDirective('link')) return null

  const word = simplify(name)
  if (WORDS_FOR_AUTH.test(word)) return 'auth'
  if (isDefined || OTHER_WORDS.has(word)) return null
  return (['auth', 'public'] as const).find((meant) => isOneSlipAway(word, meant)) ?? null
}

/** Whether a member of `extensions` was meant to be `extensions.directives.auth`. */
export function isMeantForAuth(key: string): boolean {
  const word = simplify(key)
  return WORDS_FOR_AUTH.test(word) || (!OTHER_WORDS.has(word) && isOneSlipAway(word, 'auth'))
}

function simplify(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z]/g, '')
}

/** One letter too many, too few, wrong, or in the place of its neighbour; or none. */
function isOneSlipAway(word: string, meant: string): boolean {
  if (Math.abs(word.length - meant.length) > 1) return false
  let at = 0
  while (at < meant.length && word[at] === meant[at]) at += 1

  const [rest, due] = [word.slice(at), meant.slice(at)]
  const swapped = `${due[1] ?? ''}${due[0] ?? ''}${due.slice(2)}`
  return (
    rest === due.slice(1) ||
    rest.slice(1) === due ||
    rest.slice(1) === due.slice(1) ||
    rest === swapped
  )
}
