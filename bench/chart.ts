import type { Findings } from './bench.ts'
import { contestants } from './contestants.ts'
import type { ContestantSpec } from './contestants.ts'
import { formatCount } from './format.ts'
import { spreadOf } from './measure.ts'
import type { Spread } from './measure.ts'

interface Bar {
  readonly label: string
  readonly role: ContestantSpec['role']
  readonly spread: Spread
}

const PANELS = [
  { key: 'a32', title: '(a) one protected field, 32 connections' },
  { key: 'a256', title: '(a) one protected field, 256 connections' },
  { key: 'b', title: '(b) 1,000 guarded objects, 8 connections' },
] as const

const WIDTH = 860
const LABEL_WIDTH = 230
const VALUE_WIDTH = 90
const BAR = 18
const STEP = 26
const TITLE = 40
const MARGIN = 16

/** Bars with the range of the rounds, in colours that can be read on light and on dark. */
export function drawChart({ series }: Findings): string {
  const panels = PANELS.map(({ key, title }) => ({
    title,
    bars: contestants.flatMap(({ name, role }): Bar[] => {
      const samples = series.get(key)?.get(name)
      return samples && role !== 'load'
        ? [{ label: name, role, spread: spreadOf(samples.map(({ perSecond }) => perSecond)) }]
        : []
    }),
  })).filter(({ bars }) => bars.length > 0)

  let top = MARGIN + 30
  const drawn = panels.map(({ title, bars }) => {
    const panel = drawPanel(title, bars, top)
    top += TITLE + bars.length * STEP + MARGIN
    return panel
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${top}" width="${WIDTH}" height="${top}" role="img" aria-label="Answers a second">`,
    STYLE,
    `<rect class="page" width="${WIDTH}" height="${top}" rx="8"/>`,
    `<text class="head" x="${MARGIN}" y="30">Answers a second: more is better; the line is the range of the rounds</text>`,
    ...drawn,
    '</svg>\n',
  ].join('\n')
}

const STYLE = `<style>
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .head { font-weight: 600; font-size: 14px } .title { font-weight: 600 } .end { text-anchor: end }
  .page { fill: #ffffff } .ours { fill: #0969da } .limit { fill: #8c959f } .peer { fill: #bf8700 }
  .range { stroke: #1f2328; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .page { fill: #0d1117 } .ours { fill: #4493f8 } .limit { fill: #656d76 }
    .peer { fill: #d29922 } .range { stroke: #e6edf3 }
  }
</style>`

function drawPanel(title: string, bars: readonly Bar[], top: number): string {
  const most = Math.max(...bars.map(({ spread }) => spread.max))
  const scale = (WIDTH - LABEL_WIDTH - VALUE_WIDTH - 2 * MARGIN) / most
  return [
    `<text class="title" x="${MARGIN}" y="${top + 24}">${title}</text>`,
    ...bars.map((bar, index) => drawBar(bar, scale, top + TITLE + index * STEP)),
  ].join('\n')
}

function drawBar({ label, role, spread }: Bar, scale: number, y: number): string {
  const x = MARGIN + LABEL_WIDTH
  const at = (value: number): string => (x + value * scale).toFixed(1)
  const middle = y + BAR / 2
  return [
    `<text class="end" x="${x - 8}" y="${middle + 4.5}">${label}</text>`,
    `<rect class="${role}" x="${x}" y="${y}" width="${(spread.median * scale).toFixed(1)}" height="${BAR}" rx="2"/>`,
    `<line class="range" x1="${at(spread.min)}" y1="${middle}" x2="${at(spread.max)}" y2="${middle}"/>`,
    `<text x="${(x + spread.max * scale + 8).toFixed(1)}" y="${middle + 4.5}">${formatCount(spread.median)}</text>`,
  ].join('\n')
}
