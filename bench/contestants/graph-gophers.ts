/**
 * Builds and runs the peer in Go with Debian's packages: golang-go, golang-github-graph-gophers-graphql-go-dev,
 * golang-github-golang-jwt-jwt-dev and golang-github-gomodule-redigo-dev. Where they are missing it does not take part.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { SECRET } from '../tokens.ts'
import { verifyToken } from './jwt.ts'
import { connectDenylist } from './redis.ts'
import { present } from './serve.ts'

const SOURCE = fileURLToPath(new URL('graph-gophers/main.go', import.meta.url))

/** A hundredth of a second, in which Linux counts processor time. */
const TICK_MICROSECONDS = 10_000

await present(async () => {
  const denylist = await connectDenylist()
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-bench-go-'))
  const program = join(folder, 'server')
  const go = { GO111MODULE: 'off', GOPATH: '/usr/share/gocode', GOFLAGS: '' }
  execFileSync('go', ['build', '-o', program, SOURCE], { env: { ...process.env, ...go } })

  const server = spawn(program, {
    env: { ...process.env, JWT_SECRET: SECRET },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  process.on('exit', () => {
    server.kill('SIGKILL')
    rmSync(folder, { recursive: true })
  })
  return {
    listen: async () => {
      const ended = once(server, 'exit').then(() => {
        throw new Error('the server in Go has ended')
      })
      const [line] = (await Promise.race([once(server.stdout, 'data'), ended])) as [Buffer]
      return Number(line.toString())
    },
    revoke: async (text) => denylist.add(verifyToken(text).jti),
    cpu: () => {
      const [, rest = ''] = readFileSync(`/proc/${server.pid}/stat`, 'utf8').split(') ')
      const [user, system] = rest.split(' ').slice(11, 13).map(Number)
      return ((user ?? 0) + (system ?? 0)) * TICK_MICROSECONDS
    },
  }
})
