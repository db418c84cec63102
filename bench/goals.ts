/** What the benchmark has to show, and whether it did. */
import type { Findings, Mode } from './bench.ts'
import { contestants } from './contestants.ts'
import { formatMs, formatRatio, formatSpread } from './format.ts'
import { ratioOf, spreadOf } from './measure.ts'
import type { Spread } from './measure.ts'

export interface Goal {
  readonly what: string
  readonly goal: string
  readonly measured: string
  readonly verdict: string
}

const BASE = 'portcullis-signature-only'
const REPLICA = 'portcullis-replica'
const DATABASE = 'portcullis-database'

/** The bound of the contract: REVOCATION_MAX_STALENESS_MS by default. */
const BOUND_MS = 1000

export function judgeGoals(findings: Findings): readonly Goal[] {
  return [
    ...['a32', 'a256'].map((key) => judgeBest(findings, key, REPLICA, 1.8)),
    judgeRatio(findings, 'a32', REPLICA, 'trivial-http', 0.6),
    judgeRatio(findings, 'a32', REPLICA, 'hand-written', 0.95),
    ...['a32', 'a256'].flatMap((key) => [
      judgeRatio(findings, key, REPLICA, BASE, 0.98),
      judgeRatio(findings, key, BASE, 'portcullis-no-auth', 0.85),
    ]),
    ...['a32', 'a256'].map((key) => judgeBest(findings, key, DATABASE, 1.2)),
    judgeBest(findings, 'c', REPLICA, 1.5),
    judgeBest(findings, 'e', REPLICA, 1.5),
    judgeShare(findings, 'e', 'a32', REPLICA, 0.95),
    judgeBest(findings, 'b', REPLICA, 1.3),
    ...[DATABASE, REPLICA].map((name) =>
      judgeRatio(findings, 'b', name, `${name}, unguarded list`, 0.95),
    ),
    ...(['replica', 'database'] as const).map((mode) =>
      judgeNumber(
        findings,
        `entries:${mode}`,
        'at least',
        0.97,
        formatRatio,
        `many entries against none, (d), ${mode}`,
      ),
    ),
    judgeNumber(
      findings,
      `statements:${DATABASE}`,
      'at most',
      60,
      (n) => n.toFixed(1),
      'statements per 1,000 protected requests, (h), database',
    ),
    judgeNumber(
      findings,
      `statements:${REPLICA}`,
      'at most',
      0,
      (n) => n.toFixed(1),
      'statements per 1,000 protected requests, (h), replica',
    ),
    judgeNumber(
      findings,
      'delayP99:replica',
      'at most',
      20,
      formatMs,
      'revocation to refusal on another node, (g), replica, p99 in ms',
    ),
    judgeNumber(findings, 'delayMax:replica', 'at most', BOUND_MS, formatMs, 'the same, max in ms'),
    judgeNumber(
      findings,
      'logouts:prepared',
      'at least',
      0.9,
      formatRatio,
      'logouts against pgbench, prepared, (f)',
    ),
    judgeNumber(
      findings,
      'logouts:extended',
      'at least',
      0.7,
      formatRatio,
      'logouts against pgbench, extended, (f)',
    ),
    judgeNumber(
      findings,
      'bytesPerEntry',
      'at most',
      32,
      (n) => n.toFixed(1),
      'bytes of memory an entry, (i)',
    ),
    judgeNumber(findings, 'loadMs', 'at most', 30_000, formatMs, 'loading of the entries, (i), ms'),
    judgeNumber(
      findings,
      'longestBlockMs',
      'at most',
      50,
      formatMs,
      'longest block of the event loop meanwhile, (i), ms',
    ),
    ...(['database', 'replica'] as const).map((mode) =>
      judgeNumber(
        findings,
        `sweep:${mode}`,
        'at most',
        2,
        formatRatio,
        `p99 with the sweeper at work against without, (j), ${mode}`,
      ),
    ),
    ...(['database', 'replica'] as const).flatMap((mode) => judgeLive(findings, mode)),
  ]
}

function judgeLive(findings: Findings, mode: Mode): readonly Goal[] {
  const goals: ReadonlyArray<readonly [string, number, (value: number) => string, string]> = [
    ['cutP99', 50, formatMs, 'one session revoked to its sockets closed, same node, p99 in ms'],
    ['cutElsewhere', BOUND_MS, formatMs, 'the same on the other node, max in ms'],
    ['everybody', 1500, formatMs, 'revokeEveryone to the last socket closed, ms'],
    ['block', 50, formatMs, 'longest block of the event loop meanwhile, ms'],
    ['heapLeft', 1.1, formatRatio, 'heap after that against the start'],
    ['heapGrowth', 1.05, formatRatio, 'heap after the second time against the first'],
    ['rssGrowth', 1.05, formatRatio, 'RSS, the same'],
    ['late', 0, String, 'events after the mutation’s answer, same node'],
    ['latestElsewhere', BOUND_MS, formatMs, 'the last event on the other node, ms'],
    ['stuckMs', 24_000, formatMs, 'until stuck and half-open clients are found, ms'],
    ['besideStuck', 100, formatMs, 'sockets closed beside stuck ones of their session, max in ms'],
    ['wrong', 0, String, 'sockets that closed and had to stay, or the other way'],
  ]
  return goals.map(([key, most, format, what]) =>
    judgeNumber(findings, `live:${key}:${mode}`, 'at most', most, format, `${what}, (k), ${mode}`),
  )
}

function titleOf(key: string): string {
  return { a32: '(a) at 32', a256: '(a) at 256' }[key] ?? `(${key})`
}

function judgeRatio(
  { series }: Findings,
  key: string,
  one: string,
  other: string,
  least: number,
): Goal {
  const [ours, base] = [series.get(key)?.get(one), series.get(key)?.get(other)]
  const what = `${one} against ${other}, ${titleOf(key)}`
  return judgeSpread(what, least, ours && base && ratioOf(ours, base))
}

/** Against the fastest peer, which is another in another scenario. */
function judgeBest({ series }: Findings, key: string, one: string, least: number): Goal {
  const measured = series.get(key)
  const ours = measured?.get(one)
  const [best] = contestants
    .filter(({ role }) => role === 'peer')
    .flatMap(({ name }) => {
      const peer = measured?.get(name)
      return ours && peer ? [{ name, ratio: ratioOf(ours, peer) }] : []
    })
    .toSorted((other, another) => other.ratio.median - another.ratio.median)
  const who = best ? `the best peer (${best.name})` : 'the best peer'
  return judgeSpread(`${one} against ${who}, ${titleOf(key)}`, least, best?.ratio)
}

/** Of the same contestant in two scenarios, whose rounds are not the same. */
function judgeShare(
  { series }: Findings,
  one: string,
  other: string,
  name: string,
  least: number,
): Goal {
  const medians = [one, other].map((key) => {
    const samples = series.get(key)?.get(name)
    return samples && spreadOf(samples.map(({ perSecond }) => perSecond)).median
  })
  const [ours, base] = medians
  const what = `${name}, ${titleOf(one)} against ${titleOf(other)}`
  return judge(what, 'at least', least, ours && base && ours / base, formatRatio)
}

function judgeSpread(what: string, least: number, ratio: Spread | undefined): Goal {
  const goal = judge(what, 'at least', least, ratio?.median, formatRatio)
  return ratio ? { ...goal, measured: formatSpread(ratio, formatRatio) } : goal
}

type Direction = 'at least' | 'at most'

function judgeNumber(
  { numbers }: Findings,
  key: string,
  direction: Direction,
  bound: number,
  format: (value: number) => string,
  what: string,
): Goal {
  return judge(what, direction, bound, numbers.get(key), format)
}

function judge(
  what: string,
  direction: Direction,
  bound: number,
  value: number | undefined,
  format: (value: number) => string,
): Goal {
  const goal = `${direction} ${bound.toLocaleString('en-US')}`
  if (value === undefined) return { what, goal, measured: '', verdict: 'not measured' }

  const isMet = direction === 'at least' ? value >= bound : value <= bound
  const verdict = isMet ? 'met' : `missed by ${format(Math.abs(value - bound))}`
  return { what, goal, measured: format(value), verdict }
}
