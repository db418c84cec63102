import { expect, it } from 'vitest'
import lock from '../package-lock.json' with { type: 'json' }

const installed: Readonly<Record<string, { version?: string }>> = lock.packages

// Q51
it.each([
  { name: '@apollo/server', atLeast: '5.5.0', why: 'XS-Search; CVE-2026-23897' },
  { name: 'jsonwebtoken', atLeast: '9.0.0', why: 'CVE-2022-23539/40/41' },
  { name: 'jws', atLeast: '4.0.1', why: 'GHSA-869p-cjfg-cm3x' },
])('$name is $atLeast or newer ($why)', ({ name, atLeast }) => {
  const copies = Object.entries(installed).filter(([path]) => path.endsWith(`node_modules/${name}`))

  expect(copies.length).toBeGreaterThan(0)
  for (const [, { version = '' }] of copies) {
    expect(version.localeCompare(atLeast, 'en', { numeric: true })).toBeGreaterThanOrEqual(0)
  }
})
