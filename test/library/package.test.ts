import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const tsc = join(root, 'node_modules/typescript/bin/tsc')

/** What a package is made of; `dist` is built anew, so that no other test is disturbed and no stale one is packed. */
const SOURCES = [
  'CHANGELOG.md',
  'LICENSE',
  'README.md',
  'explorer',
  'migrations',
  'ormconfig.ts',
  'package.json',
  'schema',
  'scripts',
  'src',
  'tsconfig.build.json',
  'tsconfig.json',
]

/** What Apollo Server 5 asks for at least, and older than what we develop with. */
const OLDEST_GRAPHQL = '16.11.0'

const BUILD_TIMEOUT_MS = 120_000
const INSTALL_TIMEOUT_MS = 240_000

const run = promisify(execFile)

/** What `npm test` and Vitest set for this run; how to reach a registry is for the npm inside too. */
const OF_THIS_RUN =
  /^(NODE_ENV$|VITEST|INIT_CWD$|npm_(?!config_(registry|userconfig|globalconfig|cache|cafile|\w*proxy)$))/i

/** Runs a program; what it printed is part of the error when it fails. */
async function runIn(folder: string, program: string, ...args: string[]): Promise<string> {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !OF_THIS_RUN.test(name)),
  )
  try {
    return (await run(program, args, { cwd: folder, env, maxBuffer: 16 * 1024 * 1024 })).stdout
  } catch (error) {
    const {
      message,
      stdout = '',
      stderr = '',
    } = error as Error & { stdout?: string; stderr?: string }
    throw new Error([message, stdout, stderr].join('\n'), { cause: error })
  }
}

describe('the package', { timeout: BUILD_TIMEOUT_MS }, () => {
  let temp: string
  let tarball: string
  let files: readonly string[]

  beforeAll(async () => {
    temp = await mkdtemp(join(tmpdir(), 'portcullis-package-'))
    const copy = join(temp, 'source')
    await mkdir(copy)
    const present = new Set(await readdir(root))
    for (const name of SOURCES.filter((source) => present.has(source))) {
      await cp(join(root, name), join(copy, name), { recursive: true })
    }
    await symlink(join(root, 'node_modules'), join(copy, 'node_modules'))

    await runIn(copy, process.execPath, 'scripts/build.mjs')
    const printed = await runIn(
      copy,
      'npm',
      'pack',
      '--json',
      '--ignore-scripts',
      '--pack-destination',
      temp,
    )
    const [pack] = Object.values(JSON.parse(printed) as Record<string, PackReport>)
    tarball = join(temp, pack!.filename)
    files = pack!.files.map(({ path }) => path)
  }, BUILD_TIMEOUT_MS)

  afterAll(async () => {
    await rm(temp, { recursive: true, force: true })
  })

  it('holds what a user reads and runs', () => {
    expect(files).toEqual(
      expect.arrayContaining([
        'CHANGELOG.md',
        'LICENSE',
        'README.md',
        'dist/migrations/1763769600000-revocation.js',
        'dist/schema/auth.graphql',
        'dist/schema/revocation.graphql',
        'dist/src/client/client.d.ts',
        'dist/src/client/client.js',
        'dist/src/client/core.d.ts',
        'dist/src/client/core.js',
        'dist/src/fast-lane.d.ts',
        'dist/src/fast-lane.js',
        'dist/src/index.d.ts',
        'dist/src/index.js',
        'package.json',
      ]),
    )
  })

  it('holds nothing else: no tests, no sources, no data, no keys', () => {
    const allowed = [
      /^(CHANGELOG|README)\.md$/,
      /^LICENSE$/,
      /^package\.json$/,
      /^dist\/(src|migrations)\/.+\.(js|js\.map|d\.ts)$/,
      /^dist\/ormconfig\.(js|js\.map|d\.ts)$/,
      /^dist\/(schema|explorer)\//,
    ]
    expect(files.filter((file) => !allowed.some((form) => form.test(file)))).toEqual([])
    expect(files.filter((file) => /test|\.tsbuildinfo|\.env|\.pem|jwt-secret/.test(file))).toEqual(
      [],
    )
  })

  describe('in a project of its user', () => {
    let project: string

    beforeAll(async () => {
      project = join(temp, 'project')
      await mkdir(project)
      await writeJson(join(project, 'package.json'), { private: true, type: 'module' })
      const { devDependencies, dependencies, peerDependencies } = await readManifest(root)
      const versions = { ...devDependencies, ...peerDependencies, ...dependencies }
      // What the examples import themselves, and so would their authors' package.json.
      const others = [
        ...[
          '@apollo/server',
          '@graphql-tools/schema',
          'graphql-sse',
          'graphql-ws',
          'pg',
          'typeorm',
          'ws',
        ].map((name) => `${name}@${versions[name]}`),
        `graphql@${OLDEST_GRAPHQL}`,
      ]
      const options = ['--no-audit', '--no-fund', '--prefer-offline']
      await runIn(project, 'npm', 'install', ...options, tarball, ...others)
    }, INSTALL_TIMEOUT_MS)

    it('brings no development dependencies along, and no second graphql or typeorm', async () => {
      const lock = JSON.parse(await readFile(join(project, 'package-lock.json'), 'utf8'))
      const installed = Object.keys(lock.packages)
      const copiesOf = (name: string): number =>
        installed.filter((path) => path.endsWith(`node_modules/${name}`)).length

      const { devDependencies, peerDependencies } = await readManifest(root)
      const own = Object.keys(devDependencies).filter(
        (name) => !Object.hasOwn(peerDependencies, name),
      )
      expect(own.filter((name) => installed.includes(`node_modules/${name}`))).toEqual([])
      expect({ graphql: copiesOf('graphql'), typeorm: copiesOf('typeorm') }).toEqual({
        graphql: 1,
        typeorm: 1,
      })
    })

    it('issues a token, checks it, and refuses it once it is revoked', async () => {
      await writeFile(join(project, 'first-steps.mjs'), FIRST_STEPS)

      expect(JSON.parse(await runIn(project, process.execPath, 'first-steps.mjs'))).toEqual({
        before: { data: { greeting: 'Welcome back' } },
        logout: { data: { logout: { alreadyRevoked: false } } },
        after: { data: null, reason: 'TOKEN_REVOKED' },
      })
    })

    // Q43
    it('limits what comes over live connections, by the oldest graphql too', async () => {
      await writeFile(join(project, 'live-limits.mjs'), LIVE_LIMITS)

      const [error] = JSON.parse(await runIn(project, process.execPath, 'live-limits.mjs'))
      expect(error.extensions.code).toBe('GRAPHQL_PARSE_FAILED')
    })

    it('has a client for those who have no Apollo Client', async () => {
      const program = `import * as client from 'portcullis/client/core'
        console.log(Object.keys(client).join())`
      await writeFile(join(project, 'client.mjs'), program)

      expect((await runIn(project, process.execPath, 'client.mjs')).trim()).toBe(
        'RefreshError,createRefresh,createSession,createWebSocketOptions',
      )
    })

    it('has types that strict compilers of today accept, on the examples too', async () => {
      for (const example of ['own-api', 'ten-lines']) {
        await copyExample(example, join(project, 'examples', example))
      }
      await writeFile(join(project, 'examples/misuse.ts'), MISUSE)
      await writeFile(join(project, 'examples/client-misuse.ts'), CLIENT_MISUSE)
      await writeJson(join(project, 'tsconfig.json'), {
        compilerOptions: {
          target: 'es2023',
          module: 'nodenext',
          strict: true,
          exactOptionalPropertyTypes: true,
          allowImportingTsExtensions: true,
          noEmit: true,
          skipLibCheck: false,
          types: ['node'],
          typeRoots: [join(root, 'node_modules/@types')],
          paths: { ws: [join(root, 'node_modules/@types/ws/index.d.ts')] },
        },
        include: ['examples'],
      })

      expect(await runIn(project, process.execPath, tsc, '-p', '.')).toBe('')
    })
  })
})

interface PackReport {
  readonly filename: string
  readonly files: ReadonlyArray<{ readonly path: string }>
}

type Versions = Readonly<Record<string, string>>

async function readManifest(folder: string): Promise<{
  dependencies: Versions
  devDependencies: Versions
  peerDependencies: Versions
}> {
  const manifest = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'))
  return { dependencies: {}, devDependencies: {}, peerDependencies: {}, ...manifest }
}

/** An example as its reader would write it: importing the package by its name. */
async function copyExample(name: string, folder: string): Promise<void> {
  const from = join(root, 'examples', name)
  await mkdir(folder, { recursive: true })
  for (const file of await readdir(from)) {
    if (!file.endsWith('.ts') || file.endsWith('.test.ts')) continue
    const text = await readFile(join(from, file), 'utf8')
    await writeFile(join(folder, file), text.replaceAll(`'../../src/index.ts'`, `'portcullis'`))
  }
}

async function writeJson(file: string, value: object): Promise<void> {
  await writeFile(file, JSON.stringify(value, null, 2))
}

/** Fails to compile unless the types arrive: without them nothing is wrong with the line. */
const MISUSE = `import { MemoryRevocationStore } from 'portcullis'
// @ts-expect-error A lifetime is a number.
export const store = new MemoryRevocationStore({ maxTokenLifetimeSeconds: '900' })
`

const CLIENT_MISUSE = `import { createSession } from 'portcullis/client/core'
createSession({}).signIn({ accessToken: '' })
// @ts-expect-error A refresh token is of no use without an access token.
createSession({}).signIn({ refreshToken: '' })
`

const LIVE_LIMITS = `
import { buildSchema } from 'graphql'
import { MemoryRevocationStore, createKeyRing, createPortcullis } from 'portcullis'

const portcullis = createPortcullis({
  keys: createKeyRing({ signWith: 'a secret of more than thirty-two bytes' }),
  issuer: 'https://api.example',
  audience: 'api',
  store: new MemoryRevocationStore(),
})
const schema = buildSchema('type Query { greeting: String }')
const options = portcullis.live.webSocketOptions({ schema, maxTokens: 5 })

const context = { extra: { socket: { once() {} }, request: { headers: {}, socket: {} } } }
await options.onConnect(context)
const query = '{ greeting greeting greeting greeting }'
console.log(JSON.stringify(await options.onSubscribe(context, '1', { query })))
`

const FIRST_STEPS = `
import { graphql } from 'graphql'
import { makeExecutableSchema } from '@graphql-tools/schema'
import { MemoryRevocationStore, createKeyRing, createPortcullis } from 'portcullis'

const portcullis = createPortcullis({
  keys: createKeyRing({ signWith: 'a secret of more than thirty-two bytes' }),
  issuer: 'https://api.example',
  audience: 'api',
  store: new MemoryRevocationStore(),
})
const schema = portcullis.protect(
  makeExecutableSchema({
    typeDefs: [...portcullis.typeDefs, 'type Query { greeting: String! @auth }'],
    resolvers: [portcullis.resolvers, { Query: { greeting: () => 'Welcome back' } }],
  }),
)
const { text } = await portcullis.issue({ subject: 'ada', roles: ['USER'] })
const ask = (source) =>
  graphql({ schema, source, contextValue: portcullis.context({ authorization: \`Bearer \${text}\` }) })

const before = await ask('{ greeting }')
const logout = await ask('mutation { logout { alreadyRevoked } }')
const { data, errors } = await ask('{ greeting }')
console.log(JSON.stringify({ before, logout, after: { data, reason: errors[0].extensions.reason } }))
`
