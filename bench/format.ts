import type { Spread } from './measure.ts'

export function formatCount(value: number): string {
  return Math.round(value).toLocaleString('en-US')
}

export function formatMs(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

export function formatRatio(value: number): string {
  return value.toFixed(3)
}

/** Median, and what the rounds were between. */
export function formatSpread(
  { median, min, max }: Spread,
  format: (value: number) => string,
): string {
  return `${format(median)} (${format(min)}–${format(max)})`
}
