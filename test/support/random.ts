export interface Random {
  below(limit: number): number
  between(least: number, most: number): number
  pick<Item>(items: readonly Item[]): Item | undefined
}

/** The same numbers for the same seed (mulberry32). */
export function createRandom(seed: number): Random {
  let state = seed | 0
  function below(limit: number): number {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit
  }
  return {
    below,
    between: (least, most) => least + below(most - least + 1),
    pick: (items) => items[below(Math.max(items.length, 1))],
  }
}
