import { BadInputError } from '../errors.ts'

/** How many items of lists one operation may ask for: each has all the fields that are written once in the document. */
export const MAX_ITEMS = 500

/** What operations have asked for, by what belongs to one operation alone. */
const asked = new WeakMap<object, number>()

/**
 * Counts the items that a field asks for, whether or not there are so many. Call it before anything is waited for: then
 * all lists of a document are counted before the first is read.
 *
 * @param operation - An object of this operation alone, such as its `auth`.
 */
export function countItems(operation: object, first: number): void {
  asked.set(operation, (asked.get(operation) ?? 0) + first)
}

/** @throws {@link BadInputError} when an operation asks for too many items. */
export function refuseExcess(operation: object): void {
  if ((asked.get(operation) ?? 0) <= MAX_ITEMS) return
  throw new BadInputError(
    'first',
    'OUT_OF_RANGE',
    `Ask for at most ${MAX_ITEMS} items of lists in an operation`,
  )
}
