import { defineConfig } from 'vitest/config'

const reportFile = process.env['PORTCULLIS_TEST_REPORT']

/** The faults take minutes and processors: they are not part of `npm test`. */
export default defineConfig({
  test: {
    include: ['test/faults/*.fault.ts'],
    environment: 'node',
    pool: 'forks',
    maxWorkers: 2,
    // Both check modes of one fault side by side: most of it is waiting.
    maxConcurrency: 2,
    hookTimeout: 60_000,
    reporters: reportFile === undefined ? ['verbose'] : ['default', 'json'],
    ...(reportFile === undefined ? {} : { outputFile: { json: reportFile } }),
  },
})
