import type { Sample } from './runner.ts'

/** The samples of one subject, one a round. */
export type Series = readonly Sample[]

/** A median, and how far the rounds were apart. */
export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** Measures every subject once a round, in the same order: A B C, A B C. */
export async function alternate<Subject>(
  rounds: number,
  subjects: readonly Subject[],
  measure: (subject: Subject, round: number) => Promise<Sample>,
): Promise<Map<Subject, Sample[]>> {
  const series = new Map(subjects.map((subject) => [subject, [] as Sample[]]))
  for (let round = 0; round < rounds; round += 1) {
    for (const subject of subjects) {
      series.get(subject)?.push(await measure(subject, round))
    }
  }
  return series
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((one, other) => one - other)
  const middle = sorted.length / 2
  const median =
    sorted.length % 2 === 1
      ? sorted[Math.floor(middle)]!
      : (sorted[middle - 1]! + sorted[middle]!) / 2
  return { median, min: sorted[0]!, max: sorted.at(-1)! }
}

/** Throughput of one against the other, round by round: what slows the machine slows both. */
export function ratioOf(series: Series, base: Series): Spread {
  return spreadOf(series.map(({ perSecond }, round) => perSecond / base[round]!.perSecond))
}
