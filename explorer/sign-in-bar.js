// The bar on top: who is signed in, for how long; and the notice below it: what was refused, why.

import { formatInstant } from './refusal.js'
import { forgetTokens, getSession, isSignedIn, onSessionChange } from './session.js'

const element = (id) => document.getElementById(id)

/**
 * @param actions `{ signIn, register, refresh, logOut }`: promises of whether it worked. The first
 *   two take `{ email, password, device }`.
 */
export function startSignInBar(actions) {
  const form = element('sign-in')

  const submit = async (action) => {
    if (!form.reportValidity()) return
    const worked = await whileBusy(form, () => action(Object.fromEntries(new FormData(form))))
    if (worked) element('password').value = ''
  }
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    void submit(actions.signIn)
  })
  element('register').addEventListener('click', () => void submit(actions.register))

  const who = element('who')
  element('refresh').addEventListener('click', () => void whileBusy(who, actions.refresh))
  element('log-out').addEventListener('click', () => void whileBusy(who, actions.logOut))
  element('copy').addEventListener('click', () => void copyToken())
  element('close').addEventListener('click', hideNotice)
  element('forget').addEventListener('click', () => {
    forgetTokens()
    hideNotice()
  })

  onSessionChange(renderWho)
  renderWho()
  setInterval(renderLifetime, 500)
}

async function whileBusy(container, act) {
  const buttons = [...container.querySelectorAll('button')]
  for (const button of buttons) button.disabled = true
  try {
    return await act()
  } finally {
    for (const button of buttons) button.disabled = false
    renderWho()
  }
}

async function copyToken() {
  await navigator.clipboard.writeText(getSession().accessToken)
  element('copy').textContent = 'Copied'
  setTimeout(() => (element('copy').textContent = 'Copy token'), 1500)
}

function renderWho() {
  element('sign-in').hidden = isSignedIn()
  element('who').hidden = !isSignedIn()
  if (!isSignedIn()) return

  const { email, roles, refreshToken } = getSession()
  element('who-email').textContent = email ?? 'Signed in'
  element('who-email').title = email ?? ''
  element('who-roles').replaceChildren(...roles.map((role) => make('span', role)))
  element('refresh').disabled = refreshToken === null
  renderLifetime()
}

function renderLifetime() {
  if (!isSignedIn()) return

  const seconds = Math.max(0, Math.ceil((getSession().expiresAtMs - Date.now()) / 1000))
  const text = seconds > 0 ? `expires in ${formatClock(seconds)}` : 'expired: refresh it'
  const lifetime = element('lifetime')
  if (lifetime.textContent === text) return

  lifetime.textContent = text
  lifetime.dataset.state = seconds === 0 ? 'over' : seconds < 60 ? 'soon' : 'good'
  lifetime.title = `Access token, until ${new Date(getSession().expiresAtMs).toLocaleTimeString()}`
}

/** 14:59, or 1:02:03 */
function formatClock(seconds) {
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
  if (parts[0] === 0) parts.shift()
  return parts.map((part, index) => (index ? String(part).padStart(2, '0') : part)).join(':')
}

/** A refusal, as `describeRefusal` made it, and how it came. */
export function showRefusal(refusal, { outcome, challenge }) {
  const { label, isAboutToken, message, revocation, place } = refusal
  const facts = [place, outcome, challenge && `WWW-Authenticate: ${challenge}`]

  showNotice(isAboutToken ? 'refused' : 'warning', [
    make('strong', label),
    make('span', message),
    ...(revocation ? [describeRevocation(revocation)] : []),
    make('small', facts.filter(Boolean).join(' · ')),
  ])
}

export function showProblem(message) {
  showNotice('warning', [make('strong', 'No answer'), make('span', message)])
}

/** Said when the session ended without anything being refused before the person's eyes. */
export function showEnded({ code, reason, revokedAt }) {
  showNotice('calm', [
    make('strong', 'Signed out'),
    reason ? describeRevocation({ reason, revokedAt }) : make('code', code),
    make('span', 'The token is still sent: run “Who am I” to see it refused.'),
  ])
}

export function hideNotice() {
  element('notice').hidden = true
}

function describeRevocation({ reason, revokedAt }) {
  const text = make('span', 'Reason: ')
  text.append(make('code', reason), `, ${formatInstant(revokedAt)}.`)
  return text
}

function showNotice(severity, parts) {
  element('notice-text').replaceChildren(...parts)
  element('forget').hidden = getSession() === null || isSignedIn()
  element('notice').dataset.severity = severity
  element('notice').hidden = false
}

function make(tag, text) {
  const node = document.createElement(tag)
  node.textContent = text
  return node
}
