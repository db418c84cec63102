import { Cluster } from '../../test/faults/support/cluster.ts'
import { Node } from '../../test/faults/support/node.ts'
import type { Check } from '../../test/faults/support/node.ts'
import { Client } from './client.ts'

/** Two nodes of the built service, on a PostgreSQL of their own. */
export interface Pair {
  readonly cluster: Cluster
  readonly databaseUrl: string
  readonly nodes: readonly [Node, Node]
  readonly clients: readonly [Client, Client]
  stop(): Promise<void>
}

export async function startPair(
  check: Check,
  env: Readonly<Record<string, string>> = {},
): Promise<Pair> {
  const cluster = await Cluster.create()
  try {
    const { url: databaseUrl } = await cluster.createDatabase()
    const start = async (): Promise<Node> => Node.start({ databaseUrl, check, env })
    const nodes = [await start(), await start()] as const
    const clients = [new Client(nodes[0].url), new Client(nodes[1].url)] as const
    return {
      cluster,
      databaseUrl,
      nodes,
      clients,
      async stop() {
        for (const client of clients) client.close()
        await Promise.all(nodes.map((node) => node.stop()))
        await cluster.remove()
      },
    }
  } catch (error) {
    await cluster.remove()
    throw error
  }
}
