import { existsSync } from 'node:fs'
import { buildClientSchema, getIntrospectionQuery, parse, validate } from 'graphql'
import { chromium } from 'playwright-core'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { claimsOf, passwordOf, register } from '../support/people.ts'
import { startService } from '../support/service.ts'
import type { TestService } from '../support/service.ts'

const CHROMIUM = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium'
const MISSING = `no Chromium at ${CHROMIUM}; CHROMIUM_PATH names another place`

// Working on the service takes no browser; on CI its absence must not pass unnoticed.
const isSkipped = !existsSync(CHROMIUM) && !process.env['CI']
if (isSkipped) console.warn(`The explorer is not tested in a browser: ${MISSING}`)

/** The editor follows a click by itself, on a busy machine a little later. */
const SOON = { timeout: 10_000 }

describe.skipIf(isSkipped)('the explorer in a browser', { timeout: 60_000 }, () => {
  let service: TestService
  let browser: Browser
  let context: BrowserContext
  let page: Page
  let problems: string[]
  let admin: string | undefined

  beforeAll(async () => {
    if (!existsSync(CHROMIUM)) throw new Error(`Cannot test the explorer: ${MISSING}`)

    service = await startService()
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-dev-shm-usage',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--no-first-run',
      ],
    })
    await register(service, 'ada')
  }, 60_000)

  afterAll(async () => {
    await browser?.close()
    await service?.stop()
  })

  // Q50
  it('has its WebSocket closed when its token is revoked', async () => {
    const { accessToken } = await register(service, 'live')
    const own = await browser.newPage()
    await own.goto(service.url)
    const closing = own.evaluate(async (token) => {
      const socket = new WebSocket(
        `${(globalThis as any).location.origin.replace('http', 'ws')}/graphql`,
        'graphql-transport-ws',
      )
      const messages: unknown[] = []
      socket.addEventListener('open', () => {
        socket.send(
          JSON.stringify({
            type: 'connection_init',
            payload: { authorization: `Bearer ${token}` },
          }),
        )
      })
      socket.addEventListener('message', ({ data }) => {
        const message = JSON.parse(data)
        messages.push(message.payload?.data ?? message.type)
        if (message.type !== 'connection_ack') return
        const query = 'subscription { sessionEnded { reason } }'
        socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query } }))
        Object.assign((globalThis as any).document, { title: 'subscribed' })
      })
      return new Promise((resolve) => {
        socket.addEventListener('close', ({ code, reason }) => resolve({ code, reason, messages }))
      })
    }, accessToken)
    await own.waitForFunction(() => (globalThis as any).document.title === 'subscribed')
    await own.waitForTimeout(300)

    await service.graphql('mutation { logout { alreadyRevoked } }', { token: accessToken })

    expect(await closing).toEqual({
      code: 4403,
      reason: 'TOKEN_REVOKED',
      messages: ['connection_ack', { sessionEnded: { reason: 'logout' } }],
    })
    await own.close()
  })

  beforeEach(async () => {
    context = await browser.newContext({ viewport: { width: 1280, height: 800 } })
    page = await context.newPage()
    problems = recordProblems(page, service.url)
    await page.goto(service.url)
    await page.waitForSelector('.graphiql-query-editor .CodeMirror')
    await page.waitForSelector('[data-operation=me]')
  })

  afterEach(async () => {
    await context?.close()
    expect(problems).toEqual([])
  })

  it('loads by itself: nothing from elsewhere, nothing on the console', async () => {
    await page.waitForLoadState('networkidle')

    expect(await page.title()).toBe('Portcullis explorer')
    expect(problems).toEqual([])
  })

  it('offers operations that the service understands', async () => {
    const { data } = await service.graphql(getIntrospectionQuery())
    const schema = buildClientSchema(data)
    const operations = await page.evaluate<Array<{ title: string; query: string }>>(
      `import('/explorer/operations.js').then(({ groups }) =>
        groups.flatMap(({ operations }) => operations.map(({ title, query }) => ({ title, query }))))`,
    )

    expect(operations.length).toBeGreaterThan(15)
    const mistakes = operations.flatMap(({ title, query }) =>
      validate(schema, parse(query)).map(({ message }) => `${title}: ${message}`),
    )
    expect(mistakes).toEqual([])
  })

  it('loads an operation into the editor, with its variables', async () => {
    await page.click('[data-operation=logoutAllDevices]')

    await expect
      .poll(() => readEditor('.graphiql-query-editor'), SOON)
      .toContain('mutation LogOutAllDevices')
    expect(JSON.parse(await readEditor('.graphiql-editor-tool'))).toEqual({ keepCurrent: false })
  })

  it('keeps what was typed when an operation is chosen', async () => {
    await writeEditor('.graphiql-query-editor', '{ __typename }')
    await page.click('[data-operation=me]')

    await expect.poll(() => readEditor('.graphiql-query-editor'), SOON).toContain('query WhoAmI')
    await page.click('.graphiql-tab >> nth=0')
    await expect.poll(() => readEditor('.graphiql-query-editor'), SOON).toBe('{ __typename }')
  })

  it('completes from the schema', async () => {
    await writeEditor('.graphiql-query-editor', '')
    await page.click('.graphiql-query-editor .CodeMirror')
    await page.keyboard.type('{ s')
    await page.keyboard.press('Control+Space')
    await page.waitForSelector('.CodeMirror-hints')

    expect(await page.innerText('.CodeMirror-hints')).toContain('sessions')
  })

  it('signs in by the form, and sends the token from then on', async () => {
    await signIn('ada@example.com', passwordOf('ada'))

    expect(await page.innerText('#who-email')).toBe('ada@example.com')
    expect(await page.innerText('#who-roles')).toBe('USER')
    expect(await page.innerText('#lifetime')).toMatch(/^expires in \d+:\d\d$/)
    expect((await run('me')).data.me.email).toBe('ada@example.com')
    const [session] = (await run('sessions')).data.sessions
    expect(session).toMatchObject({ device: 'explorer', current: true })
  })

  it('takes over the tokens when the login operation is run in the editor', async () => {
    await page.click('[data-operation=login]')
    await writeEditor(
      '.graphiql-editor-tool',
      JSON.stringify({ email: service.admin.email, password: service.admin.password }),
    )
    await runEditor()
    await page.waitForSelector('#who:not([hidden])')

    expect(await page.innerText('#who-email')).toBe(service.admin.email)
    expect(await page.innerText('#who-roles')).toContain('ADMIN')
    expect((await run('tokenStatus')).data.tokenStatus.state).toBe('ACTIVE')
  })

  it('registers an account', async () => {
    await page.fill('#email', 'grace@example.com')
    await page.fill('#password', passwordOf('grace'))
    await page.click('#register')
    await page.waitForSelector('#who:not([hidden])')

    expect((await run('me')).data.me.email).toBe('grace@example.com')
  })

  it('says what is wrong with a sign-in', async () => {
    await signIn('ada@example.com', 'not the password', '#notice:not([hidden])')

    expect(await page.innerText('#notice')).toContain('INVALID_CREDENTIALS')
    expect(await page.inputValue('#password')).toBe('not the password')
  })

  it('trades the refresh token for new tokens', async () => {
    await signIn('ada@example.com', passwordOf('ada'))
    const before = await readTokens()
    await page.click('#refresh')
    await eventually(readTokens).not.toEqual(before)
    const between = await readTokens()
    expect((await run('refresh')).data.refresh.tokenType).toBe('Bearer')

    await eventually(readTokens).not.toEqual(between)
    expect((await run('me')).data.me.email).toBe('ada@example.com')
  })

  it('shows that a token is missing', async () => {
    expect((await run('me')).errors[0].extensions.reason).toBe('TOKEN_MISSING')

    expect(await page.innerText('#notice')).toContain('TOKEN_MISSING')
    expect(await page.innerText('#notice')).toContain('HTTP 401')
  })

  it('shows after a log-out that the token is refused, why and since when', async () => {
    await signIn('ada@example.com', passwordOf('ada'))
    await page.click('#log-out')
    await page.waitForSelector('#sign-in:not([hidden])')
    const { extensions } = (await run('me')).errors[0]

    expect(extensions).toMatchObject({ reason: 'TOKEN_REVOKED', revocation: { reason: 'logout' } })
    const notice = await page.innerText('#notice')
    expect(notice).toContain('TOKEN_REVOKED')
    expect(notice).toMatch(/Reason: logout, .*\d+:\d\d:\d\d/)

    await page.click('#forget')
    expect((await run('me')).errors[0].extensions.reason).toBe('TOKEN_MISSING')
  })

  it('notices that a mutation ended its own session', async () => {
    await signIn('ada@example.com', passwordOf('ada'))
    await run('logoutAllDevices')
    await page.waitForSelector('#sign-in:not([hidden])')

    expect(await page.innerText('#notice')).toContain('logout_all_devices')
  })

  it('shows which role is missing, and stays signed in', async () => {
    await signIn('ada@example.com', passwordOf('ada'))
    await run('revocations')

    expect(await page.innerText('#notice')).toContain('ROLE_REQUIRED')
    expect(await page.isVisible('#who')).toBe(true)
  })

  it('stays signed in over a reload, and keeps no token or password any longer', async () => {
    await page.click('[data-operation=login]')
    await writeEditor(
      '.graphiql-editor-tool',
      JSON.stringify({ email: 'ada@example.com', password: passwordOf('ada') }),
    )
    await runEditor()
    await page.waitForSelector('#who:not([hidden])')
    // The editor writes its state down half a second after a change.
    await eventually(() => page.evaluate(`sessionStorage['graphiql:tabState'] ?? ''`)).toContain(
      'ada@example.com',
    )
    await page.reload()
    await page.waitForSelector('#who:not([hidden])')

    expect(await page.evaluate('JSON.stringify(sessionStorage)')).not.toContain(passwordOf('ada'))
    expect(await page.evaluate('localStorage.length')).toBe(0)
    const otherTab = await context.newPage()
    await otherTab.goto(service.url)
    expect(await otherTab.isVisible('#sign-in')).toBe(true)
  })

  it('is told over its WebSocket that its session was ended elsewhere, and why', async () => {
    await signIn('ada@example.com', passwordOf('ada'))
    await page.click('[data-operation=sessionEnded]')
    await page.click('.graphiql-execute-button')
    await eventually(() => page.innerText('#http')).toContain('waiting')
    await eventually(countSubscriptions).toBe(1)
    const [accessToken] = (await readTokens()) as [string]
    await service.graphql('mutation { logout { alreadyRevoked } }', { token: accessToken })

    await eventually(() => readEditor('.graphiql-response')).toContain('"reason": "logout"')
    await page.waitForSelector('#sign-in:not([hidden])')
    expect(await page.innerText('#notice')).toMatch(/Signed out\s*Reason: logout/)
    expect(await page.innerText('#http')).toBe('WebSocket · event 1')
    await page.waitForSelector('.graphiql-execute-button[aria-label^="Execute"]')
  })

  it('shows the journal as it grows, until the button is pressed', async () => {
    await signIn(service.admin.email, service.admin.password)
    await page.click('[data-operation=liveJournal]')
    await page.click('.graphiql-execute-button')
    await eventually(countSubscriptions).toBe(1)
    for (const name of ['first', 'second']) {
      const { accessToken } = await register(service, `journal-${name}`)
      await service.graphql('mutation { logout { alreadyRevoked } }', { token: accessToken })
      await eventually(() => readEditor('.graphiql-response')).toContain(
        claimsOf(accessToken)['sid'],
      )
    }

    await page.click('.graphiql-execute-button')
    await eventually(countSubscriptions).toBe(0)
    expect(await page.innerText('#http')).toBe('WebSocket · event 2')

    await page.click('.graphiql-execute-button')
    await eventually(countSubscriptions).toBe(1)
    expect((await run('me')).data.me.email).toBe(service.admin.email)
    await eventually(countSubscriptions).toBe(0)
  })

  it('has the service say what is wrong with a document', async () => {
    await writeEditor('.graphiql-query-editor', 'subscription {')
    const { errors } = await runEditor()

    expect(errors[0].extensions.code).toBe('GRAPHQL_PARSE_FAILED')
  })

  it('shows what a subscription is refused', async () => {
    const { errors } = await run('sessionEnded')
    expect(errors[0].extensions.reason).toBe('TOKEN_MISSING')
    expect(await page.innerText('#notice')).toContain('TOKEN_MISSING')

    await signIn('ada@example.com', passwordOf('ada'))
    expect((await run('liveJournal')).errors[0].extensions.reason).toBe('ROLE_REQUIRED')
    await page.click('#log-out')
    await page.waitForSelector('#sign-in:not([hidden])')
    expect((await run('sessionEnded')).errors[0].extensions.reason).toBe('TOKEN_REVOKED')
    expect(await page.innerText('#notice')).toContain('WebSocket 4403')
  })

  /** All people's; the service is this test's own. */
  async function countSubscriptions(): Promise<number> {
    const { email, password } = service.admin
    const login = `mutation ($email: String!, $password: String!) { login(email: $email, password: $password) { accessToken } }`
    admin ??= (await service.graphql(login, { variables: { email, password } })).data.login
      .accessToken
    const query = '{ connections { edges { node { operations } } } }'
    const { data } = await service.graphql(query, { token: admin })
    return data.connections.edges.reduce((sum: number, { node }: any) => sum + node.operations, 0)
  }

  async function signIn(email: string, password: string, until = '#who:not([hidden])') {
    await page.fill('#email', email)
    await page.fill('#password', password)
    await page.click('#sign-in [type=submit]')
    await page.waitForSelector(until)
  }

  /** Runs an operation of the menu, and gives its answer as the editor shows it. */
  async function run(field: string): Promise<any> {
    await page.click(`[data-operation=${field}]`)
    return runEditor()
  }

  async function runEditor(): Promise<any> {
    await page.click('.graphiql-execute-button')
    await eventually(() => readEditor('.graphiql-response')).not.toBe('')
    return JSON.parse(await readEditor('.graphiql-response'))
  }

  function readEditor(pane: string): Promise<string> {
    return page.evaluate(`document.querySelector('${pane} .CodeMirror').CodeMirror.getValue()`)
  }

  async function writeEditor(pane: string, text: string): Promise<void> {
    const literal = JSON.stringify(text)
    await page.evaluate(
      `document.querySelector('${pane} .CodeMirror').CodeMirror.setValue(${literal})`,
    )
  }

  function readTokens(): Promise<unknown> {
    return page.evaluate(`(({ accessToken, refreshToken }) => [accessToken, refreshToken])(
      JSON.parse(sessionStorage['portcullis.session']))`)
  }
})

/** Expects it within ten seconds: a busy machine is slow, not wrong. */
function eventually<T>(read: () => Promise<T>) {
  return expect.poll(read, { timeout: 10_000 })
}

/** What a page must never do, as it happens. A refusal is no problem, though the browser logs it. */
function recordProblems(page: Page, origin: string): string[] {
  const problems: string[] = []
  page.on('request', (request) => {
    const url = request.url()
    if (!url.startsWith(`${origin}/`) && !url.startsWith('data:')) problems.push(`request: ${url}`)
  })
  page.on('console', (message) => {
    const isRefusal = /status of 40[013]/.test(message.text())
    if (message.type() === 'error' && !isRefusal) problems.push(`console: ${message.text()}`)
  })
  page.on('pageerror', (error) => problems.push(`error: ${error.message}`))
  return problems
}
