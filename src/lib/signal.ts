/** Something to wait for that may happen before, between or during two waits. */
export class Signal {
  #isSent = false
  #wake: () => void = () => undefined

  send(): void {
    this.#isSent = true
    this.#wake()
  }

  /** Fulfilled when it was sent since the last wait, or when the time is over. */
  async wait(maxMs: number): Promise<void> {
    if (!this.#isSent) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, maxMs)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    this.#isSent = false
  }
}
