import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { beforeAll, describe, expect, it } from 'vitest'
import * as portcullis from '../../src/index.ts'
import type { Revocation } from '../../src/index.ts'

const indexFile = fileURLToPath(new URL('../../src/index.ts', import.meta.url))

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
  'RevocationReplica',
  'RevocationUnavailableError',
  'RoleRequiredError',
  'TokenExpiredError',
  'TokenInvalidError',
  'TokenMissingError',
  'TokenRevokedError',
  'TokenVerifier',
  'applyAuthDirective',
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
  let checker: ts.TypeChecker
  let exported: readonly ts.Symbol[]

  beforeAll(() => {
    const program = createProgram()
    checker = program.getTypeChecker()
    const source = program.getSourceFile(indexFile)!
    exported = checker.getExportsOfModule(checker.getSymbolAtLocation(source)!).map(followAlias)
  }, 120_000)

  function followAlias(symbol: ts.Symbol): ts.Symbol {
    return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
  }

  it('has the names that were released, and no other at run time', () => {
    expect(Object.keys(portcullis).toSorted()).toEqual(RELEASED_NAMES.toSorted())
  })

  it('explains each of its exports in a doc-comment', () => {
    const unexplained = exported
      .filter((symbol) => ts.displayPartsToString(symbol.getDocumentationComment(checker)) === '')
      .map(describePlace)

    expect(unexplained).toEqual([])
  })

  it('exports every type of ours that an export mentions', () => {
    const hidden = new Set<string>()
    const known = new Set(exported)
    for (const symbol of exported) {
      for (const mentioned of findMentioned(symbol)) {
        if (!known.has(mentioned)) hidden.add(`${mentioned.name}, by ${symbol.name}`)
      }
    }

    expect([...hidden]).toEqual([])
  })

  it.each(Object.entries(RELEASED_UNIONS))('knows these values of %s', (name, released) => {
    const symbol = exported.find((candidate) => candidate.name === name)
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
    return ts.createProgram([indexFile], options)
  }
})

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
