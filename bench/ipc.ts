/** What harness and processes say to each other: a command, and its answer. */

export interface Request<Command> {
  readonly id: number
  readonly command: Command
}

export interface Reply {
  readonly id: number
  readonly answer?: unknown
  readonly error?: string
}

/** Answers the commands of the process that started this one, and ends with it. */
export function serveCommands<Command>(answer: (command: Command) => Promise<unknown>): void {
  process.on('message', ({ id, command }: Request<Command>) => {
    answer(command).then(
      (value) => send({ id, answer: value }),
      (error: unknown) =>
        send({ id, error: error instanceof Error ? error.message : String(error) }),
    )
  })
  process.on('disconnect', () => process.exit(0))
  process.on('SIGTERM', () => process.exit(0))
}

function send(reply: Reply): void {
  process.send?.(reply)
}
