'use strict'

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const http = require('node:http')
const net = require('node:net')
const path = require('node:path')
const { createInterface } = require('node:readline')
const request = require('supertest')
const { meetablSession } = require('meetabl-session')
const { createApp } = require('../examples/express-api/app')
const { startRedis } = require('./support/redis')
const { withEnv } = require('./support/secured')

const SERVER = path.join(__dirname, '../examples/express-api/server.js')
const SECRET = 'a secret that only these tests know, and long enough'
const ADA = { username: 'ada', password: 'correct horse' }
const WARNING = 'WARN: Redis unavailable, falling back to memory session store (not recommended for production)'

jest.setTimeout(30_000)

let redis
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.stop())

/** What `meetablSession()` makes of this environment, and the app with it. */
function open(env = {}) {
  const options = { secret: SECRET, logger: false, redis: { port: redis.port } }
  const sessions = withEnv(env, () => meetablSession(options))
  return { sessions, app: createApp({ sessions, env }) }
}

/** A browser that asks for a token before it changes something. `cookie()` is what it sends. */
class Browser {
  #target
  #cookie

  constructor(target, cookie = '') {
    this.#target = target
    this.#cookie = cookie
  }

  cookie() {
    return this.#cookie
  }

  get(where) {
    return this.#keep(request(this.#target).get(where).set('Cookie', this.#cookie))
  }

  async post(where, body, headers = {}) {
    const { body: token } = await this.get('/csrf-token')
    const sent = { Cookie: this.#cookie, 'X-CSRF-Token': token.csrfToken, ...headers }
    return this.#keep(request(this.#target).post(where).type('json').set(sent).send(body))
  }

  async #keep(sending) {
    const answer = await sending
    const [set] = answer.headers['set-cookie'] ?? []
    if (set) this.#cookie = set.split(';')[0]
    return answer
  }
}

/** What a test looks at in an answer. */
const seen = ({ status, body }) => [status, body]

describe('the API', () => {
  let sessions
  let store
  let app
  beforeEach(async () => {
    ;({ sessions, app } = open())
    store = sessions.store
    expect(await store.ready()).toBe('ready')
  })
  afterEach(() => sessions.close())

  const browser = (cookie) => new Browser(app, cookie)

  test('registering logs in, and the profile tells who it is', async () => {
    const ada = browser()
    const registered = await ada.post('/register', ADA)
    expect(seen(registered)).toEqual([201, { username: 'ada', loggedInAt: expect.any(String) }])
    const profile = await ada.get('/profile')
    expect(seen(profile)).toEqual([200, registered.body])
    expect(profile.headers['cache-control']).toBe('no-store')
  })

  test('the profile of nobody is 401', () => request(app).get('/profile').expect(401, { error: 'not_logged_in' }))

  test('a name is registered once, even by two requests at the same time', async () => {
    const register = () => browser().post('/register', ADA)
    const answers = await Promise.all([register(), register()])
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409])
    expect(seen(await register())).toEqual([409, { error: 'username_taken' }])
  })

  test.each(['/register', '/login'])('%s gives a new id, and the one before it is anonymous', async (way) => {
    await browser().post('/register', ADA)
    const visitor = browser()
    expect((await visitor.post('/cart', { item: 'apples', quantity: 3 })).status).toBe(200)
    const before = visitor.cookie()

    const user = way === '/login' ? ADA : { ...ADA, username: 'grace' }
    const entered = await visitor.post(way, user)

    expect(visitor.cookie()).not.toBe(before)
    expect(seen(await visitor.get('/profile'))).toEqual([200, entered.body])
    expect((await visitor.get('/cart')).body).toEqual({ cart: { apples: 3 } })
    const planted = () => browser(before)
    expect((await planted().get('/profile')).status).toBe(401)
    expect((await planted().get('/cart')).body).toEqual({ cart: {} })
  })

  test("logging in as somebody else leaves the first user's cart behind", async () => {
    const agent = browser()
    await agent.post('/register', ADA)
    await agent.post('/cart', { item: 'apples', quantity: 3 })
    expect((await agent.post('/register', { ...ADA, username: 'grace' })).status).toBe(201)
    expect((await agent.get('/cart')).body).toEqual({ cart: {} })
  })

  test('a wrong password and an unknown user get the same 401, and no cookie', async () => {
    await browser().post('/register', ADA)
    const wrong = await browser().post('/login', { ...ADA, password: 'wrong horse' })
    const unknown = await browser().post('/login', { ...ADA, username: 'nobody' })
    for (const answer of [wrong, unknown]) {
      expect(seen(answer)).toEqual([401, { error: 'invalid_credentials' }])
      expect(answer.headers).not.toHaveProperty('set-cookie')
    }
    // The one header that tells the time.
    const others = (answer) => ({ ...headersOf(answer), 'session-expires-in': undefined })
    expect(others(wrong)).toEqual(others(unknown))
  })

  test('the cart survives from request to request', async () => {
    const agent = browser()
    expect((await agent.post('/cart', { item: 'apples', quantity: 3 })).body).toEqual({ cart: { apples: 3 } })
    await agent.post('/cart', { item: 'crème brûlée', quantity: 1 })
    await agent.post('/cart', { item: 'apples', quantity: 2 })
    expect(seen(await agent.get('/cart'))).toEqual([200, { cart: { apples: 2, 'crème brûlée': 1 } }])
  })

  test('the cart has an end', async () => {
    const agent = browser()
    const add = (item, quantity) => agent.post('/cart', { item, quantity })
    for (let i = 0; i < 50; i++) expect((await add(`item ${i}`, 1)).status).toBe(200)
    expect(seen(await add('one more', 1))).toEqual([409, { error: 'cart_full' }])
    expect((await add('item 7', 9)).status).toBe(200)
  })

  test.each([
    ['/cart', { item: 'apples' }],
    ['/cart', { item: 'apples', quantity: 0 }],
    ['/cart', { item: 'apples', quantity: 1.5 }],
    ['/cart', { item: 'apples', quantity: '3' }],
    ['/cart', { item: '', quantity: 3 }],
    ['/cart', { item: ['apples'], quantity: 3 }],
    ['/cart', '{"item":"__proto__","quantity":3}'],
    ['/cart', '[]'],
    ['/register', { ...ADA, username: 'a b' }],
    ['/register', { ...ADA, password: 'short' }],
    ['/register', { ...ADA, password: { length: 20 } }],
    ['/login', { username: 'ada' }],
    ['/login', { ...ADA, username: ['ada'] }]
  ])('%s refuses %j and changes no session', async (where, body) => {
    const answer = await browser().post(where, body)
    expect(seen(answer)).toEqual([400, { error: 'invalid_input' }])
    expect(answer.headers).not.toHaveProperty('set-cookie')
  })

  test('a form cannot log anybody in: only JSON is read', async () => {
    const answer = await browser().post('/login', JSON.stringify(ADA), { 'Content-Type': 'text/plain' })
    expect(seen(answer)).toEqual([400, { error: 'invalid_input' }])
  })

  test.each(['/register', '/login', '/logout', '/cart'])('A5 3.5.1 %s without a token is 403', async (where) => {
    const ada = browser()
    await ada.post('/register', ADA)
    const forged = await request(app).post(where).set('Cookie', ada.cookie()).send(ADA)
    expect(seen(forged)).toEqual([403, { error: 'invalid_csrf_token' }])
    const crossSite = await ada.post(where, ADA, { 'Sec-Fetch-Site': 'cross-site' })
    expect(seen(crossSite)).toEqual([403, { error: 'invalid_csrf_token' }])
    expect((await ada.get('/profile')).status).toBe(200)
  })

  test('another User-Agent ends the session', async () => {
    const ada = browser()
    await ada.post('/register', ADA)
    const thief = await request(app).get('/profile').set({ Cookie: ada.cookie(), 'User-Agent': 'curl/8.5.0' })
    expect(seen(thief)).toEqual([401, { error: 'session_invalid' }])
    expect((await browser(ada.cookie()).get('/profile')).status).toBe(401)
  })

  test('logging out clears the cookie, and the old one is anonymous', async () => {
    const ada = browser()
    await ada.post('/register', ADA)
    const cookie = ada.cookie()
    const out = await ada.post('/logout')
    expect(out.status).toBe(204)

    expect(out.headers['set-cookie']).toHaveLength(1)
    const cleared = out.headers['set-cookie'][0]
    expect(cleared).toMatch(/^meetabl\.sid=; Path=\/;/)
    expect(Date.parse(/Expires=([^;]+)/.exec(cleared)[1])).toBeLessThan(Date.now())
    expect((await browser(cookie).get('/profile')).status).toBe(401)
  })

  test('logging out without being logged in is fine', async () => {
    expect((await browser().post('/logout')).status).toBe(204)
  })

  test('a visitor who only looks around gets no cookie and no session', async () => {
    const before = await store.length()
    for (const where of ['/', '/cart', '/profile', '/session', '/meetabl-session.mjs', '/nowhere']) {
      expect((await request(app).get(where)).headers).not.toHaveProperty('set-cookie')
    }
    expect(await store.length()).toBe(before)
  })

  test("health shows the store's state and touches no session", async () => {
    const ada = browser()
    await ada.post('/register', ADA)
    const calls = ['get', 'set', 'touch'].map((method) => jest.spyOn(store, method))
    expect(seen(await ada.get('/health'))).toEqual([200, { status: 'ok', sessions: 'ready' }])
    for (const call of calls) expect(call).not.toHaveBeenCalled()
    await ada.get('/cart')
    expect(calls[0]).toHaveBeenCalledTimes(1)
  })

  test('the page, and the script that watches its session, are served', async () => {
    const page = await request(app).get('/').expect(200).expect('Content-Type', /html/)
    expect(page.text).toContain('meetabl-session')
    const script = await request(app)
      .get('/meetabl-session.mjs')
      .expect(200)
      .expect('Content-Type', /javascript/)
    expect(script.text).toContain('export function watchSession')
  })

  test('the headers tell how long the session lasts', async () => {
    const ada = browser()
    await ada.post('/register', ADA)
    expect((await ada.get('/session')).headers['session-expires-in']).toBe('86400')
    expect((await request(app).get('/session')).headers).not.toHaveProperty('session-expires-in')
  })

  test.each([
    [404, 'not_found', (agent) => agent.get('/nowhere')],
    [400, 'invalid_json', (agent) => agent.post('/login', '{"username":')],
    [413, 'body_too_large', (agent) => agent.post('/login', { username: 'a'.repeat(20_000) })],
    [415, 'bad_request', (agent) => agent.post('/login', ADA, { 'Content-Encoding': 'zip' })]
  ])('%i %s is all that the client learns', async (status, error, send) => {
    expect(seen(await send(browser()))).toEqual([status, { error }])
  })

  test('a failing store is a 500 that tells the client nothing and the console why', async () => {
    const ada = browser()
    await ada.post('/register', ADA)
    const log = jest.spyOn(console, 'error').mockImplementation(() => {})
    jest.spyOn(store, 'get').mockImplementation((_sid, done) => done(new Error('the disk at 10.1.2.3 is full')))
    const answer = await ada.get('/profile')
    expect(answer.status).toBe(500)
    expect(answer.text).toBe('{"error":"internal_error"}')
    expect(JSON.stringify(answer.headers)).not.toContain('10.1.2.3')
    expect(log.mock.calls.flat().join('\n')).toContain('the disk at 10.1.2.3 is full')
    log.mockRestore()
  })

  test('a logout that fails says so and leaves the session as it was', async () => {
    const ada = browser()
    await ada.post('/register', ADA)
    const log = jest.spyOn(console, 'error').mockImplementation(() => {})
    const destroy = jest.spyOn(store, 'destroy').mockImplementation((_sid, done) => done(new Error('no')))
    const out = await ada.post('/logout')
    expect(seen(out)).toEqual([500, { error: 'internal_error' }])
    expect(out.headers).not.toHaveProperty('set-cookie')
    expect((await ada.get('/profile')).status).toBe(200)
    destroy.mockRestore()
    log.mockRestore()
  })
})

describe('the cookie', () => {
  const opened = []
  afterEach(async () => {
    for (const sessions of opened.splice(0)) await sessions.close()
  })

  const enter = async (env, headers = {}) => {
    const { sessions, app } = open(env)
    opened.push(sessions)
    const answer = await request(app).get('/csrf-token').set(headers)
    expect(answer.status).toBe(200)
    return answer
  }

  test('in development: HttpOnly, SameSite=Lax, a day', async () => {
    const attributes = attributesOf(await enter({}))
    expect(attributes).toMatchObject({ path: '/', httponly: true, samesite: 'Lax' })
    expect(attributes).not.toHaveProperty('secure')
    expect(attributes).not.toHaveProperty('domain')
    expect(lifetimeOf(attributes)).toBeCloseTo(86_400, -1)
  })

  test('in production, over HTTPS: Secure and SameSite=Strict too', async () => {
    const answer = await enter({ NODE_ENV: 'production' }, { 'X-Forwarded-Proto': 'https' })
    expect(attributesOf(answer)).toMatchObject({ path: '/', httponly: true, secure: true, samesite: 'Strict' })
  })

  test('in production, over plain HTTP: none', async () => {
    expect((await enter({ NODE_ENV: 'production' })).headers).not.toHaveProperty('set-cookie')
  })

  test('in development X-Forwarded-Proto is not believed', async () => {
    expect(attributesOf(await enter({}, { 'X-Forwarded-Proto': 'https' }))).not.toHaveProperty('secure')
  })

  test('SESSION_TIMEOUT sets how long it lasts', async () => {
    const attributes = attributesOf(await enter({ SESSION_TIMEOUT: '1800000' }))
    expect(lifetimeOf(attributes)).toBeCloseTo(1800, -1)
  })

  test.each(['soon', '-1', '0', '1.5', '1e15'])('SESSION_TIMEOUT %s stops the start', (SESSION_TIMEOUT) => {
    expect(() => open({ SESSION_TIMEOUT })).toThrow(`\`SESSION_TIMEOUT\` is '${SESSION_TIMEOUT}'`)
  })
})

describe('the server', () => {
  const servers = []
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.kill()
  })

  // A real process with nothing in its environment but what a test gives it.
  const start = (env) => {
    const server = new ServerProcess({ PORT: '0', ...env })
    servers.push(server)
    return server
  }

  test.each([
    ['missing', {}],
    ['empty', { SESSION_SECRET: '' }],
    ['short', { SESSION_SECRET: 'tiny-hush-hush' }]
  ])(
    'in production a secret that is %s stops the start, with an error that helps and tells nothing secret',
    async (_, env) => {
      const server = start({ NODE_ENV: 'production', REDIS_PORT: String(redis.port), ...env })
      expect(await server.ended).toEqual({ code: 1, signal: null })
      expect(server.text()).toMatch(/SESSION_SECRET.*at least 32/)
      expect(server.text()).not.toContain('tiny-hush-hush')
      expect(server.text()).not.toMatch(/^\s+at /m)
    }
  )

  test('in development a random secret is made, and it says so', async () => {
    const server = start({ REDIS_PORT: String(redis.port) })
    await server.line(/^SESSION_SECRET is not set: using a random one/)
    await server.listening()
  })

  test.each(['many', '70000', '-1'])('PORT %s stops the start', async (PORT) => {
    const server = start({ PORT, REDIS_PORT: String(redis.port) })
    expect(await server.ended).toEqual({ code: 1, signal: null })
    expect(server.text()).toContain(`PORT is '${PORT}'`)
  })

  test('a port that is taken ends it with code 1 and says which', async () => {
    const taken = net.createServer().listen(0).unref()
    await once(taken, 'listening')
    const { port } = taken.address()
    const server = start({ PORT: String(port), REDIS_PORT: String(redis.port) })
    expect(await server.ended).toEqual({ code: 1, signal: null })
    expect(server.text()).toMatch(new RegExp(`EADDRINUSE.*${port}`))
    taken.close()
  })

  test('with Redis it says so, and a session outlives the process', async () => {
    const env = { SESSION_SECRET: SECRET, REDIS_PORT: String(redis.port) }
    const first = start(env)
    const url = await first.listening()
    await first.line('Sessions are kept in Redis')
    const ada = new Browser(url)
    const registered = await ada.post('/register', ADA)
    await request(url).get('/health').expect({ status: 'ok', sessions: 'ready' })
    first.signal('SIGINT')
    expect(await first.ended).toEqual({ code: 0, signal: null })

    const again = await start(env).listening()
    await request(again).get('/profile').set('Cookie', ada.cookie()).expect(200, registered.body)
  })

  test('without Redis it serves from memory, and says so', async () => {
    // Nothing listens on port 1.
    const server = start({ REDIS_PORT: '1' })
    const url = await server.listening()
    await server.line('Sessions are kept in the memory of this process')
    await server.line(WARNING)
    await request(url).get('/health').expect(200, { status: 'ok', sessions: 'degraded' })

    const agent = new Browser(url)
    expect((await agent.post('/register', ADA)).status).toBe(201)
    expect((await agent.post('/cart', { item: 'apples', quantity: 3 })).status).toBe(200)
    expect((await agent.get('/cart')).body).toEqual({ cart: { apples: 3 } })
    expect((await agent.post('/logout')).status).toBe(204)
    expect((await agent.get('/profile')).status).toBe(401)

    server.signal('SIGTERM')
    expect(await server.ended).toEqual({ code: 0, signal: null })
    expect(server.lines.filter((line) => line === WARNING)).toHaveLength(1)
  })

  test.each(['SIGTERM', 'SIGINT'])('%s: the request under way is answered and its session saved', async (signal) => {
    const env = { SESSION_SECRET: SECRET, REDIS_PORT: String(redis.port) }
    const server = start(env)
    const url = await server.listening()
    const { port } = new URL(url)

    // Browsers keep such connections: one that has been used, one that has never been.
    const keepAlive = new http.Agent({ keepAlive: true })
    const [health] = await once(http.get(`${url}/health`, { agent: keepAlive }), 'response')
    await once(health.resume(), 'end')
    const spare = net.connect(port)
    await once(spare, 'connect')

    // '100 Continue' proves that the server has taken the request, whose body is then kept back.
    const visitor = new Browser(url)
    const { csrfToken } = (await visitor.get('/csrf-token')).body
    const proof = { Cookie: visitor.cookie(), 'X-CSRF-Token': csrfToken }
    const body = JSON.stringify(ADA)
    const upload = http.request(`${url}/register`, {
      method: 'POST',
      agent: keepAlive,
      headers: { ...proof, 'Content-Type': 'application/json', 'Content-Length': body.length, Expect: '100-continue' }
    })
    upload.flushHeaders()
    await once(upload, 'continue')

    server.signal(signal)
    await server.line(new RegExp(`^${signal}: `))
    // Ctrl-C under npm arrives twice.
    server.signal('SIGINT')
    const [refused] = await once(net.connect(port), 'error')
    expect(refused.code).toBe('ECONNREFUSED')

    upload.end(body)
    const [answer] = await once(upload, 'response')
    expect(answer.statusCode).toBe(201)
    await once(answer.resume(), 'end')
    const answered = performance.now()
    expect(await server.ended).toEqual({ code: 0, signal: null })
    expect(performance.now() - answered).toBeLessThan(3000)
    keepAlive.destroy()
    spare.destroy()

    const again = await start(env).listening()
    await request(again).get('/profile').set('Cookie', cookieOf(answer)).expect(200)
  })
})

/** `node server.js` and what it says, on either stream. */
class ServerProcess {
  lines = []
  #waiting = []
  #child

  constructor(env) {
    this.#child = spawn(process.execPath, [SERVER], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        this.lines.push(line)
        this.#tell()
      })
    }
    this.ended = once(this.#child, 'close').then(([code, signal]) => {
      this.dead = true
      this.#tell()
      return { code, signal }
    })
  }

  text() {
    return this.lines.join('\n')
  }

  /** The first line that matches, said before or still to come. Fails when the process ends without it. */
  line(pattern) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ pattern, resolve, reject })
      this.#tell()
    })
  }

  async listening() {
    return (await this.line(/^Open /)).slice('Open '.length)
  }

  signal(name) {
    this.#child.kill(name)
  }

  async kill() {
    this.signal('SIGKILL')
    await this.ended
  }

  #tell() {
    this.#waiting = this.#waiting.filter(({ pattern, resolve, reject }) => {
      const found = this.lines.find((line) => (pattern instanceof RegExp ? pattern.test(line) : line === pattern))
      if (found !== undefined) resolve(found)
      else if (this.dead) reject(new Error(`it ended without saying ${pattern}, but:\n${this.text()}`))
      return found === undefined && !this.dead
    })
  }
}

function cookieOf(answer) {
  const cookies = answer.headers['set-cookie'] ?? []
  expect(cookies).toHaveLength(1)
  expect(cookies[0]).toMatch(/^meetabl\.sid=s%3A/)
  return cookies[0].split(';')[0]
}

function attributesOf(answer) {
  cookieOf(answer)
  const [, ...attributes] = answer.headers['set-cookie'][0].split('; ')
  return Object.fromEntries(
    attributes.map((attribute) => {
      const [name, value = true] = attribute.split('=')
      return [name.toLowerCase(), value]
    })
  )
}

function lifetimeOf({ expires }) {
  return (Date.parse(expires) - Date.now()) / 1000
}

/** All but what differs between any two answers. */
function headersOf({ headers: { date, ...headers } }) {
  return headers
}
