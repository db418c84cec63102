import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from '@apollo/client'
import { GraphQLWsLink } from '@apollo/client/link/subscriptions'
import { OperationTypeNode } from 'graphql'
import { createClient } from 'graphql-ws'
import {
  createAuthLink,
  createRefresh,
  createSession,
  createWebSocketOptions,
} from '../../src/client/client.ts'
import type { Session, SignedOut } from '../../src/client/client.ts'

export function createApp(
  url: string,
  showSignIn: (why: SignedOut) => void,
): { session: Session; client: ApolloClient } {
  const session = createSession({ refresh: createRefresh(url), onSignedOut: showSignIn })

  const live = createClient({ url: url.replace('http', 'ws'), ...createWebSocketOptions(session) })
  const transport = ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    new GraphQLWsLink(live),
    new HttpLink({ uri: url }),
  )
  const link = createAuthLink(session).concat(transport)
  return { session, client: new ApolloClient({ cache: new InMemoryCache(), link }) }
}
