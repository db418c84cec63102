import { setTimeout as sleep } from 'node:timers/promises'
import { createRandom } from '../../support/random.ts'
import type { Random } from '../../support/random.ts'
import type { Deed, Operation } from '../history/history.ts'
import { Deeds } from './deeds.ts'
import type { By, Held, Issuance } from './deeds.ts'
import { STALENESS_MS } from './node.ts'
import type { Pair } from './pair.ts'

/** Many wait for a node that something is wrong with. */
const CLIENTS_A_NODE = 10
const PEOPLE = 5

/** With fewer sessions than these, a person signs in. */
const MIN_SESSIONS = 8

/** Clients choose among so many of the last tokens. */
const RECENT = 60

/** Milliseconds between two operations of a client. */
const PAUSE_MS = { least: 10, most: 80 }

const FREQUENCIES = {
  useLiving: 30,
  useAny: 14,
  useDead: 6,
  login: 3,
  refresh: 14,
  refreshAgain: 1,
  logout: 4,
  logoutAllDevices: 2,
  revokeSession: 3,
  revokeToken: 5,
  revokeRefreshToken: 1,
  revokeUser: 2,
  restore: 4,
}
type Habit = keyof typeof FREQUENCIES
const HABITS = Object.entries(FREQUENCIES).flatMap(([habit, times]) =>
  Array<Habit>(times).fill(habit as Habit),
)

/** People with several devices, an admin who revokes and restores, and those who hold revoked tokens: all at once, on two nodes. */
export class Clients {
  readonly deeds: Deeds
  readonly #pair: Pair
  readonly #random: Random
  readonly #held: Held[] = []
  readonly #byToken = new Map<string, Held>()
  readonly #byRefreshToken = new Map<string, Held>()
  /** The last tokens of each session that is taken to live. */
  readonly #living = new Map<string, Held>()
  readonly #dead: Held[] = []
  readonly #entries: string[] = []
  readonly #probes = new Set<Promise<unknown>>()
  #people: string[] = []
  #newcomers = 0

  constructor(pair: Pair, seed: number) {
    this.#pair = pair
    this.deeds = new Deeds(pair)
    this.#random = createRandom(seed)
  }

  /** Has them act at random for a while; fulfilled when the last answer has come. */
  async run(durationMs: number): Promise<void> {
    const until = performance.now() + durationMs
    const clients = Array.from({ length: 2 * CLIENTS_A_NODE }, (_, index) => index)
    await Promise.all(clients.map(async (index) => this.#act(`client ${index}`, index % 2, until)))
    // What they do makes others look.
    while (this.#probes.size > 0) await Promise.all(this.#probes)
  }

  /** Every token is tried once more, on both nodes, after the longest that these may be behind. */
  async tryAll(): Promise<void> {
    await sleep(STALENESS_MS + 50)
    const left = this.#held.slice(-500).flatMap((held) => [0, 1].map((node) => ({ held, node })))
    const auditors = Array.from({ length: 12 }, async () => {
      for (let next = left.pop(); next; next = left.pop()) {
        await this.deeds.use({ client: 'auditor', node: next.node }, next.held)
      }
    })
    await Promise.all(auditors)
  }

  /** Whether both nodes do all that is asked of them again. */
  async areServed(): Promise<boolean> {
    for (const node of [0, 1]) {
      const by = { client: 'auditor', node }
      const held = await this.#register(by)
      if (!held) return false
      for (const ask of [
        async () => this.deeds.use(by, held),
        async () => this.#refresh(by, held),
        async () => this.#logout(by, held),
      ]) {
        const { outcome } = await ask()
        if (outcome.kind !== 'OK') return false
      }
    }
    return true
  }

  /** A session that lives, as far as is known. */
  pickLiving(): Held | undefined {
    return this.#random.pick([...this.#living.values()])
  }

  /** A session is ended by itself, or by another one of the same person. */
  async revokeSession(by: By, held: Held, session = held.session): Promise<Operation> {
    return this.#revoke(by, () => this.deeds.revokeSession(by, held, session))
  }

  /** A person who has refreshed lately is revoked. */
  async cutOff(node: number): Promise<void> {
    const living = [...this.#living.values()]
    const held = this.#random.pick(
      living.filter(({ session }) => findOf(this.#held.slice(-RECENT), session).length > 1),
    )
    if (held) await this.#revokeUser({ client: 'stranger', node }, held)
  }

  /** A person signs out everywhere on one node, while the devices refresh on the other. */
  async raceCutOff(node: number): Promise<void> {
    const held = this.pickLiving()
    if (!held) return
    let isOver = false
    const cutOff = this.#logoutAllDevices({ client: 'racer', node }, held).finally(
      () => (isOver = true),
    )
    const sessions = [...this.#living.values()].filter(({ person }) => person === held.person)
    await Promise.all(
      sessions.map(async ({ session }) => {
        for (let last = this.#living.get(session); last && !isOver;) {
          await this.#refresh({ client: 'racer', node: 1 - node }, last)
          last = this.#living.get(session)
        }
      }),
    )
    await cutOff
  }

  async #act(client: string, home: number, until: number): Promise<void> {
    while (performance.now() < until) {
      const node = this.#random.below(5) === 0 ? 1 - home : home
      // One that was killed refuses at once: who goes on asking fills the history with nothing.
      if (!this.#pair.node(node).isAlive) await sleep(100)
      else await this.#follow(this.#chooseHabit(), { client, node })
      await sleep(this.#random.between(PAUSE_MS.least, PAUSE_MS.most))
    }
  }

  #chooseHabit(): Habit {
    if (this.#living.size < MIN_SESSIONS) return 'login'
    return this.#random.pick(HABITS) ?? 'login'
  }

  async #follow(habit: Habit, by: By): Promise<unknown> {
    const held = this.#random.pick(this.#held.slice(-RECENT))
    const living = this.pickLiving()
    if (!held || !living) return this.#signIn(by)

    const habits: Readonly<Record<Habit, () => Promise<unknown>>> = {
      useLiving: async () => this.deeds.use(by, living),
      useAny: async () => this.deeds.use(by, held),
      useDead: async () => this.deeds.use(by, this.#random.pick(this.#dead.slice(-20)) ?? held),
      login: async () => this.#signIn(by),
      refresh: async () => this.#refresh(by, living),
      refreshAgain: async () => this.#refresh(by, held),
      logout: async () => this.#logout(by, living),
      logoutAllDevices: async () => this.#logoutAllDevices(by, living),
      revokeSession: async () => this.#revokeSessionFrom(by, living),
      revokeToken: async () => this.#revokeToken(by, held),
      revokeRefreshToken: async () =>
        this.#revoke(by, () => this.deeds.revokeRefreshToken(by, living)),
      revokeUser: async () => this.#revokeUser(by, living),
      restore: async () => this.#restore(by),
    }
    return habits[habit]()
  }

  async #signIn(by: By): Promise<void> {
    if (this.#people.length < PEOPLE) await this.#register(by)
    else this.#keep(await this.deeds.login(by, this.#random.pick(this.#people) as string))
  }

  async #register(by: By): Promise<Held | null> {
    const person = `person-${(this.#newcomers += 1)}`
    const issuance = await this.deeds.register(by, person)
    this.#keep(issuance)
    if (issuance.held && by.client !== 'auditor') this.#people.push(person)
    return issuance.held
  }

  async #refresh(by: By, held: Held): Promise<Operation> {
    const issuance = await this.deeds.refresh(by, held)
    this.#keep(issuance)
    if (issuance.operation.outcome.kind === 'REFUSED') this.#living.delete(held.session)
    return issuance.operation
  }

  async #logout(by: By, held: Held): Promise<Operation> {
    return this.#revoke(by, () => this.deeds.logout(by, held))
  }

  async #logoutAllDevices(by: By, held: Held): Promise<Operation> {
    const keepCurrent = this.#random.below(2) === 0
    return this.#revoke(by, () => this.deeds.logoutAllDevices(by, held, keepCurrent))
  }

  /** From another device, if there is one. */
  async #revokeSessionFrom(by: By, held: Held): Promise<void> {
    const own = [...this.#living.values()].filter(({ person }) => person === held.person)
    const other = this.#random.pick(own)
    if (other) await this.revokeSession(by, other, held.session)
  }

  async #revokeToken(by: By, held: Held): Promise<Operation> {
    return this.#revoke(by, () => this.deeds.revokeToken(by, held))
  }

  async #revokeUser(by: By, { person }: Held): Promise<Operation> {
    return this.#revoke(by, () => this.deeds.revokeUser(by, person))
  }

  async #restore(by: By): Promise<void> {
    const entry = this.#random.pick(this.#entries.slice(-15))
    if (entry !== undefined) await this.deeds.restore(by, entry)
  }

  async #revoke(by: By, revoke: () => Promise<Operation>): Promise<Operation> {
    const before = this.#held.slice(-3 * RECENT)
    const operation = await revoke()
    const { deed, outcome } = operation
    const reached = before.filter((held) => this.#isReached(held, deed))
    if (outcome.kind === 'REFUSED') this.#forgetAbout(deed)
    if (outcome.kind === 'UNKNOWN') this.#doubt(deed, reached)
    if (outcome.kind === 'OK') {
      this.#entries.push(outcome.entry as string)
      this.#mourn(deed, reached, by.node)
    }
    return operation
  }

  /** Whether a deed is expected to reach what a person held before. */
  #isReached({ token, session, person }: Held, deed: Deed): boolean {
    switch (deed.do) {
      case 'revokeToken':
        return token === deed.token
      case 'revokeUser':
        return person === deed.person
      case 'logoutAllDevices': {
        const by = this.#byToken.get(deed.token)
        return person === by?.person && !(deed.keepCurrent && session === by.session)
      }
      case 'logout':
        return session === this.#byToken.get(deed.token)?.session
      case 'revokeSession':
        return session === deed.session
      case 'revokeRefreshToken':
        return session === this.#byRefreshToken.get(deed.refreshToken)?.session
      case 'login':
      case 'refresh':
      case 'use':
      case 'restore':
        return false
    }
  }

  /** What died is tried at once where it died, and elsewhere as soon as it must be known. */
  #mourn(deed: Deed, reached: readonly Held[], node: number): void {
    this.#dead.push(...reached)
    if (deed.do !== 'revokeToken') for (const { session } of reached) this.#living.delete(session)

    const held = this.#random.pick(reached)
    if (!held) return
    const delayMs = this.#pair.check === 'replica' ? STALENESS_MS + 1 : 0
    const elsewhere = 1 - node
    this.#begin(this.deeds.use({ client: 'mourner', node }, held))
    this.#begin(
      sleep(delayMs).then(async () => this.deeds.use({ client: 'mourner', node: elsewhere }, held)),
    )
    if (isCutOff(deed)) this.#begin(this.#repeat(elsewhere, reached))
  }

  /** On one node a token is revoked again, in other ways, and the others of its session are tried there. */
  async #repeat(node: number, reached: readonly Held[]): Promise<void> {
    const by = { client: 'repeater', node }
    const held = this.#random.pick(
      reached.filter(({ session }) => findOf(reached, session).length > 1),
    )
    if (!held) return
    await this.#revokeToken(by, held)
    await this.#logout(by, held)
    const others = findOf(reached, held.session)
    await Promise.all(others.map(async (other) => this.deeds.use(by, other)))
  }

  /** A person who may have been reached for all time to come proves nothing more: another takes the place. */
  #doubt(deed: Deed, [first]: readonly Held[]): void {
    if (!isCutOff(deed) || !first) return
    this.#people = this.#people.filter((name) => name !== first.person)
    for (const [session, held] of this.#living) {
      if (held.person === first.person) this.#living.delete(session)
    }
  }

  #forgetAbout(deed: Deed): void {
    const held = 'token' in deed ? this.#byToken.get(deed.token) : undefined
    if (held) this.#living.delete(held.session)
  }

  #begin(asking: Promise<unknown>): void {
    const pending = asking.then(() => void this.#probes.delete(pending))
    this.#probes.add(pending)
  }

  #keep({ held }: Issuance): void {
    if (!held) return
    this.#held.push(held)
    this.#byToken.set(held.token, held)
    this.#byRefreshToken.set(held.refreshToken, held)
    this.#living.set(held.session, held)
  }
}

function isCutOff(deed: Deed): boolean {
  return deed.do === 'revokeUser' || deed.do === 'logoutAllDevices'
}

function findOf(all: readonly Held[], id: string): readonly Held[] {
  return all.filter(({ session }) => session === id)
}
