import { createClient } from 'redis'
import { requireSetting } from './serve.ts'

/** The denylist of a peer that keeps it in Redis. */
export interface Denylist {
  has(tokenId: string): Promise<boolean>
  add(tokenId: string): Promise<void>
}

const DAY_SECONDS = 24 * 60 * 60

/**
 * Commands of one turn of the event loop go out together by themselves.
 *
 * @see {@link https://github.com/redis/node-redis#auto-pipelining}
 */
export async function connectDenylist(): Promise<Denylist> {
  const redis = createClient({ url: requireSetting('REDIS_URL') })
  redis.on('error', () => undefined)
  await redis.connect()
  const prefix = requireSetting('REDIS_PREFIX')

  return {
    has: async (tokenId) => (await redis.exists(prefix + tokenId)) === 1,
    add: async (tokenId) => {
      await redis.set(prefix + tokenId, '1', { expiration: { type: 'EX', value: DAY_SECONDS } })
    },
  }
}
