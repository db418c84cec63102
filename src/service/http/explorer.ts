import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/** What is served, ready to send. */
interface Asset {
  readonly type: string
  readonly body: Buffer
  readonly gzipped: Promise<Buffer>
  readonly etag: string
}

const FOLDER = new URL('../../../explorer/', import.meta.url)

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
}

/** Parts of the editor: the name they are served by, their package, their file within it. */
const VENDORED = [
  ['graphiql.js', 'graphiql', 'graphiql.min.js'],
  ['graphiql.css', 'graphiql', 'graphiql.min.css'],
  ['graphql-ws.js', 'graphql-ws', 'umd/graphql-ws.min.js'],
  ['react.js', 'react', 'umd/react.production.min.js'],
  ['react-dom.js', 'react-dom', 'umd/react-dom.production.min.js'],
] as const

/**
 * The page handles live tokens, so nothing may run in it, frame it or be told of it but what this
 * service serves itself. Styles may be inline because the editor's widgets add some as they open;
 * its fonts and a few of its images are data URLs within its style sheet.
 */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "font-src 'self' data:",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

const SIGNPOST = `Portcullis: a GraphQL API that stops a JWT which should no longer work.

POST /graphql   the API
GET  /healthz   whether this process lives
GET  /readyz    whether it can answer for revocation right now

Operations, tokens and error codes are documented in the README.
`

/**
 * Serves the explorer at `GET /`, and its parts below `/explorer/`.
 *
 * The editor's packages are development dependencies. Where they are not installed, as in
 * production, or where the explorer is not enabled, `GET /` is a plain text that says what this is.
 *
 * @param options - `enabled`: whether people may explore the API here.
 */
export function registerExplorer(
  app: FastifyInstance,
  options: { readonly enabled: boolean },
): void {
  const assets = options.enabled ? readAssets() : null
  if (assets === null) {
    app.get('/', async (_request, reply) => reply.type('text/plain; charset=utf-8').send(SIGNPOST))
    return
  }

  for (const [path, asset] of assets) {
    app.get(path, (request, reply) => sendAsset(asset, request, reply))
  }
}

/** Every file by its path, or `null` when the editor is not installed. */
function readAssets(): ReadonlyMap<string, Asset> | null {
  const vendored = findVendored()
  if (vendored === null) return null

  const assets = new Map<string, Asset>()
  for (const name of readdirSync(FOLDER)) {
    const path = name === 'index.html' ? '/' : `/explorer/${name}`
    assets.set(path, readAsset(fileURLToPath(new URL(name, FOLDER))))
  }
  for (const [name, file] of vendored) assets.set(`/explorer/${name}`, readAsset(file))
  return assets
}

function findVendored(): ReadonlyArray<readonly [name: string, file: string]> | null {
  const { resolve } = createRequire(import.meta.url)
  try {
    return VENDORED.map(([name, packageName, file]) => [
      name,
      join(resolve(`${packageName}/package.json`), '..', file),
    ])
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') return null
    throw error
  }
}

function readAsset(file: string): Asset {
  const body = readFileSync(file)
  return {
    type: TYPES[extname(file)] ?? 'application/octet-stream',
    body,
    gzipped: promisify(gzip)(body),
    // Weak, since it is the same for both encodings (RFC 9110 §8.8.3).
    etag: `W/"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`,
  }
}

async function sendAsset(
  asset: Asset,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  reply.headers({
    'cache-control': 'no-cache',
    'content-security-policy': CONTENT_SECURITY_POLICY,
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    etag: asset.etag,
    vary: 'accept-encoding',
  })
  if (request.headers['if-none-match']?.includes(asset.etag)) return reply.code(304).send()

  reply.type(asset.type)
  if (!acceptsGzip(request)) return reply.send(asset.body)
  return reply.header('content-encoding', 'gzip').send(await asset.gzipped)
}

/** Whether `gzip` is named, and not with a weight of zero (RFC 9110 §12.5.3). */
function acceptsGzip({ headers }: FastifyRequest): boolean {
  return /\bgzip\b(?!\s*;\s*q=0(?:\.0+)?\s*(?:,|$))/i.test(headers['accept-encoding'] ?? '')
}
