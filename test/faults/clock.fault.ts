import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect } from 'vitest'
import { claimsOf, login, register } from '../support/people.ts'
import { FAKETIME, LIBFAKETIME, fault } from './support/fault.ts'
import { STALENESS_MS } from './support/node.ts'
import type { Check } from './support/node.ts'

/** Only what tells the time of day is false; the time that passes is right, as it is when a clock is set. */
const FALSE_CLOCK = { LD_PRELOAD: FAKETIME, DONT_FAKE_MONOTONIC: '1' }

const folder = mkdtempSync(join(tmpdir(), 'portcullis-clock-'))
const clockFileOf = (check: Check): string => join(folder, check)

afterAll(() => rmSync(folder, { recursive: true }))

// Q28
describe('F10: clocks are wrong', () => {
  fault(
    'one node is two minutes ahead, the other two minutes behind',
    async ({ pair }) => {
      await register(pair.node(0), 'bob')
      await pair.survives(async () => {
        for (const [ahead, behind] of [
          [0, 1],
          [1, 0],
        ] as const) {
          const phone = await login(pair.node(ahead), 'bob', 'phone')
          expect(Math.abs(claimsOf(phone.accessToken)['iat'] - Date.now() / 1000)).toBeLessThan(10)
          expect(await pair.whoAmI(behind, phone.accessToken)).toBe('ACCEPTED')

          const all = `mutation { logoutAllDevices { endedSessions } }`
          expect(await pair.ask(behind, all, phone.accessToken)).toBe('ACCEPTED')
          const laptop = await login(pair.node(ahead), 'bob', 'laptop')
          if (pair.check === 'replica') await sleep(STALENESS_MS)
          for (const node of [0, 1]) {
            expect(await pair.whoAmI(node, phone.accessToken)).toBe('TOKEN_REVOKED')
            expect(await pair.whoAmI(node, laptop.accessToken)).toBe('ACCEPTED')
          }
        }
      })
    },
    {
      needs: LIBFAKETIME,
      envs: [
        { ...FALSE_CLOCK, FAKETIME: '+120s', SWEEP_INTERVAL: '1' },
        { ...FALSE_CLOCK, FAKETIME: '-120s', SWEEP_INTERVAL: '1' },
      ],
    },
  )

  fault(
    'the clocks of both nodes jump forward, back, and are right again',
    async ({ pair }) => {
      await pair.survives(async (watch) => {
        const since = performance.now()
        for (const offset of ['+120s', '-120s', '+0s']) {
          writeFileSync(clockFileOf(pair.check), offset)
          await sleep(2500)
        }
        for (const node of [0, 1]) {
          expect(watch.serves(node, since)).toBe(true)
        }
      })
    },
    {
      needs: LIBFAKETIME,
      env: (check) => ({
        ...FALSE_CLOCK,
        FAKETIME_TIMESTAMP_FILE: clockFileOf(check),
        FAKETIME_CACHE_DURATION: '1',
        SWEEP_INTERVAL: '1',
      }),
    },
  )
})
