// CSRF protection on plain express-session, over real HTTP, with Express 4 and 5, behind a proxy and without.
const { once } = require('node:events')
const net = require('node:net')
const session = require('express-session')
const { csrfProtection, csrfTokenRoute, RedisStore, sessionHelpers, sign } = require('..')
const { startApp } = require('./support/app')
const { laterForAll, laterForEach } = require('./support/later')
const { startRedis } = require('./support/redis')

const SECRET = 'the secret of the CSRF tests, long enough'
const EARLIER = 'an earlier secret of the CSRF tests, as long'

const later = laterForEach()

async function protectedApp({ csrf = {}, framework = require('express'), store, before = [], ...options } = {}) {
  const events = []
  const csrfOptions = { secret: SECRET, logger: false, onSecurityEvent: (event) => events.push(event), ...csrf }
  let handled = 0
  const routes = (app) => {
    app.get('/token', csrfTokenRoute())
    app.all(['/pay', '/hook', '/hook/a', '/hooked', '/hooks/a', '/HOOK'], (req, res) => {
      handled++
      res.json({ done: true, id: req.sessionID })
    })
    app.post('/login', async (req, res, next) => {
      await req.regenerateSession().catch(next)
      req.session.user = 'ada'
      res.json({ csrfToken: req.csrfToken() })
    })
    app.post('/logout', async (req, res, next) => {
      await req.destroySession().catch(next)
      res.end()
    })
  }
  const parsers = [framework.json({ limit: '2mb' }), framework.urlencoded({ extended: true })]
  const middleware = [...before, ...parsers, csrfProtection(csrfOptions), sessionHelpers()]
  const app = await startApp({ store: store ?? new session.MemoryStore(), middleware, routes, framework, ...options })
  later(() => app.close())
  const agent = app.agent()
  const host = `localhost:${app.port}`
  return {
    app,
    agent,
    events,
    host,
    origin: `http://${host}`,
    handled: () => handled,
    /** A browser that has a token, and the token. */
    async visit(browser = agent) {
      const { body } = await browser.get('/token', { host })
      return body.csrfToken
    },
    send: (path, headers, body, browser = agent) => browser.post(path, body, { host, ...headers })
  }
}

/** What a refusal looks like, and that it is told of once. */
function expectRefused(answer, { app, events, handled }, reason) {
  expect(answer).toMatchObject({ status: 403, body: { code: 'EBADCSRFTOKEN', message: 'invalid csrf token' } })
  expect(handled()).toBe(0)
  expect(events.splice(0)).toEqual([expect.objectContaining({ type: 'csrf_refused', reason })])
  const [error] = app.errors.splice(0)
  expect(error).toMatchObject({ status: 403, statusCode: 403, code: 'EBADCSRFTOKEN' })
  expect(error.stack).not.toMatch(/at /)
}

describe.each([
  ['Express 5', require('express')],
  ['Express 4', require('express4')]
])('%s', (_, framework) => {
  const laterAll = laterForAll()
  let redis
  beforeAll(async () => {
    redis = await startRedis()
    laterAll(() => redis.stop())
  })

  describe.each(['MemoryStore', 'RedisStore'])('on a %s', (kind) => {
    const start = (options) => {
      if (kind === 'MemoryStore') return protectedApp({ framework, ...options })
      const store = new RedisStore({ host: redis.host, port: redis.port, logger: false })
      later(() => store.close())
      return protectedApp({ framework, store, ...options })
    }

    test.each(['X-CSRF-Token', 'X-XSRF-Token', 'CSRF-Token'])('a token in %s is accepted', async (header) => {
      const site = await start()
      const token = await site.visit()
      expect(token).toMatch(/^[\w-]{22}\.[\w-]{43}$/)
      expect((await site.send('/pay', { [header]: token, origin: site.origin })).body).toMatchObject({ done: true })
      expect((await site.send('/pay', { [header]: await site.visit() })).status).toBe(200)
      expect(site.events).toEqual([])
    })

    test('a token in the body is accepted, from JSON and from a form', async () => {
      const site = await start()
      const token = await site.visit()
      expect((await site.send('/pay', {}, { _csrf: token })).status).toBe(200)
      const form = { 'content-type': 'application/x-www-form-urlencoded' }
      expect((await sendText(site, '/pay', form, `_csrf=${token}&amount=1`)).status).toBe(200)
    })

    test('A5 3.5.1 without a token it is refused, and the session lives on', async () => {
      const site = await start()
      const token = await site.visit()
      const answer = await site.send('/pay', { origin: site.origin })
      expectRefused(answer, site, 'token_missing')
      expect(answer.cookies).toEqual([])
      expect((await site.send('/pay', { 'x-csrf-token': token })).status).toBe(200)
    })

    test('a token from before a regenerate is dead, and the new one is good', async () => {
      const site = await start()
      const before = await site.visit()
      const { body } = await site.send('/login', { 'x-csrf-token': before })
      expectRefused(await site.send('/pay', { 'x-csrf-token': before }), site, 'token_wrong')
      expect((await site.send('/pay', { 'x-csrf-token': body.csrfToken })).status).toBe(200)
    })
  })
})

describe('A5 3.5.1 the source of the request', () => {
  const OTHER = 'https://attacker.example'

  test.each([
    ['same-origin', 200],
    ['none', 200],
    ['cross-site', 403],
    ['same-site', 403],
    ['', 403],
    ['Same-Origin', 403],
    ['same-origin, same-origin', 403],
    ['same-origin, cross-site', 403],
    ['unheard-of', 403]
  ])("Sec-Fetch-Site '%s' with a valid token: %i", async (site, status) => {
    const shop = await protectedApp()
    const token = await shop.visit()
    const answer = await shop.send('/pay', { 'sec-fetch-site': site, 'x-csrf-token': token, origin: shop.origin })
    if (status === 200) expect(answer.status).toBe(200)
    else expectRefused(answer, shop, 'cross_site')
  })

  test.each([
    ['null', 'null'],
    ['another site', OTHER],
    ['one that begins the same', (origin) => `${origin}.evil.com`],
    ['one that ends the same', (origin) => origin.replace('http://', 'http://evil-')],
    ['its https twin', (origin) => origin.replace('http:', 'https:')],
    ['another port', (origin) => `${origin}1`],
    ['no port', (origin) => origin.replace(/:\d+$/, '')],
    ['with a path', (origin) => `${origin}/`],
    ['in capitals', (origin) => origin.toUpperCase()],
    ['empty', '']
  ])('an Origin that is %s is refused, with a valid token too', async (_, origin) => {
    const shop = await protectedApp()
    const token = await shop.visit()
    const value = typeof origin === 'function' ? origin(shop.origin) : origin
    expectRefused(await shop.send('/pay', { origin: value, 'x-csrf-token': token }), shop, 'origin')
  })

  test.each([
    ['another site', `${OTHER}/page`],
    ['one that names this site in its path', (origin) => `${OTHER}/${origin}/`],
    ['one that names this site as its user', (origin) => `http://${origin.slice(7)}@evil.com/`],
    ['no URL', 'nonsense'],
    ['no web page', 'data:text/html,hello'],
    ['empty', '']
  ])('a Referer that is %s is refused, with a valid token too', async (_, referer) => {
    const shop = await protectedApp()
    const token = await shop.visit()
    const value = typeof referer === 'function' ? referer(shop.origin) : referer
    expectRefused(await shop.send('/pay', { referer: value, 'x-csrf-token': token }), shop, 'referer')
  })

  test('its own Referer passes, and Origin has the say when both are there', async () => {
    const shop = await protectedApp()
    const token = await shop.visit()
    const own = { referer: `${shop.origin}/form?a=1`, 'x-csrf-token': token }
    expect((await shop.send('/pay', own)).status).toBe(200)
    expect((await shop.send('/pay', { ...own, referer: `${OTHER}/`, origin: shop.origin })).status).toBe(200)
    const refused = await protectedApp()
    const other = { referer: `${refused.origin}/`, origin: OTHER, 'x-csrf-token': await refused.visit() }
    expectRefused(await refused.send('/pay', other), refused, 'origin')
  })

  test('a trusted origin passes the first layer, and still needs a token', async () => {
    const trusted = { csrf: { trustedOrigins: ['https://admin.example.com'] } }
    const from = { origin: 'https://admin.example.com', 'sec-fetch-site': 'cross-site' }
    const shop = await protectedApp(trusted)
    const token = await shop.visit()
    expectRefused(await shop.send('/pay', from), shop, 'token_missing')
    expect((await shop.send('/pay', { ...from, 'x-csrf-token': token })).status).toBe(200)
    const { 'sec-fetch-site': _, ...older } = from
    expect((await shop.send('/pay', { ...older, 'x-csrf-token': token })).status).toBe(200)
    const other = await protectedApp(trusted)
    const near = { ...from, origin: 'https://admin.example.com.evil.com', 'x-csrf-token': await other.visit() }
    expectRefused(await other.send('/pay', near), other, 'cross_site')
  })

  describe('behind a proxy', () => {
    const forwarded = { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'shop.example.com' }
    const origin = 'https://shop.example.com'

    test.each([4, 5])('that is trusted, its headers tell the own origin (Express %i)', async (version) => {
      const framework = version === 4 ? require('express4') : require('express')
      const shop = await protectedApp({ framework })
      const token = await shop.visit()
      const answer = await shop.send('/pay', { ...forwarded, origin, 'x-csrf-token': token })
      expect(answer.status).toBe(200)
      const chain = { 'x-forwarded-proto': 'https, http', 'x-forwarded-host': 'shop.example.com, inner.example.com' }
      expect((await shop.send('/pay', { ...chain, origin, 'x-csrf-token': token })).status).toBe(200)
    })

    test('that is not trusted, its headers are not believed', async () => {
      const shop = await protectedApp({ trustProxy: false })
      const headers = { ...forwarded, origin, 'x-csrf-token': await shop.visit() }
      expectRefused(await shop.send('/pay', headers), shop, 'origin')
      expect((await shop.send('/pay', { ...headers, origin: shop.origin })).status).toBe(200)
    })

    test.each([
      { 'x-forwarded-host': 'a@shop.example.com' },
      { 'x-forwarded-host': 'shop.example.com/x' },
      { 'x-forwarded-host': '[' },
      { 'x-forwarded-proto': 'foo' },
      { 'x-forwarded-proto': '://' }
    ])('that forwards %j there is no own origin', async (odd) => {
      const shop = await protectedApp()
      const token = await shop.visit()
      for (const value of [origin, 'null']) {
        expectRefused(
          await shop.send('/pay', { ...forwarded, ...odd, origin: value, 'x-csrf-token': token }),
          shop,
          'origin'
        )
      }
    })
  })
})

describe('A5 3.5.2 the token', () => {
  test.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/json',
    'application/json; charset=utf-8',
    'nonsense'
  ])('is needed whatever the Content-Type: %s', async (type) => {
    const shop = await protectedApp()
    await shop.visit()
    const answer = await sendText(shop, '/pay', { 'content-type': type, origin: shop.origin }, '{}')
    expectRefused(answer, shop, 'token_missing')
  })

  test.each(['PUT', 'PATCH', 'DELETE', 'POST', 'TRACE', 'PROPFIND'])('is needed for %s', async (method) => {
    const shop = await protectedApp()
    await shop.visit()
    expectRefused(await shop.agent.request(method, '/pay', { headers: { host: shop.host } }), shop, 'token_missing')
  })

  test.each(['GET', 'HEAD', 'OPTIONS'])('is not needed for %s', async (method) => {
    const shop = await protectedApp()
    const cross = { host: shop.host, 'sec-fetch-site': 'cross-site', origin: 'https://attacker.example' }
    expect((await shop.agent.request(method, '/pay', { headers: cross })).status).toBe(200)
    expect(shop.events).toEqual([])
  })

  test.each([
    ['POST that claims to be GET', 'POST', 'GET'],
    ['GET that claims to be POST', 'GET', 'POST'],
    ['POST that claims to be get', 'POST', 'get']
  ])('an override does not get round it: %s', async (_, method, claimed) => {
    // As the package method-override does it.
    const override = (req, _res, next) => {
      req.originalMethod = req.originalMethod ?? req.method
      if (req.url.includes('_method')) req.method = claimed
      next()
    }
    const shop = await protectedApp({ before: [override] })
    await shop.visit()
    const answer = await shop.agent.request(method, '/pay?_method=x', { headers: { host: shop.host } })
    expectRefused(answer, shop, 'token_missing')
  })

  test('a lower-case method is no safe one', async () => {
    const shop = await protectedApp({
      before: [
        (req, _res, next) => {
          if (req.url === '/pay') req.method = req.method.toLowerCase()
          next()
        }
      ]
    })
    for (const method of ['POST', 'GET']) {
      expectRefused(await shop.agent.request(method, '/pay', { headers: { host: shop.host } }), shop, 'token_missing')
    }
  })

  test('is never taken from the query or a cookie', async () => {
    const shop = await protectedApp()
    const token = await shop.visit()
    expectRefused(await shop.send(`/pay?_csrf=${token}&csrf-token=${token}`), shop, 'token_missing')
    shop.agent.keep([`_csrf=${token}; Path=/`, `csrf-token=${token}; Path=/`, `XSRF-TOKEN=${token}; Path=/`])
    expectRefused(await shop.send('/pay'), shop, 'token_missing')
  })

  test.each([
    ['an array', (token) => ({ _csrf: [token] })],
    ['an object', (token) => ({ _csrf: { token } })],
    ['null', () => ({ _csrf: null })],
    ['a number', () => ({ _csrf: 1 })],
    ['empty', () => ({ _csrf: '' })],
    ['a megabyte', () => ({ _csrf: 'a'.repeat(1 << 20) })],
    ['too long by one', (token) => ({ _csrf: `${token}A` })],
    ['padded', (token) => ({ _csrf: `${token}=` })],
    ['with a line break', (token) => ({ _csrf: `${token}\n` })]
  ])('A5 15.3.5 in the body that is %s is refused, and nothing throws', async (_, body) => {
    const shop = await protectedApp()
    const token = await shop.visit()
    expectRefused(await shop.send('/pay', {}, body(token)), shop, 'token_malformed')
  })

  test('A5 15.3.7 `_csrf[]=x` and `_csrf` twice in a form are refused', async () => {
    const shop = await protectedApp()
    const token = await shop.visit()
    const form = { 'content-type': 'application/x-www-form-urlencoded' }
    for (const text of [`_csrf[]=${token}`, `_csrf=${token}&_csrf=${token}`, `_csrf[a]=${token}`]) {
      expectRefused(await sendText(shop, '/pay', form, text), shop, 'token_malformed')
    }
  })

  test('two sources that disagree are refused, two that agree are not', async () => {
    const shop = await protectedApp()
    const [one, two] = [await shop.visit(), await shop.visit()]
    expect(one).not.toBe(two)
    expectRefused(await shop.send('/pay', { 'x-csrf-token': one }, { _csrf: two }), shop, 'token_conflict')
    expectRefused(await shop.send('/pay', { 'x-csrf-token': one, 'csrf-token': two }), shop, 'token_conflict')
    expectRefused(await shop.send('/pay', { 'x-csrf-token': [one, one] }), shop, 'token_malformed')
    expect((await shop.send('/pay', { 'x-csrf-token': one }, { _csrf: one })).status).toBe(200)
  })

  test('of another session is refused', async () => {
    const shop = await protectedApp()
    await shop.visit()
    const stranger = await shop.visit(shop.app.agent())
    expectRefused(await shop.send('/pay', { 'x-csrf-token': stranger }), shop, 'token_wrong')
  })

  test('of a visitor without a session is refused', async () => {
    const shop = await protectedApp()
    const token = await shop.visit()
    expectRefused(await shop.send('/pay', { 'x-csrf-token': token }, undefined, shop.app.agent()), shop, 'token_wrong')
  })

  test('every single bit flip of it is refused', async () => {
    const shop = await protectedApp({ csrf: { onSecurityEvent: undefined } })
    const token = await shop.visit()
    for (let bit = 0; bit < token.length * 8; bit++) {
      const bytes = Buffer.from(token, 'latin1')
      bytes[bit >> 3] ^= 1 << (bit & 7)
      const answer = await shop.send('/pay', {}, { _csrf: bytes.toString('latin1') })
      expect([bit, answer.status]).toEqual([bit, 403])
    }
    expect(shop.handled()).toBe(0)
  })

  test('CVE-2020-8166 a cookie signature is no token', async () => {
    const shop = await protectedApp({ session: { secret: SECRET } })
    const token = await shop.visit()
    const id = /s%3A([\w-]+)\./.exec(shop.agent.cookieHeader('/'))[1]
    const mac = Buffer.from(sign(id, SECRET).slice(id.length + 1), 'base64').toString('base64url')
    const forged = `${token.split('.')[0]}.${mac}`
    expectRefused(await shop.send('/pay', { 'x-csrf-token': forged }), shop, 'token_wrong')
  })

  test('A5 11.2.2 of an earlier secret is good as long as that verifies', async () => {
    const store = new session.MemoryStore()
    const before = await protectedApp({ store, csrf: { secret: EARLIER } })
    const token = await before.visit()
    const cookie = before.agent.cookieHeader('/')
    const during = await protectedApp({ store, csrf: { secret: [SECRET, EARLIER] } })
    expect((await during.send('/pay', { 'x-csrf-token': token, cookie })).status).toBe(200)
    const after = await protectedApp({ store, csrf: { secret: SECRET } })
    expectRefused(await after.send('/pay', { 'x-csrf-token': token, cookie }), after, 'token_wrong')
  })

  test('A5 7.6.2 asking for one is what makes a session, and nothing else does', async () => {
    const store = new session.MemoryStore()
    const shop = await protectedApp({ store })
    expect((await shop.agent.get('/pay', { host: shop.host })).cookies).toEqual([])
    expect(Object.keys(store.sessions)).toEqual([])
    expect((await shop.agent.get('/token', { host: shop.host })).cookies).toHaveLength(1)
    const again = await shop.agent.get('/token', { host: shop.host })
    expect(again.headers['cache-control']).toBe('no-store')
    expect(again.cookies).toEqual([])
    expect(Object.keys(store.sessions)).toHaveLength(1)
  })

  test('without a session there is none, and a changing request is refused', async () => {
    const shop = await protectedApp({ session: { cookie: { path: '/elsewhere' } } })
    expectRefused(await shop.send('/pay', { origin: shop.origin }), shop, 'no_session')
    expect((await shop.agent.get('/token', { host: shop.host })).body).toMatchObject({ code: 'ERR_NO_SESSION' })
  })
})

describe('what can be set', () => {
  test("`mode: 'origin'` needs no token when the browser says where it comes from, and one when it does not", async () => {
    const shop = await protectedApp({ csrf: { mode: 'origin' } })
    const token = await shop.visit()
    for (const source of [
      { origin: shop.origin },
      { referer: `${shop.origin}/a` },
      { 'sec-fetch-site': 'same-origin' }
    ]) {
      expect((await shop.send('/pay', source)).status).toBe(200)
    }
    expect((await shop.send('/pay', { 'x-csrf-token': token })).status).toBe(200)
    const other = await protectedApp({ csrf: { mode: 'origin' } })
    expectRefused(await other.send('/pay'), other, 'token_missing')
    expectRefused(await other.send('/pay', { origin: 'https://attacker.example' }), other, 'origin')
  })

  test('`reportOnly` only tells', async () => {
    const shop = await protectedApp({ csrf: { reportOnly: true } })
    expect((await shop.send('/pay', { 'sec-fetch-site': 'cross-site' })).status).toBe(200)
    expect(shop.events).toEqual([expect.objectContaining({ type: 'csrf_refused', reason: 'cross_site' })])
    expect(shop.app.errors).toEqual([])
  })

  test.each([
    ['/hook', 200],
    ['/hook?a=/../b', 200],
    ['/hooks/a', 200],
    ['/hooked', 403],
    ['/hook/a', 403],
    ['/hook/', 403],
    ['/HOOK', 403],
    ['/hook/../pay', 403],
    ['/hooks/../pay', 403],
    ['/hooks/%2e%2e/pay', 403],
    ['/hooks/..%2fpay', 403],
    ['/hooks/..\\pay', 403],
    ['/hooks//a', 403],
    ['//hook', 403],
    ['/hook;a=1', 403],
    ['/pay', 403]
  ])("with `exempt: ['/hook', '/hooks/']` %s is %i", async (path, status) => {
    const shop = await protectedApp({ csrf: { exempt: ['/hook', '/hooks/'] } })
    const answer = await rawPost(shop.app.port, path, shop.host)
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
    expect(shop.events).toHaveLength(status === 403 ? 1 : 0)
  })

  test('an absolute-form request target is not exempt', async () => {
    const shop = await protectedApp({ csrf: { exempt: '/hook' } })
    expect(await rawPost(shop.app.port, `http://${shop.host}/hook`, shop.host)).toMatch(/^HTTP\/1.1 403 /)
  })

  test.each([
    [
      { trustedOrigins: ['https://example.com/'] },
      /`trustedOrigins` holds 'https:\/\/example.com\/'. Expected whole origins/
    ],
    [{ trustedOrigins: ['*.example.com'] }, /Expected whole origins/],
    [{ trustedOrigins: ['https://EXAMPLE.com'] }, /Expected whole origins/],
    [{ trustedOrigins: ['null'] }, /Expected whole origins/],
    [{ trustedOrigins: ['ftp://example.com'] }, /Expected whole origins/],
    [{ trustedOrigins: [/example/] }, /Expected whole origins/],
    [{ exempt: ['hook'] }, /`exempt` is 'hook'/],
    [{ exempt: ['/a/../b'] }, /`exempt` is/],
    [{ exempt: [/hook/] }, /`exempt` is of type object/],
    [{ mode: 'lax' }, /`mode` is 'lax'. Expected 'strict' or 'origin'/],
    [{ reportOnly: 'yes' }, /`reportOnly` is 'yes'/],
    [{ methods: ['POST'] }, /`methods` is unknown/],
    [{ secret: 'short' }, /`secret` is too short/],
    [{ secret: null }, /`secret` is null/],
    [{ secret: [] }, /no secret/],
    [{ secret: [SECRET, ''] }, /`secret\[1\]` is too short/]
  ])('the options %j are refused at start', (options, message) => {
    expect(() => csrfProtection({ secret: SECRET, ...options })).toThrow(message)
  })

  test('csrfTokenRoute without csrfProtection says what is missing', () => {
    expect(() => csrfTokenRoute()({}, {})).toThrow(expect.objectContaining({ code: 'ERR_NO_CSRF_PROTECTION' }))
  })
})

describe('A5 16.5.1 the default error page of Express', () => {
  test.each([
    ['5', require('express')],
    ['4', require('express4')]
  ])('%s tells the client no reason, stack or host', async (_, framework) => {
    const app = framework()
    app.use(session({ secret: SECRET, resave: false, saveUninitialized: false }))
    app.use(csrfProtection({ secret: SECRET, logger: false }))
    const server = app.listen(0, '127.0.0.1')
    await once(server, 'listening')
    later(() => server.close())
    const answer = await fetch(`http://127.0.0.1:${server.address().port}/`, { method: 'POST' })
    const text = await answer.text()
    expect(answer.status).toBe(403)
    expect(text).not.toMatch(/token_|node_modules|\.js|127\.0\.0\.1|at /)
  })
})

/** A body that is sent as it is. */
async function sendText({ app, agent, host }, path, headers, text) {
  const cookie = agent.cookieHeader('/')
  const lines = Object.entries({
    host,
    ...(cookie && { cookie }),
    ...headers,
    'content-length': Buffer.byteLength(text)
  })
  const head = `POST ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}`
  const answer = await exchange(app.port, `${head}connection: close\r\n\r\n${text}`)
  const [, status] = /^HTTP\/1.1 (\d+)/.exec(answer)
  const body = answer.slice(answer.indexOf('\r\n\r\n') + 4)
  return { status: Number(status), body: JSON.parse(body), cookies: [] }
}

/** A request whose target no client library would send. */
function rawPost(port, target, host) {
  return exchange(port, `POST ${target} HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`)
}

async function exchange(port, text) {
  const socket = net.connect(port, '127.0.0.1')
  // Not `end`: Node closes a connection whose client has nothing more to say.
  socket.write(text)
  let answer = ''
  for await (const chunk of socket) answer += chunk
  return answer
}
