/**
 * Who may import whom, as ARCHITECTURE.md says it:
 *
 *   http -> graphql -> live, session, account -> revocation -> token
 *
 * `npm run check:imports` reports every import that breaks a rule.
 */

/** Packages of the edge: what the domain would need to know GraphQL or HTTP. */
const edgePackages =
  '^node_modules/(graphql|graphql-ws|graphql-sse|ws|fastify|@fastify|@apollo|@graphql-tools|@as-integrations)(/|$)'
const edgeBuiltins = '^(node:)?(http|https|http2)$'

/** Packages that speak SQL. */
const sqlPackages = '^node_modules/(typeorm|pg|pg-[a-z-]+)(/|$)'

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    {
      name: 'token-is-the-innermost',
      comment: 'token/ knows neither revocations nor anything above them.',
      severity: 'error',
      from: { path: '^src/token/' },
      to: { path: '^src/(revocation|live|session|account|graphql|http|database)/' },
    },
    {
      name: 'revocation-knows-only-token',
      comment:
        'revocation/ decides about tokens; connections, sessions and people are built on it.',
      severity: 'error',
      from: { path: '^src/revocation/' },
      to: { path: '^src/(live|session|account|graphql|http)/' },
    },
    {
      name: 'people-know-no-edge',
      comment: 'session/ and account/ are used by resolvers, never the other way round.',
      severity: 'error',
      from: { path: '^src/(session|account)/' },
      to: { path: '^src/(live|graphql|http)/' },
    },
    {
      name: 'live-knows-only-revocation',
      comment: 'live/ decides which connections end; who speaks which protocol is said in http/.',
      severity: 'error',
      from: { path: '^src/live/' },
      to: { path: '^src/(session|account|graphql|http|database)/' },
    },
    {
      name: 'graphql-knows-no-server',
      comment: 'graphql/ runs behind any server; http/ is the one we chose.',
      severity: 'error',
      from: { path: '^src/graphql/' },
      to: { path: '^src/http/' },
    },
    {
      name: 'domain-speaks-no-graphql-nor-http',
      comment:
        'Domain errors carry plain codes; what they become on the wire is decided at the edge.',
      severity: 'error',
      from: { path: '^src/(token|revocation|live|session|account)/|^src/errors\\.ts$' },
      to: { path: [edgePackages, edgeBuiltins] },
    },
    {
      name: 'edge-speaks-no-sql',
      comment: 'A resolver asks a service; the statement is in the store.',
      severity: 'error',
      from: { path: '^src/(graphql|http|live|token)/' },
      to: { path: sqlPackages },
    },
    {
      name: 'database-belongs-to-the-stores',
      comment: 'Only stores and the composition reach for the data source.',
      severity: 'error',
      from: {
        path: '^src/',
        pathNot:
          '^src/(revocation|session|account|database)/|^src/(main|process|service|index)\\.ts$',
      },
      to: { path: '^src/database/' },
    },
    {
      name: 'database-knows-no-edge',
      severity: 'error',
      from: { path: '^src/database/' },
      to: { path: '^src/(graphql|http)/' },
    },
    {
      name: 'settings-are-arguments',
      comment:
        'Settings are read once, in main.ts, and handed over; nothing imports its configuration.',
      severity: 'error',
      from: { path: '^src/[^/]+/' },
      to: { path: '^src/settings\\.ts$' },
    },
    {
      name: 'main-is-the-end',
      comment: 'main.ts and process.ts start a process; importing them would.',
      severity: 'error',
      from: { pathNot: '^src/main\\.ts$' },
      to: { path: '^src/(main|process)\\.ts$' },
    },
    {
      name: 'index-is-for-others',
      comment: 'index.ts is what a package user sees; inside, files import files.',
      severity: 'error',
      from: { pathNot: '^(test|examples)/' },
      to: { path: '^src/index\\.ts$' },
    },
    {
      name: 'no-folder-index',
      comment: 'Files import files, never a folder.',
      severity: 'error',
      from: {},
      to: { path: '^src/.+/index\\.ts$' },
    },
    {
      name: 'client-is-alone',
      comment:
        'client/ runs in browsers: nothing of the server, no builtin, and what its user has.',
      severity: 'error',
      from: { path: '^src/client/' },
      to: {
        pathNot: '^src/client/|^node_modules/(@apollo/client|rxjs|graphql|graphql-ws)/',
      },
    },
    {
      name: 'client-core-needs-no-package',
      comment: 'It serves users of any GraphQL client, who need not have Apollo Client.',
      severity: 'error',
      from: { path: '^src/client/', pathNot: '^src/client/(client|apollo-link)\\.ts$' },
      to: {
        path: '^node_modules/|^src/client/(client|apollo-link)\\.ts$',
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'server-knows-no-client',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/client/' },
      to: { path: '^src/client/' },
    },
    {
      name: 'migrations-stand-alone',
      comment: 'A released migration may not change because the code did.',
      severity: 'error',
      from: { path: '^migrations/' },
      to: { path: '^(src|test|scripts|examples)/' },
    },
    {
      name: 'src-knows-no-tests',
      severity: 'error',
      from: { path: '^(src/|migrations/|ormconfig\\.ts$)' },
      to: { path: '^(test|examples|scripts|bench)/|\\.test\\.ts$' },
    },
    {
      name: 'no-cycles',
      comment: 'Types included: a cycle of types is two files that are one.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'no-orphans',
      comment: 'A file nobody imports and that imports nobody is left over.',
      severity: 'error',
      from: {
        orphan: true,
        path: '^(src|test|scripts)/',
        pathNot: '^src/(main|index)\\.ts$|\\.d\\.ts$|^scripts/[^/]+\\.(mjs|ts)$',
      },
      to: {},
    },
    {
      name: 'shipped-code-needs-only-dependencies',
      comment:
        'What dist/ imports has to be a dependency. The embedded server and the explorer are the ' +
        'optional ones: without them the service needs a DATABASE_URL and shows no explorer. So is ' +
        'Apollo Client, a peer that users of the link have.',
      severity: 'error',
      from: {
        path: '^(src/|migrations/|ormconfig\\.ts$)',
        pathNot: '^src/database/embedded[^/]*\\.ts$|^src/http/explorer\\.ts$',
      },
      to: {
        dependencyTypes: ['npm-dev'],
        dependencyTypesNot: ['npm-peer'],
        pathNot: '^node_modules/@types/',
      },
    },
    {
      name: 'everything-imported-is-declared',
      severity: 'error',
      from: {},
      to: {
        dependencyTypes: ['npm-no-pkg', 'npm-unknown'],
        // A peer that is optional counts as undeclared besides.
        dependencyTypesNot: ['npm-peer'],
        pathNot: '^node_modules/@types/',
      },
    },
    {
      name: 'everything-imported-exists',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'no-deprecated-builtins',
      severity: 'error',
      from: {},
      to: { dependencyTypes: ['core'], path: '^(punycode|domain|constants|sys|_linklist)$' },
    },
  ],
  options: {
    doNotFollow: { path: '^node_modules/' },
    exclude: { path: '^dist/' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
      mainFields: ['module', 'main', 'types'],
    },
  },
}
