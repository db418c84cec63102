import { readFile } from 'node:fs/promises'
import { expect, it } from 'vitest'

const root = new URL('../../', import.meta.url)

it('the README embeds Portcullis as the tested example does, line by line', async () => {
  const readme = await readFile(new URL('README.md', root), 'utf8')
  const example = await readFile(new URL('examples/ten-lines/main.ts', root), 'utf8')

  const blocks = [...readme.matchAll(/^```(?:ts|js)\n(.*?)^```/gms)].map(([, code]) => code)

  expect(blocks).toContain(example.replace(`'../../src/index.ts'`, `'portcullis'`))
})
