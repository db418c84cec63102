import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { beforeAll, describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** A browser's compiler: it knows the DOM, and nothing of Node. */
const OPTIONS: ts.CompilerOptions = {
  lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'],
  types: [],
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  allowImportingTsExtensions: true,
  noEmit: true,
  strict: true,
  skipLibCheck: true,
}

describe('the client in a browser', () => {
  let program: ts.Program
  let files: readonly string[]

  beforeAll(() => {
    program = ts.createProgram([`${root}src/client/client.ts`], OPTIONS)
    files = program.getSourceFiles().map(({ fileName }) => fileName.replace(root, ''))
  }, 120_000)

  it('needs nothing that only Node has', () => {
    const faults = ts
      .getPreEmitDiagnostics(program)
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))

    expect(faults).toEqual([])
    expect(files.filter((file) => file.startsWith('node_modules/@types/node/'))).toEqual([])
  })

  it('brings no file of the server along', () => {
    const ours = files.filter((file) => file.startsWith('src/'))

    expect(ours.filter((file) => !file.startsWith('src/client/'))).toEqual([])
    expect(ours).toContain('src/client/apollo-link.ts')
  })
})
