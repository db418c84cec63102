/**
 * Measures what a flood of logins does to checks: the latency of `{ me { id } }`, asked 200 times a second, without
 * and with 200 logins under way all the time, on a service of its own (`npm run build` first).
 *
 *     npx tsx scripts/login-flood.ts [seconds a phase, 10 if not given]
 */
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const LOGINS_AT_ONCE = 200
const ME_EVERY_MS = 5
const PASSWORD = 'correct horse battery'
const EMAILS = Array.from({ length: 20 }, (_, n) => `person${n}@example.com`)

const agent = new Agent({ keepAlive: true, maxSockets: 1000 })
const floodUrl = process.env['FLOOD_URL']
const phaseMs = 1000 * Number(process.argv[2] ?? 10)

if (floodUrl === undefined) await main()
else await flood(floodUrl)
agent.destroy()

async function main(): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), 'portcullis-flood-'))
  const service = spawn(process.execPath, ['dist/src/service/main.js'], {
    env: { PATH: process.env['PATH'], PORT: '0', DATA_DIR: dataDir, LOG_LEVEL: 'warn' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    const url = await new Promise<string>((resolve, reject) => {
      service.on('exit', (code) => reject(new Error(`the service ended with ${code}`)))
      service.stdout.on('data', (chunk: Buffer) => {
        const [, found] = /listens on (http:\S+)/.exec(chunk.toString()) ?? []
        if (found !== undefined) resolve(found)
      })
    })
    for (const email of EMAILS) await ask(url, credentials('register', email))
    const { body } = await ask(url, credentials('login', 'person0@example.com'))
    const [, token = ''] = /"accessToken":"([^"]+)"/.exec(body) ?? []

    await measure('warm-up', url, token)
    await measure('without logins', url, token)
    // Another process, so that what it costs to send them is not taken for a slow answer.
    const flooding = fork(process.argv[1] ?? '', process.argv.slice(2), {
      env: { ...process.env, FLOOD_URL: url },
    })
    await once(flooding, 'message')
    await measure(`with ${LOGINS_AT_ONCE} logins at once`, url, token)
    await once(flooding, 'exit')
  } finally {
    service.removeAllListeners('exit')
    service.kill('SIGTERM')
    await once(service, 'exit')
    await rm(dataDir, { recursive: true, force: true })
  }
}

async function flood(url: string): Promise<void> {
  const outcomes = new Map<number, number>()
  process.send?.('begins')
  process.disconnect()
  const until = performance.now() + phaseMs
  await Promise.all(
    Array.from({ length: LOGINS_AT_ONCE }, async (_, n) => {
      while (performance.now() < until) {
        const { status } = await ask(url, credentials('login', EMAILS[n % EMAILS.length] ?? ''))
        outcomes.set(status, (outcomes.get(status) ?? 0) + 1)
        if (status === 429) await sleep(100)
      }
    }),
  )
  console.log('answers to the logins, by status:', Object.fromEntries(outcomes))
}

/** An open loop: a slow answer does not keep the next question back. */
async function measure(what: string, url: string, token: string): Promise<void> {
  const asked: Array<Promise<number>> = []
  const start = performance.now()
  for (let n = 0; n * ME_EVERY_MS < phaseMs; n++) {
    const wait = start + n * ME_EVERY_MS - performance.now()
    if (wait > 0) await sleep(wait)
    asked.push(timeMe(url, token))
  }

  const took = (await Promise.all(asked)).toSorted((one, other) => one - other)
  const at = (part: number): string => (took[Math.floor(part * took.length)] ?? NaN).toFixed(1)
  console.log(
    `me, ${what}: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${at(1 - 1 / took.length)} ms, n = ${took.length}`,
  )
}

async function timeMe(url: string, token: string): Promise<number> {
  const start = performance.now()
  const { status } = await ask(url, { query: '{ me { id } }' }, token)
  if (status !== 200) throw new Error(`me was answered ${status}`)
  return performance.now() - start
}

function credentials(act: 'register' | 'login', email: string): object {
  const query = `mutation ($email: String!, $password: String!) {
    ${act}(email: $email, password: $password) { accessToken }
  }`
  return { query, variables: { email, password: PASSWORD } }
}

async function ask(
  url: string,
  operation: object,
  token = '',
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const headers = {
      'content-type': 'application/json',
      ...(token && { authorization: `Bearer ${token}` }),
    }
    const call = request(`${url}/graphql`, { method: 'POST', agent, headers }, (answer) => {
      let body = ''
      answer.on('data', (chunk: Buffer) => {
        body += chunk.toString()
      })
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body }))
    })
    call.on('error', reject)
    call.end(JSON.stringify(operation))
  })
}
