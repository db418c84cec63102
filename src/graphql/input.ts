import { BadInputError } from '../errors.ts'

const MAX_REASON_CHARACTERS = 200
const MAX_NOTE_CHARACTERS = 2000
const MAX_DEVICE_CHARACTERS = 200

const CONTROL = /[\p{Cc}\p{Cs}]/u
const CONTROL_BUT_LINES = /(?![\n\r\t])[\p{Cc}\p{Cs}]/u

type Given = string | null | undefined

/** @throws {@link BadInputError} unless it has 1 to 200 characters, none of them a control character. */
export function readReason(reason: Given, fallback: string): string {
  if (reason === null || reason === undefined) return fallback
  return readText('reason', reason, MAX_REASON_CHARACTERS, CONTROL)
}

/** @throws {@link BadInputError} unless it has 1 to 2,000 characters, none a control character but line breaks and tabs. */
export function readNote(note: Given): string | null {
  if (note === null || note === undefined) return null
  return readText('note', note, MAX_NOTE_CHARACTERS, CONTROL_BUT_LINES)
}

export function readDevice(device: Given): string | null {
  if (device === null || device === undefined) return null
  refuseLong('device', device, MAX_DEVICE_CHARACTERS)
  return device.trim() === '' ? null : readText('device', device, MAX_DEVICE_CHARACTERS, CONTROL)
}

/** A name to compare with: any text that PostgreSQL can hold. */
export function readName(argument: string, name: Given): string | null {
  if (name === null || name === undefined) return null
  return readText(argument, name, 255, CONTROL)
}

/** Ids are UUIDs; what is none cannot exist. */
export function readId(argument: string, id: string): string {
  if (!isId(id)) throw createUnknownIdError(argument)
  return id.toLowerCase()
}

export function isId(id: string): boolean {
  return /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i.test(id)
}

export function createUnknownIdError(argument: string): BadInputError {
  return new BadInputError(argument, 'UNKNOWN_ID', 'Nothing has this id')
}

/** Length is judged before anything else looks: one text of a megabyte may be given to fifty fields. */
function readText(argument: string, text: string, max: number, forbidden: RegExp): string {
  refuseLong(argument, text, max)
  if (text.trim() === '') {
    throw new BadInputError(
      argument,
      'EMPTY',
      `Give a ${argument} or leave it out; it must not be empty`,
    )
  }
  if (forbidden.test(text)) {
    throw new BadInputError(
      argument,
      'FORBIDDEN_CHARACTERS',
      `A ${argument} has no control characters`,
    )
  }
  return text
}

/** A character has one or two UTF-16 units. */
function refuseLong(argument: string, text: string, max: number): void {
  if (text.length > 2 * max || [...text].length > max) {
    throw new BadInputError(argument, 'TOO_LONG', `A ${argument} has at most ${max} characters`)
  }
}
