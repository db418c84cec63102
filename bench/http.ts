import { setTimeout as sleep } from 'node:timers/promises'

const LIMIT_MS = 10_000

/** One request outside the measurements. */
export async function post(
  port: number,
  query: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ status: number; body: string }> {
  const response = await fetch(`http://127.0.0.1:${port}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json', ...headers },
    body: JSON.stringify({ query }),
    signal: AbortSignal.timeout(LIMIT_MS),
  })
  return { status: response.status, body: await response.text() }
}

/** Waits until `/readyz` says yes, and gives its answer. */
export async function waitUntilReady(port: number, limitMs: number): Promise<unknown> {
  const deadline = Date.now() + limitMs
  for (;;) {
    const response = await fetch(`http://127.0.0.1:${port}/readyz`, {
      signal: AbortSignal.timeout(LIMIT_MS),
    })
    const body: unknown = await response.json()
    if (response.ok) return body
    if (Date.now() > deadline)
      throw new Error(`not ready in ${limitMs} ms: ${JSON.stringify(body)}`)
    await sleep(20)
  }
}
