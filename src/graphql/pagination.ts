import { BadInputError } from '../errors.ts'
import type { Page } from '../revocation/ports.ts'

export const DEFAULT_PAGE = 50
const MAX_PAGE = 100

/** The longest that we give: a place in the journal has up to 4,000 characters before it is base64url. */
const MAX_CURSOR_CHARACTERS = 6000

/** The arguments of a list (GraphQL Cursor Connections Specification). */
export interface PageArgs {
  readonly first?: number | null
  readonly after?: string | null
}

/** Turns a position into a cursor's text and back; `null` for a text that is no cursor. */
export interface CursorForm<Cursor> {
  readonly format: (cursor: Cursor) => string
  readonly parse: (text: string) => Cursor | null
}

export interface Connection<Node> {
  readonly edges: ReadonlyArray<{ cursor: string; node: Node }>
  readonly pageInfo: {
    readonly hasNextPage: boolean
    readonly hasPreviousPage: boolean
    readonly startCursor: string | null
    readonly endCursor: string | null
  }
  /** Counted only when it is asked for. */
  readonly totalCount: () => Promise<number>
}

/** For each type of connection: compiled queries take members of objects as they are, and call none. */
export const connectionResolvers = {
  totalCount: ({ totalCount }: Connection<unknown>): Promise<number> => totalCount(),
}

/** @throws {@link BadInputError} when `first` is out of range or `after` is no cursor of this list. */
export function readPage<Cursor>(
  { first, after }: PageArgs,
  form: CursorForm<Cursor>,
): { first: number; after: Cursor | null } {
  const size = first ?? DEFAULT_PAGE
  assertPageSize(size)
  if (after === null || after === undefined) return { first: size, after: null }

  const cursor = decodeCursor(after, form)
  if (cursor === null) {
    throw new BadInputError('after', 'MALFORMED_CURSOR', 'Give the endCursor of the page before')
  }
  return { first: size, after: cursor }
}

/** @throws {@link BadInputError} when it is out of range. */
export function assertPageSize(first: number): void {
  if (first >= 1 && first <= MAX_PAGE) return
  throw new BadInputError('first', 'OUT_OF_RANGE', `Ask for 1 to ${MAX_PAGE} at a time`)
}

export function createConnection<Node extends Cursor, Cursor>(
  page: Page<Node>,
  form: CursorForm<Cursor>,
  after: Cursor | null,
  totalCount: () => Promise<number>,
): Connection<Node> {
  const edges = page.items.map((node) => ({
    cursor: encodeCursor(node, form),
    node,
  }))
  return {
    edges,
    pageInfo: {
      hasNextPage: page.hasNextPage,
      hasPreviousPage: after !== null,
      startCursor: edges.at(0)?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
    totalCount,
  }
}

export function encodeCursor<Cursor>(cursor: Cursor, form: CursorForm<Cursor>): string {
  return Buffer.from(form.format(cursor)).toString('base64url')
}

/** @returns `null` when it is no cursor of this form. */
export function decodeCursor<Cursor>(text: string, form: CursorForm<Cursor>): Cursor | null {
  if (text.length > MAX_CURSOR_CHARACTERS) return null
  return form.parse(Buffer.from(text, 'base64url').toString('utf8'))
}
