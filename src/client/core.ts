/**
 * The client side of Portcullis, for any GraphQL client: it imports no package.
 *
 * @packageDocumentation
 */
export { RefreshError, createRefresh } from './refresh.ts'
export type { RefreshOptions } from './refresh.ts'
export type { AnswerError, RevocationNotice, SignedOut } from './refusal.ts'
export { createSession } from './session.ts'
export type {
  Refresh,
  Session,
  SessionOptions,
  TokenStorage,
  TokenWatcher,
  Tokens,
} from './session.ts'
export { createWebSocketOptions } from './web-socket-options.ts'
export type { WebSocketClientOptions } from './web-socket-options.ts'
