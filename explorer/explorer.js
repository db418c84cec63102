// The page served at /: GraphiQL, with a bar of our own that signs in and owns the tokens.

import { editorStorage } from './editor-storage.js'
import { createOperationsMenu, emptyDocument, firstDocument } from './operations-menu.js'
import { describeRefusal, findRefusal } from './refusal.js'
import { send, subscribe } from './service.js'
import {
  adoptTokens,
  describeHolder,
  getSession,
  isSignedIn,
  markExpired,
  markRefused,
} from './session.js'
import { hideNotice, showEnded, showProblem, showRefusal, startSignInBar } from './sign-in-bar.js'

/* global GraphiQL, React, ReactDOM */
const h = React.createElement
const { getOperationAST, parse } = GraphiQL.GraphQL

const AUTH_PAYLOAD = 'accessToken expiresIn refreshToken user { email roles }'
const DOCUMENTS = {
  login: `mutation SignIn($email: String!, $password: String!, $device: String) {
    login(email: $email, password: $password, device: $device) { ${AUTH_PAYLOAD} }
  }`,
  register: `mutation Register($email: String!, $password: String!) {
    register(email: $email, password: $password) { ${AUTH_PAYLOAD} }
  }`,
  refresh: `mutation Refresh($refreshToken: String!) {
    refresh(refreshToken: $refreshToken) { ${AUTH_PAYLOAD} }
  }`,
  logout: 'mutation LogOut { logout { revocation { reason revokedAt } } }',
  me: 'query WhoAmI { me { email roles } }',
}

/** Ids that answers brought, to be filled into operations. */
const known = {}

startSignInBar({
  signIn: (credentials) => run({ query: DOCUMENTS.login, variables: credentials }),
  register: ({ email, password }) =>
    run({ query: DOCUMENTS.register, variables: { email, password } }),
  refresh: () => run({ query: DOCUMENTS.refresh, variables: { refreshToken: '{{refreshToken}}' } }),
  logOut: () => run({ query: DOCUMENTS.logout }),
})
startEditor(document.getElementById('editor'))

function startEditor(container) {
  const menu = createOperationsMenu({
    getKnown: () => ({ email: getSession()?.email ?? undefined, ...known }),
    onLoad: () => showHttpLine(''),
  })

  ReactDOM.createRoot(container).render(
    h(
      GraphiQL,
      {
        fetcher: fetchForEditor,
        storage: editorStorage,
        shouldPersistHeaders: false,
        plugins: [menu],
        onTabChange: hideHttpLineOfOtherTab,
        defaultTabs: [{ query: firstDocument }],
        defaultQuery: emptyDocument,
        defaultEditorToolsVisibility: 'variables',
        inputValueDeprecation: true,
        schemaDescription: true,
      },
      h(GraphiQL.Logo, null, null),
      h(GraphiQL.Footer, null, h('output', { id: 'http' })),
    ),
  )
}

async function fetchForEditor(request, { headers = {} } = {}) {
  return isSubscription(request)
    ? listenForEditor(request, headers)
    : sendForEditor(request, headers)
}

async function sendForEditor(request, headers) {
  const answer = await send(request, headers)
  if (request.operationName !== 'IntrospectionQuery') {
    showHttpLine(`${answer.outcome} · ${answer.tookMs} ms`)
    takeIn(request, answer)
  }
  return answer.result
}

/** The editor's button ends it. */
function listenForEditor(request, headers) {
  return {
    subscribe({ next, complete }) {
      let events = 0
      let isTold = false
      showHttpLine('WebSocket · waiting for an event')
      const unsubscribe = subscribe(request, headers, {
        next(answer) {
          // That the connection is closed then says nothing more.
          if (isTold) return
          isTold = Boolean(answer.result.data?.sessionEnded)
          events += 1
          showHttpLine(`${answer.outcome} · event ${events}`)
          takeIn(request, answer)
          next(answer.result)
        },
        complete,
      })
      return { unsubscribe }
    },
  }
}

/** The editor would say so too, but a moment later. What cannot be read is the service's to answer. */
function isSubscription({ query, operationName }) {
  try {
    return getOperationAST(parse(query), operationName)?.operation === 'subscription'
  } catch {
    return false
  }
}

function showHttpLine(text) {
  document.getElementById('http').textContent = text
}

let activeTab

/** The editor calls this at every change within a tab, too. */
function hideHttpLineOfOtherTab({ tabs, activeTabIndex }) {
  const { id } = tabs[activeTabIndex]
  if (activeTab !== undefined && activeTab !== id) showHttpLine('')
  activeTab = id
}

/** Runs an operation of the bar; `true` when it was answered without an error. */
async function run(request) {
  try {
    const answer = await send(request)
    takeIn(request, answer)
    return !answer.result.errors
  } catch (error) {
    showProblem(error.message)
    return false
  }
}

/** Whatever was run, by a button or in the editor: keeps its tokens, shows its refusal. */
function takeIn(request, answer) {
  const { data, errors } = answer.result
  const payload = Object.values(data ?? {}).find((value) => value?.accessToken)
  const refusal = findRefusal(errors)

  if (payload) adoptTokens(payload)
  rememberIds(data ?? {})
  if (refusal) noteRefusal(refusal, answer)

  if (refusal) showRefusal(describeRefusal(refusal), answer)
  else hideNotice()

  const ended = data?.logout?.revocation ?? data?.sessionEnded
  if (ended && isOurToken(answer)) {
    markRefused({ code: 'TOKEN_REVOKED', ...ended })
    showEnded(getSession().refused)
  }

  const mayHaveEnded = /\bmutation\b/.test(request.query) && !refusal && !payload
  if (isSignedIn() && (mayHaveEnded || getSession().email === null)) void checkHolder()
}

function rememberIds(data) {
  const session = [data.sessions].flat().find((each) => each?.current === false)
  const revocation =
    Object.values(data).find((value) => value?.revocation?.id)?.revocation ??
    data.revocations?.edges?.[0]?.node

  if (session?.id) known.sessionId = session.id
  if (data.user?.id) known.userId = data.user.id
  if (revocation?.id) known.revocationId = revocation.id
}

/** Not so when the editor's "Headers" brought another, or when ours has changed meanwhile. */
function isOurToken({ sentToken }) {
  return sentToken !== null && sentToken === getSession()?.accessToken
}

function noteRefusal({ extensions }, answer) {
  if (!isOurToken(answer)) return

  if (extensions.reason === 'TOKEN_EXPIRED') markExpired()
  if (extensions.reason === 'TOKEN_REVOKED' || extensions.reason === 'TOKEN_INVALID') {
    markRefused({ code: extensions.reason, ...extensions.revocation })
  }
}

/** Whether our token still works and whose it is: the one way to know what a mutation has ended. */
async function checkHolder() {
  const answer = await send({ query: DOCUMENTS.me }).catch(() => null)
  if (answer === null || !isOurToken(answer)) return

  const refusal = findRefusal(answer.result.errors)
  if (refusal) noteRefusal(refusal, answer)
  else if (answer.result.data?.me) describeHolder(answer.result.data.me)

  if (getSession().refused) showEnded(getSession().refused)
}
