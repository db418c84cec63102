export interface Order {
  readonly id: string
  readonly item: string
  /** A person's id. */
  readonly orderedBy: string
  readonly packed: boolean
}

/** Where the team keeps orders. */
export interface Orders {
  list(): Promise<readonly Order[]>
  listOf(personId: string): Promise<readonly Order[]>
  /** @returns The packed order; `null` when there is no such order. */
  pack(id: string): Promise<Order | null>
}

export const CATALOGUE: readonly string[] = ['portcullis', 'drawbridge', 'moat']

export function createMemoryOrders(): Orders {
  const orders: Order[] = [
    { id: '1', item: 'drawbridge', orderedBy: 'ada', packed: false },
    { id: '2', item: 'moat', orderedBy: 'grace', packed: false },
  ]
  return {
    list: async () => orders,
    listOf: async (personId) => orders.filter(({ orderedBy }) => orderedBy === personId),
    async pack(id) {
      const index = orders.findIndex((order) => order.id === id)
      const found = orders[index]
      if (!found) return null
      orders[index] = { ...found, packed: true }
      return orders[index]
    },
  }
}
