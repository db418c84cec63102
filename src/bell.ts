/** Something to wait for that may happen before, between or during two waits. */
export class Bell {
  #isRung = false
  #wake: () => void = () => undefined

  ring(): void {
    this.#isRung = true
    this.#wake()
  }

  /** Fulfilled when it was rung since the last wait, or when the time is over. */
  async wait(maxMs: number): Promise<void> {
    if (!this.#isRung) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, maxMs)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    this.#isRung = false
  }
}
