import { ApolloServer } from '@apollo/server'
import { startStandaloneServer } from '@apollo/server/standalone'
import { makeExecutableSchema } from '@graphql-tools/schema'
import {
  MemoryRevocationStore,
  createKeyRing,
  createPortcullis,
  createStatusPlugin,
} from '../../src/index.ts'

const portcullis = createPortcullis({
  keys: createKeyRing({ signWith: process.env.JWT_SECRET ?? '' }),
  issuer: 'https://api.example',
  audience: 'api',
  store: new MemoryRevocationStore(),
})

const typeDefs = `
  type Query { greeting: String! @auth }
  type Mutation { signIn(name: String!): String! @public }`

const schema = portcullis.protect(
  makeExecutableSchema({
    typeDefs: [...portcullis.typeDefs, typeDefs],
    resolvers: [
      portcullis.resolvers,
      {
        Query: { greeting: () => 'Welcome back' },
        Mutation: {
          async signIn(_parent, { name }) {
            const { text } = await portcullis.issue({ subject: name })
            return text
          },
        },
      },
    ],
  }),
)

const server = new ApolloServer({
  schema,
  plugins: [createStatusPlugin()],
})
const { url } = await startStandaloneServer(server, {
  listen: { port: Number(process.env.PORT ?? 4000) },
  context: async ({ req }) => portcullis.context({ authorization: req.headers.authorization }),
})
portcullis.startSweeper()
console.log(`Listening at ${url}`)
