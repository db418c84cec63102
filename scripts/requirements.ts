/**
 * Writes docs/requirements.md, the table requirement -> test. A test names the ids it proves in a
 * comment, directly above it or inside it:
 *
 *     // Q05, Q06
 *     it('revokes by issuer and id, whatever the spelling of the signature', ...)
 *
 * `--check` writes nothing and fails when the committed table is not what would be written, when a
 * requirement has neither test nor reason, or when a comment names what does not exist.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import ts from 'typescript'
import { groups, open } from './requirements-list.ts'

interface Mention {
  readonly id: string
  readonly file: string
  /** Titles from the outermost `describe` to the test; empty when no test is near. */
  readonly titles: readonly string[]
  readonly line: number
}

interface TestBlock {
  readonly title: string
  readonly firstLine: number
  readonly lastLine: number
}

const root = dirname(import.meta.dirname)
const tablePath = 'docs/requirements.md'
const known = new Set(groups.flatMap((group) => group.requirements.map(({ id }) => id)))

const files = ['test', 'examples'].flatMap((folder) => sourceFilesIn(folder)).toSorted()
const problems: string[] = []
const mentions = files.flatMap((file) => readMentions(file))

for (const { id, file, line, titles } of mentions) {
  if (!known.has(id)) problems.push(`${file}:${line} names ${id}, which is not a requirement`)
  if (titles.length === 0) problems.push(`${file}:${line} names ${id} above or inside no test`)
}

for (const id of known) {
  if (open[id] === undefined && !mentions.some((mention) => mention.id === id)) {
    problems.push(`${id} is named by no test; name it in a comment, or say why in the list`)
  }
}

for (const id of Object.keys(open)) {
  if (!known.has(id)) problems.push(`the list gives a reason for ${id}, which is not a requirement`)
}

const table = renderTable()

if (!process.argv.includes('--check')) {
  writeFileSync(join(root, tablePath), table)
} else if (table !== readIfThere(tablePath)) {
  problems.push(`${tablePath} is out of date; run "npm run requirements"`)
}

if (problems.length > 0) {
  console.error(problems.join('\n'))
  process.exitCode = 1
}

function sourceFilesIn(folder: string): string[] {
  try {
    return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts') && !file.includes('node_modules'))
      .map((file) => join(folder, file).replaceAll('\\', '/'))
  } catch {
    return []
  }
}

function readMentions(file: string): Mention[] {
  const text = readFileSync(join(root, file), 'utf8')
  const lines = text.split('\n')
  const blocks = findTestBlocks(file, text)

  return lines.flatMap((content, index) => {
    const comment = commentOf(content)
    if (comment === null) return []

    const line = index + 1
    if (/\bQ\d\d(?:-|–|\.\.)Q?\d\d\b|\bQ\d\d\s+(?:-|–|to)\s+Q\d\d\b/.test(comment)) {
      problems.push(`${file}:${line} names a range; name each requirement`)
    }

    const titles = titlesAt(lines, blocks, line)
    const ids = new Set(comment.match(/\bQ\d\d\b/g))
    return [...ids].map((id) => ({ id, file, titles, line }))
  })
}

/** The comment on a line: after `//` or `/*`, or of a line that begins with a block's asterisk. */
function commentOf(line: string): string | null {
  return /(?:^|\s)\/[/*](.*)$/.exec(line)?.[1] ?? /^\s*\*(.*)$/.exec(line)?.[1] ?? null
}

/** Every `describe`, `it` and `test` of a file, also `it.each(...)(...)`, outer before inner. */
function findTestBlocks(file: string, text: string): TestBlock[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest)
  const blocks: TestBlock[] = []
  const lineOf = (position: number): number =>
    source.getLineAndCharacterOfPosition(position).line + 1

  const visit = (node: ts.Node): void => {
    const title = ts.isCallExpression(node) ? titleOf(node, source) : null
    if (title !== null) {
      blocks.push({
        title,
        firstLine: lineOf(node.getStart(source)),
        lastLine: lineOf(node.getEnd()),
      })
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return blocks
}

function titleOf(call: ts.CallExpression, source: ts.SourceFile): string | null {
  const [title, body] = call.arguments
  if (title === undefined || body === undefined) return null
  if (!/^(?:describe|it|test)$/.test(rootName(call.expression))) return null

  return ts.isStringLiteralLike(title) ? title.text : title.getText(source).replaceAll(/^`|`$/g, '')
}

/** `it` of `it`, of `it.only` and of `it.each([...])`. */
function rootName(expression: ts.Expression): string {
  if (ts.isIdentifier(expression)) return expression.text
  if (ts.isPropertyAccessExpression(expression)) return rootName(expression.expression)
  if (ts.isCallExpression(expression)) return rootName(expression.expression)
  if (ts.isTaggedTemplateExpression(expression)) return rootName(expression.tag)
  return ''
}

/** What a comment on this line speaks about: the test that follows at once, or the one around it. */
function titlesAt(lines: readonly string[], blocks: readonly TestBlock[], line: number): string[] {
  let next = line
  while (/^\s*(?:\/\/|\/\*|\*)/.test(lines[next - 1] ?? '')) next++

  const followed = next > line ? blocks.find((block) => block.firstLine === next) : undefined
  const at = followed?.firstLine ?? line

  return blocks
    .filter((block) => block.firstLine <= at && at <= block.lastLine)
    .filter((block) => followed === undefined || block.firstLine < at || block === followed)
    .map((block) => block.title)
}

function renderTable(): string {
  const sections = groups.map(({ title, requirements }) => {
    const rows = requirements.map(({ id, text }) => `| ${id} | ${cell(text)} | ${proofOf(id)} |`)
    return [`## ${title}`, '', '| | requirement | proved by |', '|---|---|---|', ...rows].join('\n')
  })

  return [
    '# Requirements and the tests that prove them',
    'Written by `npm run requirements` from `scripts/requirements-list.ts` and the comments of the tests; do not edit.',
    ...sections,
  ]
    .join('\n\n')
    .concat('\n')
}

function proofOf(id: string): string {
  const named = mentions.filter((mention) => mention.id === id && mention.titles.length > 0)
  const byFile = files.flatMap((file) => {
    const titles = new Set(
      named.filter((mention) => mention.file === file).map((mention) => mention.titles.join(' › ')),
    )
    return titles.size === 0 ? [] : [`[${file}](../${file}): ${[...titles].map(cell).join('; ')}`]
  })
  const reason = open[id]

  return [...byFile, ...(reason === undefined ? [] : [`open: ${cell(reason)}`])].join('<br>')
}

/** Text that is one cell of a table and nothing more. */
function cell(text: string): string {
  return text.replaceAll(/\s+/g, ' ').replaceAll('|', '\\|').replaceAll('<', '&lt;')
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(join(root, path), 'utf8')
  } catch {
    return null
  }
}
