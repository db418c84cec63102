import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { createKeyRing } from '../../../src/token/keys.ts'
import { createTokenSigner } from '../../../src/token/signer.ts'
import type { SignedToken } from '../../../src/token/signer.ts'
import { login, register } from '../../support/people.ts'
import type { SignIn } from '../../support/people.ts'
import { SECRET } from '../../support/service.ts'
import type { GraphQLAnswer } from '../../support/service.ts'
import { startTcpProxy } from '../../support/tcp-proxy.ts'
import type { TcpProxy } from '../../support/tcp-proxy.ts'
import type { Database } from './cluster.ts'
import { Node } from './node.ts'
import type { Check } from './node.ts'
import { RECOVERY_MS, Watch } from './watch.ts'
import type { Watched } from './watch.ts'

export interface PairOptions {
  readonly check: Check
  readonly database: Database
  /** For both nodes, or for each. */
  readonly env?: Readonly<Record<string, string>>
  readonly envs?: readonly [Readonly<Record<string, string>>, Readonly<Record<string, string>>]
  readonly program?: string
}

const sign = createTokenSigner({
  keys: createKeyRing({ signWith: SECRET }),
  issuer: 'portcullis',
  audience: 'portcullis',
  lifetimeSeconds: 900,
})

const ME = '{ me { email } }'

const REVOKE_TOKEN = `mutation ($token: String!) { revokeToken(token: $token) { alreadyRevoked } }`

/** Two nodes of one database, each on a cable of its own; ada uses them, and the admin. */
export class Pair implements Watched {
  readonly check: Check
  database: Database
  readonly cables: readonly [TcpProxy, TcpProxy]
  readonly ada: SignIn
  /** How long both nodes took until they listened, in milliseconds. */
  readonly startMs: number
  readonly #admin: SignIn
  readonly #options: PairOptions
  readonly #nodes: [Node, Node]
  readonly #away = new Set<number>()
  readonly #backAt = [-Infinity, -Infinity]

  static async start(options: PairOptions): Promise<Pair> {
    const { url } = options.database
    const cables: [TcpProxy, TcpProxy] = [await startTcpProxy(url), await startTcpProxy(url)]
    const startedAt = performance.now()
    const nodes = (await Promise.all(
      cables.map(async (cable, node) => Node.start(nodeOptions(options, cable, node))),
    )) as [Node, Node]
    const startMs = performance.now() - startedAt
    const ada = await register(nodes[0], 'ada')
    return new Pair(options, cables, nodes, startMs, ada, await login(nodes[0], 'admin', 'desk'))
  }

  private constructor(
    options: PairOptions,
    cables: [TcpProxy, TcpProxy],
    nodes: [Node, Node],
    startMs: number,
    ada: SignIn,
    admin: SignIn,
  ) {
    this.check = options.check
    this.database = options.database
    this.cables = cables
    this.startMs = startMs
    this.ada = ada
    this.#options = options
    this.#nodes = nodes
    this.#admin = admin
  }

  node(node: number): Node {
    return this.#nodes[node] as Node
  }

  /** `ACCEPTED`, why it was refused, or `NO_ANSWER`; asked again while it cannot be checked. */
  async whoAmI(node: number, token: string): Promise<string> {
    return this.ask(node, ME, token)
  }

  async whoAmIOnce(node: number, token: string): Promise<string> {
    return outcomeOf(this.node(node).once.graphql(ME, { token }))
  }

  /** A public field, with a token that cannot be checked. */
  async askPublicOnce(node: number): Promise<string> {
    return outcomeOf(
      this.node(node).once.graphql('{ __typename }', { token: this.ada.accessToken }),
    )
  }

  /** An authentic token of ada, as her session would have got by a refresh. */
  mintToken(issuedAt = new Date()): SignedToken {
    const { userId: subject, sessionId } = this.ada
    return sign({ subject, sessionId, roles: ['USER'], issuedAt })
  }

  get adminToken(): string {
    return this.#admin.accessToken
  }

  async revokeToken(node: number, token: string): Promise<string> {
    return outcomeOf(this.asAdmin(node, REVOKE_TOKEN, { token }))
  }

  async revokeTokenOnce(node: number, token: string): Promise<string> {
    const ask = { token: this.#admin.accessToken, variables: { token } }
    return outcomeOf(this.node(node).once.graphql(REVOKE_TOKEN, ask))
  }

  async ask(node: number, query: string, token: string, variables: object = {}): Promise<string> {
    return outcomeOf(this.node(node).graphql(query, { token, variables }))
  }

  async asAdmin(node: number, query: string, variables: object = {}): Promise<GraphQLAnswer> {
    return this.node(node).graphql(query, { token: this.#admin.accessToken, variables })
  }

  /**
   * Lets a fault come and go, and holds what is promised against what is seen meanwhile: no revoked token
   * accepted, no acknowledged revocation lost, an answer to everything in its time, recovery within 5 s.
   *
   * @param fault - Fulfilled when the fault is over.
   */
  async survives(fault: (watch: Watch) => Promise<void>): Promise<void> {
    const [live, dead] = [this.mintToken().text, this.mintToken().text]
    expect(await this.revokeToken(0, dead)).toBe('ACCEPTED')
    for (const node of [0, 1])
      await until(async () => (await this.whoAmI(node, dead)) !== 'ACCEPTED')
    const watch = new Watch(this, { live, dead })

    try {
      await sleep(300)
      await fault(watch)
      const endedAt = performance.now()
      await Promise.all([0, 1].map(async (node) => this.#works(node, live)))
      expect(performance.now() - endedAt, 'recovery, in ms').toBeLessThan(RECOVERY_MS)
      await sleep(300)
    } finally {
      // What was seen until then says more than that it took too long.
      await watch.conclude()
    }
    for (const node of [0, 1]) expect(this.node(node).isAlive).toBe(true)
    for (const node of [0, 1])
      expect(this.node(node).log).not.toMatch(/unhandled error|internal error/)
  }

  async #works(node: number, live: string): Promise<void> {
    await until(async () => {
      const seen = [
        await this.whoAmIOnce(node, live),
        await this.revokeTokenOnce(node, this.mintToken().text),
      ]
      return seen.every((outcome) => outcome === 'ACCEPTED')
    }, 2 * RECOVERY_MS)
  }

  /** What the nodes are connected to goes away, and another server answers in its place. */
  moveTo(database: Database): void {
    this.database = database
    for (const cable of this.cables) {
      cable.leadTo(database.url)
      cable.setMode('cut')
      cable.setMode('pass')
    }
  }

  isExcused(node: number, since: number): boolean {
    return this.#away.has(node) || (this.#backAt[node] as number) > since
  }

  /** Stops a node where it is; it owes no answers until it goes on. */
  pause(node: number): void {
    this.#away.add(node)
    this.node(node).signal('SIGSTOP')
  }

  goOn(node: number): void {
    this.node(node).signal('SIGCONT')
    this.#isBack(node)
  }

  async kill(node: number): Promise<void> {
    this.#away.add(node)
    await this.node(node).kill()
  }

  async startAgain(node: number): Promise<void> {
    this.#away.add(node)
    await this.node(node).stop()
    const options = nodeOptions(this.#options, this.cables[node] as TcpProxy, node)
    const { port } = new URL(this.node(node).url)
    this.#nodes[node] = await Node.start({ ...options, env: { ...options.env, PORT: port } })
    this.#isBack(node)
  }

  async stop(): Promise<void> {
    await Promise.all(this.#nodes.map(async (node) => node.kill()))
    await Promise.all(this.cables.map(async (cable) => cable.close()))
  }

  #isBack(node: number): void {
    this.#backAt[node] = performance.now()
    this.#away.delete(node)
  }
}

function nodeOptions(
  { check, env, envs, program }: PairOptions,
  cable: TcpProxy,
  node: number,
): Parameters<typeof Node.start>[0] {
  return {
    databaseUrl: cable.url,
    check,
    env: { ...env, ...envs?.[node] },
    ...(program !== undefined && { program }),
  }
}

async function outcomeOf(answering: Promise<GraphQLAnswer>): Promise<string> {
  try {
    const { data, errors, status } = await answering
    const { code, reason } = errors[0]?.extensions ?? {}
    if (errors.length > 0) return reason ?? code ?? errors[0]?.message
    return data ? 'ACCEPTED' : `an answer of status ${status} that is not GraphQL's`
  } catch {
    return 'NO_ANSWER'
  }
}

/** Waits for what is to come soon. */
export async function until(isSo: () => Promise<boolean>, withinMs = 10_000): Promise<void> {
  const deadline = performance.now() + withinMs
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${String(isSo)}`)
    await sleep(25)
  }
}
