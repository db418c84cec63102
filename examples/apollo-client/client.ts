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
import type { Session, SessionOptions } from '../../src/client/client.ts'

export function createApp(
  url: string,
  options: SessionOptions,
): { client: ApolloClient; session: Session } {
  const session = createSession({ refresh: createRefresh(url), ...options })
  const live = createClient({
    url: url.replace(/^http/, 'ws'),
    ...createWebSocketOptions(session),
  })
  const transport = ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    new GraphQLWsLink(live),
    new HttpLink({ uri: url }),
  )
  const link = createAuthLink(session).concat(transport)
  return { client: new ApolloClient({ cache: new InMemoryCache(), link }), session }
}
