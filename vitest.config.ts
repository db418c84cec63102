import { createRequire } from 'node:module'
import { defineConfig } from 'vitest/config'

const { resolve } = createRequire(import.meta.url)

/** Where `.ci/run` finds what passed and what failed; not set for people. */
const reportFile = process.env['PORTCULLIS_TEST_REPORT']

export default defineConfig({
  // Vite would take the package's ES module where Node takes its CommonJS one, and two copies of graphql know
  // nothing of each other.
  resolve: { alias: [{ find: /^graphql$/, replacement: resolve('graphql') }] },
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: 'database',
          include: ['test/**/*.test.ts', 'examples/**/*.test.ts'],
          provide: { revocationCheck: 'database' },
        },
      },
      {
        extends: true,
        // Whatever speaks of revocation, again on nodes that check in their own memory.
        test: {
          name: 'replica',
          include: [
            'test/story.test.ts',
            'test/graphql/{acts,errors}.test.ts',
            'test/live/*.test.ts',
            'test/model/*.test.ts',
            'test/revocation/postgres-store.test.ts',
            'test/session/sessions.test.ts',
          ],
          provide: { revocationCheck: 'replica' },
        },
      },
    ],
    environment: 'node',
    // One PostgreSQL for the run: a file gets a copy of its template database.
    globalSetup: ['test/support/global-setup.ts'],
    // Processes, not threads: some tests end theirs, change its environment or wait for signals.
    pool: 'forks',
    // Loading TypeORM and Apollo Server anew for each file would take longer than the tests.
    isolate: false,
    maxWorkers: 2,
    testTimeout: 20_000,
    hookTimeout: 30_000,
    reporters: reportFile === undefined ? ['default'] : ['default', 'json'],
    ...(reportFile === undefined ? {} : { outputFile: { json: reportFile } }),
  },
})
