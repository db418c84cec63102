/**
 * Portcullis: stop a JWT that should no longer work, at the very next check.
 *
 * @packageDocumentation
 */
import type { EntitySchema, MigrationInterface } from 'typeorm'
import { Revocation1763769600000 } from '../migrations/1763769600000-revocation.ts'
import { RevocationEntity, RevocationEventEntity } from './revocation/tables/entities.ts'
import { inPlace } from './revocation/tables/table-names.ts'

// Everything at once
export { createPortcullis } from './portcullis.ts'
export type {
  IssueGrant,
  IssuedToken,
  Live,
  Portcullis,
  PortcullisOptions,
  RequestCredentials,
} from './portcullis.ts'

// Tokens
export { MAX_CLOCK_SKEW_SECONDS } from './token/claims.ts'
export type { ClaimRules, Installation, Token, TokenClaims } from './token/claims.ts'
export { readBearerToken } from './token/bearer.ts'
export { createKeyRing, publicJwks } from './token/keys.ts'
export type { Algorithm, Key, KeyRing, KeyRingOptions } from './token/keys.ts'
export { createTokenSigner } from './token/signer.ts'
export type { SignedToken, TokenGrant, TokenSigner, TokenSignerOptions } from './token/signer.ts'
export { MAX_TOKEN_LENGTH, TokenVerifier } from './token/verifier.ts'
export type { IdentifiedToken, TokenVerifierOptions } from './token/verifier.ts'

// Revocation
export { isRevokedBy } from './revocation/revocation.ts'
export type { Revocation, RevocationScope } from './contract.ts'
export type { RevocationTarget } from './revocation/revocation.ts'
export type {
  EventCursor,
  JournalExtract,
  JournalPlace,
  JournalRequest,
  JournalWatcher,
  Page,
  PageRequest,
  RestorationOutcome,
  RestorationTrace,
  RevocationCursor,
  RevocationEvent,
  RevocationEventKind,
  RevocationFilter,
  RevocationOutcome,
  RevocationRequest,
  RevocationStore,
} from './revocation/ports.ts'
export { PostgresRevocationStore } from './revocation/postgres/postgres-store.ts'
export type { PostgresRevocationStoreOptions } from './revocation/postgres/postgres-store.ts'
export type { CutOffTarget, SessionKeeper } from './revocation/postgres/postgres-writer.ts'
export { MemoryRevocationStore } from './revocation/memory/memory-store.ts'
export type { MemoryRevocationStoreOptions } from './revocation/memory/memory-store.ts'
export { createRevocationCheck } from './revocation/check.ts'
export type { LookUp, RevocationCheck, RevocationLoaderOptions } from './revocation/check.ts'
export type { TakeEntry } from './revocation/journal/copied-entries.ts'
export { JournalFollower } from './revocation/journal/journal-follower.ts'
export type { JournalFollowerOptions } from './revocation/journal/journal-follower.ts'
export { RevocationReplica } from './revocation/replica/replica.ts'
export type { ReplicaState } from './revocation/replica/replica.ts'
export { startSweeper } from './revocation/sweeper.ts'
export type { Sweep, Sweeper, SweeperOptions } from './revocation/sweeper.ts'

// For a TypeORM DataSource of yours
export { RevocationEntity, RevocationEventEntity } from './revocation/tables/entities.ts'
export type { RevocationEventRow, RevocationRow } from './revocation/tables/entities.ts'
export type { RevocationKey } from './revocation/key.ts'

/** The entities of {@link PostgresRevocationStore}, to spread into the `entities` of your `DataSource`. */
export const revocationEntities: readonly EntitySchema[] = [RevocationEntity, RevocationEventEntity]

/**
 * The migrations of {@link PostgresRevocationStore}, to spread into the `migrations` of your `DataSource`.
 *
 * They make `revocation` and `revocation_event`, where its `schema` and `entityPrefix` put them, and touch nothing else. A
 * release may add to the list, never change what was in it: run your migrations after an update.
 */
export const revocationMigrations: ReadonlyArray<new () => MigrationInterface> = [
  Revocation1763769600000,
].map(inPlace)

// For an Apollo Server of yours
export {
  applyAuthDirective,
  assertProtected,
  listUndeclaredRootFields,
} from './graphql/auth-directive.ts'
export type { AuthContext } from './graphql/auth-directive.ts'
export { Authentication } from './caller/authentication.ts'
export type { AuthenticationOptions, Caller } from './caller/authentication.ts'
export type { Demand, ReauthenticationRules, TokenState } from './caller/demand.ts'
export { createRevocationResolvers } from './graphql/resolvers/revocation-resolvers.ts'
export type {
  OpaqueToken,
  RevocationResolverOptions,
} from './graphql/resolvers/revocation-resolvers.ts'
export { authTypeDefs, revocationTypeDefs } from './graphql/type-defs.ts'
export { createStatusPlugin } from './transport/apollo/wire-errors.ts'

// For WebSockets and event streams
export type {
  EventStreamContext,
  EventStreamHandlerOptions,
  EventStreamRequest,
} from './transport/live/graphql-sse.ts'
export type {
  LiveWebSocket,
  WebSocketExtra,
  WebSocketOptions,
} from './transport/live/graphql-ws.ts'
export type { LiveDocumentsOptions } from './transport/live/live-documents.ts'
export type { LiveOptions } from './transport/live/socket-session.ts'
export type { OriginatingRequest } from './transport/request-origin.ts'
export type {
  LiveConnection,
  LiveConnectionKind,
  LiveConnectionOptions,
  LiveOperation,
  Transport,
} from './live/live-connection.ts'
export type {
  LiveConnectionFilter,
  LiveConnections,
  LiveConnectionsOptions,
} from './live/live-connections.ts'

// For a REST route of yours
export { httpHeadOf } from './transport/apollo/wire-errors.ts'
export type { HttpHead, StatusOptions } from './transport/apollo/wire-errors.ts'

// Errors and the security log
export * from './errors.ts'
export type { SecurityEvent, SecurityLog } from './security-event.ts'
