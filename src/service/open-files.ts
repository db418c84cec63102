/** The service opens its modules, its database connections and its clients' sockets. */
const MIN_OPEN_FILES = 100

/**
 * Why this process cannot even load the service, in one sentence; `null` when it can.
 *
 * Asked before anything else is imported: Node opens many files at once, and would end with a stack.
 */
export function findOpenFilesFault(): string | null {
  // The report would look up the names of network addresses else.
  Object.assign(process.report, { excludeNetwork: true })
  const { userLimits } = process.report.getReport() as Report
  const limit = userLimits?.open_files?.soft
  if (typeof limit !== 'number' || limit >= MIN_OPEN_FILES) return null
  return `This process may open ${limit} files only; let it open at least ${MIN_OPEN_FILES}, better thousands (ulimit -n)`
}

/** What is used of a diagnostic report; Windows has no such limits. */
interface Report {
  readonly userLimits?: { readonly open_files?: { readonly soft: number | 'unlimited' } }
}
