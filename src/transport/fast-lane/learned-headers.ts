import type { OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { PlainHead } from './plain-request.ts'

/** Origins whose answers are remembered; more are made up by strangers. */
const MAX_ORIGINS = 100

/** How many answers may be unlike the one before until their origin is given up. */
const MAX_MISSES = 5

/** Headers that depend on the answer or the connection. An `ETag` says nothing of a POST (RFC 9110 §8.8.3, §13.1). */
const OF_ONE_ANSWER = new Set([
  'content-type',
  'content-length',
  'date',
  'connection',
  'keep-alive',
  'etag',
])

/** Headers of an answer that the lane must not, or cannot, write. */
const NOT_TO_REPEAT = ['set-cookie', 'content-encoding', 'transfer-encoding', 'trailer']

interface Lesson {
  /** Of the last answer: names and values in turn; `null` before the first. */
  headers: readonly string[] | null
  /** The `Authorization` of the request that was answered so. */
  authorization: string | undefined
  /** Whether the headers may be repeated. */
  isSure: boolean
  misses: number
}

type Lessons = Map<string | undefined, Lesson>

export interface LearnedHeadersOptions {
  /**
   * Whether the server may add headers that name the caller. Then two callers must have been answered alike before a third
   * is, and answers to requests without `Authorization` teach nothing about those with it.
   */
  readonly mayNameCallers: boolean
}

/**
 * What a server adds to its answers, learned from the answers themselves.
 *
 * No header that a server adds (for security, for CORS, its name) has to be known here. Two answers in a row must have had the
 * same ones. A server whose answers keep differing, by a request's number or what is left of a quota, has no lane. A header
 * that changes with the clock alone can pass for one that does not change.
 */
export class LearnedHeaders {
  readonly #mayNameCallers: boolean
  readonly #lessons: Lessons = new Map()
  readonly #lessonsOfCallers: Lessons = new Map()

  constructor({ mayNameCallers }: LearnedHeadersOptions) {
    this.#mayNameCallers = mayNameCallers
  }

  /** @returns Names and values in turn; `null` while they are not known. */
  find(head: PlainHead): readonly string[] | null {
    const lesson = this.#lessonsFor(head).get(head.origin)
    return lesson?.isSure ? lesson.headers : null
  }

  /** Learns from the answer that the server is about to give to a hot query. */
  watch(head: PlainHead, response: ServerResponse): void {
    const lesson = this.#lessonOf(head)
    if (lesson === null || lesson.isSure || lesson.misses >= MAX_MISSES) return

    const writeHead = response.writeHead.bind(response) as (...args: unknown[]) => ServerResponse
    response.writeHead = (...args: unknown[]): ServerResponse => {
      response.writeHead = writeHead
      writeHead(...args)
      const headers = readHeaders(response, args.at(-1))
      const isUsual = args[0] === 200 && headers.get('content-type')?.[0] === head.mediaType
      if (isUsual) this.#learn(lesson, head, headers)
      return response
    }
  }

  #learn(lesson: Lesson, { authorization }: PlainHead, answer: Headers): void {
    // A cache may keep this one. What the lane answers is for its caller alone.
    if (!['no-store', undefined].includes(answer.get('cache-control')?.[0])) return

    const { headers: before } = lesson
    const headers = [...answer]
      .filter(([name]) => !OF_ONE_ANSWER.has(name))
      .flatMap(([name, values]) => values.flatMap((value) => [name, value]))
    const fault =
      NOT_TO_REPEAT.find((name) => answer.has(name)) ?? (before && findDifference(headers, before))
    const isProof = before !== null && (!this.#mayNameCallers || isOfAnother(lesson, authorization))

    lesson.isSure = fault === null && isProof
    lesson.headers = headers
    lesson.authorization = authorization
    if (fault === null) return
    lesson.misses += 1
    if (lesson.misses === MAX_MISSES) warnOf(fault)
  }

  #lessonOf(head: PlainHead): Lesson | null {
    const lessons = this.#lessonsFor(head)
    const known = lessons.get(head.origin)
    if (known) return known
    if (lessons.size >= MAX_ORIGINS) return null
    const lesson = { headers: null, authorization: undefined, isSure: false, misses: 0 }
    lessons.set(head.origin, lesson)
    return lesson
  }

  #lessonsFor({ authorization }: PlainHead): Lessons {
    const isOfCaller = this.#mayNameCallers && authorization !== undefined
    return isOfCaller ? this.#lessonsOfCallers : this.#lessons
  }
}

/** Requests without `Authorization` have no caller to name. */
function isOfAnother(lesson: Lesson, authorization: string | undefined): boolean {
  return authorization === undefined || authorization !== lesson.authorization
}

/** @returns The name of a header that differs; `null` when none does. */
function findDifference(one: readonly string[], other: readonly string[]): string | null {
  const [longer, shorter] = one.length < other.length ? [other, one] : [one, other]
  const at = longer.findIndex((text, index) => text !== shorter[index])
  return at === -1 ? null : (longer[at - (at % 2)] as string)
}

function warnOf(header: string): void {
  process.emitWarning('Portcullis answers nothing in its fast lane for pages of this origin', {
    type: 'PortcullisWarning',
    detail: `Answers of the server are not all alike: ${header}`,
  })
}

type Headers = ReadonlyMap<string, readonly string[]>

/**
 * Reads the head that was just written. Node merges what is given to `writeHead` into what was set before; where nothing was
 * set, it keeps nothing, and the head is what was given: an object, or names and values in turn.
 */
function readHeaders(response: ServerResponse, given: unknown): Headers {
  const kept = Object.entries(response.getHeaders())
  if (kept.length > 0) return collect(kept)
  if (Array.isArray(given)) return collect(pairsOf(given as readonly OutgoingHttpHeader[]))
  return collect(Object.entries((given ?? {}) as OutgoingHttpHeaders))
}

function pairsOf(list: readonly OutgoingHttpHeader[]): Pair[] {
  return list.flatMap((name, at): Pair[] => (at % 2 === 0 ? [[String(name), list[at + 1]]] : []))
}

type Pair = readonly [name: string, value: OutgoingHttpHeader | undefined]

/** Of a name that stands there twice, both values. */
function collect(pairs: readonly Pair[]): Headers {
  const headers = new Map<string, readonly string[]>()
  for (const [name, value] of pairs) {
    if (value === undefined) continue
    const key = name.toLowerCase()
    headers.set(key, [...(headers.get(key) ?? []), ...[value].flat().map(String)])
  }
  return headers
}
