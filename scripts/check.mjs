/**
 * Every promise about this repository that needs no database, two at a time: `npm run check`.
 * A promise is a script of package.json, so each can be run alone.
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'

/** The slowest first, so that the two lanes end together. */
const promises = [
  ['the package installs and its types resolve', 'check:package'],
  ['the code has no lint findings', 'lint'],
  ['the types hold', 'typecheck'],
  ['imports run one way', 'check:imports'],
  ['nothing is dead or undeclared', 'check:dead-code'],
  ['every root field says who may call it', 'check:schema'],
  ['every requirement names its tests', 'check:requirements'],
  ['the words are spelt right', 'check:spelling'],
  ['the files are formatted', 'format:check'],
  ['the lock file works on every platform', 'check:lock'],
]
const lanes = 2

const root = dirname(import.meta.dirname)
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const path = [join(root, 'node_modules', '.bin'), process.env.PATH].join(delimiter)

const waiting = [...promises]
const failed = []

await Promise.all(Array.from({ length: lanes }, workThrough))

for (const { promise, script, output } of failed) {
  console.log(`\n✗ ${promise} (npm run ${script})\n\n${output.trim()}`)
}
console.log(`\n${promises.length - failed.length} passed, ${failed.length} failed`)
process.exitCode = failed.length === 0 ? 0 : 1

async function workThrough() {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const [promise, script] = next
    const startedAt = performance.now()
    const { isKept, output } = await run(script)
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)

    console.log(`${isKept ? '✓' : '✗'} ${promise} (${seconds} s)`)
    if (!isKept) failed.push({ promise, script, output })
  }
}

/** Runs a script of package.json without npm around it, which takes longer than some of them. */
async function run(script) {
  return new Promise((resolve) => {
    const child = spawn(scripts[script], {
      cwd: root,
      shell: true,
      env: { ...process.env, PATH: path },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const chunks = []

    child.stdout.on('data', (chunk) => chunks.push(chunk))
    child.stderr.on('data', (chunk) => chunks.push(chunk))
    child.on('error', (error) => chunks.push(Buffer.from(String(error))))
    child.on('close', (code) => {
      const output = stripVTControlCharacters(Buffer.concat(chunks).toString('utf8'))
      resolve({ isKept: code === 0, output })
    })
  })
}
