import { randomBytes, scryptSync, timingSafeEqual } from 'node:crypto'

/**
 * The people of this API and their login. It stands for whatever your team has already: a table, LDAP, another
 * provider. Portcullis wants two things of it, an id and a list of roles.
 */
export interface Person {
  readonly id: string
  readonly email: string
  /** What the token will carry. Each has `USER`, which is what a bare `@auth` asks for. */
  readonly roles: readonly string[]
}

interface Row extends Person {
  readonly salt: Buffer
  readonly hash: Buffer
}

const rows: readonly Row[] = [
  createRow('ada', ['USER']),
  createRow('grace', ['USER', 'PACKER']),
  createRow('olga', ['USER', 'ADMIN']),
]

const nobody = createRow('nobody', [])

/** @returns `null` when e-mail and password do not belong together. */
export function findBySignIn(email: string, password: string): Person | null {
  const found = rows.find((row) => row.email === email)
  const { salt, hash } = found ?? nobody
  // An unknown person costs as much as a wrong password, so that the time does not tell one from the other.
  const isRight = timingSafeEqual(hash, scryptSync(password, salt, 32))
  return found && isRight ? found : null
}

function createRow(name: string, roles: readonly string[]): Row {
  const salt = randomBytes(16)
  const hash = scryptSync(`the password of ${name}`, salt, 32)
  return { id: name, email: `${name}@orders.example`, roles, salt, hash }
}
