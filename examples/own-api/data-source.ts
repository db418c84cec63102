import { DataSource, EntitySchema } from 'typeorm'
import type { MigrationInterface, QueryRunner } from 'typeorm'
import { revocationEntities, revocationMigrations } from '../../src/index.ts'
import type { Order, Orders } from './orders.ts'

/** The team's DataSource: their entities and migrations, and those of Portcullis beside them. */
export function createDataSource(url: string): DataSource {
  return new DataSource({
    type: 'postgres',
    url,
    entities: [OrderEntity, ...revocationEntities],
    migrations: [Orders1763000000000, ...revocationMigrations],
    poolSize: 5,
    // Milliseconds; pg would wait for ever. A check gives up sooner by itself, and the request is refused with 503.
    extra: { connectionTimeoutMillis: 2000, query_timeout: 5000 },
  })
}

/** Orders in the table. */
export function createTableOrders(dataSource: DataSource): Orders {
  const table = dataSource.getRepository(OrderEntity)
  return {
    list: () => table.find({ order: { id: 'asc' } }),
    listOf: (orderedBy) => table.find({ where: { orderedBy }, order: { id: 'asc' } }),
    async pack(id) {
      await table.update({ id }, { packed: true })
      return table.findOneBy({ id })
    },
  }
}

const OrderEntity = new EntitySchema<Order>({
  name: 'Order',
  tableName: 'purchase_order',
  columns: {
    id: { type: 'text', primary: true, primaryKeyConstraintName: 'purchase_order_pkey' },
    item: { type: 'text' },
    orderedBy: { name: 'ordered_by', type: 'text' },
    packed: { type: 'boolean' },
  },
})

class Orders1763000000000 implements MigrationInterface {
  readonly name = 'Orders1763000000000'

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table purchase_order (
        id text not null constraint purchase_order_pkey primary key,
        item text not null,
        ordered_by text not null,
        packed boolean not null
      )`)
    await runner.query(`
      insert into purchase_order
      values ('1', 'drawbridge', 'ada', false), ('2', 'moat', 'grace', false)`)
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table purchase_order`)
  }
}
