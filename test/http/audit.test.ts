import { ApolloServer } from '@apollo/server'
import { startStandaloneServer } from '@apollo/server/standalone'
import { serverAudits } from 'graphql-http'
import type { Audit } from 'graphql-http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

type Level = 'MUST' | 'SHOULD' | 'MAY'

let service: TestService
let apollo: ApolloServer
let apolloUrl: string

beforeAll(async () => {
  service = await startService()
  apollo = new ApolloServer({ typeDefs: 'type Query { any: Int }' })
  apolloUrl = (await startStandaloneServer(apollo, { listen: { port: 0 } })).url
})

afterAll(async () => {
  await apollo.stop()
  await service.stop()
})

/** The suite that graphql-http offers to every server. */
const ours = serverAudits({ url: () => `${service.url}/graphql` })

function levelOf({ name }: Audit): Level {
  return name.slice(0, name.indexOf(' ')) as Level
}

async function countPassed(audits: readonly Audit[]): Promise<Record<Level, number>> {
  const passed = { MUST: 0, SHOULD: 0, MAY: 0 }
  for (const audit of audits) {
    const { status } = await audit.fn()
    if (status === 'ok') passed[levelOf(audit)] += 1
  }
  return passed
}

// Q41
describe('GraphQL over HTTP', () => {
  it.each(
    ours.filter((audit) => levelOf(audit) === 'MUST').map((audit) => [audit.name, audit] as const),
  )('%s', async (_name, audit) => {
    expect(await audit.fn()).toMatchObject({ status: 'ok' })
  })

  it('follows as much of the advice as plain Apollo Server does', async () => {
    const baseline = await countPassed(serverAudits({ url: apolloUrl }))

    const passed = await countPassed(ours)

    expect(passed.MUST).toBe(ours.filter((audit) => levelOf(audit) === 'MUST').length)
    expect(passed.SHOULD).toBeGreaterThanOrEqual(baseline.SHOULD)
    expect(passed.MAY).toBeGreaterThanOrEqual(baseline.MAY)
  })
})
