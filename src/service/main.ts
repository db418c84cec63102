import { findOpenFilesFault } from './open-files.ts'

const fault = findOpenFilesFault()
if (fault === null) {
  await import('./process.ts')
} else {
  process.stderr.write(`${fault}\n`)
  process.exit(1)
}
