import { makeExecutableSchema } from '@graphql-tools/schema'
import type { GraphQLSchema } from 'graphql'
import { MemoryRevocationStore, createKeyRing, createPortcullis } from '../../src/index.ts'
import type { Portcullis } from '../../src/index.ts'
import { SECRET } from '../support/service.ts'

/** A team's API with subscriptions, for a server of whatever make. */
export interface TickingApi {
  readonly portcullis: Portcullis
  readonly schema: GraphQLSchema
  /** Sends an event to all that are subscribed. */
  tick(): void
  /** How many sources of events are open. */
  sources(): number
  /** How many of them wait for the next event. */
  waiting(): number
  signIn(): Promise<{ readonly token: string; revoke(): Promise<void> }>
}

const typeDefs = `
  type Query { greeting: String! @public secret: String @auth }
  type Tick { number: Int! @public secret: String @auth }
  type Subscription { open: Tick! @public guarded: Tick! @auth }`

export function createTickingApi(): TickingApi {
  const portcullis = createPortcullis({
    keys: createKeyRing({ signWith: SECRET }),
    issuer: 'https://ticks.example',
    audience: 'ticks',
    store: new MemoryRevocationStore(),
  })
  const waiting = new Set<() => void>()
  let sources = 0

  const source = (name: string): object => ({
    async *subscribe() {
      sources += 1
      try {
        for (let number = 1; ; number++) {
          await new Promise<void>((resolve) => {
            waiting.add(resolve)
          })
          yield { [name]: { number, secret: 'for Ada' } }
        }
      } finally {
        sources -= 1
      }
    },
  })
  const schema = portcullis.protect(
    makeExecutableSchema({
      typeDefs: [...portcullis.typeDefs, portcullis.live.typeDefs, typeDefs],
      resolvers: [
        portcullis.resolvers,
        portcullis.live.resolvers,
        {
          Query: { greeting: () => 'Hello', secret: () => 'for Ada' },
          Subscription: { open: source('open'), guarded: source('guarded') },
        },
      ],
    }),
  )

  return {
    portcullis,
    schema,
    sources: () => sources,
    waiting: () => waiting.size,
    tick() {
      const due = [...waiting]
      waiting.clear()
      for (const wake of due) wake()
    },
    async signIn() {
      const { text, sessionId } = await portcullis.issue({ subject: 'ada' })
      const target = { scope: 'SESSION', sessionId, subject: 'ada' } as const
      return {
        token: text,
        async revoke() {
          await portcullis.revocations.revoke({ target, reason: 'lost', by: null })
        },
      }
    },
  }
}
