import { setTimeout as sleep } from 'node:timers/promises'
import { makeExecutableSchema } from '@graphql-tools/schema'
import { parse, subscribe } from 'graphql'
import type { ExecutionResult, GraphQLSchema } from 'graphql'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MemoryRevocationStore, createKeyRing, createPortcullis } from '../../src/index.ts'
import type { Portcullis, Token } from '../../src/index.ts'
import { LiveOperation } from '../../src/live/live-connection.ts'
import type { Transport } from '../../src/live/live-connection.ts'
import { until } from '../support/live.ts'
import { SECRET } from '../support/service.ts'

const uncaught: unknown[] = []
const warnings: string[] = []
const takeUncaught = (error: unknown): void => void uncaught.push(error)
const takeWarning = ({ name, message }: Error): void => void warnings.push(`${name}: ${message}`)

const WARNING = 'PortcullisWarning: Portcullis called something that failed, and goes on'

beforeEach(() => {
  uncaught.length = 0
  warnings.length = 0
  process.on('uncaughtExceptionMonitor', takeUncaught)
  process.on('warning', takeWarning)
})

afterEach(() => {
  expect(uncaught).toEqual([])
  process.off('uncaughtExceptionMonitor', takeUncaught)
  process.off('warning', takeWarning)
})

function fail(): never {
  throw new Error('of somebody else')
}

function create(options: object = {}): Portcullis {
  return createPortcullis({
    keys: createKeyRing({ signWith: SECRET }),
    issuer: 'https://ticks.example',
    audience: 'ticks',
    store: new MemoryRevocationStore(),
    ...options,
  })
}

async function issue(
  portcullis: Portcullis,
  subject: string,
): Promise<{ token: Token; text: string; revoke(): Promise<unknown> }> {
  const { text } = await portcullis.issue({ subject })
  const target = { scope: 'SUBJECT', subject } as const
  return {
    text,
    token: portcullis.tokens.verify(text),
    revoke: async () => portcullis.revocations.revoke({ target, reason: 'lost', by: null }),
  }
}

describe('what others wrote may fail', () => {
  it('in a transport, a log or a count, and the connections end one after the other all the same', async () => {
    const portcullis = create({ log: fail, onCut: fail })
    const { connections } = portcullis.live
    const ended: string[] = []

    async function open(
      subject: string,
      transport: Partial<Transport> = {},
    ): Promise<() => Promise<unknown>> {
      const { token, revoke } = await issue(portcullis, subject)
      const connection = connections.open({
        kind: 'WEBSOCKET',
        ipAddress: null,
        userAgent: null,
        transport: {
          announceExpiry: fail,
          end: () => void ended.push(subject),
          ...transport,
        },
      })
      connection.operations.add(new LiveOperation(() => true))
      connections.admit(connection, token)
      return revoke
    }

    const revokeAda = await open('ada', { end: fail })
    const revokeGrace = await open('grace')
    await revokeAda()
    await sleep(20)
    await revokeGrace()

    await until(() => ended.length === 1, 'the end of the other one')
    expect(ended).toEqual(['grace'])
    expect(warnings).toContain(WARNING)
  })

  it('at the end of a source of events, for which servers do not wait', async () => {
    const portcullis = create()
    const schema = createSchema(portcullis, {
      next: async () => ({ done: false, value: { ticks: 1 } }),
      return: async () => fail(),
    })
    const { text, revoke } = await issue(portcullis, 'ada')
    const contextValue = portcullis.context({ authorization: `Bearer ${text}` })
    const document = parse('subscription { ticks }')
    const events = (await subscribe({
      schema,
      document,
      contextValue,
    })) as AsyncGenerator<ExecutionResult>

    expect((await events.next()).value.data).toEqual({ ticks: 1 })
    await revoke()
    expect((await events.next()).value.errors).toHaveLength(1)
    expect(await events.next()).toEqual({ done: true, value: undefined })
    await expect(events.return(undefined)).resolves.toMatchObject({ done: true })
    await until(() => warnings.includes(WARNING), 'the warning')
  })
})

function createSchema(portcullis: Portcullis, source: object): GraphQLSchema {
  const ticks = { subscribe: () => ({ [Symbol.asyncIterator]: () => source }) }
  return portcullis.protect(
    makeExecutableSchema({
      typeDefs: [...portcullis.typeDefs, 'type Subscription { ticks: Int @auth }'],
      resolvers: [portcullis.resolvers, { Subscription: { ticks } }],
    }),
  )
}
