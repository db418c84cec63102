import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { beforeAll, describe, expect, it } from 'vitest'
import * as client from '../../src/client/client.ts'
import * as clientCore from '../../src/client/core.ts'
import * as portcullis from '../../src/index.ts'
import type { Revocation } from '../../src/index.ts'
import * as fastLane from '../../src/transport/fast-lane/apollo-lane.ts'

/** What a release may add to and never take from. */
const RELEASED_NAMES = [
  'AccountSuspendedError',
  'Authentication',
  'BadInputError',
  'InvalidCredentialsError',
  'InvalidRefreshTokenError',
  'MAX_CLOCK_SKEW_SECONDS',
  'MAX_TOKEN_LENGTH',
  'MemoryRevocationStore',
  'PortcullisError',
  'PostgresRevocationStore',
  'RateLimitedError',
  'ReauthenticationRequiredError',
  'RevocationEntity',
  'RevocationEventEntity',
  'JournalFollower',
  'RevocationReplica',
  'RevocationUnavailableError',
  'RoleRequiredError',
  'TokenExpiredError',
  'TokenInvalidError',
  'TokenMissingError',
  'TokenRevokedError',
  'TokenVerifier',
  'applyAuthDirective',
  'assertProtected',
  'authTypeDefs',
  'createKeyRing',
  'createPortcullis',
  'createRevocationCheck',
  'createRevocationResolvers',
  'createStatusPlugin',
  'createTokenSigner',
  'httpHeadOf',
  'isRevokedBy',
  'listUndeclaredRootFields',
  'publicJwks',
  'readBearerToken',
  'revocationEntities',
  'revocationMigrations',
  'revocationTypeDefs',
  'startSweeper',
]

const RELEASED_CORE_NAMES = [
  'RefreshError',
  'createRefresh',
  'createSession',
  'createWebSocketOptions',
]

/** What a package user imports, and its names at run time. */
const ENTRIES = [
  { entry: 'portcullis', file: 'index.ts', module: portcullis, names: RELEASED_NAMES },
  {
    entry: 'portcullis/client',
    file: 'client/client.ts',
    module: client,
    names: [...RELEASED_CORE_NAMES, 'createAuthLink'],
  },
  {
    entry: 'portcullis/client/core',
    file: 'client/core.ts',
    module: clientCore,
    names: RELEASED_CORE_NAMES,
  },
  {
    entry: 'portcullis/fast-lane',
    file: 'fast-lane.ts',
    module: fastLane,
    names: ['createFastLane'],
  },
] as const

const REVOCATION: Revocation = {
  id: '6f1c3f0e-58d2-4d0e-9a51-0f1d3a6c9b11',
  scope: 'SESSION',
  issuer: null,
  subject: 'ada',
  sessionId: 'phone',
  tokenId: null,
  digest: null,
  keptSessionId: null,
  revokedAt: new Date('2026-11-22T09:00:00Z'),
  expiresAt: new Date('2026-11-22T09:17:00Z'),
  reason: 'logout',
  note: 'for admins only',
  revokedBy: 'ada',
}

/** What a client is told; a released code keeps its meaning. */
const RELEASED_ERRORS = [
  [new portcullis.TokenMissingError(), 401, 'UNAUTHENTICATED', { reason: 'TOKEN_MISSING' }],
  [new portcullis.TokenInvalidError('forged'), 401, 'UNAUTHENTICATED', { reason: 'TOKEN_INVALID' }],
  [new portcullis.TokenExpiredError(), 401, 'UNAUTHENTICATED', { reason: 'TOKEN_EXPIRED' }],
  [
    new portcullis.TokenRevokedError(REVOCATION),
    401,
    'UNAUTHENTICATED',
    {
      reason: 'TOKEN_REVOKED',
      revocation: { reason: 'logout', revokedAt: '2026-11-22T09:00:00.000Z' },
    },
  ],
  [
    new portcullis.InvalidCredentialsError(),
    401,
    'UNAUTHENTICATED',
    { reason: 'INVALID_CREDENTIALS' },
  ],
  [
    new portcullis.InvalidRefreshTokenError(),
    401,
    'UNAUTHENTICATED',
    { reason: 'INVALID_REFRESH_TOKEN' },
  ],
  [new portcullis.RoleRequiredError('ADMIN'), 403, 'FORBIDDEN', { reason: 'ROLE_REQUIRED' }],
  [
    new portcullis.ReauthenticationRequiredError(),
    403,
    'FORBIDDEN',
    { reason: 'REAUTHENTICATION_REQUIRED' },
  ],
  [new portcullis.AccountSuspendedError(), 403, 'FORBIDDEN', { reason: 'ACCOUNT_SUSPENDED' }],
  [
    new portcullis.BadInputError('note', 'TOO_LONG', 'Too long'),
    400,
    'BAD_USER_INPUT',
    { reason: 'TOO_LONG', argument: 'note' },
  ],
  [new portcullis.RateLimitedError(30), 429, 'RATE_LIMITED', {}],
  [new portcullis.RevocationUnavailableError(new Error('away')), 503, 'REVOCATION_UNAVAILABLE', {}],
] as const

const RELEASED_UNIONS = {
  ErrorCode: [
    'BAD_USER_INPUT',
    'FORBIDDEN',
    'RATE_LIMITED',
    'REVOCATION_UNAVAILABLE',
    'UNAUTHENTICATED',
  ],
  InputFault: [
    'ACCOUNT_SUSPENDED',
    'COMMON_PASSWORD',
    'EMAIL_TAKEN',
    'EMPTY',
    'FORBIDDEN_CHARACTERS',
    'INVALID_EMAIL',
    'LAST_ADMIN',
    'MALFORMED_CURSOR',
    'MALFORMED_TOKEN',
    'NOT_RESTORABLE',
    'ONE_ARGUMENT_REQUIRED',
    'OUT_OF_RANGE',
    'TOO_LONG',
    'TOO_SHORT',
    'UNKNOWN_ID',
  ],
  RevocationScope: ['EVERYONE', 'SESSION', 'SUBJECT', 'TOKEN'],
  TokenState: ['ACTIVE', 'EXPIRED', 'INVALID', 'REVOKED'],
} as const

describe('the public API', () => {
  let program: ts.Program
  let checker: ts.TypeChecker

  beforeAll(() => {
    program = createProgram()
    checker = program.getTypeChecker()
  }, 120_000)

  function exportsOf(file: string): readonly ts.Symbol[] {
    const source = program.getSourceFile(pathOf(file))!
    return checker.getExportsOfModule(checker.getSymbolAtLocation(source)!).map(followAlias)
  }

  function followAlias(symbol: ts.Symbol): ts.Symbol {
    return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
  }

  it.each(ENTRIES)(
    '$entry has the names that were released, and no other at run time',
    ({ module, names }) => {
      expect(Object.keys(module).toSorted()).toEqual(names.toSorted())
    },
  )

  it.each(ENTRIES)('$entry explains each of its exports in a doc-comment', ({ file }) => {
    const unexplained = exportsOf(file)
      .filter((symbol) => ts.displayPartsToString(symbol.getDocumentationComment(checker)) === '')
      .map(describePlace)

    expect(unexplained).toEqual([])
  })

  it.each(ENTRIES)('$entry exports every type of ours that an export mentions', ({ file }) => {
    const hidden = new Set<string>()
    const exported = exportsOf(file)
    // The lane is for those who have the main entry anyway.
    const known = new Set([...exported, ...(file === 'fast-lane.ts' ? exportsOf('index.ts') : [])])
    for (const symbol of exported) {
      for (const mentioned of findMentioned(symbol)) {
        if (!known.has(mentioned)) hidden.add(`${mentioned.name}, by ${symbol.name}`)
      }
    }

    expect([...hidden]).toEqual([])
  })

  it.each(Object.entries(RELEASED_UNIONS))('knows these values of %s', (name, released) => {
    const symbol = exportsOf('index.ts').find((candidate) => candidate.name === name)
    const type = checker.getDeclaredTypeOfSymbol(symbol!)
    const members = type.isUnion() ? type.types : [type]

    expect(members.map((member) => (member as ts.StringLiteralType).value).toSorted()).toEqual(
      released.toSorted(),
    )
  })

  /** Types of this package that the declaration of an export names, but for the bodies of its functions. */
  function findMentioned(symbol: ts.Symbol): ReadonlySet<ts.Symbol> {
    const mentioned = new Set<ts.Symbol>()
    const visit = (node: ts.Node): void => {
      if (ts.isBlock(node) || isPrivate(node)) return
      if (ts.isTypeReferenceNode(node)) {
        const found = checker.getSymbolAtLocation(node.typeName)
        if (found && isOurs(followAlias(found))) mentioned.add(followAlias(found))
      }
      ts.forEachChild(node, visit)
    }
    for (const declaration of symbol.declarations ?? []) visit(declaration)
    return mentioned
  }

  function createProgram(): ts.Program {
    const configFile = fileURLToPath(new URL('../../tsconfig.json', import.meta.url))
    const { config } = ts.readConfigFile(configFile, (path) => ts.sys.readFile(path))
    const root = fileURLToPath(new URL('../..', import.meta.url))
    const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root)
    return ts.createProgram(
      ENTRIES.map(({ file }) => pathOf(file)),
      options,
    )
  }
})

function pathOf(file: string): string {
  return fileURLToPath(new URL(`../../src/${file}`, import.meta.url))
}

function isPrivate(node: ts.Node): boolean {
  return (
    (ts.isPropertyDeclaration(node) || ts.isMethodDeclaration(node)) &&
    ts.isPrivateIdentifier(node.name)
  )
}

function isOurs(symbol: ts.Symbol): boolean {
  const [declaration] = symbol.declarations ?? []
  if (!declaration || ts.isTypeParameterDeclaration(declaration)) return false
  return !declaration.getSourceFile().fileName.includes('/node_modules/')
}

function describePlace(symbol: ts.Symbol): string {
  const [declaration] = symbol.declarations ?? []
  const file = declaration?.getSourceFile().fileName.split('/src/').at(-1)
  return `${symbol.name} (src/${file})`
}

describe('the errors of the public API', () => {
  it.each(RELEASED_ERRORS)('keep their status and codes: %s', (error, status, code, details) => {
    expect(error.httpStatus).toBe(status)
    expect(error.extensions).toEqual({ code, ...details })
  })

  it('are all listed here', () => {
    const listed = RELEASED_ERRORS.map(([error]) => error.constructor.name)
    const isError = (value: unknown): boolean =>
      typeof value === 'function' && value.prototype instanceof portcullis.PortcullisError
    const names = Object.keys(portcullis).filter((name) => isError(Reflect.get(portcullis, name)))

    expect(names.toSorted()).toEqual(listed.toSorted())
  })

  it('say when to try again, and only when that makes sense', () => {
    const waits = RELEASED_ERRORS.map(([error]) => [error.name, error.retryAfterSeconds] as const)

    expect(waits.filter(([, seconds]) => seconds !== null)).toEqual([
      ['RateLimitedError', 30],
      ['RevocationUnavailableError', 1],
    ])
  })
})
