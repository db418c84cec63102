import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { StartError } from '../../lib/start-error.ts'

/** Where a node listens. */
export interface ListenAddress {
  readonly host: string
  /** 0: a free one. */
  readonly port: number
}

/**
 * Listens for a moment, before anything else is begun.
 *
 * @throws {@link StartError} that names what is at fault.
 */
export async function assertCanListen({ host, port }: ListenAddress): Promise<void> {
  const server = createServer().listen({ host, port })
  try {
    await once(server, 'listening')
  } catch (error) {
    throw new StartError(describe(error as NodeJS.ErrnoException, host, port))
  }
  server.close()
  await once(server, 'close')
}

/**
 * @returns The URL, as a person on this machine would type it.
 * @throws {@link StartError} that names what is at fault.
 */
export async function listen(app: FastifyInstance, { host, port }: ListenAddress): Promise<string> {
  try {
    await app.listen({ host, port })
  } catch (error) {
    await app.close()
    throw new StartError(describe(error as NodeJS.ErrnoException, host, port))
  }

  const address = app.server.address() as AddressInfo
  const name = address.family === 'IPv6' ? `[${address.address}]` : address.address
  const isAnyOrLocal = ['127.0.0.1', '0.0.0.0', '[::]', '[::1]'].includes(name)
  return `http://${isAnyOrLocal ? 'localhost' : name}:${address.port}`
}

function describe(error: NodeJS.ErrnoException, host: string, port: number): string {
  const { code, message } = error
  switch (code) {
    case 'EADDRINUSE':
      return `Port ${port} on ${host} is in use; stop what listens there, or set PORT (PORT=0 picks a free one)`
    case 'EACCES':
      return `Port ${port} on ${host} needs more rights; set PORT to one above 1023`
    case 'EADDRNOTAVAIL':
      return `HOST is ${host}, which is no address of this machine; set it to one that is (0.0.0.0: all)`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `HOST is ${host}, which has no address (${code}); set it to an address of this machine (0.0.0.0: all)`
    case undefined:
    default:
      return `Cannot listen on HOST ${host}, PORT ${port}: ${message}`
  }
}
