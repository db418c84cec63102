import { makeExecutableSchema } from '@graphql-tools/schema'
import { listUndeclaredRootFields } from '../src/graphql/auth-directive.ts'
import {
  authTypeDefs,
  liveTypeDefs,
  revocationTypeDefs,
  serviceTypeDefs,
} from '../src/graphql/type-defs.ts'

/** Fails when a root field of our schema says neither `@auth` nor `@public`: a guard may have been forgotten. */
const schema = makeExecutableSchema({
  typeDefs: [authTypeDefs, revocationTypeDefs, liveTypeDefs, ...serviceTypeDefs],
})
const undeclared = listUndeclaredRootFields(schema)

for (const name of undeclared) {
  process.stderr.write(`${name} has neither @auth nor @public\n`)
}
process.exitCode = undeclared.length === 0 ? 0 : 1
