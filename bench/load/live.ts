/** The process that holds sockets open. What it measures begins and ends here, by one clock. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { serveCommands } from '../ipc.ts'
import { raceEvents } from './event-race.ts'
import { Holder } from './holder.ts'
import type { LiveCommand } from './live-plan.ts'
import { Noise } from './noise.ts'
import { stick } from './stuck.ts'

const NOISE_CONNECTIONS = 8

const delays = monitorEventLoopDelay({ resolution: 5 })
delays.enable()

const holder = new Holder()
let noise: Noise | null = null

serveCommands<LiveCommand>(async (command) => {
  switch (command.kind) {
    case 'open':
      return holder.open(command.opening)
    case 'cut':
      return holder.cut(command.cut)
    case 'raceEvents':
      return raceEvents(command.race)
    case 'count':
      return holder.size
    case 'describeLost':
      return holder.describeLost()
    case 'watchLoop':
      return delays.reset()
    case 'stats': {
      const { user, system } = process.cpuUsage()
      return { cpuMs: (user + system) / 1000, longestBlockMs: delays.max / 1e6 }
    }
    case 'close':
      return holder.closeAll()
    case 'stick':
      return stick(command.party)
    case 'makeNoise':
      noise = Noise.start([command.port], command.requests, NOISE_CONNECTIONS)
      return null
    case 'stopNoise':
      return noise?.stop()
  }
})
