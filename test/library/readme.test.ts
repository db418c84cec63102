import { readFile } from 'node:fs/promises'
import { expect, it } from 'vitest'

const root = new URL('../../', import.meta.url)

it.each([
  { file: 'examples/ten-lines/main.ts', source: '../../src/index.ts', name: 'portcullis' },
  {
    file: 'examples/apollo-client/app.ts',
    source: '../../src/client/client.ts',
    name: 'portcullis/client',
  },
])('the README uses $name as the tested example does, line by line', async (example) => {
  const readme = await readFile(new URL('README.md', root), 'utf8')
  const code = await readFile(new URL(example.file, root), 'utf8')

  const blocks = [...readme.matchAll(/^```(?:ts|js)\n(.*?)^```/gms)].map(([, block]) => block)

  expect(blocks).toContain(code.replaceAll(`'${example.source}'`, `'${example.name}'`))
})
