/** The team's schema, as they would have it without Portcullis but for the directives and the role of their own. */
export const typeDefs = `#graphql
  extend enum Role {
    "Packs what was ordered."
    PACKER
  }

  type Query {
    "What can be ordered."
    catalogue: [String!]! @public

    "The caller's own orders."
    orders: [Order!]! @auth

    "All orders."
    allOrders: [Order!]! @auth(requires: ADMIN)
  }

  type Mutation {
    signIn(email: String!, password: String!): SignInPayload! @public

    "Marks an order as packed; \`null\` when there is no such order."
    packOrder(id: ID!): Order @auth(requires: PACKER)
  }

  type Order {
    id: ID!
    item: String!
    orderedBy: ID!
    packed: Boolean!
  }

  type SignInPayload {
    "For the header \`Authorization: Bearer <accessToken>\`."
    accessToken: String!
    "Seconds until it expires."
    expiresIn: Int!
  }
`
