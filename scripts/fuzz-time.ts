/**
 * Looks for requests that take long: begins with the corpus of F26, changes at random what cost most for its size, and keeps
 * what costs more. After `npm run build`: `npx tsx scripts/fuzz-time.ts 300` for 300 seconds; another number behind it is
 * another seed.
 */
import { Cluster } from '../test/faults/support/cluster.ts'
import { HeavyClient, MAX_ANSWER_BYTES, MAX_MS } from '../test/faults/support/heavy-client.ts'
import { MAX_BYTES, heavyRequests } from '../test/faults/support/heavy-requests.ts'
import type { HeavyRequest } from '../test/faults/support/heavy-requests.ts'
import { Node } from '../test/faults/support/node.ts'
import { login } from '../test/support/people.ts'
import { createRandom } from '../test/support/random.ts'

const [seconds = 300, seed = Date.now() % 1_000_000] = process.argv.slice(2).map(Number)

/** What is kept to be changed: requests that took most, in all and for each byte. */
const MAX_KEPT = 60

interface Found {
  readonly request: HeavyRequest
  readonly ms: number
}

/** What stands in GraphQL and in JSON, and what libraries look for in messages. */
const WORDS =
  `{ } ( ) [ ] : ! $ @ ... | = , # " """ \\ \\n \\u0301 \\u0323 query mutation subscription fragment on
  __typename __schema __type __proto__ me sessions user revocations revocationEvents edges node id $v @include(if:true)
  "variables" "query" "operationName" null true 0 1e9 1e-9 -1 "" {} [] 😀 ʼ \u0301 \u0345 Did-you-mean?`.split(
    /\s+/,
  )

const numbers = createRandom(seed)
const random = (): number => numbers.below(1_000_000) / 1_000_000
const pick = <Item>(items: readonly Item[]): Item => items[numbers.below(items.length)] as Item

function change(text: string, other: string): string {
  const at = Math.floor(random() * text.length)
  const end = Math.min(text.length, at + Math.floor(random() ** 3 * 2000))
  const part = text.slice(at, end)
  const room = Math.max(1, Math.floor((MAX_BYTES * 0.9 - text.length) / (part.length + 1)))
  const changes = [
    () => text.slice(0, at) + pick(WORDS) + text.slice(at),
    () => text.slice(0, at) + `${pick(WORDS)} `.repeat(1 + random() ** 4 * 5000) + text.slice(at),
    () =>
      text.slice(0, at) + part.repeat(1 + random() ** 4 * Math.min(room, 5000)) + text.slice(at),
    () => text.slice(0, at) + text.slice(end),
    () => text.slice(0, at) + other.slice(0, Math.floor(random() * 5000)) + text.slice(end),
    () => text.slice(0, at) + pick(WORDS) + text.slice(end),
  ]
  return pick(changes)()
}

interface Payload {
  query?: unknown
  payload?: { query?: unknown }
}

/** In the document alone, so that the rest stays JSON; or anywhere. */
function mutate({ request }: Found, other: Found): HeavyRequest {
  const { body = '' } = request
  const inDocument = random() < 0.8 ? changeDocument(body, other) : null
  const changed = inDocument ?? change(body, other.request.body ?? '')
  return { ...request, name: request.name.replace(/^(changed )?/, 'changed '), body: changed }
}

/** @returns `null` where there is no document. */
function changeDocument(body: string, other: Found): string | null {
  const payload = parse(body)
  const holder = payload?.payload ?? payload
  if (typeof holder?.query !== 'string') return null
  const { query = '' } = parse(other.request.body ?? '') ?? {}
  holder.query = change(holder.query, String(query))
  return JSON.stringify(payload)
}

function parse(body: string): Payload | null {
  try {
    return JSON.parse(body) as Payload
  } catch {
    return null
  }
}

const cluster = await Cluster.create()
const database = await cluster.createDatabase()
const node = await Node.start({ databaseUrl: database.url, check: 'database' })
const { accessToken } = await login(node, 'admin', 'console')
const client = new HeavyClient(node, accessToken)
console.log(`seed ${seed}, ${seconds} s`)

let kept: Found[] = []
let asked = 0
const tooMuch = new Map<string, string>()

async function ask(request: HeavyRequest): Promise<void> {
  asked += 1
  const { ms, bytes, status } = await client.measure(request)
  kept.push({ request, ms })
  if (kept.length > 3 * MAX_KEPT) select()
  const isFault = ms > MAX_MS || bytes > MAX_ANSWER_BYTES || status === 500
  if (!isFault || tooMuch.has(request.name)) return
  const what = `${ms.toFixed(0)} ms, ${bytes} bytes, status ${status}: ${request.name}`
  tooMuch.set(request.name, what)
  console.log(what, '\n  ', (request.body ?? request.search ?? '').slice(0, 400))
}

/** Half by what they cost, half by what they cost a byte, so that short ones can grow. */
function select(): void {
  const byCost = kept.toSorted((one, other) => other.ms - one.ms)
  const byRate = kept.toSorted((one, other) => rateOf(other) - rateOf(one))
  kept = [...new Set([...byCost.slice(0, MAX_KEPT / 2), ...byRate.slice(0, MAX_KEPT / 2)])]
}

function rateOf({ ms, request }: Found): number {
  return ms / (2000 + (request.body?.length ?? 0))
}

const deadline = performance.now() + seconds * 1000
for (const request of heavyRequests()) if (request.body) await ask(request)
console.log(`${asked} of the corpus`)
while (performance.now() < deadline && node.isAlive) {
  select()
  for (let count = 0; count < MAX_KEPT; count += 1) {
    const changed = mutate(pick(kept), pick(kept))
    if (Buffer.byteLength(changed.body ?? '') <= MAX_BYTES) await ask(changed)
  }
}

select()
console.log(`${asked} requests; ${tooMuch.size} took more than ${MAX_MS} ms. The dearest:`)
for (const { ms, request } of kept.slice(0, 10))
  console.log(`${ms.toFixed(1)} ms, ${request.body?.length} characters: ${request.name}`)
await node.stop()
await cluster.stop()
await cluster.remove()
process.exitCode = tooMuch.size === 0 ? 0 : 1
