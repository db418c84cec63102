// One way to the service for the editor and for the sign-in bar alike.

import { getSession } from './session.js'

/* global graphqlWs */

/**
 * Sends one operation with the access token that the page holds, if any. A header of the same name
 * in the editor's "Headers" wins.
 *
 * @returns `{ result, outcome, challenge, tookMs, sentToken }`; `sentToken` is `null` when the token
 *   sent, if any, was not the page's own.
 * @throws when no GraphQL answer came back.
 */
export async function send(request, headers = {}) {
  const ownToken = chooseToken(headers)
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
    outcome: `HTTP ${response.status}`,
    challenge: response.headers.get('www-authenticate'),
    tookMs: Math.round(performance.now() - startedAtMs),
    sentToken: ownToken,
  }
}

/**
 * Subscribes over a WebSocket that is this subscription's own, with the token of this moment.
 *
 * @param sink `next` takes `{ result, outcome, sentToken }`, a refusal too; `complete` is called once,
 *   whatever ended it.
 * @returns what ends it.
 */
export function subscribe(request, headers, sink) {
  const ownToken = chooseToken(headers)
  const authorization = ownToken ? `Bearer ${ownToken}` : findAuthorization(headers)
  const client = graphqlWs.createClient({
    url: new URL('graphql', location.href).href.replace(/^http/, 'ws'),
    connectionParams: authorization ? { authorization } : {},
    retryAttempts: 0,
  })

  const pass = (result, outcome) => sink.next({ result, outcome, sentToken: ownToken })
  return client.subscribe(
    { ...request, variables: fillIn(request.variables) },
    {
      next: (result) => pass(result, 'WebSocket'),
      error(cause) {
        if (Array.isArray(cause)) pass({ errors: cause }, 'WebSocket')
        else pass({ errors: [describeClosing(cause)] }, `WebSocket ${cause.code ?? 'error'}`)
        sink.complete()
      },
      complete: sink.complete,
    },
  )
}

/** The server gives the reason of a refused token as that of the closing. */
function describeClosing({ code, reason }) {
  if (code !== 4403) {
    return { message: ['The connection ended', code, reason].filter(Boolean).join(' ') }
  }
  return {
    message: 'The service ended the connection',
    extensions: { code: 'UNAUTHENTICATED', reason },
  }
}

/** The page's own, unless the editor's "Headers" bring another. */
function chooseToken(headers) {
  return findAuthorization(headers) ? null : (getSession()?.accessToken ?? null)
}

function findAuthorization(headers) {
  const name = Object.keys(headers).find((each) => each.toLowerCase() === 'authorization')
  return name && headers[name]
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
