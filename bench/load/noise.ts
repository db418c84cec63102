import { Caller } from './caller.ts'

/** Mutations in a closed loop, so that the journal grows fast; each is sent once. */
export class Noise {
  readonly #requests: Uint8Array[]
  #running: Promise<unknown> = Promise.resolve()
  #isStopping = false
  answers = 0

  private constructor(requests: readonly Uint8Array[]) {
    this.#requests = [...requests]
  }

  static start(
    ports: readonly number[],
    requests: readonly Uint8Array[],
    connections: number,
  ): Noise {
    const noise = new Noise(requests)
    noise.#running = Promise.all(
      Array.from({ length: connections }, (_, index) =>
        noise.#run(ports[index % ports.length] as number),
      ),
    )
    // Whoever stops it hears of it.
    noise.#running.catch(() => undefined)
    return noise
  }

  /** @throws `Error` when an answer was wrong, or when there were not enough requests. */
  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#running
  }

  async #run(port: number): Promise<void> {
    const caller = new Caller(port)
    while (!this.#isStopping) {
      const request = this.#requests.pop()
      if (!request) throw new Error('the noise ended too early')
      await caller.ask(request, (status) => status === 200)
      this.answers += 1
    }
    caller.close()
  }
}
