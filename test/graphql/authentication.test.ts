import { expect, it } from 'vitest'
import { Authentication } from '../../src/caller/authentication.ts'
import type { Demand } from '../../src/caller/demand.ts'
import { createPortcullis } from '../../src/portcullis.ts'
import { MemoryRevocationStore } from '../../src/revocation/memory/memory-store.ts'
import { createKeyRing } from '../../src/token/keys.ts'
import { SECRET } from '../support/service.ts'

const USER: Demand = { requires: ['USER'], accepts: ['ACTIVE'] }
const ADMIN: Demand = { requires: ['ADMIN'], accepts: ['ACTIVE'] }

async function start(roles: string[]) {
  const portcullis = createPortcullis({
    keys: createKeyRing({ signWith: SECRET }),
    issuer: 'portcullis',
    audience: 'portcullis',
    store: new MemoryRevocationStore(),
  })
  const { tokens, check } = portcullis
  const { text } = await portcullis.issue({ subject: 'ada', roles })
  const memory = { isRuledOut: true }
  const auth = new Authentication({
    authorization: `Bearer ${text}`,
    tokens,
    check,
    rulesOut: () => memory.isRuledOut,
  })
  return { auth, memory }
}

it('knows its caller at once where nothing can revoke the token, and asks again after a mutation', async () => {
  const { auth, memory } = await start(['USER'])
  expect(auth.caller).toBeNull()
  expect(auth.isMet(USER)).toBe(true)
  expect(auth.caller).toMatchObject({ subject: 'ada' })

  memory.isRuledOut = false
  expect(auth.isMet(USER)).toBe(true)
  auth.startAnew()
  expect(auth.isMet(USER)).toBe(false)
  expect(auth.caller).toBeNull()
})

it('takes a demand that was met for no other', async () => {
  const { auth } = await start(['USER'])
  expect(auth.isMet(USER)).toBe(true)
  expect(auth.isMet(ADMIN)).toBe(false)
  expect(auth.isMet({ ...USER, accepts: ['REVOKED'] })).toBe(false)
  expect(auth.isMet(USER)).toBe(true)
})
