// The example API in a real browser: what no HTTP client shows, because only browsers send and obey these headers.
// With SCREENSHOTS=1 it takes those of docs/.
const { once } = require('node:events')
const fs = require('node:fs')
const http = require('node:http')
const path = require('node:path')
const { meetablSession } = require('meetabl-session')
const { chromium } = require('playwright-core')
const { createApp } = require('../examples/express-api/app')
const { laterForAll, laterForEach } = require('./support/later')
const { startRedis } = require('./support/redis')
const { until } = require('./support/until')

jest.setTimeout(60_000)

const SCREENSHOTS = path.join(__dirname, '..', 'docs', 'screenshots')
const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync'
]
const ADA = { username: 'ada', password: 'correct horse' }

const laterAll = laterForAll()
const later = laterForEach()
let redis
let browser
beforeAll(async () => {
  redis = await startRedis()
  laterAll(() => redis.stop())
  browser = await chromium.launch({ executablePath: findChromium(), headless: true, args: ARGUMENTS })
  laterAll(() => browser.close())
})

function findChromium() {
  const folders = process.env.PATH.split(path.delimiter)
  const names = ['chromium', 'chromium-browser', 'google-chrome']
  const found = folders.flatMap((folder) => names.map((name) => path.join(folder, name))).find(fs.existsSync)
  if (!found) throw new Error('no Chromium on the PATH: `npm test` installs it on Debian')
  return found
}

/** The example's app on a port of its own, with what it told of. */
async function serve(options = {}) {
  await redis.command('FLUSHALL')
  const events = []
  const sessions = meetablSession({
    secret: 'the secret of the browser test, long enough',
    redis: { port: redis.port },
    logger: false,
    onSecurityEvent: (event) => events.push(event),
    ...options
  })
  const url = await listen(createApp({ sessions, env: {} }))
  later(() => sessions.close())
  const context = await browser.newContext()
  later(() => context.close())
  return { url, events, context, page: await context.newPage() }
}

async function listen(handler) {
  const server = http.createServer(handler).listen(0)
  await once(server, 'listening')
  later(() => {
    server.closeAllConnections()
    return new Promise((resolve) => server.close(resolve))
  })
  return `http://localhost:${server.address().port}`
}

/** Through the page, as a person does it. */
async function register({ page, url }) {
  await page.goto(url)
  await page.getByLabel('Username').fill(ADA.username)
  await page.getByLabel('Password').fill(ADA.password)
  await page.getByRole('button', { name: 'Register' }).click()
  await page.getByText('ada, logged in').waitFor()
}

const sessionCookie = async (context) => (await context.cookies()).find(({ name }) => name === 'meetabl.sid')

async function screenshot(page, name) {
  if (!process.env.SCREENSHOTS) return
  await page.setViewportSize({ width: 760, height: 720 })
  await page.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`) })
}

test('A5 7.2.4 a login through the page, with a cookie that no script reads, and a new id', async () => {
  const site = await serve()
  await site.page.goto(site.url)
  expect(await sessionCookie(site.context)).toBeUndefined()
  await register(site)
  const cookie = await sessionCookie(site.context)
  expect(cookie).toMatchObject({ httpOnly: true, secure: false, sameSite: 'Lax', path: '/' })
  expect(await site.page.evaluate(() => document.cookie)).toBe('')
  expect(site.events.map(({ type }) => type)).toEqual(['session_created', 'session_regenerated'])
})

test('A5 3.5.1 the form of the page works', async () => {
  const site = await serve()
  await register(site)
  await site.page.getByRole('button', { name: 'Put into the cart' }).click()
  await site.page.getByText('3 × apples').waitFor()
  await screenshot(site.page, 'logged-in')
})

// Another port is another origin, and the same site: `SameSite` does not keep the cookie away from it.
test.each(['a form', 'a fetch'])(
  'A5 3.5.1 %s from another origin is refused, though the cookie comes along',
  async (way) => {
    const site = await serve()
    await register(site)
    const attacker = await listen((_req, res) => {
      res.setHeader('Content-Type', 'text/html')
      res.end(`<form method="post" action="${site.url}/cart" enctype="text/plain">
      <input name='{"item":"poison","quantity":1,"x":"' value='"}'><button>Win</button></form>`)
    })
    const page = await site.context.newPage()
    await page.goto(attacker)
    if (way === 'a form') {
      const answer = page.waitForResponse(`${site.url}/cart`)
      await page.getByRole('button', { name: 'Win' }).click()
      expect((await answer).status()).toBe(403)
      await page.getByText('invalid_csrf_token').waitFor()
      await screenshot(page, 'forged-form')
    } else {
      const send = (url) =>
        fetch(url, { method: 'POST', mode: 'no-cors', credentials: 'include', body: '{"item":"poison","quantity":1}' })
      await page.evaluate(send, `${site.url}/cart`).catch(() => {})
    }
    await until(() => site.events.some(({ type }) => type === 'csrf_refused'))
    // The session was told apart from a visitor's: the cookie did come.
    const refused = site.events.find(({ type }) => type === 'csrf_refused')
    expect(refused).toMatchObject({ reason: 'cross_site', session: site.events[1].session })
    const cart = await site.page.evaluate(async () => (await fetch('/cart')).json())
    expect(cart).toEqual({ cart: {} })
  }
)

test('another User-Agent with the same cookie gets 401, and its cookie is cleared', async () => {
  const site = await serve()
  await register(site)
  const thief = await browser.newContext({ userAgent: 'Mozilla/5.0 (of somebody else)' })
  later(() => thief.close())
  await thief.addCookies([await sessionCookie(site.context)])
  const page = await thief.newPage()
  const answer = await page.goto(`${site.url}/profile`)
  expect([answer.status(), await answer.json()]).toEqual([401, { error: 'session_invalid' }])
  expect(await sessionCookie(thief)).toBeUndefined()
  await screenshot(page, 'another-user-agent')
  await site.page.reload()
  await site.page.getByText('Nobody is logged in').waitFor()
})

test('A5 14.3.1 a logout clears the cookie', async () => {
  const site = await serve()
  await register(site)
  await site.page.getByRole('button', { name: 'Log out' }).click()
  await site.page.getByText('Nobody is logged in').waitFor()
  // The page has asked for nothing since that would make a new session.
  expect(await sessionCookie(site.context)).toBeUndefined()
  expect(await redis.command('KEYS', 'meetabl:sess:*')).toEqual([])
})

test('N 5.2 the warning comes before the idle timeout, and "Stay signed in" ends it', async () => {
  const site = await serve({ timeoutMs: 24_000, warnBeforeMs: 20_000 })
  await register(site)
  await site.page.evaluate(() => {
    window.told = []
    for (const name of ['session-warning', 'session-continued', 'session-expired']) {
      document.addEventListener(name, ({ detail }) => window.told.push([name, detail?.reason]))
    }
  })
  const dialog = site.page.getByRole('dialog')
  await dialog.getByText('Are you still there?').waitFor()
  await screenshot(site.page, 'warning')
  const [key] = await redis.command('KEYS', 'meetabl:sess:*')
  // Asking was no activity.
  expect(await redis.command('PTTL', key)).toBeLessThanOrEqual(20_000)

  await dialog.getByRole('button', { name: 'Stay signed in' }).click()
  await dialog.waitFor({ state: 'detached' })
  await until(async () => (await redis.command('PTTL', key)) > 20_000, { what: 'the session to last longer' })
  await until(async () => (await site.page.evaluate(() => window.told)).length >= 2)
  expect((await site.page.evaluate(() => window.told)).slice(0, 2)).toEqual([
    ['session-warning', 'idle'],
    ['session-continued', undefined]
  ])
})

test('N 5.2 a page of its own may answer the warning, and learns that the session has ended', async () => {
  const site = await serve({ timeoutMs: 24_000, warnBeforeMs: 20_000 })
  await register(site)
  const warned = site.page.evaluate(
    () =>
      new Promise((resolve) => {
        document.addEventListener('session-warning', (event) => {
          event.preventDefault()
          resolve(event.detail.expiresInMs)
        })
      })
  )
  expect(await warned).toBeLessThanOrEqual(20_000)
  expect(await site.page.getByRole('dialog').count()).toBe(0)
  const ended = site.page.evaluate(
    () => new Promise((resolve) => document.addEventListener('session-expired', () => resolve(true)))
  )
  // As if the time were over.
  const [key] = await redis.command('KEYS', 'meetabl:sess:*')
  await redis.command('PEXPIRE', key, 1)
  expect(await ended).toBe(true)
  await site.page.getByText('Nobody is logged in').waitFor()
})
