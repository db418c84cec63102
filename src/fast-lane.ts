/** `portcullis/fast-lane`: hot queries answered in front of a team's own server. */
export { createFastLane } from './transport/fast-lane/apollo-lane.ts'
export type { ApolloFastLane, FastLaneOptions, Way } from './transport/fast-lane/apollo-lane.ts'
