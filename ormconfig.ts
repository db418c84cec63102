import type { DataSource } from 'typeorm'
import { createDataSource } from './src/service/database/data-source.ts'

/** The DataSource for the TypeORM command line (`npm run migration:run`); the service makes its own in the same way. */
const dataSource: DataSource = createDataSource({
  url:
    process.env['MIGRATION_DATABASE_URL'] ??
    process.env['DATABASE_URL'] ??
    'postgresql://localhost/portcullis',
  isForMigrations: true,
})

export default dataSource
