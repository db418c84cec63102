/**
 * Waits for an answer no longer than a limit.
 *
 * What is waited for goes on; what comes of it later is ignored.
 *
 * @param limitMs - Milliseconds.
 */
export async function within<Answer>(limitMs: number, answer: Promise<Answer>): Promise<Answer> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      // Timers come before sockets: when this process was held up, the answer may lie there already.
      setImmediate(() => reject(new Error(`It did not answer in time (${limitMs} ms)`)))
    }, limitMs)
  })
  try {
    return await Promise.race([answer, timeout])
  } finally {
    clearTimeout(timer)
  }
}
