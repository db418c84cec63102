import type { AuthContext } from '../../graphql/auth-directive.ts'
import type { Device } from '../session/sessions.ts'

/** One request of our own service. */
export interface ServiceContext extends AuthContext {
  readonly userAgent: string | null
  readonly ipAddress: string | null
}

/** Where a request comes from. */
export function readDeviceOf(
  { userAgent, ipAddress }: ServiceContext,
  name: string | null,
): Device {
  return { name, userAgent, ipAddress }
}
