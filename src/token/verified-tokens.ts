import type { Token } from './claims.ts'

/**
 * Tokens whose signature was verified, by their exact text, so that it is not verified again at each request.
 *
 * Only what cannot change is remembered: whether a token is expired or revoked is asked each time. Those used lately
 * are kept, in two generations: when the younger is full it becomes the older, and the older is forgotten.
 */
export class VerifiedTokens {
  #younger = new Map<string, Token>()
  #older = new Map<string, Token>()

  find(text: string): Token | undefined {
    const found = this.#younger.get(text)
    if (found !== undefined) return found

    const older = this.#older.get(text)
    if (older !== undefined) this.add(text, older)
    return older
  }

  add(text: string, token: Token): void {
    if (text.length > MAX_TEXT) return
    if (this.#younger.size >= MAX_YOUNGER) {
      this.#older = this.#younger
      this.#younger = new Map()
    }
    this.#younger.set(text, token)
  }
}

/** A generation; with texts of usual length both take some 20 MB. */
const MAX_YOUNGER = 10_000

/** Characters. What is longer is verified each time. */
const MAX_TEXT = 2048
