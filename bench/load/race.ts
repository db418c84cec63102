import { Caller } from './caller.ts'
import { createJudge } from './judge.ts'
import type { Heat, Race, RaceResult } from './plan.ts'

export async function runRace(race: Race): Promise<RaceResult> {
  const writer = new Caller(race.writerPort)
  const reader = new Caller(race.readerPort)
  const isRevoked = createJudge(race.revoked)
  const isAccepted = createJudge(race.accepted)
  const isRefused = createJudge(race.refused)
  const delaysMs: number[] = []
  let wrong = 0
  let firstWrong: string | null = null

  async function run({ revoke, probe }: Heat): Promise<void> {
    await writer.ask(revoke, isRevoked)
    const revokedAt = performance.now()

    for (let isFirst = true; ; isFirst = false) {
      const sentAt = performance.now()
      const isOver = await reader.ask(probe, isRefused, isAccepted)
      if (isOver) {
        delaysMs.push(isFirst ? 0 : sentAt - revokedAt)
        return
      }
      if (sentAt - revokedAt > race.limitMs) throw new Error(`accepted after ${race.limitMs} ms`)
    }
  }

  try {
    for (const heat of race.heats) {
      try {
        await run(heat)
      } catch (error) {
        wrong += 1
        firstWrong ??= (error as Error).message
      }
    }
  } finally {
    writer.close()
    reader.close()
  }
  return { delaysMs, refusedAtOnce: delaysMs.filter((ms) => ms === 0).length, wrong, firstWrong }
}
