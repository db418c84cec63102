import { BadInputError } from '../errors.ts'
import { isPlace } from '../revocation/journal/journal-place.ts'
import type { EventCursor, JournalPlace } from '../revocation/ports.ts'
import { decodeCursor, encodeCursor } from './pagination.ts'
import type { CursorForm } from './pagination.ts'

/** A line of the journal: the list goes on with what is older, the live view with what is newer. */
export const eventCursor: CursorForm<EventCursor> = {
  format: ({ place }) => `event.${place}`,
  parse: (text) => {
    const place = /^event\.(.{1,4000})$/.exec(text)?.[1]
    if (place === undefined || !isPlace(place)) return null
    return { id: place.split('.')[0] as string, place }
  },
}

/** @throws {@link BadInputError} unless it is the cursor of an event; `null` when none is given. */
export function readPlace(after: string | null | undefined): JournalPlace | null {
  if (after === null || after === undefined) return null
  const cursor = decodeCursor(after, eventCursor)
  if (cursor === null) {
    throw new BadInputError('after', 'MALFORMED_CURSOR', 'Give the cursor of an event')
  }
  return cursor.place
}

export function formatEventCursor(event: EventCursor): string {
  return encodeCursor(event, eventCursor)
}
