import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Rows } from '../history/check.ts'
import { Recorder } from '../history/history.ts'
import type { Deed, Issued, Operation, Outcome } from '../history/history.ts'
import type { Target } from '../history/ledger.ts'
import { claimsOf, passwordOf } from '../../support/people.ts'
import { createRandom } from '../../support/random.ts'
import type { Random } from '../../support/random.ts'
import type { GraphQLAnswer } from '../../support/service.ts'
import { STALENESS_MS } from './node.ts'
import type { Pair } from './pair.ts'

/** What a client got, with the texts that the history leaves out. */
interface Held extends Issued {
  readonly accessText: string
  readonly refreshText: string
}

/** Many wait for a node that something is wrong with. */
const CLIENTS_A_NODE = 10
const PEOPLE = 5

/** Fewer sessions than these, and somebody signs in. */
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
  readonly recorder = new Recorder()
  readonly #pair: Pair
  readonly #random: Random
  readonly #held: Held[] = []
  readonly #byToken = new Map<string, Held>()
  /** The last refresh token of each session that is taken to live. */
  readonly #living = new Map<string, Held>()
  readonly #dead: Held[] = []
  readonly #entries: string[] = []
  readonly #ids = new Map<string, string>()
  readonly #probes = new Set<Promise<unknown>>()
  #people: string[] = []
  #newcomers = 0

  constructor(pair: Pair, seed: number) {
    this.#pair = pair
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

  /** Everybody tries every token once more, on both nodes, after the longest that these may be behind. */
  async tryAll(): Promise<void> {
    await sleep(STALENESS_MS + 50)
    const left = this.#held.slice(-500).flatMap((held) => [0, 1].map((node) => ({ held, node })))
    const auditors = Array.from({ length: 12 }, async () => {
      for (let next = left.pop(); next; next = left.pop()) {
        await this.#use('auditor', next.node, next.held)
      }
    })
    await Promise.all(auditors)
  }

  /** Whether both nodes do all that is asked of them again. */
  async areServed(): Promise<boolean> {
    for (const node of [0, 1]) {
      const login = await this.#register('auditor', node)
      if (!login) return false
      for (const ask of [this.#use, this.#refresh, this.#logout]) {
        const { outcome } = await ask.call(this, 'auditor', node, login)
        if (outcome.kind !== 'OK') return false
      }
    }
    return true
  }

  /** A session that lives, as far as anybody knows. */
  pickLiving(): Held | undefined {
    return this.#random.pick([...this.#living.values()])
  }

  async revokeSession(client: string, node: number, { token, session }: Held): Promise<Operation> {
    const query = `mutation ($id: ID!) { revokeSession(id: $id) { alreadyRevoked revocation { id } } }`
    return this.#revoke(client, node, { do: 'revokeSession', token, session }, () =>
      this.#as(node, token, query, { id: session }),
    )
  }

  /** Somebody who has refreshed lately is revoked. */
  async cutOff(node: number): Promise<void> {
    const living = [...this.#living.values()]
    const held = this.#random.pick(
      living.filter(({ session }) => this.#findOf(this.#held.slice(-RECENT), session).length > 1),
    )
    if (held) await this.#revokeUser('stranger', node, held)
  }

  /** Somebody signs out everywhere on one node, and his devices refresh on the other all the while. */
  async raceCutOff(node: number): Promise<void> {
    const held = this.pickLiving()
    if (!held) return
    let isOver = false
    const cutOff = this.#logoutAllDevices('racer', node, held).finally(() => (isOver = true))
    const sessions = [...this.#living.values()].filter(({ person }) => person === held.person)
    await Promise.all(
      sessions.map(async ({ session }) => {
        for (let last = this.#living.get(session); last && !isOver;) {
          await this.#refresh('racer', 1 - node, last)
          last = this.#living.get(session)
        }
      }),
    )
    await cutOff
  }

  /** What the tables hold, in the history's names. */
  async readRows(): Promise<Rows> {
    const hits = `scope, subject, session_id as session, token_id as token, kept_session_id as kept`
    const { database } = this.#pair
    const inForce = await database.query<HitRow>(`select id as entry, ${hits} from revocation`)
    const journal = await database.query<HitRow & { kind: string }>(
      `select revocation_id as entry, kind, ${hits} from revocation_event`,
    )
    const names = new Map([...this.#ids].map(([name, id]) => [id, name]))
    return {
      inForce: inForce.map((row) => ({ entry: row.entry, target: toTarget(row, names) })),
      journal: journal.map((row) => ({
        entry: row.entry,
        kind: row.kind,
        target: toTarget(row, names),
      })),
    }
  }

  async #act(client: string, home: number, until: number): Promise<void> {
    while (performance.now() < until) {
      const node = this.#random.below(5) === 0 ? 1 - home : home
      // One that was killed refuses at once: who goes on asking fills the history with nothing.
      if (!this.#pair.node(node).isAlive) await sleep(100)
      else await this.#follow(this.#chooseHabit(), client, node)
      await sleep(this.#random.between(PAUSE_MS.least, PAUSE_MS.most))
    }
  }

  #chooseHabit(): Habit {
    if (this.#living.size < MIN_SESSIONS) return 'login'
    return this.#random.pick(HABITS) ?? 'login'
  }

  async #follow(habit: Habit, client: string, node: number): Promise<void> {
    const held = this.#random.pick(this.#held.slice(-RECENT))
    const living = this.pickLiving()
    if (!held || !living || habit === 'login') return this.#signIn(client, node)

    switch (habit) {
      case 'useLiving':
        await this.#use(client, node, living)
        break
      case 'useAny':
        await this.#use(client, node, held)
        break
      case 'useDead':
        await this.#use(client, node, this.#random.pick(this.#dead.slice(-20)) ?? held)
        break
      case 'refresh':
        await this.#refresh(client, node, living)
        break
      case 'refreshAgain':
        await this.#refresh(client, node, held)
        break
      case 'logout':
        await this.#logout(client, node, living)
        break
      case 'logoutAllDevices':
        await this.#logoutAllDevices(client, node, living)
        break
      case 'revokeSession':
        await this.#revokeSessionOf(client, node, living)
        break
      case 'revokeToken':
        await this.#revokeToken(client, node, held)
        break
      case 'revokeRefreshToken':
        await this.#revokeRefreshToken(client, node, living)
        break
      case 'revokeUser':
        await this.#revokeUser(client, node, living)
        break
      case 'restore':
        await this.#restore(client, node)
    }
  }

  async #signIn(client: string, node: number): Promise<void> {
    if (this.#people.length < PEOPLE) {
      await this.#register(client, node)
      return
    }
    const person = this.#random.pick(this.#people) as string
    const query = `mutation ($email: String!, $password: String!) { issued: login(email: $email, password: $password) { ${PAYLOAD} } }`
    await this.#issue(client, node, { do: 'login', person }, () =>
      this.#as(node, null, query, credentialsOf(person)),
    )
  }

  /** A newcomer's first sign-in. */
  async #register(client: string, node: number): Promise<Held | null> {
    const person = `person-${(this.#newcomers += 1)}`
    const query = `mutation ($email: String!, $password: String!) { issued: register(email: $email, password: $password) { ${PAYLOAD} } }`
    const { outcome } = await this.#issue(client, node, { do: 'login', person }, () =>
      this.#as(node, null, query, credentialsOf(person)),
    )
    if (outcome.kind !== 'OK' || !outcome.issued) return null
    if (client !== 'auditor') this.#people.push(person)
    return this.#byToken.get(outcome.issued.token) as Held
  }

  async #refresh(client: string, node: number, held: Held): Promise<Operation> {
    const query = `mutation ($token: String!) { issued: refresh(refreshToken: $token) { ${PAYLOAD} } }`
    const { refreshToken, refreshText, session } = held
    const operation = await this.#issue(client, node, { do: 'refresh', refreshToken }, () =>
      this.#as(node, null, query, { token: refreshText }),
    )
    if (operation.outcome.kind === 'REFUSED') this.#living.delete(session)
    return operation
  }

  async #use(client: string, node: number, { token }: Held): Promise<Operation> {
    return this.recorder.during({ client, node, deed: { do: 'use', token } }, () =>
      outcomeOf(this.#as(node, token, '{ me { id } }')),
    )
  }

  async #logout(client: string, node: number, { token }: Held): Promise<Operation> {
    const query = `mutation { logout { alreadyRevoked revocation { id } } }`
    return this.#revoke(client, node, { do: 'logout', token }, () => this.#as(node, token, query))
  }

  async #logoutAllDevices(client: string, node: number, { token }: Held): Promise<Operation> {
    const keepCurrent = this.#random.below(2) === 0
    const query = `mutation ($keepCurrent: Boolean!) {
      logoutAllDevices(keepCurrent: $keepCurrent) { revocation { id } }
    }`
    return this.#revoke(client, node, { do: 'logoutAllDevices', token, keepCurrent }, () =>
      this.#as(node, token, query, { keepCurrent }),
    )
  }

  /** From another device, if there is one. */
  async #revokeSessionOf(client: string, node: number, { person, session }: Held): Promise<void> {
    const own = [...this.#living.values()].filter((held) => held.person === person)
    const by = this.#random.pick(own)
    if (by) await this.revokeSession(client, node, { ...by, session })
  }

  async #revokeToken(
    client: string,
    node: number,
    { token, accessText }: Held,
  ): Promise<Operation> {
    return this.#revoke(client, node, { do: 'revokeToken', token }, () =>
      this.#pair.asAdmin(node, REVOKE_TOKEN, { token: accessText }),
    )
  }

  async #revokeRefreshToken(client: string, node: number, held: Held): Promise<Operation> {
    const { refreshToken, refreshText } = held
    return this.#revoke(client, node, { do: 'revokeRefreshToken', refreshToken }, () =>
      this.#pair.asAdmin(node, REVOKE_TOKEN, { token: refreshText }),
    )
  }

  async #revokeUser(client: string, node: number, { person }: Held): Promise<Operation> {
    const query = `mutation ($id: ID!) { revokeUser(userId: $id) { alreadyRevoked revocation { id } } }`
    return this.#revoke(client, node, { do: 'revokeUser', person }, () =>
      this.#pair.asAdmin(node, query, { id: this.#ids.get(person) }),
    )
  }

  async #restore(client: string, node: number): Promise<void> {
    const entry = this.#random.pick(this.#entries.slice(-15))
    if (entry === undefined) return
    const query = `mutation ($id: ID!) { restore(revocationId: $id) { alreadyRestored } }`
    await this.recorder.during({ client, node, deed: { do: 'restore', entry } }, () =>
      outcomeOf(this.#pair.asAdmin(node, query, { id: entry })),
    )
  }

  async #issue(
    client: string,
    node: number,
    deed: Deed,
    ask: () => Promise<GraphQLAnswer>,
  ): Promise<Operation> {
    let held: Held | null = null
    const operation = await this.recorder.during({ client, node, deed }, () =>
      outcomeOf(ask(), ({ issued: payload }) => {
        held = this.#toHeld(payload)
        const { token, refreshToken, session, person } = held
        return { issued: { token, refreshToken, session, person } }
      }),
    )
    if (held) this.#keep(held)
    return operation
  }

  async #revoke(
    client: string,
    node: number,
    deed: Deed,
    ask: () => Promise<GraphQLAnswer>,
  ): Promise<Operation> {
    const reached = this.#findReached(deed)
    const operation = await this.recorder.during({ client, node, deed }, () =>
      outcomeOf(ask(), (data) => {
        const [{ alreadyRevoked, revocation }] = Object.values(data) as [any]
        return { entry: revocation.id, isNew: alreadyRevoked === false }
      }),
    )
    const { outcome } = operation
    if (outcome.kind === 'REFUSED') this.#forgetAbout(deed)
    if (outcome.kind === 'UNKNOWN') this.#doubt(deed)
    if (outcome.kind === 'OK') {
      this.#entries.push(outcome.entry as string)
      this.#mourn(deed, reached, node)
    }
    return operation
  }

  /** Whom a deed is expected to reach. */
  #findReached(deed: Deed): readonly Held[] {
    const recent = this.#held.slice(-3 * RECENT)
    switch (deed.do) {
      case 'revokeToken':
        return recent.filter(({ token }) => token === deed.token)
      case 'revokeUser':
        return recent.filter(({ person }) => person === deed.person)
      case 'logoutAllDevices': {
        const by = this.#byToken.get(deed.token) as Held
        return recent.filter(
          ({ person, session }) =>
            person === by.person && !(deed.keepCurrent && session === by.session),
        )
      }
      case 'logout':
        return this.#findOf(recent, this.#byToken.get(deed.token)?.session)
      case 'revokeSession':
        return this.#findOf(recent, deed.session)
      case 'revokeRefreshToken': {
        const of = recent.find(({ refreshToken }) => refreshToken === deed.refreshToken)
        return this.#findOf(recent, of?.session)
      }
      case 'login':
      case 'refresh':
      case 'use':
      case 'restore':
        return []
    }
  }

  #findOf(recent: readonly Held[], id: string | undefined): readonly Held[] {
    return recent.filter(({ session }) => session === id)
  }

  /** What died is tried at once where it died, and elsewhere as soon as it must be known. */
  #mourn(deed: Deed, reached: readonly Held[], node: number): void {
    this.#dead.push(...reached)
    if (deed.do !== 'revokeToken') for (const { session } of reached) this.#living.delete(session)

    const held = this.#random.pick(reached)
    if (!held) return
    const delayMs = this.#pair.check === 'replica' ? STALENESS_MS + 1 : 0
    this.#begin(this.#use('mourner', node, held))
    this.#begin(sleep(delayMs).then(async () => this.#use('mourner', 1 - node, held)))
    if (deed.do === 'revokeUser' || deed.do === 'logoutAllDevices') {
      this.#begin(this.#repeat(1 - node, reached))
    }
  }

  /** Elsewhere somebody does the same to one of them, in other ways, and counts on it there for the others. */
  async #repeat(node: number, reached: readonly Held[]): Promise<void> {
    const isOneOfSeveral = ({ session }: Held): boolean =>
      reached.filter((other) => other.session === session).length > 1
    const held = this.#random.pick(reached.filter(isOneOfSeveral))
    if (!held) return
    await this.#revokeToken('repeater', node, held)
    await this.#logout('repeater', node, held)
    const others = reached.filter(({ session }) => session === held.session)
    await Promise.all(others.map(async (other) => this.#use('repeater', node, other)))
  }

  /** Whoever may have been reached for all time to come proves nothing more: somebody else takes the place. */
  #doubt(deed: Deed): void {
    if (deed.do !== 'revokeUser' && deed.do !== 'logoutAllDevices') return
    const [{ person } = { person: '' }] = this.#findReached(deed)
    this.#people = this.#people.filter((name) => name !== person)
    for (const [session, held] of this.#living) {
      if (held.person === person) this.#living.delete(session)
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

  #keep(held: Held): void {
    this.#held.push(held)
    this.#byToken.set(held.token, held)
    this.#living.set(held.session, held)
  }

  #toHeld({ accessToken, refreshToken, session, user }: any): Held {
    const person = user.email.split('@')[0]
    this.#ids.set(person, user.id)
    return {
      token: claimsOf(accessToken)['jti'],
      refreshToken: createHash('sha256').update(refreshToken).digest('hex').slice(0, 12),
      session: session.id,
      person,
      accessText: accessToken,
      refreshText: refreshToken,
    }
  }

  async #as(
    node: number,
    token: string | null,
    query: string,
    variables: object = {},
  ): Promise<GraphQLAnswer> {
    const text = token === null ? null : (this.#byToken.get(token)?.accessText ?? null)
    return this.#pair.node(node).once.graphql(query, { token: text, variables })
  }
}

const PAYLOAD = `accessToken refreshToken session { id } user { id email }`

const REVOKE_TOKEN = `mutation ($token: String!) { revokeToken(token: $token) { alreadyRevoked revocation { id } } }`

interface HitRow {
  readonly entry: string
  readonly scope: string
  readonly subject: string
  readonly session: string
  readonly token: string
  readonly kept: string | null
}

function toTarget(
  { scope, subject, session, token, kept }: HitRow,
  names: ReadonlyMap<string, string>,
): Target {
  if (scope === 'TOKEN') return { scope, token }
  if (scope === 'SESSION') return { scope, session }
  return { scope: 'SUBJECT', person: names.get(subject) ?? subject, kept }
}

function credentialsOf(person: string): object {
  return { email: `${person}@example.com`, password: passwordOf(person) }
}

async function outcomeOf(
  answering: Promise<GraphQLAnswer>,
  read: (data: any) => object = () => ({}),
): Promise<Outcome> {
  const answer = await answering.catch(() => null)
  if (answer === null) return { kind: 'UNKNOWN' }

  const [error] = answer.errors
  if (!error) return { kind: 'OK', ...read(answer.data) }
  const { code, reason } = error.extensions
  if (code === 'REVOCATION_UNAVAILABLE') return { kind: 'UNKNOWN' }
  return { kind: 'REFUSED', why: reason ?? code ?? error.message }
}
