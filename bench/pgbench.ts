import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

const LIMIT_MS = 60_000

/**
 * One logout as PostgreSQL sees it: what stands, the entry with its line of the journal, the session's end; each
 * with the plainest conditions that find the row.
 *
 * `:first` is the number of the first session that is this run's own.
 */
const LOGOUT_SCRIPT = `
\\set done :done + 1
\\set n :first + :done * :clients + :client_id
begin;
select date_trunc('milliseconds', clock_timestamp()) as now,
  id, note, scope, issuer, subject, session_id, token_id, digest, kept_session_id, revoked_at,
  expires_at, reason, revoked_by
from (select) as always
left join revocation
  on key = md5('key' || (:n)::bigint)::uuid and scope in ('TOKEN', 'SESSION')
  and expires_at > clock_timestamp();
with added as (
  insert into revocation (
    id, key, scope, issuer, subject, session_id, token_id, digest, kept_session_id,
    revoked_at, expires_at, reason, revoked_by, note
  )
  values (
    gen_random_uuid(), md5('key' || (:n)::bigint)::uuid, 'SESSION', null, 'pgbench',
    md5('session' || (:n)::bigint)::uuid::text, null, null, null,
    clock_timestamp(), clock_timestamp() + interval '1 day', 'logout', 'pgbench', null
  )
  on conflict (key) where scope in ('TOKEN', 'SESSION') do update
  set id = excluded.id, revoked_at = excluded.revoked_at, expires_at = excluded.expires_at,
      reason = excluded.reason, revoked_by = excluded.revoked_by, note = excluded.note
  where revocation.expires_at <= excluded.revoked_at
  returning *
), journalled as (
  insert into revocation_event (
    kind, occurred_at, actor, note, revocation_id, revocation_note, scope, issuer, subject,
    session_id, token_id, digest, kept_session_id, revoked_at, expires_at, reason, revoked_by
  )
  select 'REVOKED', revoked_at, revoked_by, note, id, note, scope, issuer, subject,
         session_id, token_id, digest, kept_session_id, revoked_at, expires_at, reason, revoked_by
  from added
)
select id, note, scope, issuer, subject, session_id, token_id, digest, kept_session_id, revoked_at,
  expires_at, reason, revoked_by
from added;
update session set ended_at = clock_timestamp()
where ended_at is null and expires_at > clock_timestamp()
  and id = md5('session' || (:n)::bigint)::uuid;
commit;
`

/** How pgbench sends statements: parsed each time, as a driver does without names, or prepared once. */
export const PROTOCOLS = ['extended', 'prepared'] as const

export type Protocol = (typeof PROTOCOLS)[number]

export interface Pgbench {
  /** Logouts a second. */
  run(options: PgbenchOptions): Promise<number>
}

export interface PgbenchOptions {
  readonly url: string
  readonly clients: number
  readonly seconds: number
  readonly protocol: Protocol
  readonly first: number
}

/** @throws `Error` when it is not installed. */
export async function findPgbench(): Promise<Pgbench> {
  const program = await findProgram()
  return {
    run: async (options) => {
      const folder = await mkdtemp(join(tmpdir(), 'portcullis-pgbench-'))
      try {
        const file = join(folder, 'logout.sql')
        await writeFile(file, LOGOUT_SCRIPT)
        return await runScript(program, file, options)
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
    },
  }
}

async function findProgram(): Promise<string> {
  const bin = await run('pg_config', ['--bindir']).then(
    ({ stdout }) => stdout.trim(),
    () => null,
  )
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...(bin ? [bin] : [])]
  for (const folder of folders) {
    const program = join(folder, 'pgbench')
    const isThere = await run(program, ['--version']).then(
      () => true,
      () => false,
    )
    if (isThere) return program
  }
  throw new Error('pgbench is not on PATH')
}

async function runScript(
  program: string,
  file: string,
  { url, clients, seconds, protocol, first }: PgbenchOptions,
): Promise<number> {
  const variables = Object.entries({ done: -1, clients, first })
  const args = ['--no-vacuum', '--jobs', '2', '--protocol', protocol, '--file', file]
  args.push('--client', String(clients), '--time', String(seconds))
  args.push(...variables.flatMap(([name, value]) => ['--define', `${name}=${value}`]), url)
  const { stdout } = await run(program, args, { timeout: LIMIT_MS })
  const perSecond = /tps = ([\d.]+)/.exec(stdout)?.[1]
  const failed = /number of failed transactions: (\d+)/.exec(stdout)?.[1] ?? '0'
  if (perSecond === undefined || failed !== '0') throw new Error(`pgbench said: ${stdout}`)
  return Number(perSecond)
}
