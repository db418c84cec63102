import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, release, totalmem, type } from 'node:os'
import type { Bench } from './bench.ts'

/** Where and when it was measured: label and value. */
export type Machine = ReadonlyArray<readonly [string, string]>

export function describeMachine({ postgres, redis, options }: Bench, startedAt: Date): Machine {
  const minutes = ((Date.now() - startedAt.getTime()) / 60_000).toFixed(1)
  return [
    ['CPU', `${cpus()[0]?.model.trim() ?? 'unknown'}, ${availableParallelism()} cores`],
    ['Memory', `${(totalmem() / 2 ** 30).toFixed(0)} GiB`],
    ['Kernel', `${type()} ${release()}`],
    ['Node', process.versions.node],
    ['PostgreSQL', postgres.version],
    ['Redis', redis?.version ?? 'none'],
    ['Date', `${startedAt.toISOString().slice(0, 16).replace('T', ' ')} UTC, ${minutes} minutes`],
    ['Command', `\`${commandOf(options.isQuick)}\``],
  ]
}

function commandOf(isQuick: boolean): string {
  const args = process.argv.slice(2).filter((arg) => !arg.startsWith('--out'))
  return args.length === 0 && !isQuick
    ? 'npm run bench'
    : `npm --prefix bench start -- ${args.join(' ')}`
}

/** The version that this folder uses, of its own packages or the product's. */
export function versionOf(name: string): string {
  for (const folder of ['./node_modules/', '../node_modules/']) {
    try {
      const text = readFileSync(new URL(`${folder}${name}/package.json`, import.meta.url), 'utf8')
      return (JSON.parse(text) as { version: string }).version
    } catch {
      continue
    }
  }
  return 'unknown'
}
