/**
 * Calls what others wrote in a place where nothing could catch what it throws: a listener, a timer, a journal that goes on. There
 * it would end the process, or keep the news from everything that comes after it.
 */
export function callOut(act: () => void): void {
  try {
    act()
  } catch (error) {
    warn(error)
  }
}

/** The same for what takes its time. */
export async function awaitOut<Result>(act: () => Promise<Result>): Promise<Result | null> {
  try {
    return await act()
  } catch (error) {
    warn(error)
    return null
  }
}

function warn(error: unknown): void {
  process.emitWarning('Portcullis called something that failed, and goes on', {
    type: 'PortcullisWarning',
    detail: error instanceof Error ? error.message : String(error),
  })
}
