import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { afterEach, describe, expect, it, onTestFinished } from 'vitest'
import { registerExplorer } from '../../src/service/http/explorer.ts'

describe('registerExplorer', () => {
  let app: FastifyInstance

  afterEach(async () => app.close())

  function start({ enabled, register = registerExplorer }: StartOptions): void {
    app = Fastify()
    register(app, { enabled })
  }

  it('serves the page and every file that it names', async () => {
    start({ enabled: true })
    const page = await app.inject('/')
    const files = [...page.body.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => `/${path}`)

    expect(page.headers['content-type']).toBe('text/html; charset=utf-8')
    expect(files).toContain('/explorer/graphiql.js')
    for (const file of files) {
      const { statusCode } = await app.inject(file)
      expect({ file, statusCode }).toEqual({ file, statusCode: 200 })
    }
  })

  it.each([
    ['/explorer/graphiql.js', 'text/javascript; charset=utf-8'],
    ['/explorer/graphiql.css', 'text/css; charset=utf-8'],
    ['/explorer/icon.svg', 'image/svg+xml'],
  ])('says what %s is', async (path, type) => {
    start({ enabled: true })
    const { headers } = await app.inject(path)

    expect(headers['content-type']).toBe(type)
    expect(headers['x-content-type-options']).toBe('nosniff')
  })

  it('lets the page run, load and reach nothing but this service', async () => {
    start({ enabled: true })
    const { headers } = await app.inject('/')
    const policy = String(headers['content-security-policy'])

    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain("script-src 'self';")
    expect(policy).toContain("connect-src 'self';")
    expect(policy).toContain("frame-ancestors 'none'")
    expect(policy).not.toMatch(/https?:|\*|unsafe-eval/)
    expect(headers['referrer-policy']).toBe('no-referrer')
  })

  it('compresses for who can read it', async () => {
    start({ enabled: true })
    const url = '/explorer/graphiql.js'
    const plain = await app.inject({ url, headers: { 'accept-encoding': 'br, gzip;q=0' } })
    const packed = await app.inject({ url, headers: { 'accept-encoding': 'gzip, deflate, br' } })

    expect(plain.headers['content-encoding']).toBeUndefined()
    expect(packed.headers['content-encoding']).toBe('gzip')
    expect(packed.headers['vary']).toBe('accept-encoding')
    expect(gunzipSync(packed.rawPayload).equals(plain.rawPayload)).toBe(true)
    expect(packed.rawPayload.length).toBeLessThan(plain.rawPayload.length / 2)
  })

  it('sends a file once, until it changes', async () => {
    start({ enabled: true })
    const { headers } = await app.inject('/explorer/react.js')
    const again = await app.inject({
      url: '/explorer/react.js',
      headers: { 'if-none-match': String(headers['etag']) },
    })

    expect(headers['cache-control']).toBe('no-cache')
    expect(again.statusCode).toBe(304)
    expect(again.body).toBe('')
  })

  it.each(['/explorer/', '/explorer/index.html', '/explorer/..%2fpackage.json', '/explorer/x.js'])(
    'serves nothing at %s',
    async (path) => {
      start({ enabled: true })

      expect((await app.inject(path)).statusCode).toBe(404)
    },
  )

  it('says where the API is when it is not enabled, and serves no file', async () => {
    start({ enabled: false })
    const { statusCode, headers, body } = await app.inject('/')

    expect(statusCode).toBe(200)
    expect(headers['content-type']).toBe('text/plain; charset=utf-8')
    expect(body).toContain('POST /graphql')
    expect((await app.inject('/explorer/explorer.js')).statusCode).toBe(404)
  })

  it('says the same where the editor is not installed', async () => {
    start({ enabled: true, register: await importWithoutEditor() })

    expect((await app.inject('/')).body).toContain('POST /graphql')
    expect((await app.inject('/explorer/explorer.js')).statusCode).toBe(404)
  })
})

interface StartOptions {
  readonly enabled: boolean
  readonly register?: typeof registerExplorer
}

/** The same code in a place that has no `node_modules`, as after `npm ci --omit=dev`. */
async function importWithoutEditor(): Promise<typeof registerExplorer> {
  const folder = await mkdtemp(join(tmpdir(), 'portcullis-explorer-'))
  onTestFinished(() => rm(folder, { recursive: true }))

  for (const path of ['explorer', 'src/service/http/explorer.ts']) {
    await cp(new URL(`../../${path}`, import.meta.url), join(folder, path), { recursive: true })
  }
  const module = await import(join(folder, 'src/service/http/explorer.ts'))
  return module.registerExplorer
}
