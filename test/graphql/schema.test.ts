import { buildSchema } from 'graphql'
import type { GraphQLEnumType, GraphQLField, GraphQLObjectType } from 'graphql'
import { describe, expect, it } from 'vitest'
import { serviceTypeDefs } from '../../src/graphql/type-defs.ts'
import { authTypeDefs, revocationTypeDefs } from '../../src/index.ts'

const schema = buildSchema([authTypeDefs, revocationTypeDefs, ...serviceTypeDefs].join('\n'))

function signatureOf({ name, args, type }: GraphQLField<unknown, unknown>): string {
  const given = args.map((arg) => {
    const fallback = arg.defaultValue === undefined ? '' : ` = ${JSON.stringify(arg.defaultValue)}`
    return `${arg.name}: ${String(arg.type)}${fallback}`
  })
  return `${name}${given.length > 0 ? `(${given.join(', ')})` : ''}: ${String(type)}`
}

function signaturesOf(typeName: string): string[] {
  return Object.values((schema.getType(typeName) as GraphQLObjectType).getFields()).map(signatureOf)
}

/** Clients generate code from these: a released field keeps its name, its arguments and its type. */
const RELEASED: ReadonlyArray<readonly [type: string, fields: readonly string[]]> = [
  [
    'Query',
    [
      'me: User!',
      'sessions(first: Int = 100, after: String): [Session!]!',
      'tokenStatus(token: String!): TokenStatus!',
      'user(id: ID, email: String): User',
      'revocations(first: Int = 50, after: String, filter: RevocationFilter): RevocationConnection!',
      'revocationEvents(first: Int = 50, after: String, filter: RevocationFilter): RevocationEventConnection!',
    ],
  ],
  [
    'Mutation',
    [
      'register(email: String!, password: String!): AuthPayload!',
      'login(email: String!, password: String!, device: String): AuthPayload!',
      'refresh(refreshToken: String!): AuthPayload!',
      'changePassword(currentPassword: String!, newPassword: String!): AuthPayload!',
      'reauthenticate(password: String!): AuthPayload!',
      'logout: LogoutPayload!',
      'logoutAllDevices(keepCurrent: Boolean! = false): LogoutAllDevicesPayload!',
      'revokeSession(id: ID!, reason: String): RevokeSessionPayload!',
      'revokeToken(token: String!, reason: String, note: String): RevokeTokenPayload!',
      'revokeUser(userId: ID!, reason: String, note: String): RevokeUserPayload!',
      'revokeEveryone(reason: String!, note: String): RevokeEveryonePayload!',
      'restore(revocationId: ID!, note: String): RestorePayload!',
      'suspendUser(userId: ID!, reason: String, note: String): SuspendUserPayload!',
      'reinstateUser(userId: ID!, note: String): ReinstateUserPayload!',
    ],
  ],
  [
    'AuthPayload',
    [
      'accessToken: String!',
      'tokenType: String!',
      'expiresIn: Int!',
      'refreshToken: String!',
      'user: User!',
      'session: Session!',
    ],
  ],
  [
    'User',
    ['id: ID!', 'email: String!', 'roles: [Role!]!', 'suspended: Boolean!', 'createdAt: DateTime!'],
  ],
  [
    'Session',
    [
      'id: ID!',
      'device: String',
      'userAgent: String',
      'ipAddress: String',
      'createdAt: DateTime!',
      'lastSeenAt: DateTime!',
      'expiresAt: DateTime!',
      'endedAt: DateTime',
      'current: Boolean!',
    ],
  ],
  [
    'Revocation',
    [
      'id: ID!',
      'scope: RevocationScope!',
      'subject: ID',
      'sessionId: ID',
      'tokenId: ID',
      'reason: String!',
      'note: String',
      'revokedBy: ID',
      'revokedAt: DateTime!',
      'expiresAt: DateTime!',
    ],
  ],
  [
    'TokenStatus',
    [
      'state: TokenState!',
      'subject: ID',
      'sessionId: ID',
      'tokenId: ID',
      'issuedAt: DateTime',
      'expiresAt: DateTime',
      'revocation: Revocation',
    ],
  ],
  ['LogoutPayload', ['alreadyRevoked: Boolean!', 'revocation: Revocation!']],
  ['LogoutAllDevicesPayload', ['endedSessions: Int', 'revocation: Revocation!']],
  [
    'RevokeTokenPayload',
    ['alreadyRevoked: Boolean!', 'verified: Boolean!', 'revocation: Revocation'],
  ],
  [
    'RevocationConnection',
    ['edges: [RevocationEdge!]!', 'pageInfo: PageInfo!', 'totalCount: Int!'],
  ],
]

describe('the schema', () => {
  it.each(RELEASED)('keeps the fields of %s', (typeName, released) => {
    expect(signaturesOf(typeName)).toEqual(expect.arrayContaining([...released]))
  })

  it.each([
    ['Role', 'USER ADMIN'],
    ['RevocationScope', 'TOKEN SESSION SUBJECT EVERYONE'],
    ['TokenState', 'ACTIVE REVOKED EXPIRED INVALID'],
  ])('keeps the values of %s', (name, values) => {
    const type = schema.getType(name) as GraphQLEnumType

    expect(type.getValues().map((value) => value.name)).toEqual(values.split(' '))
  })

  it.each([
    ['auth', 'requires: Role! = "USER" accepts: [TokenState!]! = ["ACTIVE"]'],
    ['public', ''],
  ])('keeps the directive @%s', (name, args) => {
    const directive = schema.getDirective(name)

    expect(directive?.locations).toEqual(['OBJECT', 'INTERFACE', 'FIELD_DEFINITION'])
    const given = directive?.args.map(
      (arg) => `${arg.name}: ${String(arg.type)} = ${JSON.stringify(arg.defaultValue)}`,
    )
    expect(given?.join(' ')).toBe(args)
  })

  it('says in words what every root field is for', () => {
    const wordless = ['Query', 'Mutation'].flatMap((root) =>
      Object.values((schema.getType(root) as GraphQLObjectType).getFields())
        .filter(({ description }) => !description)
        .map(({ name }) => `${root}.${name}`),
    )

    expect(wordless).toEqual([])
  })
})
