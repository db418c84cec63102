import { fstatSync, writeSync } from 'node:fs'
import type { Writable } from 'node:stream'

/** Where lines go for people and machines that may not be there: no answer must depend on them. */
export interface LineOutput {
  /** Writes whole lines, or drops and counts them; it never throws and never waits. */
  write(lines: string): void
  /** Writes whole lines, and tells whether they got there; within a second. */
  show(lines: string): Promise<boolean>
  /** How many lines were dropped, because the disk is full, say, or nothing reads. */
  readonly dropped: number
}

/** What may wait for a reader, in bytes; beyond it lines are dropped. */
const MAX_WAITING_BYTES = 256 * 1024

/** How long lines that are to be shown may wait for a reader, in milliseconds. */
const MAX_SHOW_MS = 1000

/** Standard output (1) or standard error (2) of this process. */
export function openLineOutput(descriptor: 1 | 2): LineOutput {
  if (!isPipe(descriptor)) return new FileOutput(descriptor)
  return new PipeOutput(descriptor === 1 ? process.stdout : process.stderr)
}

/** Whether writing may wait for a reader. */
function isPipe(descriptor: number): boolean {
  try {
    const stats = fstatSync(descriptor)
    return stats.isFIFO() || stats.isSocket()
  } catch {
    return false
  }
}

/** A file, a device or a terminal. */
class FileOutput implements LineOutput {
  readonly #descriptor: number
  /** A line was cut off when the disk was full: the next one must not go on with it. */
  #isLineOpen = false
  dropped = 0

  constructor(descriptor: number) {
    this.#descriptor = descriptor
  }

  write(lines: string): void {
    if (!this.#isWritten(lines)) this.dropped += countLines(lines)
  }

  async show(lines: string): Promise<boolean> {
    return this.#isWritten(lines)
  }

  #isWritten(lines: string): boolean {
    let rest = Buffer.from(this.#isLineOpen ? `\n${lines}` : lines)
    try {
      while (rest.length > 0) {
        rest = rest.subarray(writeSync(this.#descriptor, rest))
        this.#isLineOpen = rest.length > 0
      }
      return true
    } catch {
      return false
    }
  }
}

/** A pipe or a socket. Node writes to them without waiting, and keeps what does not fit. */
class PipeOutput implements LineOutput {
  readonly #stream: Writable
  dropped = 0

  constructor(stream: Writable) {
    this.#stream = stream
    // Each write hears of its own.
    stream.on('error', () => undefined)
  }

  write(lines: string): void {
    this.#send(lines, () => undefined)
  }

  async show(lines: string): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), MAX_SHOW_MS)
      this.#send(lines, (isWritten) => {
        clearTimeout(timer)
        resolve(isWritten)
      })
    })
  }

  #send(lines: string, tell: (isWritten: boolean) => void): void {
    if (this.#stream.writableLength > MAX_WAITING_BYTES) {
      this.dropped += countLines(lines)
      tell(false)
      return
    }
    this.#stream.write(lines, (error) => {
      if (error) this.dropped += countLines(lines)
      tell(!error)
    })
  }
}

function countLines(lines: string): number {
  return lines.trimEnd().split('\n').length
}
