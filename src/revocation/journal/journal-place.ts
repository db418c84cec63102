import type { JournalPlace } from '../ports.ts'

/**
 * A {@link JournalPlace} in PostgreSQL. Lines are numbered before they are committed, so a number alone would lose those that
 * come late: known is what one snapshot saw, and of what a later one saw the lines up to a number.
 */
export interface SnapshotPlace {
  readonly id: string
  /** The snapshot whose lines are being read, in the order of their numbers; as PostgreSQL writes it. */
  readonly upTo: string
  /** The snapshot whose lines were all read before. */
  readonly seen: string
}

/** It saw nothing. */
export const EMPTY_SNAPSHOT = '1:1:'

/** Where all is read that a snapshot saw. */
export function placeAt(snapshot: string): SnapshotPlace {
  return { id: '0', upTo: snapshot, seen: snapshot }
}

export function formatPlace({ id, upTo, seen }: SnapshotPlace): JournalPlace {
  return seen === EMPTY_SNAPSHOT ? `${id}.${upTo}` : `${id}.${upTo}.${seen}`
}

export function parsePlace(place: JournalPlace): SnapshotPlace {
  const [id = '0', upTo = EMPTY_SNAPSHOT, seen = EMPTY_SNAPSHOT] = place.split('.')
  return { id, upTo, seen }
}

/**
 * Whether a place is of another server than this one: of one that this one was restored from, or took the place of.
 *
 * @param end - The snapshot of now, which no place of this server is beyond.
 * @param isRestored - Whether the line of the place was restored: this server tells of such a line only in lists, where
 * nothing was seen before.
 */
export function isForeign(
  { upTo, seen }: SnapshotPlace,
  end: string,
  isRestored: boolean,
): boolean {
  if (xmaxOf(upTo) > xmaxOf(end) || xmaxOf(seen) > xmaxOf(end)) return true
  return upTo === EMPTY_SNAPSHOT || (isRestored && seen !== EMPTY_SNAPSHOT)
}

/** Whether a text is a place of any store. */
export function isPlace(text: string): boolean {
  const [id = '', ...snapshots] = text.split('.')
  return /^\d{1,18}$/.test(id) && snapshots.length <= 2 && snapshots.every(isSnapshot)
}

/** `xmin:xmax:xip,…`, in order, as PostgreSQL insists. */
function isSnapshot(text: string): boolean {
  const [, xmin, xmax, list = ''] = /^(\d{1,18}):(\d{1,18}):([\d,]*)$/.exec(text) ?? []
  if (!xmin || !xmax || Number(xmin) < 1 || BigInt(xmin) > BigInt(xmax)) return false

  const underWay = list === '' ? [] : list.split(',')
  if (!underWay.every((id) => /^\d{1,18}$/.test(id))) return false
  const bounds = [BigInt(xmin) - 1n, ...underWay.map(BigInt), BigInt(xmax)]
  return bounds.every((bound, index) => index === 0 || bound > (bounds[index - 1] as bigint))
}

function xmaxOf(snapshot: string): bigint {
  return BigInt(snapshot.split(':')[1] ?? 0)
}
