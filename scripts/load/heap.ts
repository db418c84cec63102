import { once } from 'node:events'
import { WebSocket } from 'ws'

/** Has a process, started with `--inspect`, collect its garbage, and reads what is left. */
export async function readHeap(log: string): Promise<number> {
  const [, url] = /Debugger listening on (ws:\S+)/.exec(log) ?? []
  if (url === undefined) throw new Error('no inspector in what the node printed')
  const socket = new WebSocket(url)
  await once(socket, 'open')
  try {
    await call(socket, 'HeapProfiler.collectGarbage')
    const { usedSize } = await call(socket, 'Runtime.getHeapUsage')
    return (usedSize ?? NaN) / 1e6
  } finally {
    socket.close()
  }
}

interface Reply {
  readonly id?: number
  readonly result: { usedSize?: number }
}

async function call(socket: WebSocket, method: string): Promise<{ usedSize?: number }> {
  socket.send(JSON.stringify({ id: 1, method }))
  for (;;) {
    const [data] = (await once(socket, 'message')) as [Buffer]
    const { id, result } = JSON.parse(data.toString()) as Reply
    if (id === 1) return result
  }
}
