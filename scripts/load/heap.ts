import { once } from 'node:events'
import { WebSocket } from 'ws'

/** What a process, started with `--inspect`, has on its heap. */
export class Heap {
  readonly #socket: WebSocket

  static async of(log: string): Promise<Heap> {
    const [, url] = /Debugger listening on (ws:\S+)/.exec(log) ?? []
    if (url === undefined) throw new Error('no inspector in what the node printed')
    const socket = new WebSocket(url)
    await once(socket, 'open')
    return new Heap(socket)
  }

  private constructor(socket: WebSocket) {
    this.#socket = socket
  }

  /** In MB, garbage that was not yet collected included. */
  async read(): Promise<number> {
    this.#socket.send(JSON.stringify({ id: 1, method: 'Runtime.getHeapUsage' }))
    for (;;) {
      const [data] = (await once(this.#socket, 'message')) as [Buffer]
      const { id, result } = JSON.parse(data.toString()) as Reply
      if (id === 1) return result.usedSize / 1e6
    }
  }

  close(): void {
    this.#socket.close()
  }
}

interface Reply {
  readonly id?: number
  readonly result: { readonly usedSize: number }
}
