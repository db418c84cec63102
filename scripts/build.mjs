/**
 * Compiles the service into dist/, for `npm start` and for the package.
 *
 * `npm ci` runs it as `prepare`, so it is plain JavaScript and needs nothing but the compiler.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'

const root = dirname(import.meta.dirname)
const dist = join(root, 'dist')
const copied = ['schema', 'explorer']

const compiler = findCompiler()

if (compiler !== null) {
  removeStale()
  compile(compiler)
  copyFolders()
} else if (
  process.env.npm_lifecycle_event !== 'prepare' ||
  !existsSync(join(dist, 'src', 'service', 'main.js'))
) {
  fail(
    'Cannot build: the compiler is a development dependency and is not installed. Run "npm ci" ' +
      'first, and "npm prune --omit=dev" after it to keep only what the built service needs.',
  )
}

function findCompiler() {
  try {
    return createRequire(import.meta.url).resolve('typescript/bin/tsc')
  } catch {
    return null
  }
}

/**
 * Removes what was compiled from files that are gone: TypeORM would still run a deleted migration.
 * When an output is missing, what the compiler remembers goes too, or it would not write it again.
 */
function removeStale() {
  const built = filesIn(dist).filter((file) => /\.(js|d\.ts)(\.map)?$/.test(file))

  for (const file of built) {
    if (copied.some((folder) => file.startsWith(join(folder, '/')))) continue
    if (!existsSync(join(root, file.replace(/\.(js|d\.ts)(\.map)?$/, '.ts')))) {
      rmSync(join(dist, file))
    }
  }

  const sources = ['src', 'migrations']
    .flatMap((folder) => filesIn(join(root, folder)).map((file) => join(folder, file)))
    .concat('ormconfig.ts')
    .filter((file) => /(?<!\.d)\.ts$/.test(file))
  const isBuilt = (source) => existsSync(join(dist, source.replace(/\.ts$/, '.js')))

  if (!sources.every(isBuilt)) rmSync(join(dist, '.tsbuildinfo'), { force: true })
}

function compile(tsc) {
  const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], {
    cwd: root,
    stdio: 'inherit',
  })

  if (status !== 0) process.exit(status ?? 1)
}

function copyFolders() {
  for (const folder of copied) {
    rmSync(join(dist, folder), { recursive: true, force: true })
    if (existsSync(join(root, folder))) {
      cpSync(join(root, folder), join(dist, folder), { recursive: true })
    }
  }
}

/** Every file below a folder, relative to it; none when the folder does not exist. */
function filesIn(folder) {
  if (!existsSync(folder)) return []

  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
}

function fail(message) {
  console.error(message)
  process.exit(1)
}
