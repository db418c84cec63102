/** The real service, accounts and sessions and all, as `npm start` runs it; its log goes nowhere. */
import { devNull } from 'node:os'
import { destination, pino } from 'pino'
import { startService } from '../../dist/src/service.js'
import { readSettings } from '../../dist/src/settings.js'
import { present, requireSetting } from './serve.ts'

await present(async () => {
  const settings = readSettings(process.env)
  const log = pino({ level: settings.logLevel }, destination(devNull))

  return {
    listen: async () => {
      const { url } = await startService(
        {
          ...settings,
          databaseUrl: requireSetting('DATABASE_URL'),
          signWith: requireSetting('JWT_SECRET'),
        },
        log,
      )
      return Number(new URL(url).port)
    },
    revoke: async () => {
      throw new Error('revocations of the service go through its API')
    },
  }
})
