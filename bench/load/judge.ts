import type { Expectation } from './plan.ts'

/** Says whether an answer is right. */
export type Judge = (status: number, data: Buffer, start: number, end: number) => boolean

export function createJudge({ statuses, body, includes, excludes }: Expectation): Judge {
  const exact = body === undefined ? null : Buffer.from(body)
  const wanted = includes === undefined ? null : Buffer.from(includes)
  const unwanted = excludes === undefined ? null : Buffer.from(excludes)

  return (status, data, start, end) => {
    if (!statuses.includes(status)) return false
    if (exact !== null) return equals(exact, data, start, end)

    const found = data.subarray(start, end)
    return (
      (wanted === null || found.includes(wanted)) &&
      (unwanted === null || !found.includes(unwanted))
    )
  }
}

/** Apollo Server ends its answers with a line feed, others do not. */
function equals(exact: Buffer, data: Buffer, start: number, end: number): boolean {
  const length = data[end - 1] === 0x0a ? end - start - 1 : end - start
  return length === exact.length && exact.compare(data, start, start + length) === 0
}

/** A wrong answer, short enough for a report. */
export function quote(status: number, data: Buffer, start: number, end: number): string {
  return `${status} ${data.toString('utf8', start, Math.min(end, start + 200))}`
}
