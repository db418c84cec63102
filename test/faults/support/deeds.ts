import { createHash } from 'node:crypto'
import { claimsOf, passwordOf } from '../../support/people.ts'
import type { GraphQLAnswer } from '../../support/service.ts'
import type { Rows } from '../history/check.ts'
import { Recorder } from '../history/history.ts'
import type { Deed, Issued, Operation, Outcome } from '../history/history.ts'
import type { Target } from '../history/ledger.ts'
import type { Pair } from './pair.ts'

/** What a person was given, with the texts that the history leaves out. */
export interface Held extends Issued {
  readonly accessText: string
  readonly refreshText: string
}

/** A deed that gives out tokens, and what came of it; `null`: nothing. */
export interface Issuance {
  readonly operation: Operation
  readonly held: Held | null
}

/** Who does it, and on which node. */
export interface By {
  readonly client: string
  readonly node: number
}

/** Whatever can be done, each as GraphQL, and taken down with what was heard. */
export class Deeds {
  readonly recorder = new Recorder()
  readonly #pair: Pair
  /** What the database calls each person. */
  readonly #ids = new Map<string, string>()

  constructor(pair: Pair) {
    this.#pair = pair
  }

  /** A newcomer's first sign-in. */
  async register(by: By, person: string): Promise<Issuance> {
    const query = `mutation ($email: String!, $password: String!) { issued: register(email: $email, password: $password) { ${PAYLOAD} } }`
    return this.#issue(by, { do: 'login', person }, query, credentialsOf(person))
  }

  async login(by: By, person: string): Promise<Issuance> {
    const query = `mutation ($email: String!, $password: String!) { issued: login(email: $email, password: $password) { ${PAYLOAD} } }`
    return this.#issue(by, { do: 'login', person }, query, credentialsOf(person))
  }

  async refresh(by: By, { refreshToken, refreshText }: Held): Promise<Issuance> {
    const query = `mutation ($token: String!) { issued: refresh(refreshToken: $token) { ${PAYLOAD} } }`
    return this.#issue(by, { do: 'refresh', refreshToken }, query, { token: refreshText })
  }

  async use(by: By, { token, accessText }: Held): Promise<Operation> {
    return this.#record(by, { do: 'use', token }, () => this.#ask(by, accessText, '{ me { id } }'))
  }

  async logout(by: By, { token, accessText }: Held): Promise<Operation> {
    const query = `mutation { logout { alreadyRevoked revocation { id } } }`
    return this.#revoke(by, { do: 'logout', token }, () => this.#ask(by, accessText, query))
  }

  async logoutAllDevices(by: By, held: Held, keepCurrent: boolean): Promise<Operation> {
    const { token, accessText } = held
    const query = `mutation ($keepCurrent: Boolean!) {
      logoutAllDevices(keepCurrent: $keepCurrent) { revocation { id } }
    }`
    return this.#revoke(by, { do: 'logoutAllDevices', token, keepCurrent }, () =>
      this.#ask(by, accessText, query, { keepCurrent }),
    )
  }

  /** @param held - Of the session itself, or of another one of the same person. */
  async revokeSession(by: By, held: Held, session: string): Promise<Operation> {
    const { token, accessText } = held
    const query = `mutation ($id: ID!) { revokeSession(id: $id) { alreadyRevoked revocation { id } } }`
    return this.#revoke(by, { do: 'revokeSession', token, session }, () =>
      this.#ask(by, accessText, query, { id: session }),
    )
  }

  async revokeToken(by: By, { token, accessText }: Held): Promise<Operation> {
    return this.#revoke(by, { do: 'revokeToken', token }, () =>
      this.#pair.asAdmin(by.node, REVOKE_TOKEN, { token: accessText }),
    )
  }

  async revokeRefreshToken(by: By, { refreshToken, refreshText }: Held): Promise<Operation> {
    return this.#revoke(by, { do: 'revokeRefreshToken', refreshToken }, () =>
      this.#pair.asAdmin(by.node, REVOKE_TOKEN, { token: refreshText }),
    )
  }

  async revokeUser(by: By, person: string): Promise<Operation> {
    const query = `mutation ($id: ID!) { revokeUser(userId: $id) { alreadyRevoked revocation { id } } }`
    return this.#revoke(by, { do: 'revokeUser', person }, () =>
      this.#pair.asAdmin(by.node, query, { id: this.#ids.get(person) }),
    )
  }

  async restore(by: By, entry: string): Promise<Operation> {
    const query = `mutation ($id: ID!) { restore(revocationId: $id) { alreadyRestored } }`
    return this.#record(by, { do: 'restore', entry }, () =>
      this.#pair.asAdmin(by.node, query, { id: entry }),
    )
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
    const toRow = (row: HitRow): Rows['inForce'][number] => ({
      entry: row.entry,
      target: toTarget(row, names),
    })
    return {
      inForce: inForce.map(toRow),
      journal: journal.map((row) => ({ ...toRow(row), kind: row.kind })),
    }
  }

  async #issue(by: By, deed: Deed, query: string, variables: object): Promise<Issuance> {
    let held: Held | null = null
    const operation = await this.#record(
      by,
      deed,
      () => this.#ask(by, null, query, variables),
      ({ issued: payload }) => {
        held = toHeld(payload)
        const { token, refreshToken, session, person } = held
        this.#ids.set(person, payload.user.id)
        return { issued: { token, refreshToken, session, person } }
      },
    )
    return { operation, held }
  }

  async #revoke(by: By, deed: Deed, ask: () => Promise<GraphQLAnswer>): Promise<Operation> {
    return this.#record(by, deed, ask, (data) => {
      const [{ alreadyRevoked, revocation }] = Object.values(data) as [any]
      return { entry: revocation.id, isNew: alreadyRevoked === false }
    })
  }

  async #record(
    by: By,
    deed: Deed,
    ask: () => Promise<GraphQLAnswer>,
    read: (data: any) => object = () => ({}),
  ): Promise<Operation> {
    return this.recorder.during({ ...by, deed }, () => outcomeOf(ask(), read))
  }

  async #ask(
    { node }: By,
    token: string | null,
    query: string,
    variables: object = {},
  ): Promise<GraphQLAnswer> {
    return this.#pair.node(node).once.graphql(query, { token, variables })
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

function toHeld({ accessToken, refreshToken, session, user }: any): Held {
  return {
    token: claimsOf(accessToken)['jti'],
    refreshToken: createHash('sha256').update(refreshToken).digest('hex').slice(0, 12),
    session: session.id,
    person: user.email.split('@')[0],
    accessText: accessToken,
    refreshText: refreshToken,
  }
}

function credentialsOf(person: string): object {
  return { email: `${person}@example.com`, password: passwordOf(person) }
}

async function outcomeOf(
  answering: Promise<GraphQLAnswer>,
  read: (data: any) => object,
): Promise<Outcome> {
  const answer = await answering.catch(() => null)
  if (answer === null) return { kind: 'UNKNOWN' }

  const [error] = answer.errors
  if (!error) return { kind: 'OK', ...read(answer.data) }
  const { code, reason } = error.extensions
  if (code === 'REVOCATION_UNAVAILABLE') return { kind: 'UNKNOWN' }
  return { kind: 'REFUSED', why: reason ?? code ?? error.message }
}
