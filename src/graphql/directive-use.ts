import { valueFromASTUntyped } from 'graphql'
import type { ArgumentNode, ConstDirectiveNode } from 'graphql'

/** A part of a schema that can bear directives, in SDL or in its extensions. */
export interface Bearer {
  readonly astNode?: Bearing | null | undefined
  readonly extensionASTNodes?: readonly Bearing[] | undefined
  readonly extensions: Readonly<Record<string, unknown>>
}

interface Bearing {
  readonly directives?: readonly ConstDirectiveNode[] | undefined
}

/** A directive as it stands somewhere. */
export interface Use {
  readonly name: string
  /** By name, enum values by their names; `null` when what was given is no set of arguments. */
  readonly args: Readonly<Record<string, unknown>> | null
  /** What was given, for an error. */
  readonly given: unknown
  /** As the SDL has them. */
  readonly nodes: readonly ArgumentNode[]
}

/** Lists the directives of a part of a schema: those of its SDL, and those of a code-first schema's `extensions`. */
export function listUses({ astNode, extensionASTNodes = [], extensions }: Bearer): readonly Use[] {
  const nodes = [astNode, ...extensionASTNodes].flatMap((node) => node?.directives ?? [])
  return [...nodes.map(readNode), ...listExtensionUses(extensions['directives'])]
}

function readNode({ name, arguments: nodes = [] }: ConstDirectiveNode): Use {
  const args = Object.fromEntries(
    nodes.map((node) => [node.name.value, valueFromASTUntyped(node.value)]),
  )
  return { name: name.value, args, given: args, nodes }
}

/** `{ auth: { requires } }`, or the older `[{ name: 'auth', args: { requires } }]`. */
function listExtensionUses(directives: unknown): readonly Use[] {
  if (Array.isArray(directives)) {
    const entries = directives as ReadonlyArray<{
      readonly name?: unknown
      readonly args?: unknown
    }>
    return entries
      .filter((entry) => typeof entry?.name === 'string')
      .flatMap(({ name, args = {} }) => readGiven(name as string, args))
  }
  return Object.entries(directives ?? {}).flatMap(([name, given]) => readGiven(name, given))
}

/** A list stands for a directive that is given several times. */
function readGiven(name: string, given: unknown): readonly Use[] {
  if (given === undefined) return []
  const all: readonly unknown[] = Array.isArray(given) ? given : [given]
  return all.map((one) => ({ name, args: readArgs(one), given: one, nodes: [] }))
}

function readArgs(given: unknown): Use['args'] {
  if (given === true) return {}
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return null
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}
