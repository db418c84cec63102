/** The process that holds sockets open. What it measures begins and ends here, by one clock. */
import { serveCommands } from '../ipc.ts'
import { raceEvents } from './event-race.ts'
import { Holder } from './holder.ts'
import type { LiveCommand } from './live-plan.ts'
import { Noise } from './noise.ts'
import { stick } from './stuck.ts'

const NOISE_CONNECTIONS = 8

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
    case 'cpu': {
      const { user, system } = process.cpuUsage()
      return (user + system) / 1000
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
