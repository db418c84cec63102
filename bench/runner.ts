import type { ContestantSpec } from './contestants.ts'
import type { ContestantCommand, Stats } from './contestants/serve.ts'
import type { Job, JobResult, LoadCommand, Plan, Race, RaceResult } from './load/plan.ts'
import { Child } from './processes.ts'
import type { Environment } from './processes.ts'
import type { Scope } from './scope.ts'
import { createCredentials } from './tokens.ts'
import type { Credential, Credentials } from './tokens.ts'

/** A contestant that runs. */
export class Runner {
  readonly spec: ContestantSpec
  readonly port: number
  readonly credentials: Credentials
  readonly #child: Child

  constructor(spec: ContestantSpec, child: Child, port: number) {
    this.spec = spec
    this.port = port
    this.credentials = createCredentials(spec.credentials)
    this.#child = child
  }

  async revoke({ text }: Credential): Promise<void> {
    await this.ask({ kind: 'revoke', credential: text })
  }

  async stats(): Promise<Stats> {
    return this.ask({ kind: 'stats' })
  }

  async ask<Answer>(command: ContestantCommand, limitMs?: number): Promise<Answer> {
    return this.#child.ask<Answer>(command, limitMs)
  }

  async stop(): Promise<void> {
    await this.#child.stop()
  }
}

/** Starts a contestant; it ends with the scope. */
export async function startContestant(
  scope: Scope,
  spec: ContestantSpec,
  env: Environment,
): Promise<Runner> {
  const child = new Child(spec.name, spec.file, { ...spec.env, ...env })
  scope.defer(() => child.stop())
  return new Runner(spec, child, await child.port())
}

/** What one job measured, the server's share of the CPU with it. */
export interface Sample extends JobResult {
  /** CPU seconds of the server's process for a second of the clock. */
  readonly serverCpu: number
}

/** How long a job may take beyond its own time, in milliseconds. */
const GRACE_MS = 20_000

/** The process that makes the load. */
export class Load {
  readonly #child: Child
  readonly #plans = new Map<Plan, Promise<number>>()

  private constructor(child: Child) {
    this.#child = child
  }

  static start(scope: Scope): Load {
    const child = new Child('load', './load/main.ts')
    scope.defer(() => child.stop())
    return new Load(child)
  }

  /** A closed loop against a runner. */
  async run(runner: Runner, plan: Plan, job: Omit<Job, 'plan' | 'port'>): Promise<Sample> {
    const before = await runner.stats()
    const startedAt = performance.now()
    const result = await this.runAt(runner.port, plan, job)
    const elapsedMs = performance.now() - startedAt
    const { cpu } = await runner.stats()
    return { ...result, serverCpu: (cpu - before.cpu) / 1000 / elapsedMs }
  }

  /** A closed loop against whatever listens at a port. */
  async runAt(port: number, plan: Plan, job: Omit<Job, 'plan' | 'port'>): Promise<JobResult> {
    const command = {
      kind: 'run',
      job: { ...job, port, plan: await this.#register(plan) },
    } as const
    return this.#ask<JobResult>(command, job.warmUpMs + job.durationMs + GRACE_MS)
  }

  /** Ends the loop under way, which then gives its result. */
  async stopLoop(): Promise<void> {
    await this.#ask({ kind: 'stop' }, GRACE_MS)
  }

  async race(race: Race): Promise<RaceResult> {
    return this.#ask<RaceResult>({ kind: 'race', race }, 300_000)
  }

  async #register(plan: Plan): Promise<number> {
    const known = this.#plans.get(plan)
    if (known) return known
    const registered = this.#ask<number>({ kind: 'plan', plan }, GRACE_MS)
    this.#plans.set(plan, registered)
    return registered
  }

  #ask<Answer>(command: LoadCommand, limitMs: number): Promise<Answer> {
    return this.#child.ask<Answer>(command, limitMs)
  }
}
