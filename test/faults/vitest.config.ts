import { defineConfig } from 'vitest/config'

const reportFile = process.env['PORTCULLIS_TEST_REPORT']

/** These keep the machine busy for a minute or two: what others measure meanwhile would be that. */
const EVENT_LOOP = 'test/faults/event-loop.fault.ts'
/** And these measure how soon a node recovers, which a machine that is busy with others delays. */
const BUSY_DATABASE = 'test/faults/busy-database.fault.ts'
const SIZE = 'test/faults/size.fault.ts'
const SESSIONS = 'test/faults/many-sessions.fault.ts'

/** The faults take minutes and processors: they are not part of `npm test`. */
export default defineConfig({
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: 'faults',
          include: ['test/faults/*.fault.ts'],
          exclude: [BUSY_DATABASE, EVENT_LOOP, SIZE, SESSIONS],
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: { name: 'size', include: [SIZE], sequence: { groupOrder: 1 } },
      },
      {
        extends: true,
        test: { name: 'sessions', include: [SESSIONS], sequence: { groupOrder: 2 } },
      },
      {
        extends: true,
        test: { name: 'event loop', include: [EVENT_LOOP], sequence: { groupOrder: 3 } },
      },
      {
        extends: true,
        test: { name: 'busy database', include: [BUSY_DATABASE], sequence: { groupOrder: 4 } },
      },
    ],
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
