import { readFile } from 'node:fs/promises'
import { expect, it } from 'vitest'

const root = new URL('../../', import.meta.url)

it.each([
  {
    page: 'README.md',
    file: 'examples/ten-lines/main.ts',
    source: '../../src/index.ts',
    name: 'portcullis',
  },
  {
    page: 'docs/client.md',
    file: 'examples/apollo-client/app.ts',
    source: '../../src/client/client.ts',
    name: 'portcullis/client',
  },
])('$page uses $name as the tested example does, line by line', async (example) => {
  const page = await readFile(new URL(example.page, root), 'utf8')
  const code = await readFile(new URL(example.file, root), 'utf8')

  const blocks = [...page.matchAll(/^```(?:ts|js)\n(.*?)^```/gms)].map(([, block]) => block)

  expect(blocks).toContain(code.replaceAll(`'${example.source}'`, `'${example.name}'`))
})
