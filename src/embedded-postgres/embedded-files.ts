import { open, readFile, rename } from 'node:fs/promises'
import { StartError } from '../lib/start-error.ts'

/** @returns What was looked for, or `null` when the file is not there; any other failure is thrown on. */
export async function unlessMissing<Found>(looking: Promise<Found>): Promise<Found | null> {
  try {
    return await looking
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return null
    throw error
  }
}

/** @throws {@link StartError} when the file is there but is not JSON. */
export async function findJson<Content>(path: string): Promise<Content | null> {
  const text = await unlessMissing(readFile(path, 'utf8'))
  try {
    return text === null ? null : (JSON.parse(text) as Content)
  } catch {
    throw new StartError(`The file ${path} is damaged: restore it, or move its folder away`)
  }
}

/** Writes a file only its owner can read, all of it or nothing, also when the power fails. */
export async function writeJson(path: string, content: object): Promise<void> {
  const draft = await open(`${path}.new`, 'w', 0o600)
  try {
    await draft.writeFile(JSON.stringify(content))
    await draft.sync()
  } finally {
    await draft.close()
  }
  await rename(`${path}.new`, path)
}
