import type { OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { PlainHead } from './plain-request.ts'

/** Origins whose answers are remembered; more are made up by strangers. */
const MAX_ORIGINS = 100

/** How many answers may differ before the origin is given up. */
const MAX_ATTEMPTS = 5

/** Headers that depend on the answer or the connection. An `ETag` says nothing of a POST (RFC 9110 §8.8.3, §13.1). */
const OF_ONE_ANSWER = new Set([
  'content-type',
  'content-length',
  'date',
  'connection',
  'keep-alive',
  'etag',
])

/** Headers that say that an answer is not as the lane would write it. */
const NOT_TO_REPEAT = ['set-cookie', 'content-encoding', 'transfer-encoding', 'trailer']

interface Lesson {
  /** Names and values in turn. */
  headers: readonly string[]
  /** Whether two answers in a row had these headers. */
  isSure: boolean
  attempts: number
}

/**
 * What a server adds to its answers, learned from the answers themselves.
 *
 * Nothing that a server adds (security headers, CORS, its name) has to be known here. What differs from one answer to the
 * next, such as the number of a request or what is left of a quota, is never repeated: such a server has no lane.
 */
export class LearnedHeaders {
  readonly #byOrigin = new Map<string | undefined, Lesson>()

  /** @returns Names and values in turn; `null` while they are not known. */
  find(origin: string | undefined): readonly string[] | null {
    const lesson = this.#byOrigin.get(origin)
    return lesson?.isSure ? lesson.headers : null
  }

  /** Learns from an answer that the server is about to give. */
  watch({ origin, mediaType }: PlainHead, response: ServerResponse): void {
    const lesson = this.#lessonOf(origin)
    if (lesson === null || lesson.isSure || lesson.attempts >= MAX_ATTEMPTS) return

    const writeHead = response.writeHead.bind(response) as (...head: unknown[]) => ServerResponse
    response.writeHead = (...head: unknown[]): ServerResponse => {
      response.writeHead = writeHead
      const headers = readHeaders(response, head.at(-1))
      const isUsual = head[0] === 200 && headers.get('content-type')?.[0] === mediaType
      if (isUsual) learn(lesson, headers)
      return writeHead(...head)
    }
  }

  #lessonOf(origin: string | undefined): Lesson | null {
    const known = this.#byOrigin.get(origin)
    if (known) return known
    if (this.#byOrigin.size >= MAX_ORIGINS) return null
    const lesson = { headers: [], isSure: false, attempts: 0 }
    this.#byOrigin.set(origin, lesson)
    return lesson
  }
}

function learn(lesson: Lesson, answer: ReadonlyMap<string, readonly string[]>): void {
  // A cache may keep this one. What the lane answers is for its caller alone.
  if (!['no-store', undefined].includes(answer.get('cache-control')?.[0])) return
  const unfit = NOT_TO_REPEAT.find((name) => answer.has(name))
  const headers = [...answer]
    .filter(([name]) => !OF_ONE_ANSWER.has(name))
    .flatMap(([name, values]) => values.flatMap((value) => [name, value]))

  const isAsBefore = lesson.attempts > 0 && isEqual(headers, lesson.headers)
  lesson.isSure = unfit === undefined && isAsBefore
  lesson.attempts += 1
  if (!lesson.isSure && lesson.attempts === MAX_ATTEMPTS) {
    giveUp(unfit ?? findDifference(headers, lesson.headers))
  }
  lesson.headers = headers
}

function isEqual(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((text, at) => text === other[at])
}

function findDifference(one: readonly string[], other: readonly string[]): string {
  const at = one.findIndex((text, index) => text !== other[index])
  return one[at - (at % 2)] ?? 'a header that comes and goes'
}

function giveUp(header: string): void {
  process.emitWarning('Portcullis answers nothing in its fast lane for pages of this origin', {
    type: 'PortcullisWarning',
    detail: `Answers of the server are not all alike: ${header}`,
  })
}

/** What was set before, and what the head itself is given: as an object, or as names and values in turn. */
function readHeaders(response: ServerResponse, given: unknown): Map<string, readonly string[]> {
  const headers = new Map<string, readonly string[]>()
  const add = (name: string, value: OutgoingHttpHeader | undefined): void => {
    if (value !== undefined) headers.set(name.toLowerCase(), [value].flat().map(String))
  }
  for (const [name, value] of Object.entries(response.getHeaders())) add(name, value)

  if (Array.isArray(given)) {
    const list = given as readonly OutgoingHttpHeader[]
    for (let at = 0; at < list.length; at += 2) add(String(list[at]), list[at + 1])
  } else if (typeof given === 'object' && given !== null) {
    for (const [name, value] of Object.entries(given as OutgoingHttpHeaders)) add(name, value)
  }
  return headers
}
