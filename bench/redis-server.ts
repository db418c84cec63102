import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from 'redis'
import type { Scope } from './scope.ts'

/** A Redis server, and the prefix of all that is ours in it. */
export interface Redis {
  readonly url: string
  readonly prefix: string
  readonly version: string
}

const START_LIMIT_MS = 5000

/**
 * REDIS_URL, or what answers at the usual place, or a server of our own.
 *
 * @throws `Error` that says why there is none.
 */
export async function openRedis(scope: Scope): Promise<Redis> {
  const url = process.env.REDIS_URL ?? 'redis://127.0.0.1:6379'
  const version = await readVersion(url)
  if (version !== null) return useRedis(scope, url, version)
  if (process.env.REDIS_URL !== undefined) throw new Error('no Redis answers at REDIS_URL')
  return startRedis(scope)
}

function useRedis(scope: Scope, url: string, version: string): Redis {
  const prefix = `portcullis-bench:${process.pid}:`
  scope.defer(() => removeKeys(url, prefix))
  return { url, prefix, version }
}

async function startRedis(scope: Scope): Promise<Redis> {
  const port = await findFreePort()
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
  const server = spawn('redis-server', args, { stdio: 'ignore' })
  const failed = once(server, 'error').then(([error]) => error as Error)
  scope.defer(() => void server.kill())

  const url = `redis://127.0.0.1:${port}`
  const deadline = Date.now() + START_LIMIT_MS
  while (Date.now() < deadline) {
    const outcome = await Promise.race([failed, sleep(100)])
    if (outcome instanceof Error) break
    const version = await readVersion(url)
    if (version !== null) return { url, prefix: 'portcullis-bench:', version }
  }
  throw new Error('no Redis answers at 127.0.0.1:6379, and redis-server could not be started')
}

/** `null` when nothing answers. */
async function readVersion(url: string): Promise<string | null> {
  return withClient(url, async (client) => {
    const info = await client.info('server')
    return /redis_version:(\S+)/.exec(info)?.[1] ?? 'unknown'
  }).catch(() => null)
}

/** Ours only, in steps, whatever else the server holds. */
async function removeKeys(url: string, prefix: string): Promise<void> {
  await withClient(url, async (client) => {
    for await (const keys of client.scanIterator({ MATCH: `${prefix}*`, COUNT: 1000 })) {
      if (keys.length > 0) await client.del(keys)
    }
  })
}

type Client = ReturnType<typeof createClient>

async function withClient<Result>(
  url: string,
  work: (client: Client) => Promise<Result>,
): Promise<Result> {
  const client = createClient({
    url,
    socket: { connectTimeout: 1000, reconnectStrategy: false },
  }) as Client
  client.on('error', () => undefined)
  try {
    await client.connect()
    return await work(client)
  } finally {
    client.destroy()
  }
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
