// One way to the service for the editor and for the sign-in bar alike.

import { getSession } from './session.js'

/**
 * Sends one operation with the access token that the page holds, if any. A header of the same name
 * in the editor's "Headers" wins.
 *
 * @returns `{ result, status, challenge, tookMs, sentToken }`; `sentToken` is `null` when the token
 *   sent, if any, was not the page's own.
 * @throws when no GraphQL answer came back.
 */
export async function send(request, headers = {}) {
  const ownToken = hasAuthorization(headers) ? null : (getSession()?.accessToken ?? null)
  const startedAtMs = performance.now()

  const response = await fetch('graphql', {
    method: 'POST',
    headers: {
      accept: 'application/graphql-response+json, application/json;q=0.9',
      'content-type': 'application/json',
      ...(ownToken && { authorization: `Bearer ${ownToken}` }),
      ...headers,
    },
    body: JSON.stringify({ ...request, variables: fillIn(request.variables) }),
  }).catch(() => {
    throw new Error('The service does not answer. Is it still running?')
  })

  return {
    result: await readResult(response),
    status: response.status,
    challenge: response.headers.get('www-authenticate'),
    tookMs: Math.round(performance.now() - startedAtMs),
    sentToken: ownToken,
  }
}

function hasAuthorization(headers) {
  return Object.keys(headers).some((name) => name.toLowerCase() === 'authorization')
}

/** Puts the present tokens in the place of `{{accessToken}}` and `{{refreshToken}}`. */
function fillIn(variables) {
  const { accessToken, refreshToken } = getSession() ?? {}
  const values = new Map([
    ['{{accessToken}}', accessToken ?? ''],
    ['{{refreshToken}}', refreshToken ?? ''],
  ])

  return Object.fromEntries(
    Object.entries(variables ?? {}).map(([name, value]) => [name, values.get(value) ?? value]),
  )
}

async function readResult(response) {
  const text = await response.text()
  try {
    return JSON.parse(text)
  } catch {
    throw new Error(`HTTP ${response.status}, and no GraphQL answer: ${text.slice(0, 200)}`)
  }
}
