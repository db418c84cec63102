import { ADMIN } from '../../test/support/service.ts'
import type { Client, Outcome, Tokens } from './client.ts'

/** A token, and what was done to it; instants by `performance.now()`. */
interface Known {
  readonly token: string
  /** From here on it may be refused. */
  revokingSince: number | null
  /** From here on, until a restoration begins, it must be: here by this node, later by the other. */
  revokedAt: number | null
  revokedOn: Client | null
  restoringSince: number | null
}

interface Session {
  readonly person: Person
  known: Known
  refreshToken: string
}

interface Person {
  readonly email: string
  id: string
  sessions: Session[]
  /** What makes a token of theirs, or revokes all of them, runs alone: else the order would be unknown. */
  isBusy: boolean
}

/** What must not happen, and how often it did. */
export type Faults = Record<string, number>

export interface TrafficOptions {
  readonly nodes: readonly [Client, Client]
  readonly persons: number
  /** How much later another node may hear of a revocation, in milliseconds. */
  readonly boundMs: number
  /** Whether an outage at this moment excuses 503 with `REVOCATION_UNAVAILABLE`. */
  readonly isExcused: (since: number) => boolean
}

const PASSWORD = 'correct horse battery'
const PAYLOAD = `accessToken refreshToken user { id }`

/** Of a hundred acts. */
const MIX = {
  me: 65.5,
  meOfRevoked: 8,
  sessions: 10,
  refresh: 8,
  login: 3,
  logout: 2,
  revokeToken: 2,
  logoutAllDevices: 0.25,
  revokeUser: 0.25,
  restore: 1,
}

type Act = keyof typeof MIX

/** What people and an admin do, at random, on two nodes; and whether each answer was right. */
export class Traffic {
  readonly faults: Faults = {}
  readonly counts: Record<string, number> = {}
  readonly latencyMs: number[] = []
  readonly #options: TrafficOptions
  readonly #people: Person[]
  #revoked: Array<{ known: Known; revocationId: string }> = []
  #adminToken = ''

  constructor(options: TrafficOptions) {
    this.#options = options
    this.#people = Array.from({ length: options.persons }, (_, n) => ({
      email: `person${n}@example.com`,
      id: '',
      sessions: [],
      isBusy: false,
    }))
  }

  async start(): Promise<void> {
    const signIn = await this.#sign('login', ADMIN.email, ADMIN.password)
    this.#adminToken = signIn.data?.login?.accessToken ?? ''
    for (const person of this.#people) {
      const { data } = await this.#sign('register', person.email, PASSWORD)
      if (data?.register) this.#keep(person, data.register)
    }
  }

  /** Does one thing. */
  async act(): Promise<void> {
    const name = pickAct()
    this.counts[name] = (this.counts[name] ?? 0) + 1
    await this.#acts[name]()
  }

  /** Asks both nodes about every token that was revoked, and counts what is accepted. */
  async verifyRevoked(): Promise<number> {
    const all = this.#revoked.filter(({ known }) => known.revokedAt !== null)
    const left = all.values()
    const verify = async (): Promise<void> => {
      for (const { known } of left) {
        for (const node of this.#options.nodes) await this.#me(known, node)
      }
    }
    await Promise.all(Array.from({ length: 16 }, verify))
    return all.length
  }

  readonly #acts: Record<Act, () => Promise<void>> = {
    me: async () => {
      const session = this.#pickSession()
      if (session === null) return this.#acts.login()
      await this.#me(session.known, this.#pickNode())
    },

    meOfRevoked: async () => {
      const found = pick(this.#revoked)
      if (found) await this.#me(found.known, this.#pickNode())
    },

    sessions: async () => {
      const session = this.#pickSession()
      if (session === null) return
      await this.#askAs(session.known, this.#pickNode(), '{ sessions { id device createdAt } }')
    },

    login: async () => {
      const person = pick(this.#people.filter(({ isBusy }) => !isBusy))
      if (!person) return
      await this.#alone(person, async () => {
        const { data } = await this.#sign('login', person.email, PASSWORD)
        if (data?.login) this.#keep(person, data.login)
      })
    },

    refresh: async () => {
      const session = this.#pickSession()
      if (session === null || session.person.isBusy) return
      await this.#alone(session.person, async () => {
        const query = `mutation ($refreshToken: String!) { refresh(refreshToken: $refreshToken) { ${PAYLOAD} } }`
        const { refreshToken } = session
        const { data, refusal } = await this.#ask(this.#pickNode(), query, undefined, {
          refreshToken,
        })
        this.#drop(session)
        if (data?.refresh) this.#keep(session.person, data.refresh)
        else if (refusal !== null && !isUnavailable(refusal)) this.#fault(`refresh ${refusal}`)
      })
    },

    logout: async () => {
      const session = this.#pickSession()
      if (session === null || session.person.isBusy) return
      await this.#alone(session.person, async () => {
        this.#drop(session)
        const query = 'mutation { logout { revocation { id } } }'
        await this.#revoke([session.known], query, session.known.token)
      })
    },

    revokeToken: async () => {
      const session = this.#pickSession()
      if (session === null) return
      this.#drop(session)
      const { token } = session.known
      const query =
        'mutation ($token: String!) { revokeToken(token: $token) { revocation { id } } }'
      await this.#revoke([session.known], query, this.#adminToken, { token })
    },

    logoutAllDevices: async () => {
      const session = this.#pickSession()
      if (session === null || session.person.isBusy) return
      const query = 'mutation { logoutAllDevices { revocation { id } } }'
      await this.#endAll(session.person, query, session.known.token)
    },

    revokeUser: async () => {
      const session = this.#pickSession()
      if (session === null || session.person.isBusy) return
      const query = 'mutation ($userId: ID!) { revokeUser(userId: $userId) { revocation { id } } }'
      await this.#endAll(session.person, query, this.#adminToken, { userId: session.person.id })
    },

    restore: async () => {
      const found = pick(this.#revoked)
      if (!found) return
      const { revocationId: id } = found
      for (const { known } of this.#revoked.filter((entry) => entry.revocationId === id))
        known.restoringSince = performance.now()
      this.#revoked = this.#revoked.filter((entry) => entry.revocationId !== id)
      const query = 'mutation ($id: ID!) { restore(revocationId: $id) { alreadyRestored } }'
      await this.#ask(this.#pickNode(), query, this.#adminToken, { id })
    },
  }

  async #endAll(person: Person, query: string, token: string, variables = {}): Promise<void> {
    await this.#alone(person, async () => {
      const all = person.sessions.splice(0).map(({ known }) => known)
      await this.#revoke(all, query, token, variables)
    })
  }

  async #revoke(all: Known[], query: string, token: string, variables = {}): Promise<void> {
    for (const known of all) known.revokingSince ??= performance.now()
    const node = this.#pickNode()
    const { data, refusal, endedAt } = await this.#ask(node, query, token, variables)
    if (data === null) {
      if (refusal !== null && !isUnavailable(refusal)) this.#fault(`a revocation: ${refusal}`)
      return
    }

    const { logout, logoutAllDevices, revokeToken, revokeUser } = data
    const payload = logout ?? logoutAllDevices ?? revokeToken ?? revokeUser
    const revocationId = payload?.revocation?.id
    if (revocationId === undefined) return
    for (const known of all) {
      known.revokedAt = endedAt
      known.revokedOn = node
      this.#revoked.push({ known, revocationId })
    }
  }

  async #me(known: Known, node: Client): Promise<void> {
    await this.#askAs(known, node, '{ me { id email } }')
  }

  async #askAs(known: Known, node: Client, query: string): Promise<void> {
    const { data, refusal, beganAt } = await this.#ask(node, query, known.token)
    const boundMs = node === known.revokedOn ? 0 : this.#options.boundMs
    const mustBeRefused =
      known.revokedAt !== null &&
      known.restoringSince === null &&
      beganAt > known.revokedAt + boundMs
    if (data !== null && mustBeRefused) this.#fault('a revoked token was accepted')
    if (refusal !== null && !isUnavailable(refusal) && known.revokingSince === null)
      this.#fault(`a good token was refused: ${refusal}`)
  }

  async #sign(act: 'login' | 'register', email: string, password: string): Promise<Outcome> {
    const query = `mutation ($email: String!, $password: String!) { ${act}(email: $email, password: $password) { ${PAYLOAD} } }`
    return this.#ask(this.#pickNode(), query, undefined, { email, password })
  }

  /** Whatever is asked, these are faults: no answer, a 503 that nothing excuses, an unforeseen status. */
  async #ask(node: Client, query: string, token?: string, variables = {}): Promise<Outcome> {
    const outcome = await node.ask(query, token, variables)
    const { status, refusal, beganAt, endedAt } = outcome
    this.latencyMs.push(endedAt - beganAt)
    this.counts[`status ${status}`] = (this.counts[`status ${status}`] ?? 0) + 1
    if (status === 0) this.#fault('no answer')
    else if (status === 503 && !this.#options.isExcused(beganAt))
      this.#fault(
        refusal === 'SERVICE_UNAVAILABLE' ? 'shed without an outage' : 'refused without an outage',
      )
    else if (refusal === 'SERVICE_UNAVAILABLE')
      this.counts['shed after an outage'] = (this.counts['shed after an outage'] ?? 0) + 1
    else if (status === 429) this.#fault('429')
    else if (status >= 500 && status !== 503) this.#fault(`status ${status}`)
    return outcome
  }

  #keep(person: Person, payload: Tokens): void {
    person.id = payload.user.id
    const known: Known = {
      token: payload.accessToken,
      revokingSince: null,
      revokedAt: null,
      revokedOn: null,
      restoringSince: null,
    }
    person.sessions.push({ person, known, refreshToken: payload.refreshToken })
  }

  #drop(session: Session): void {
    // What ends all sessions of the person does not know of it any more; a question of now may be answered after that.
    session.known.revokingSince ??= performance.now()
    session.person.sessions = session.person.sessions.filter((other) => other !== session)
  }

  async #alone(person: Person, work: () => Promise<void>): Promise<void> {
    person.isBusy = true
    try {
      await work()
    } finally {
      person.isBusy = false
    }
  }

  #pickSession(): Session | null {
    return pick(pick(this.#people)?.sessions ?? []) ?? null
  }

  #pickNode(): Client {
    return this.#options.nodes[Math.random() < 0.5 ? 0 : 1]
  }

  #fault(what: string): void {
    const count = (this.faults[what] ?? 0) + 1
    this.faults[what] = count
    if (count <= 3) console.log(`${new Date().toISOString()} ${what}`)
  }
}

function isUnavailable(refusal: string): boolean {
  return refusal === 'REVOCATION_UNAVAILABLE' || refusal === 'SERVICE_UNAVAILABLE'
}

function pick<Item>(items: readonly Item[]): Item | undefined {
  return items[Math.floor(Math.random() * items.length)]
}

function pickAct(): Act {
  let left = Math.random() * 100
  for (const [name, share] of Object.entries(MIX)) {
    left -= share
    if (left < 0) return name as Act
  }
  return 'me'
}
