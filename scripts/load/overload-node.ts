/** A node whose requests are refused, or never, as `MAX_UNDER_WAY` says: no setting of the service turns that off. */
import { pino } from 'pino'
import { startService } from '../../src/service/service.ts'
import { readSettings } from '../../src/service/settings.ts'

const settings = readSettings(process.env)
const { databaseUrl, signWith } = settings
if (databaseUrl === null || signWith === null) throw new TypeError('expected all settings')
const { url } = await startService(
  { ...settings, databaseUrl, signWith, maxUnderWay: Number(process.env['MAX_UNDER_WAY']) },
  pino({ level: settings.logLevel }),
)
process.send?.({ url })
