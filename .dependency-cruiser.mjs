/**
 * Which room may import which, as ARCHITECTURE.md draws it. `npm run check:imports` reports every import that breaks a rule.
 */

/** From the innermost to the outermost. A room imports those before it, and none after it. */
const rooms = [
  ['lib', '^src/lib/'],
  ['contract', '^src/(contract|errors|security-event)\\.ts$'],
  ['token', '^src/token/'],
  ['database', '^src/database/'],
  ['revocation', '^src/revocation/'],
  ['live and caller', '^src/(live|caller)/'],
  ['graphql', '^src/graphql/'],
  ['transport', '^src/transport/'],
  ['portcullis', '^src/(portcullis|fast-lane)\\.ts$'],
  ['service', '^src/(service|embedded-postgres)/|^(migrations/|ormconfig\\.ts$)'],
]

/** The rooms inside revocation/, likewise. The rule itself stands in the folder and knows none of them. */
const revocationRooms = [
  ['rule', '^src/revocation/[^/]+$'],
  ['memory', '^src/revocation/memory/'],
  ['tables', '^src/revocation/tables/'],
  ['journal', '^src/revocation/journal/'],
  ['replica', '^src/revocation/replica/'],
  ['postgres', '^src/revocation/postgres/'],
]

function climbing(among, inside = '') {
  return among.slice(0, -1).map(([name, path], at) => ({
    name: `${inside}${name.replaceAll(' ', '-')}-climbs`,
    comment: `${name} imports only what is further inside.`,
    severity: 'error',
    from: { path },
    to: { path: among.slice(at + 1).map(([, outer]) => outer) },
  }))
}

/** Packages of the edge: what the domain would need to know GraphQL or HTTP. */
const edgePackages =
  '^node_modules/(graphql|graphql-ws|graphql-sse|ws|fastify|@fastify|@apollo|@graphql-tools|@as-integrations)(/|$)'
const edgeBuiltins = '^(node:)?(http|https|http2)$'

/** Packages that speak SQL. */
const sqlPackages = '^node_modules/(typeorm|pg|pg-[a-z-]+)(/|$)'

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    ...climbing(rooms),
    ...climbing(revocationRooms, 'revocation-'),
    {
      name: 'memory-stands-alone',
      comment: 'The store on PostgreSQL borrows nothing from the one in memory.',
      severity: 'error',
      from: { path: '^src/revocation/(tables|journal|replica|postgres)/' },
      to: { path: '^src/revocation/memory/' },
    },
    {
      name: 'database-knows-no-domain',
      comment: 'database/ reaches into TypeORM and pg, whatever is stored there.',
      severity: 'error',
      from: { path: '^src/database/' },
      to: { path: '^src/', pathNot: '^src/(database|lib)/|^src/errors\\.ts$' },
    },
    {
      name: 'live-knows-no-caller',
      comment: 'live/ and caller/ stand side by side; transport/ joins them.',
      severity: 'error',
      from: { path: '^src/live/' },
      to: { path: '^src/caller/' },
    },
    {
      name: 'caller-knows-no-live',
      comment: 'As live-knows-no-caller.',
      severity: 'error',
      from: { path: '^src/caller/' },
      to: { path: '^src/live/' },
    },
    {
      name: 'embedded-postgres-is-for-the-process',
      comment: 'The service runs on any PostgreSQL; only the process starts one.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/embedded-postgres/|^src/service/process\\.ts$' },
      to: { path: '^src/embedded-postgres/' },
    },
    {
      name: 'embedded-postgres-stands-alone',
      severity: 'error',
      from: { path: '^src/embedded-postgres/' },
      to: { path: '^src/', pathNot: '^src/(embedded-postgres|lib)/' },
    },
    {
      name: 'accounts-and-sessions-know-no-edge',
      comment: 'Resolvers use them, never the other way round.',
      severity: 'error',
      from: { path: '^src/service/(session|account)/' },
      to: { path: '^src/(live|caller|graphql|transport|service/(graphql|http))/' },
    },
    {
      name: 'domain-speaks-no-graphql-nor-http',
      comment:
        'Domain errors carry plain codes; what they become on the wire is decided at the edge.',
      severity: 'error',
      from: {
        path: '^src/(lib|token|revocation|caller|live|service/(session|account))/|^src/(contract|errors|security-event)\\.ts$',
      },
      to: { path: [edgePackages, edgeBuiltins] },
    },
    {
      name: 'edge-speaks-no-sql',
      comment: 'A resolver asks a service; the statement is in the store.',
      severity: 'error',
      from: { path: '^src/(lib|token|caller|live|graphql|transport|service/(graphql|http))/' },
      to: { path: sqlPackages },
    },
    {
      name: 'database-belongs-to-the-stores',
      comment: 'Only stores and the composition reach for the data source.',
      severity: 'error',
      from: {
        path: '^src/',
        pathNot:
          '^src/(database|revocation/(tables|journal|replica|postgres)|service/(database|session|account))/|^src/service/service\\.ts$',
      },
      to: { path: '^src/database/' },
    },
    {
      name: 'settings-are-arguments',
      comment:
        'Settings are read once, in main.ts, and handed over; nothing imports its configuration.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/service/[^/]+$' },
      to: { path: '^src/service/(key-)?settings\\.ts$' },
    },
    {
      name: 'main-is-the-end',
      comment: 'main.ts and process.ts start a process; importing them would.',
      severity: 'error',
      from: { pathNot: '^src/service/main\\.ts$' },
      to: { path: '^src/service/(main|process)\\.ts$' },
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
      name: 'no-folder-cycles',
      comment:
        'Two folders that import each other are one. The files in src/ itself join the rooms.',
      severity: 'error',
      scope: 'folder',
      from: { path: '^src/.' },
      to: { circular: true, viaOnly: { path: '^src/.' } },
    },
    {
      name: 'no-orphans',
      comment: 'A file nobody imports and that imports nobody is left over.',
      severity: 'error',
      from: {
        orphan: true,
        path: '^(src|test|scripts)/',
        pathNot: '^src/(service/main|index)\\.ts$|\\.d\\.ts$|^scripts/[^/]+\\.(mjs|ts)$',
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
        pathNot: '^src/embedded-postgres/|^src/service/http/explorer\\.ts$',
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
