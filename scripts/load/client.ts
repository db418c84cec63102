import { Connection, write } from './connection.ts'

export interface Tokens {
  readonly accessToken: string
  readonly refreshToken: string
  readonly user: { readonly id: string }
}

interface Revoked {
  readonly revocation: { readonly id: string } | null
}

/** The parts of the answers that are read here. */
interface Data {
  readonly login?: Tokens
  readonly register?: Tokens
  readonly refresh?: Tokens
  readonly logout?: Revoked
  readonly logoutAllDevices?: Revoked
  readonly revokeToken?: Revoked
  readonly revokeUser?: Revoked
}

interface Body {
  readonly data?: Data | null
  readonly errors?: ReadonlyArray<{ extensions: { code: string; reason?: string } }>
}

/** What became of a request. `status` is 0 when there was no answer. */
export interface Outcome {
  readonly status: number
  readonly data: Data | null
  /** Why it was refused: the error's reason, else its code; `null` when it was not. */
  readonly refusal: string | null
  /** By `performance.now()`. */
  readonly beganAt: number
  readonly endedAt: number
}

/** How long an answer may take, in milliseconds: a sign-in may wait in line for 30 s. */
const ANSWER_MS = 40_000

/** An idle connection is not used after so long, in milliseconds: the server closes it after 72 s. */
const MAX_IDLE_MS = 30_000

/** Asks one node over as many kept connections as it takes. */
export class Client {
  readonly port: number
  readonly #idle: Array<{ connection: Connection; since: number }> = []

  constructor(url: string) {
    this.port = Number(new URL(url).port)
  }

  async ask(query: string, token?: string, variables: object = {}): Promise<Outcome> {
    const connection = this.#findIdle() ?? new Connection(this.port)
    const beganAt = performance.now()
    const answer = await new Promise<{ status: number; body: string } | null>((resolve) => {
      const timer = setTimeout(() => connection.close(), ANSWER_MS)
      connection.send(write({ query, variables }, token), (given) => {
        clearTimeout(timer)
        resolve(given)
      })
    })
    if (connection.isOpen) this.#idle.push({ connection, since: performance.now() })
    return { ...read(answer), beganAt, endedAt: performance.now() }
  }

  #findIdle(): Connection | null {
    for (let last = this.#idle.pop(); last !== undefined; last = this.#idle.pop()) {
      if (last.connection.isOpen && performance.now() - last.since < MAX_IDLE_MS) {
        return last.connection
      }
      last.connection.close()
    }
    return null
  }

  close(): void {
    for (const { connection } of this.#idle.splice(0)) connection.close()
  }
}

function read(
  answer: { status: number; body: string } | null,
): Pick<Outcome, 'status' | 'data' | 'refusal'> {
  if (answer === null) return { status: 0, data: null, refusal: null }
  const { data = null, errors = [] } = JSON.parse(answer.body) as Body
  const [error] = errors
  const refusal = error === undefined ? null : (error.extensions.reason ?? error.extensions.code)
  return { status: answer.status, data, refusal }
}
