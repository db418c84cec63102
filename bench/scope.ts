type Undo = () => Promise<unknown> | void

/** Whatever was started, to be stopped: the last first, all of it even if some will not stop. */
export class Scope {
  readonly #undos: Undo[] = []
  #closing: Promise<void> | undefined

  defer(undo: Undo): void {
    this.#undos.push(undo)
  }

  /** Idempotent; failures are reported and do not hold up the rest. */
  close(): Promise<void> {
    this.#closing ??= this.#undoAll()
    return this.#closing
  }

  async #undoAll(): Promise<void> {
    for (let undo = this.#undos.pop(); undo; undo = this.#undos.pop()) {
      try {
        await undo()
      } catch (error) {
        process.stderr.write(`clean-up: ${(error as Error).message}\n`)
      }
    }
  }
}

const openScopes = new Set<Scope>()
let isStopping = false

/** Runs work in a scope of its own. */
export async function withScope<Result>(work: (scope: Scope) => Promise<Result>): Promise<Result> {
  if (isStopping) throw new Error('the benchmark is stopping')
  const scope = new Scope()
  openScopes.add(scope)
  try {
    return await work(scope)
  } finally {
    await scope.close()
    openScopes.delete(scope)
  }
}

/** From now on nothing new is begun. */
export function refuseScopes(): void {
  isStopping = true
}

/** For the end of the process: the innermost first. */
export async function closeAllScopes(): Promise<void> {
  for (const scope of [...openScopes].toReversed()) await scope.close()
}
