import { SERVICE_ENV } from './service.ts'
import type { CredentialKind } from './tokens.ts'

/** What a contestant needs to be there. */
export type Need = 'postgres' | 'redis'

/** A row of the table of contestants. */
export interface ContestantSpec {
  readonly name: string
  readonly what: string
  readonly file: string
  readonly env: Readonly<Record<string, string>>
  readonly needs: readonly Need[]
  readonly credentials: CredentialKind
  /**
   * `service`: the real service, whose `me` reads an account and whose schema has no lists; `limit`: ours without a part of
   * the work, refusing nothing that was revoked; `load`: a limit of the load; `rival`: fast code for one node that keeps none
   * of our promises.
   */
  readonly role: 'ours' | 'service' | 'limit' | 'peer' | 'rival' | 'load'
  /** What it does with a token that is foreign or revoked. */
  readonly refuses: 'both' | 'foreign' | 'none'
  /** Whom `me` answers: the caller, or always the first. */
  readonly answersAs: 'caller' | 'first user'
  /** Whether this build has it. Set it when the replica is plugged in (`contestants/portcullis.ts`). */
  readonly isThere: boolean
  /** Its packages, for the report. */
  readonly packages: readonly string[]
}

const ours = {
  file: './contestants/portcullis.ts',
  needs: ['postgres'],
  credentials: 'jwt',
  answersAs: 'caller',
  isThere: true,
  packages: ['@apollo/server', 'fastify', 'typeorm', 'pg'],
} as const

const peer = {
  role: 'peer',
  needs: ['redis'],
  credentials: 'jwt',
  refuses: 'both',
  answersAs: 'caller',
  isThere: true,
} as const

export const contestants: readonly ContestantSpec[] = [
  {
    ...ours,
    name: 'trivial-http',
    what: 'node:http and a map of answers: the most that the load can drive',
    file: './contestants/trivial-http.ts',
    env: {},
    needs: [],
    role: 'load',
    refuses: 'none',
    answersAs: 'first user',
    packages: [],
  },
  {
    ...ours,
    name: 'portcullis-no-auth',
    what: 'our server, no guard and no caller: the limit',
    env: { VARIANT: 'no-auth' },
    role: 'limit',
    refuses: 'none',
    answersAs: 'first user',
  },
  {
    ...ours,
    name: 'portcullis-signature-only',
    what: 'our server, tokens verified, revocation not asked for: the limit',
    env: { VARIANT: 'signature-only' },
    role: 'limit',
    refuses: 'foreign',
  },
  {
    ...ours,
    name: 'portcullis-replica',
    what: 'our server, REVOCATION_CHECK=replica',
    env: { VARIANT: 'checked', REVOCATION_CHECK: 'replica' },
    role: 'ours',
    refuses: 'both',
  },
  {
    ...ours,
    name: 'portcullis-database',
    what: 'our server, REVOCATION_CHECK=database',
    env: { VARIANT: 'checked', REVOCATION_CHECK: 'database' },
    role: 'ours',
    refuses: 'both',
  },
  {
    ...ours,
    name: 'portcullis-service',
    what: 'the real service, REVOCATION_CHECK=replica: `me` reads the account from PostgreSQL',
    file: './contestants/portcullis-service.ts',
    env: {
      ...SERVICE_ENV,
      NODE_ENV: 'production',
      JWT_ISSUER: 'portcullis',
      REVOCATION_CHECK: 'replica',
      WITH_ACCOUNTS: '1',
    },
    role: 'service',
    refuses: 'both',
  },
  {
    ...peer,
    name: 'hand-written',
    what: 'a Fastify route, graphql-jit, fast-jwt with its cache, a Set: one node, forgetful, without limits',
    file: './contestants/hand-written.ts',
    env: {},
    needs: [],
    role: 'rival',
    packages: ['fastify', 'graphql-jit', 'fast-jwt'],
  },
  {
    ...peer,
    name: 'apollo-express-jwt',
    what: 'Apollo Server on Express, express-jwt with isRevoked in Redis',
    file: './contestants/apollo-express-jwt.ts',
    env: {},
    packages: ['@apollo/server', 'express', '@as-integrations/express5', 'express-jwt', 'redis'],
  },
  {
    ...peer,
    name: 'yoga-generic-auth',
    what: 'GraphQL Yoga, generic-auth (protect-granular), Redis',
    file: './contestants/yoga.ts',
    env: {},
    packages: ['graphql-yoga', '@envelop/generic-auth', 'jsonwebtoken', 'redis'],
  },
  {
    ...peer,
    name: 'yoga-generic-auth-jit',
    what: 'the same with graphql-jit',
    file: './contestants/yoga.ts',
    env: { JIT: '1' },
    packages: ['graphql-yoga', '@envelop/generic-auth', '@envelop/graphql-jit', 'redis'],
  },
  {
    ...peer,
    name: 'mercurius-auth',
    what: 'Mercurius, mercurius-auth, @fastify/jwt with trusted in Redis and its cache of verified tokens',
    file: './contestants/mercurius.ts',
    env: {},
    packages: ['mercurius', 'mercurius-auth', '@fastify/jwt', 'redis'],
  },
  {
    ...peer,
    name: 'mercurius-auth-jit',
    what: 'the same with jit: 1',
    file: './contestants/mercurius.ts',
    env: { JIT: '1' },
    packages: ['mercurius', 'mercurius-auth', '@fastify/jwt', 'graphql-jit', 'redis'],
  },
  {
    ...peer,
    name: 'graph-gophers',
    what: 'Go: graph-gophers/graphql-go, golang-jwt, Redis; on all processors',
    file: './contestants/graph-gophers.ts',
    env: {},
    packages: [],
  },
  {
    ...peer,
    name: 'plain',
    what: 'Apollo Server on Fastify, an @auth directive, jsonwebtoken, one TypeORM query a request',
    file: './contestants/plain.ts',
    env: {},
    needs: ['postgres'],
    packages: ['@apollo/server', 'fastify', 'jsonwebtoken', 'typeorm', 'pg'],
  },
  {
    ...peer,
    name: 'better-auth',
    what: 'Apollo Server on Fastify, better-auth: session looked up in PostgreSQL at every request',
    file: './contestants/better-auth.ts',
    env: {},
    needs: ['postgres'],
    credentials: 'session',
    packages: ['@apollo/server', 'fastify', 'better-auth', 'pg'],
  },
]
