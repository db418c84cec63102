import type { IResolvers } from '@graphql-tools/utils'
import { ADMIN } from '../../caller/demand.ts'
import { RevocationUnavailableError } from '../../errors.ts'
import { callOut } from '../../lib/call-out.ts'
import { Signal } from '../../lib/signal.ts'
import { LiveOperation } from '../../live/live-connection.ts'
import type { LiveConnection } from '../../live/live-connection.ts'
import { countByKind } from '../../live/live-connections.ts'
import type {
  LiveConnectionCount,
  LiveConnectionFilter,
  LiveConnections,
} from '../../live/live-connections.ts'
import type {
  JournalExtract,
  JournalPlace,
  JournalRequest,
  RevocationFilter,
  RevocationStore,
} from '../../revocation/ports.ts'
import type { AuthContext } from '../auth-directive.ts'
import { formatEventCursor, readPlace } from '../event-cursor.ts'
import { createEventSource } from '../event-source.ts'
import { readName } from '../input.ts'
import { countItems, refuseExcess } from '../item-budget.ts'
import { DEFAULT_PAGE, connectionResolvers, createConnection, readPage } from '../pagination.ts'
import type { Connection, CursorForm, PageArgs } from '../pagination.ts'
import { readFilter } from './revocation-resolvers.ts'

/** What a subscription of ours needs of its context. */
export interface LiveContext extends AuthContext {
  /** The operation that it belongs to. */
  readonly operation: LiveOperation
}

export interface LiveResolverOptions {
  readonly revocations: RevocationStore
  readonly connections: LiveConnections
}

interface EventArgs {
  readonly filter?: RevocationFilter | null
  readonly after?: string | null
}

type ConnectionArgs = PageArgs & { readonly filter?: LiveConnectionFilter | null }

/** How many lines of the journal are read at a time, and milliseconds after which it is read without a sign of more. */
const LINES_A_READ = 100
const READ_INTERVAL_MS = 1000

/** Makes the resolvers for `liveTypeDefs`. */
export function createLiveResolvers({
  revocations,
  connections,
}: LiveResolverOptions): IResolvers<unknown, LiveContext> {
  async function subscribeToEnd(
    _parent: unknown,
    _args: object,
    { auth, operation }: AuthContext & Partial<LiveContext>,
  ): Promise<AsyncIterable<object>> {
    await auth.authenticate()
    if (!(operation instanceof LiveOperation)) {
      throw new TypeError(
        'expected a GraphQL context with `operation`, got none: serve sessionEnded with live.webSocketOptions or live.eventStreamOptions',
      )
    }

    return createEventSource(async function* tellEnd(signal) {
      const closed = new Promise((resolve) => {
        signal.addEventListener('abort', resolve)
      })
      signal.addEventListener('abort', () => operation.tell(null))

      const revocation = await operation.awaitRevocation()
      if (revocation === null) return
      yield { sessionEnded: revocation }
      // What ends it is the end of the connection.
      await closed
    })
  }

  async function subscribeToEvents(
    _parent: unknown,
    { after, filter: given }: EventArgs,
    { auth }: LiveContext,
  ): Promise<AsyncIterable<object>> {
    await auth.authenticate(ADMIN)
    const filter = readFilter(given)
    const place = readPlace(after)

    const { place: start } = await revocations.readEvents({ after: place, filter, limit: 0 })
    return followJournal(revocations, { after: place ?? start, filter })
  }

  async function listConnections(
    _parent: unknown,
    args: ConnectionArgs,
    { auth }: LiveContext,
  ): Promise<Connection<LiveConnection> & { counts: () => readonly LiveConnectionCount[] }> {
    countItems(auth, args.first ?? DEFAULT_PAGE)
    await auth.authenticate(ADMIN)
    const { first, after } = readPage(args, connectionCursor)
    refuseExcess(auth)
    const found = connections.list(readConnectionFilter(args.filter))

    const start = after === null ? 0 : found.findIndex(({ number }) => number < after.number)
    const rest = start === -1 ? [] : found.slice(start)
    const page = { items: rest.slice(0, first), hasNextPage: rest.length > first }
    return {
      ...createConnection(page, connectionCursor, after, async () => found.length),
      counts: () => countByKind(found),
    }
  }

  return {
    RevocationEvent: { cursor: formatEventCursor },
    LiveConnectionConnection: {
      ...connectionResolvers,
      counts: ({ counts }: { counts: () => object }) => counts(),
    },
    LiveConnection: {
      subject: ({ token }: LiveConnection) => token?.subject,
      sessionId: ({ token }: LiveConnection) => token?.sessionId,
      tokenId: ({ token }: LiveConnection) => token?.tokenId,
      expiresAt: ({ token }: LiveConnection) => token && new Date(token.expiresAt * 1000),
      operations: ({ operations }: LiveConnection) => operations.size,
      protected: ({ isProtected }: LiveConnection) => isProtected,
    },
    Query: { connections: listConnections },
    Subscription: {
      sessionEnded: { subscribe: subscribeToEnd },
      revocationEvents: { subscribe: subscribeToEvents },
    },
  }
}

/** Reads on whenever there is something new, and no faster than it is taken. */
function followJournal(
  revocations: RevocationStore,
  { after, filter }: { readonly after: JournalPlace; readonly filter: RevocationFilter },
): AsyncIterable<object> {
  return createEventSource(async function* readOn(signal) {
    const news = new Signal()
    const unwatch = revocations.watch({ grew: () => news.send(), missed: () => news.send() })
    signal.addEventListener('abort', () => news.send())

    try {
      let place = after
      while (!signal.aborted) {
        const request = { after: place, filter, limit: LINES_A_READ }
        const { events, place: next } = await readIfAvailable(revocations, request)
        for (const event of events) yield { revocationEvents: event }
        place = next
        if (events.length < LINES_A_READ) await news.wait(READ_INTERVAL_MS)
      }
    } finally {
      callOut(unwatch)
    }
  })
}

/** Nothing is missed in an outage: what was committed meanwhile is read after it. */
async function readIfAvailable(
  revocations: RevocationStore,
  request: JournalRequest & { readonly after: JournalPlace },
): Promise<JournalExtract> {
  try {
    return await revocations.readEvents(request)
  } catch (error) {
    if (!(error instanceof RevocationUnavailableError)) throw error
    return { events: [], place: request.after }
  }
}

const connectionCursor: CursorForm<Pick<LiveConnection, 'number'>> = {
  format: ({ number }) => `connection.${number}`,
  parse: (text) => {
    const number = /^connection\.(\d{1,15})$/.exec(text)?.[1]
    return number === undefined ? null : { number: Number(number) }
  },
}

function readConnectionFilter(
  filter: LiveConnectionFilter | null | undefined,
): LiveConnectionFilter {
  return {
    kind: filter?.kind ?? null,
    subject: readName('filter.subject', filter?.subject),
    sessionId: readName('filter.sessionId', filter?.sessionId),
    tokenId: readName('filter.tokenId', filter?.tokenId),
    ipAddress: readName('filter.ipAddress', filter?.ipAddress),
  }
}
