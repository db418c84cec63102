/**
 * Says of a fault that does not pass by itself what is to be done.
 *
 * @returns `null` for every other one, which is worth another try.
 */
export function findHopeless(error: unknown): Error | null {
  const { code, message = '' } = error as { readonly code?: unknown; readonly message?: string }
  if (typeof code !== 'string') return null

  const sentence = describe(code, message)
  return sentence === null ? null : new Error(sentence, { cause: error })
}

/** @param code - SQLSTATE. */
function describe(code: string, message: string): string | null {
  if (/^(42P01|42703|3F000)$/.test(code))
    return `The journal's tables are not there (${message}): run the migrations first`
  if (code === '42501') return `The database role may not read the journal (${message})`
  // A password or a role that is refused, a database that is not there.
  if (/^(28...|3D000)$/.test(code)) return `Cannot connect to the journal's database: ${message}`
  return null
}
