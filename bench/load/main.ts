/** The process that makes the load. It is told what to do by the harness, one thing at a time. */
import { serveCommands } from '../ipc.ts'
import { startLoop } from './loop.ts'
import type { Loop } from './loop.ts'
import type { LoadCommand, Plan } from './plan.ts'
import { runRace } from './race.ts'

const plans: Plan[] = []
let loop: Loop | null = null

serveCommands<LoadCommand>(async (command) => {
  switch (command.kind) {
    case 'plan':
      return plans.push(command.plan) - 1
    case 'run':
      loop = startLoop(command.job, plans[command.job.plan]!)
      return loop.result
    case 'stop':
      loop?.stop()
      return null
    case 'race':
      return runRace(command.race)
  }
})
