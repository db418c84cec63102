/**
 * Refuses a lock file that works only where it was made. `npm install` leaves out the binaries of
 * other platforms when it cannot find them; `npm ci` then fails elsewhere, or installs a tool
 * without its binary.
 */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const lockFile = join(dirname(import.meta.dirname), 'package-lock.json')
const { packages } = JSON.parse(readFileSync(lockFile, 'utf8'))
const problems = []

for (const [path, entry] of Object.entries(packages)) {
  for (const name of Object.keys(entry.optionalDependencies ?? {})) {
    if (!isInstalledFor(path, name)) {
      problems.push(`${path || 'the package'} wants ${name}, which is missing`)
    }
  }

  if (path === '' || entry.link) continue
  if (entry.resolved !== undefined) problems.push(`${path} names where it came from`)
  if (entry.integrity === undefined) problems.push(`${path} has no checksum`)
}

if (problems.length > 0) {
  console.error(problems.map((problem) => `package-lock.json: ${problem}`).join('\n'))
  process.exitCode = 1
}

/** As Node looks a package up: beside the one that wants it, then in every folder above. */
function isInstalledFor(path, name) {
  const above = path.lastIndexOf('node_modules/', path.length)
  if (packages[join(path, 'node_modules', name)] !== undefined) return true
  return path !== '' && isInstalledFor(path.slice(0, Math.max(above - 1, 0)), name)
}
