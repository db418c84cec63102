import { ApolloClient, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } from '@apollo/client'
import type { ApolloLink, TypedDocumentNode } from '@apollo/client'
import { createAuthLink, createRefresh, createSession } from '../../src/client/client.ts'
import type { Session, SessionOptions, SignedOut, Tokens } from '../../src/client/client.ts'

const ME: TypedDocumentNode<{ me: { email: string } }> = gql`
  query Me {
    me {
      email
    }
  }
`

/** An app, and what happened to it. */
export interface App {
  readonly client: ApolloClient
  readonly session: Session
  readonly endings: SignedOut[]
  /** How often tokens were asked for. */
  readonly refreshes: () => number
  me(): Promise<string>
}

export interface AppOptions extends SessionOptions {
  readonly url: string
  readonly tokens?: Tokens | null
  readonly link?: ApolloLink
  /** What it sends its operations with. */
  readonly fetch?: typeof fetch
}

export function createApp({ url, tokens, link, fetch: send = fetch, ...rest }: AppOptions): App {
  const { session, endings, refreshes } = createCountedSession(url, rest)
  if (tokens) session.signIn(tokens)

  const client = new ApolloClient({
    cache: new InMemoryCache(),
    link: createAuthLink(session).concat(link ?? new HttpLink({ uri: url, fetch: send })),
    defaultOptions: { query: { fetchPolicy: 'no-cache' } },
  })
  return {
    client,
    session,
    endings,
    refreshes,
    async me() {
      const { data } = await client.query({
        query: ME,
        context: { queryDeduplication: false },
      })
      return data!.me.email
    },
  }
}

/** A session that refreshes at a service, counts that, and remembers its endings. */
export function createCountedSession(
  url: string,
  options: SessionOptions = {},
): Pick<App, 'session' | 'endings' | 'refreshes'> {
  const endings: SignedOut[] = []
  let count = 0
  const refresh = options.refresh ?? createRefresh(url)
  const session = createSession({
    ...options,
    refresh: async (refreshToken) => {
      count += 1
      return refresh(refreshToken)
    },
    onSignedOut: (ending) => endings.push(ending),
  })
  return { session, endings, refreshes: () => count }
}

/** What an operation is refused with: its reason, or the name of the error. */
export async function reasonOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
    return null
  } catch (error) {
    if (!CombinedGraphQLErrors.is(error)) return (error as Error).name
    const { reason, code } = error.errors[0]!.extensions as any
    return reason ?? code
  }
}
