// `meetablSession()`: everything in one line, over real HTTP, with sessions in a real Redis.
const { once } = require('node:events')
const http = require('node:http')
const session = require('express-session')
const { meetablSession, RedisStore, sign } = require('..')
const { call } = require('./support/call')
const { startRedis } = require('./support/redis')
const { runScript } = require('./support/script')
const {
  CURL,
  EARLIER,
  FIREFOX,
  idIn,
  listenTo,
  NAME,
  SECRET,
  startSecured,
  useSecured,
  withEnv
} = require('./support/secured')
const { until } = require('./support/until')

const secured = useSecured()
const { later, laterAll, start } = secured
let commands
beforeAll(async () => {
  commands = await listenTo(secured.redis)
  laterAll(() => commands.stop())
})

const keys = () => secured.redis.command('KEYS', 'meetabl:sess:*')
const cookieWith = (id, secret = SECRET) => `${NAME}=${encodeURIComponent(`s:${sign(id, secret)}`)}`

describe('the whole of it', () => {
  test.each([
    ['Express 5', require('express')],
    ['Express 4', require('express4')]
  ])('login, a token, a changing request, another browser, logout, with %s', async (_, framework) => {
    const pay = (app) => app.post('/pay', (req, res) => res.json({ paidBy: req.session.user }))
    const shop = await start({ csrf: {} }, { framework, routes: pay })
    const ada = shop.agent()
    const token = async () => ({ ...FIREFOX, 'x-csrf-token': (await ada.get('/token', FIREFOX)).body.csrfToken })

    expect((await ada.post('/login', {}, FIREFOX)).status).toBe(403)
    const planted = ada.clone()
    later(() => planted.close())
    const { body } = await ada.post('/login', {}, await token())
    expect(body.user).toBe('ada')
    expect((await ada.post('/pay', {}, await token())).body).toEqual({ paidBy: 'ada' })
    expect((await ada.post('/pay', {}, { ...(await token()), 'sec-fetch-site': 'cross-site' })).status).toBe(403)
    expect((await planted.get('/', FIREFOX)).body.user).toBeNull()

    const thief = ada.clone()
    later(() => thief.close())
    expect((await thief.post('/pay', {}, { ...(await token()), ...CURL })).status).toBe(401)
    expect((await ada.get('/', FIREFOX)).body.user).toBeNull()

    await ada.post('/login', {}, await token())
    const left = ada.clone()
    later(() => left.close())
    const out = await ada.post('/out', {}, await token())
    expect(out.cookies).toEqual([expect.stringMatching(/^meetabl\.sid=; Path=\/; Expires=Thu, 01 Jan 1970/)])
    expect((await left.get('/', FIREFOX)).body.user).toBeNull()
  })

  test('the environment alone configures it', async () => {
    const program = async (port) => {
      const { meetablSession } = require('./index.js')
      const sessions = meetablSession({ logger: false })
      const state = await sessions.store.ready()
      await sessions.close()
      console.log(JSON.stringify({ state, ttl: sessions.store.ttl, port }))
    }
    const env = { SESSION_SECRET: SECRET, SESSION_TIMEOUT: '60000', REDIS_PORT: String(secured.redis.port) }
    const { stdout, code } = await runScript(program, [secured.redis.port], { env })
    expect([code, JSON.parse(stdout)]).toEqual([0, { state: 'ready', ttl: 60, port: secured.redis.port }])
  })

  test.each([
    ['userAgent', { ...CURL }, 200],
    ['csrf', { ...FIREFOX }, 200]
  ])('`%s: false` switches that part off', async (part, headers, status) => {
    const shop = await start({ csrf: {}, [part]: false })
    const ada = shop.agent()
    const { body } = await ada.get('/token', FIREFOX).catch(() => ({}))
    const token = part === 'csrf' ? {} : { 'x-csrf-token': body.csrfToken }
    expect((await ada.post('/in', {}, { ...FIREFOX, ...token })).status).toBe(200)
    expect((await ada.post('/in', {}, { ...headers, ...token })).status).toBe(status)
  })

  test('`helpers: false` and `timeouts: false` switch these off', async () => {
    const shop = await start({ helpers: false, timeouts: false })
    const ada = shop.agent()
    const answer = await ada.post('/in')
    expect(answer.headers).not.toHaveProperty('session-expires-in')
    expect(await secured.redis.command('GET', `meetabl:sess:${answer.body.id}`)).not.toMatch(/startedAt/)
    expect((await ada.post('/login')).status).toBe(500)
  })

  test('it takes any store, and closes only its own', async () => {
    const store = new session.MemoryStore()
    const shop = await start({ store })
    const ada = shop.agent()
    const { body } = await ada.post('/in', {}, FIREFOX)
    expect(Object.keys(store.sessions)).toEqual([body.id])
    expect((await ada.get('/', CURL)).status).toBe(401)
    expect(shop.sessions.store).toBe(store)

    const own = meetablSession({ secret: SECRET, logger: false, redis: { port: secured.redis.port } })
    expect(own.store).toBeInstanceOf(RedisStore)
    await own.close()
    expect(own.store.state).toBe('closed')
    const given = new RedisStore({ port: secured.redis.port, logger: false })
    await meetablSession({ secret: SECRET, logger: false, store: given }).close()
    expect(given.state).not.toBe('closed')
    await given.close()
  })

  test('mounted twice it acts once', async () => {
    const shop = await start({}, { routes: (app) => app.use(shop2) })
    function shop2(req, res, next) {
      shop.sessions(req, res, next)
    }
    expect((await shop.agent().get('/nowhere')).status).toBe(404)
  })
})

describe('A5 7.2.1 the cookie is verified before the store is asked', () => {
  const id = 'an-id-of-a-session-1'
  const good = `s:${sign(id, SECRET)}`
  const mac = good.slice(good.lastIndexOf('.') + 1)
  const cases = {
    'an empty header': '',
    'a name without =': NAME,
    's:': `${NAME}=s:`,
    's:.': `${NAME}=s:.`,
    'an unsigned value': `${NAME}=${id}`,
    'a signed value without s:': `${NAME}=${good.slice(2)}`,
    'a trailing =': `${NAME}=${good}=`,
    'a MAC in base64url': `${NAME}=s:${id}.${mac.replaceAll('+', '-').replaceAll('/', '_')}-`,
    'a MAC one character short': `${NAME}=${good.slice(0, -1)}`,
    'a bad percent escape': `${NAME}=%E0%A4%A${good}`,
    'double encoding': `${NAME}=${encodeURIComponent(encodeURIComponent(good))}`,
    '__proto__=x': '__proto__=x',
    'two of one name, the first wins': `${NAME}=x; ${NAME}=${good}`,
    '2,000 tiny cookies': 'a=1; '.repeat(2000),
    'a validly signed empty value': `${NAME}=s:${sign('', SECRET)}`,
    'the MAC of another id': `${NAME}=s:another-id-of-a-session.${mac}`,
    'an unknown secret': cookieWith(id, 'a secret that nobody here has ever heard of'),
    'the cookie of another name': `other.sid=${good}`,
    'a quote': `${NAME}="`,
    'bytes beyond ASCII': `${NAME}=s:\xe9\xff.\xa0`
  }

  test.each(Object.entries(cases))('%s: anonymous, no read, no cookie, no error', async (_, cookie) => {
    const shop = await start()
    await call(shop.store, 'set', id, { cookie: { originalMaxAge: null }, user: 'ada' })
    await commands.about('')
    const { gets } = shop.store.stats()
    for (const [method, path] of [
      ['GET', '/'],
      ['HEAD', '/']
    ]) {
      const answer = await shop.agent().request(method, path, { headers: { cookie } })
      expect([answer.status, answer.cookies]).toEqual([200, []])
      if (method === 'GET') expect(answer.body).toEqual({ user: null, id: expect.stringMatching(/^[\w-]{43}$/) })
    }
    expect(shop.store.stats().gets).toBe(gets)
    expect(await commands.about('meetabl:sess:')).toEqual([])
    expect(shop.errors).toEqual([])
    expect(await keys()).toEqual([`meetabl:sess:${id}`])
  })

  test('every single bit flip of the cookie is refused', async () => {
    const shop = await start()
    await call(shop.store, 'set', id, { cookie: { originalMaxAge: null }, user: 'ada', userAgent: '' })
    const agent = shop.agent()
    expect((await agent.get('/', { cookie: `${NAME}=${good}` })).body.user).toBe('ada')
    await commands.about('')
    // In the header itself some flips would end the cookie or the header: percent-encoded, none does.
    for (let bit = 0; bit < good.length * 8; bit++) {
      const bytes = Buffer.from(good, 'latin1')
      bytes[bit >> 3] ^= 1 << (bit & 7)
      const encoded = [...bytes].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
      const { body } = await agent.get('/', { cookie: `${NAME}=${encoded}` })
      expect([bit, body.user]).toEqual([bit, null])
    }
    expect(await commands.about('meetabl:sess:')).toEqual([])
  })

  test.each([
    '*',
    'a-session-id\r\nDEL x',
    'a-session-id-\0-null',
    '../../../../etc/passwd',
    '{tag}-session-id-1',
    'short'
  ])('SM the id %j, validly signed, never reaches Redis', async (bad) => {
    const shop = await start()
    await commands.about('')
    const answer = await shop.agent().post('/in', {}, { cookie: cookieWith(bad) })
    expect(answer.status).toBe(200)
    expect(answer.body.id).toMatch(/^[\w-]{43}$/)
    const others = (line) => !line.includes(`meetabl:sess:${answer.body.id}`)
    expect((await commands.about('meetabl:sess:')).filter(others)).toEqual([])
    expect(await keys()).toEqual([`meetabl:sess:${answer.body.id}`])
    expect(shop.events[0]).toMatchObject({ type: 'id_refused' })
  })

  test('what cookie-parser made of the header gets round nothing', async () => {
    const bad = '{tag}-session-id-1'
    const parser = (req, _res, next) => {
      req.cookies = { [NAME]: `s:${sign(bad, SECRET)}` }
      req.signedCookies = { [NAME]: id }
      next()
    }
    const seen = []
    const routes = (app) => {
      app.get('/cookies', (req, res) => {
        seen.push(req.cookies, req.signedCookies, req.headers.cookie)
        res.end()
      })
    }
    const shop = await start({}, { before: [parser], routes })
    await call(shop.store, 'set', id, { cookie: { originalMaxAge: null }, user: 'ada' })
    await commands.about('')
    const { body } = await shop.agent().get('/', { cookie: 'a=1' })
    expect([body.user, await commands.about('meetabl:sess:')]).toEqual([null, []])
    await shop.agent().get('/cookies', { cookie: 'a=1; b=2' })
    expect(seen).toEqual([{ [NAME]: expect.any(String) }, { [NAME]: id }, 'a=1; b=2'])
  })

  test('the handler sees the header as it came, whatever the store does', async () => {
    const shop = await start({}, { routes: (app) => app.get('/header', (req, res) => res.json(req.headers.cookie)) })
    const ada = shop.agent()
    await ada.post('/in', {}, FIREFOX)
    for (const cookie of [`a=1; ${ada.cookieHeader('/')}; b=2`, 'a=1; b=2', cookieWith('unknown-session-id')]) {
      expect((await shop.agent().get('/header', { ...FIREFOX, cookie })).body).toBe(cookie)
    }
  })
})

describe('ids', () => {
  test('SM an unknown id is never adopted', async () => {
    const shop = await start()
    const planted = 'a-planted-session-id'
    const answer = await shop.agent().post('/in', {}, { cookie: cookieWith(planted) })
    expect(answer.body.id).not.toBe(planted)
    expect(idIn(answer.cookies[0])).toBe(answer.body.id)
    expect(await keys()).toEqual([`meetabl:sess:${answer.body.id}`])
    expect(shop.events[0]).toMatchObject({ type: 'session_unknown' })
  })

  test('A5 7.2.3 they have 256 bits, or are what `genid` makes', async () => {
    const shop = await start()
    const answers = await Promise.all(Array.from({ length: 50 }, () => shop.agent().post('/in')))
    const ids = new Set(answers.map(({ body }) => body.id))
    expect(ids.size).toBe(50)
    for (const id of ids) expect(Buffer.from(id, 'base64url')).toHaveLength(32)
    const own = await start({ genid: (req) => `made-for-${req.method}-${'x'.repeat(20)}` })
    expect((await own.agent().post('/in')).body.id).toBe(`made-for-POST-${'x'.repeat(20)}`)
  })

  test.each(['short', 'user:42/of-this-shop', '', null, 7])(
    '`genid` that makes %j is an error, not a key',
    async (bad) => {
      const shop = await start({ genid: () => bad })
      expect(await shop.agent().post('/in')).toMatchObject({ status: 500, body: { code: 'ERR_INVALID_SESSION_ID' } })
      expect(await keys()).toEqual([])
    }
  )

  test('`idPattern` widens what is allowed, and narrows it', async () => {
    const shop = await start({ genid: () => 'user:42', idPattern: /^user:\d+$/g })
    const ada = shop.agent()
    for (let round = 0; round < 3; round++) expect((await ada.post('/in')).body).toEqual({ user: 'ada', id: 'user:42' })
    await commands.about('')
    expect((await shop.agent().get('/', { cookie: cookieWith('user:x') })).body.user).toBeNull()
    expect(await commands.about('meetabl:sess:')).toEqual([])
    expect(shop.events.at(-1)).toMatchObject({ type: 'id_refused' })
  })
})

describe('A5 11.2.2 rotation', () => {
  test('a cookie of an earlier secret is accepted and signed anew, also when nothing changed', async () => {
    const before = await start({ secret: EARLIER })
    const ada = before.agent()
    const { body } = await ada.post('/in', {}, FIREFOX)
    const cookie = ada.cookieHeader('/')

    const now = await start({ secret: [SECRET, EARLIER] })
    const again = now.agent()
    const answer = await again.get('/', { ...FIREFOX, cookie })
    expect(answer.body).toEqual({ user: 'ada', id: body.id })
    expect(answer.cookies).toHaveLength(1)
    expect(answer.cookies[0]).toMatch(/^meetabl\.sid=s%3A.*; Path=\/; Expires=.*; HttpOnly; SameSite=Lax$/)
    expect(answer.headers['cache-control']).toBe('no-store')
    expect(again.cookieHeader('/')).toBe(cookieWith(body.id))
    expect(now.events.map(({ type }) => type)).toEqual(['old_secret_used'])
    // Signed anew once: the new cookie needs no other.
    expect((await again.get('/', FIREFOX)).cookies).toEqual([])

    const after = await start({ secret: SECRET })
    expect((await after.agent().get('/', { ...FIREFOX, cookie })).body.user).toBeNull()
    expect((await after.agent().get('/', { ...FIREFOX, cookie: again.cookieHeader('/') })).body.user).toBe('ada')
  })

  test('a changed session is not given two cookies', async () => {
    const before = await start({ secret: EARLIER })
    const ada = before.agent()
    await ada.post('/in', {}, FIREFOX)
    const now = await start({ secret: [SECRET, EARLIER] })
    const answer = await now.agent().post('/in', { user: 'grace' }, { ...FIREFOX, cookie: ada.cookieHeader('/') })
    expect(answer.cookies).toHaveLength(1)
    expect(answer.cookies[0]).toContain(cookieWith(answer.body.id))
  })

  test('`rotateSecrets` on the running middleware logs nobody out', async () => {
    const shop = await start({ secret: EARLIER, csrf: {} })
    const ada = shop.agent()
    const old = (await ada.get('/token', FIREFOX)).body.csrfToken
    const { body } = await ada.post('/in', {}, { ...FIREFOX, 'x-csrf-token': old })
    const cookie = ada.cookieHeader('/')

    shop.sessions.rotateSecrets([SECRET, EARLIER])
    expect((await ada.post('/in', {}, { ...FIREFOX, 'x-csrf-token': old })).body).toEqual({ user: 'ada', id: body.id })
    expect(ada.cookieHeader('/')).toBe(cookieWith(body.id))
    expect((await shop.agent().post('/token')).status).toBe(403)
    const fresh = shop.agent()
    await fresh.get('/token', FIREFOX)
    expect(fresh.cookieHeader('/')).toBe(cookieWith(idIn(fresh.cookieHeader('/'))))

    shop.sessions.rotateSecrets([SECRET])
    expect((await ada.get('/', FIREFOX)).body.user).toBe('ada')
    expect((await shop.agent().get('/', { ...FIREFOX, cookie })).body.user).toBeNull()
    expect((await ada.post('/in', {}, { ...FIREFOX, 'x-csrf-token': old })).status).toBe(403)
  })

  test.each([[[]], [['short']], [null], [[SECRET, null]]])(
    '`rotateSecrets(%j)` is refused and changes nothing',
    async (bad) => {
      const shop = await start()
      const ada = shop.agent()
      await ada.post('/in', {}, FIREFOX)
      expect(() => shop.sessions.rotateSecrets(bad)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_OPTION' }))
      expect((await ada.get('/', FIREFOX)).body.user).toBe('ada')
      expect((await ada.post('/login', {}, FIREFOX)).cookies).toHaveLength(1)
    }
  )

  test('SESSION_SECRET_PREVIOUS holds the earlier ones', async () => {
    const before = await start({ secret: EARLIER })
    const ada = before.agent()
    await ada.post('/in', {}, FIREFOX)
    const variables = { SESSION_SECRET: SECRET, SESSION_SECRET_PREVIOUS: ` ${'y'.repeat(40)}  ${'x'.repeat(40)}` }
    const spaced = EARLIER.replaceAll(' ', '-')
    const other = await start({ secret: spaced })
    const grace = other.agent()
    await grace.post('/in', { user: 'grace' }, FIREFOX)
    variables.SESSION_SECRET_PREVIOUS += ` ${spaced}`
    const now = await withEnv(variables, () => start({ secret: undefined }))
    expect((await now.agent().get('/', { ...FIREFOX, cookie: grace.cookieHeader('/') })).body.user).toBe('grace')
    expect((await now.agent().get('/', { ...FIREFOX, cookie: ada.cookieHeader('/') })).body.user).toBeNull()
  })
})

describe('A5 11.2.3 a secret that cannot be used stops the start', () => {
  const make = (variables, options) => () =>
    withEnv(variables, () => meetablSession({ logger: false, redis: { port: secured.redis.port }, ...options }))

  test.each([
    ['SESSION_SECRET is not set', {}, {}],
    ['SESSION_SECRET is not set', { SESSION_SECRET: '' }, {}],
    ['`SESSION_SECRET` is too short', { SESSION_SECRET: 'hush'.repeat(7) }, {}],
    ['`SESSION_SECRET_PREVIOUS` is too short', { SESSION_SECRET: SECRET, SESSION_SECRET_PREVIOUS: 'hush' }, {}],
    ['`secret` is too short', {}, { secret: 'hush' }],
    ['`secret` is null', {}, { secret: null }],
    ['There is no secret', {}, { secret: [] }],
    ['`secret[1]` is too short', {}, { secret: [SECRET, Buffer.from('hush')] }]
  ])('%s', (message, variables, options) => {
    expect(make(variables, options)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_OPTION' }))
    expect(make(variables, options)).toThrow(message)
    expect(make(variables, options)).not.toThrow(/hush/)
  })
})

describe('A5 3.3 the cookie', () => {
  const HTTPS = { 'x-forwarded-proto': 'https' }

  test.each([
    ['development', {}, 'HttpOnly; SameSite=Lax'],
    ['', {}, 'HttpOnly; SameSite=Lax'],
    ['test', HTTPS, 'HttpOnly; SameSite=Lax'],
    ['production', HTTPS, 'HttpOnly; Secure; SameSite=Strict']
  ])("A5 3.3.1 NODE_ENV '%s': its attributes", async (NODE_ENV, headers, attributes) => {
    const shop = await withEnv({ NODE_ENV }, () => start())
    const { cookies } = await shop.agent().post('/in', {}, headers)
    expect(cookies).toHaveLength(1)
    expect(cookies[0]).toMatch(/^meetabl\.sid=s%3A[^;]+; Path=\/; Expires=[^;]+; /)
    expect(cookies[0].split('; ').slice(3).join('; ')).toBe(attributes)
  })

  test('A5 3.3.1 in production none goes over plain HTTP', async () => {
    const shop = await withEnv({ NODE_ENV: 'production' }, () => start())
    expect((await shop.agent().post('/in')).cookies).toEqual([])
    const old = await withEnv({ NODE_ENV: 'production' }, () => start({ secret: [EARLIER, SECRET] }))
    const ada = shop.agent()
    await ada.post('/in', {}, HTTPS)
    expect((await old.agent().get('/', { cookie: ada.cookieHeader('/') })).cookies).toEqual([])
  })

  test('A5 3.3.3 a `__Host-` name is set, and cleared, as browsers ask', async () => {
    const name = '__Host-sid'
    const shop = await withEnv({ NODE_ENV: 'production' }, () => start({ name }))
    const ada = shop.agent()
    const { cookies } = await ada.post('/in', {}, HTTPS)
    expect(cookies[0]).toMatch(/^__Host-sid=s%3A[^;]+; Path=\/; Expires=[^;]+; HttpOnly; Secure; SameSite=Strict$/)
    expect((await ada.get('/', HTTPS)).body.user).toBe('ada')
    expect((await ada.post('/out', {}, HTTPS)).cookies).toEqual([
      '__Host-sid=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Secure; SameSite=Strict'
    ])
  })

  test.each([
    [{ name: '__Host-sid' }, /`cookie.secure` is false. Expected true, because .*`__Host-sid`/],
    [{ name: '__host-sid', cookie: { secure: true, path: '/shop' } }, /`cookie.path` is '\/shop'. Expected '\/'/],
    [{ name: '__Host-sid', cookie: { secure: true, domain: 'a.b' } }, /`cookie.domain` is set. Expected none/],
    [{ name: '__Host-sid', cookie: { secure: 'auto' } }, /`cookie.secure` is auto/],
    [{ name: '__Secure-sid' }, /`cookie.secure` is false/],
    [{ cookie: { sameSite: 'none' } }, /`cookie.secure` is false. Expected true, because .*sameSite/],
    [{ cookie: { partitioned: true } }, /`cookie.secure` is false/],
    [{ cookie: { httpOnly: false } }, /`httpOnly` is false. Expected true/],
    [{ cookie: { sameSite: false } }, /`sameSite` is false/],
    [{ cookie: { sameSite: 'Strict' } }, /`sameSite` is 'Strict'/],
    [{ cookie: { maxAge: 1000 } }, /`maxAge` is unknown/],
    [{ cookie: { path: 'shop' } }, /`path` is 'shop'/],
    [{ cookie: 'secure' }, /`cookie` is 'secure'. Expected an object/],
    [{ name: 'a b' }, /`name` is no cookie name/],
    [{ name: '' }, /`name` is no cookie name/]
  ])('A5 3.3.2 %j is refused at start', (options, message) => {
    expect(() => meetablSession({ secret: SECRET, logger: false, ...options })).toThrow(message)
  })

  test('A5 14.3.2 whatever sets it must not be stored by a cache', async () => {
    const routes = (app) => {
      app.post('/cached', (req, res) => {
        req.session.user = req.path
        res.set('Cache-Control', 'public, max-age=600').end()
      })
      app.post('/raw', (req, res) => {
        req.session.user = req.path
        res.writeHead(200, { 'Cache-Control': 'public', 'Set-Cookie': 'other=1' }).end()
      })
      app.get('/cached', (_req, res) => res.set('Cache-Control', 'public, max-age=600').end())
    }
    const shop = await start({}, { routes })
    for (const path of ['/in', '/cached', '/raw', '/login', '/out']) {
      const ada = shop.agent()
      await ada.post('/in')
      const answer = await ada.post(path, { user: path })
      expect([path, answer.cookies.some((line) => line.startsWith(NAME))]).toEqual([path, true])
      expect([path, answer.headers['cache-control']]).toEqual([path, 'no-store'])
    }
    const ada = shop.agent()
    await ada.post('/in')
    const unset = await ada.get('/cached')
    expect([unset.cookies, unset.headers['cache-control']]).toEqual([[], 'public, max-age=600'])

    const rolling = await start({ rolling: true }, { routes })
    const grace = rolling.agent()
    await grace.post('/in')
    const rolled = await grace.get('/cached')
    expect([rolled.cookies.length, rolled.headers['cache-control']]).toEqual([1, 'no-store'])
  })

  test('outside its path there is no session, and nothing in the way', async () => {
    const routes = (app) => {
      app.post('/shop/in', (req, res) => {
        req.session.user = 'ada'
        res.end()
      })
      app.post('/other', (req, res) => res.json({ hasSession: 'session' in req }))
    }
    const shop = await start({ cookie: { path: '/shop' }, csrf: { mode: 'origin' } }, { routes })
    expect((await shop.agent().post('/other')).body).toEqual({ hasSession: false })
    const own = { host: 'shop.example', origin: 'http://shop.example' }
    expect((await shop.agent().post('/shop/in', {}, own)).cookies[0]).toMatch(/; Path=\/shop; /)
  })
})

describe('A5 7.6.2 no session without an explicit act', () => {
  test('a visitor who only looks around gets no cookie and makes no key', async () => {
    const shop = await start({ csrf: {} })
    for (let visit = 0; visit < 20; visit++) {
      const answer = await shop.agent().get('/', FIREFOX)
      expect([answer.cookies, answer.headers['session-expires-in']]).toEqual([[], undefined])
    }
    expect(await keys()).toEqual([])
    expect(shop.events).toEqual([])
  })
})

describe('P8 what cannot be told fails closed', () => {
  test('A5 16.5.3 a store that fails is an error, not an anonymous visitor, and no handler runs', async () => {
    const store = new session.MemoryStore()
    const shop = await start({ store })
    const ada = shop.agent()
    await ada.post('/in', {}, FIREFOX)
    store.get = (_id, callback) =>
      setImmediate(callback, Object.assign(new Error('the disk is full'), { code: 'E_DISK' }))
    expect(await ada.get('/', FIREFOX)).toMatchObject({ status: 500, body: { code: 'E_DISK' } })
  })

  test('a Redis that is stalled, and one that is full, are no open doors', async () => {
    const own = await startRedis()
    later(() => own.stop())
    const shop = await startSecured({
      redis: own,
      options: { csrf: {}, redis: { port: own.port, commandTimeoutMs: 100 } }
    })
    later(() => shop.close())
    const ada = shop.agent()
    const { csrfToken } = (await ada.get('/token', FIREFOX)).body
    const proof = { ...FIREFOX, 'x-csrf-token': csrfToken }
    await ada.post('/in', {}, proof)
    const cookie = ada.cookieHeader('/')
    const attack = async () => {
      const stolen = await shop.agent().get('/', { ...CURL, cookie })
      expect(stolen.body.user ?? null).toBeNull()
      const forged = await shop.agent().post('/in', {}, { ...FIREFOX, cookie, 'sec-fetch-site': 'cross-site' })
      expect(forged.status).toBe(403)
      const unsigned = await shop.agent().get('/', { ...FIREFOX, cookie: cookieWith(idIn(cookie), EARLIER) })
      expect(unsigned.body.user).toBeNull()
    }

    await own.command('CONFIG', 'SET', 'maxmemory', '1')
    await attack()
    await own.command('CONFIG', 'SET', 'maxmemory', '0')
    await own.pause()
    await attack()
    own.resume()
    await until(() => shop.store.state === 'ready', { what: 'the store to be back' })
    await attack()
  })

  test('a header that was hidden is back when an id cannot be made', () => {
    const sessions = meetablSession({
      secret: SECRET,
      logger: false,
      store: new session.MemoryStore(),
      genid: () => null
    })
    const req = { headers: { cookie: 'a=1; b=2' }, url: '/', method: 'GET' }
    const res = new http.ServerResponse(req)
    expect(() => sessions(req, res, () => {})).toThrow(expect.objectContaining({ code: 'ERR_INVALID_SESSION_ID' }))
    expect(req.headers.cookie).toBe('a=1; b=2')
  })

  test.each([
    [{ csrf: { mode: 'lax' } }, /`mode` is 'lax'/],
    [{ csrf: { secret: SECRET } }, /`secret` is unknown/],
    [{ csrf: true }, /`csrf` is true. Expected options, or false/],
    [{ userAgent: { compare: 1 } }, /`compare` is 1/],
    [{ helpers: true }, /`helpers` is true. Expected false/],
    [{ genid: 'uuid' }, /`genid` is 'uuid'. Expected a function/],
    [{ idPattern: '^.*$' }, /`idPattern` is/],
    [{ saveUninitialized: true }, /`saveUninitialized` is unknown/],
    [{ logger: {} }, /`logger` has no method/],
    [{ onSecurityEvent: 'log' }, /`onSecurityEvent` is 'log'/],
    [null, /The options are null/]
  ])('the options %j are refused at start, and leave no connection behind', (options, message) => {
    const given = options && { secret: SECRET, logger: false, ...options }
    expect(() => meetablSession(given)).toThrow(message)
  })
})

describe('WebSocket: verifySession', () => {
  /** An upgrade request, answered with what `verifySession` gives. */
  async function upgrade(shop, headers) {
    shop.server.removeAllListeners('upgrade')
    shop.server.on('upgrade', async (req, socket) => {
      const found = await shop.sessions.verifySession(req, shop.app)
      const text = JSON.stringify(found && { user: found.user, id: found.id })
      socket.end(`HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: ${text.length}\r\n\r\n${text}`)
    })
    const sent = { host: `localhost:${shop.port}`, connection: 'upgrade', upgrade: 'websocket', ...headers }
    const request = http.get({ host: '127.0.0.1', port: shop.port, headers: sent })
    const [response] = await once(request, 'response')
    let text = ''
    for await (const chunk of response) text += chunk
    return JSON.parse(text)
  }

  async function loggedIn(options, more) {
    const shop = await start(options, more)
    const ada = shop.agent()
    const { body } = await ada.post('/in', {}, FIREFOX)
    shop.events.splice(0)
    const own = { ...FIREFOX, origin: `http://localhost:${shop.port}`, cookie: ada.cookieHeader('/') }
    return { shop, ada, id: body.id, own }
  }

  test('gives the session under the same rules', async () => {
    const { shop, id, own, ada } = await loggedIn()
    expect(await upgrade(shop, own)).toEqual({ user: 'ada', id })
    expect(shop.events).toEqual([])
    expect(await upgrade(shop, { ...own, cookie: '' })).toBeNull()
    expect(await upgrade(shop, { ...own, cookie: cookieWith(id, EARLIER) })).toBeNull()
    expect(await upgrade(shop, { ...own, cookie: cookieWith('an-unknown-session-id') })).toBeNull()
    expect(shop.events.map(({ type }) => type)).toEqual(['signature_refused', 'upgrade_refused'])
    expect((await ada.get('/', FIREFOX)).body.user).toBe('ada')
  })

  test.each([undefined, 'null', 'https://attacker.example', 'https://localhost', ''])(
    'an Origin that is %s is refused, and the session lives on',
    async (origin) => {
      const { shop, own, ada } = await loggedIn()
      const { origin: _, ...without } = own
      await commands.about('')
      expect(await upgrade(shop, origin === undefined ? without : { ...own, origin })).toBeNull()
      expect(await commands.about('meetabl:sess:')).toEqual([])
      expect(shop.events).toEqual([expect.objectContaining({ type: 'upgrade_refused', reason: 'origin' })])
      expect((await ada.get('/', FIREFOX)).body.user).toBe('ada')
    }
  )

  test('a trusted origin, and that of a trusted proxy, pass', async () => {
    const { shop, own, id } = await loggedIn({
      csrf: { mode: 'origin', trustedOrigins: ['https://admin.example'], reportOnly: true }
    })
    expect(await upgrade(shop, { ...own, origin: 'https://admin.example' })).toMatchObject({ id })
    const proxied = { origin: 'https://shop.example', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'shop.example' }
    expect(await upgrade(shop, { ...own, ...proxied })).toMatchObject({ id })
    const { shop: direct, own: mine } = await loggedIn({}, { trustProxy: false })
    expect(await upgrade(direct, { ...mine, ...proxied })).toBeNull()
  })

  test('another User-Agent ends the session', async () => {
    const { shop, own, ada, id } = await loggedIn()
    expect(await upgrade(shop, { ...own, ...CURL })).toBeNull()
    expect(shop.events).toEqual([expect.objectContaining({ type: 'user_agent_mismatch' })])
    expect(await call(shop.store, 'get', id)).toBeNull()
    expect((await ada.get('/', FIREFOX)).body.user).toBeNull()
  })

  test('one that is over is refused', async () => {
    const store = new session.MemoryStore()
    const { shop, own } = await loggedIn({ store, absoluteTimeoutMs: 60_000 })
    const [id] = Object.keys(store.sessions)
    const stored = JSON.parse(store.sessions[id])
    store.sessions[id] = JSON.stringify({ ...stored, startedAt: Date.now() - 60_001 })
    expect(await upgrade(shop, own)).toBeNull()
    expect(shop.events).toEqual([expect.objectContaining({ type: 'upgrade_refused', reason: 'expired_absolute' })])
  })
})
