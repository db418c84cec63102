/** `portcullis/fast-lane`: hot queries answered in front of a team's own server. */
export * from './transport/fast-lane/apollo-lane.ts'
