import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Promised } from '../history/check.ts'
import type { ServerSettings } from './cluster.ts'
import type { Disturbance } from './disturbances.ts'
import { LOUD } from './disturbances.ts'
import type { Check } from './node.ts'

/** A mistake that could be made, and what brings it to light. */
export interface Bug {
  readonly title: string
  readonly check: Check
  readonly patches: readonly Patch[]
  readonly disturbances: Readonly<Record<string, Disturbance>>
  readonly server?: ServerSettings
  readonly breaks: Promised
}

/** One place in the compiled service. */
interface Patch {
  readonly file: string
  readonly find: string
  readonly put: string
}

export const BUGS: readonly Bug[] = [
  {
    title: 'an answer is kept for two seconds',
    check: 'database',
    patches: [
      {
        file: 'revocation/check.js',
        find: 'return async (token) => (store.rulesOut?.(token) ? null : lookUp(token));',
        put: `const kept = new Map();
          return async (token) => {
            const before = kept.get(token.tokenId);
            if (before && Date.now() - before.at < 2000) return before.answer;
            const answer = await lookUp(token);
            kept.set(token.tokenId, { answer, at: Date.now() });
            return answer;
          };`,
      },
    ],
    disturbances: {},
    breaks: 'REVOKED_IS_REFUSED',
  },
  {
    title: 'a replica answers however far it is behind',
    check: 'replica',
    patches: [
      {
        file: 'revocation/journal/journal-follower.js',
        find: 'return msSince(this.#asOf) <= this.#maxStalenessMs;',
        put: 'return true;',
      },
    ],
    disturbances: { feed: LOUD.feed },
    breaks: 'REVOKED_IS_REFUSED',
  },
  {
    title: 'a line of the journal is left out now and then',
    check: 'replica',
    patches: [
      {
        file: 'revocation/journal/journal-feed.js',
        find: 'take(rows.flatMap(toLines));',
        put: 'take(rows.filter(() => Math.random() < 0.7).flatMap(toLines));',
      },
    ],
    disturbances: { lostHints: LOUD.lostHints },
    breaks: 'REVOKED_IS_REFUSED',
  },
  {
    title: 'the journal is read by the numbers of its lines',
    check: 'replica',
    patches: [
      {
        file: 'revocation/journal/journal-sql.js',
        find: 'select coalesce($3::txid_snapshot, txid_current_snapshot()) as snapshot',
        put: `select coalesce(
            $3::txid_snapshot,
            ('1:' || (select coalesce(max(id), 0) + 1 from revocation_event) || ':')::txid_snapshot
          ) as snapshot`,
      },
      {
        file: 'revocation/journal/journal-sql.js',
        find: `where transaction_id >= $1::bigint and (transaction_id, id) > ($4::bigint, $5::bigint)
          and transaction_id < txid_snapshot_xmax((select snapshot from up_to))
          and txid_visible_in_snapshot(transaction_id, (select snapshot from up_to))`,
        put: `where id >= $1::bigint and id > $5::bigint
          and id < txid_snapshot_xmax((select snapshot from up_to))`,
      },
    ],
    disturbances: { lateCommit: LOUD.lateCommit },
    breaks: 'REVOKED_IS_REFUSED',
  },
  {
    title: 'a node answers a revocation and does not keep it in mind',
    check: 'replica',
    patches: [
      {
        file: 'revocation/postgres/postgres-writer.js',
        find: 'this.#options.journal?.know(entry);',
        put: 'continue;',
      },
      {
        file: 'revocation/postgres/postgres-writer.js',
        find: 'this.#options.journal?.know(revocation);',
        put: '',
      },
    ],
    disturbances: { unheardCutOff: LOUD.unheardCutOff },
    breaks: 'REVOKED_IS_REFUSED',
  },
  {
    title: 'a logout that could not be written is a success',
    check: 'replica',
    patches: [
      {
        file: 'graphql/resolvers/revocation-resolvers.js',
        find: `await revoke('logout', auth, { target, reason: 'logout', by: subject });`,
        put: `await revoke('logout', auth, { target, reason: 'logout', by: subject }).catch(() => ({
            alreadyRevoked: false,
            revocation: { id: crypto.randomUUID(), scope: 'SESSION', reason: 'logout', revokedAt: new Date(), expiresAt: new Date() },
          }));`,
      },
    ],
    disturbances: { pool: LOUD.pool },
    breaks: 'KEPT',
  },
  {
    title: 'it is answered before it is on disk',
    check: 'database',
    patches: [
      {
        file: 'database/transaction.js',
        find: 'await within(BEGIN_TIMEOUT_MS, begin(runner));',
        put: `await within(BEGIN_TIMEOUT_MS, begin(runner));
          await runner.query('set local synchronous_commit = off');`,
      },
    ],
    disturbances: { crash: LOUD.crash },
    server: { wal_writer_delay: '2s' },
    breaks: 'KEPT',
  },
  {
    title: 'a cut-off spares what was issued in the same second',
    check: 'database',
    patches: [
      {
        file: 'revocation/revocation.js',
        find: 'return issuedAtMs(token) <= cutOff.getTime();',
        put: 'return Math.floor(issuedAtMs(token) / 1000) < Math.floor(cutOff.getTime() / 1000);',
      },
    ],
    disturbances: {},
    breaks: 'REVOKED_IS_REFUSED',
  },
  {
    title: 'a refresh does not wait for a cut-off that it meets',
    check: 'database',
    patches: [
      {
        file: 'revocation/postgres/postgres-writer.js',
        find: 'await manager.query(sql.lockForIssue, keys);',
        put: '',
      },
    ],
    disturbances: { slowCutOff: LOUD.slowCutOff },
    breaks: 'REVOKED_IS_REFUSED',
  },
]

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

/** A copy of the built service with a bug in it; where it lies it finds its packages. */
export async function plant(bug: Bug): Promise<{ program: string; remove(): Promise<void> }> {
  const nursery = join(ROOT, 'node_modules/.cache')
  await mkdir(nursery, { recursive: true })
  const folder = await mkdtemp(join(nursery, 'portcullis-bug-'))
  await cp(join(ROOT, 'dist'), folder, { recursive: true })
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')

  for (const { file, find, put } of bug.patches) {
    const path = join(folder, 'src', file)
    const [before, after, ...more] = (await readFile(path, 'utf8')).split(find)
    if (after === undefined || more.length > 0) throw new Error(`not once in ${file}: ${find}`)
    await writeFile(path, `${before}${put}${after}`)
  }
  return {
    program: join(folder, 'src/service/main.js'),
    remove: async () => rm(folder, { recursive: true, force: true }),
  }
}
