// The User-Agent guard on plain express-session, over real HTTP, with Express 4 and 5.
const session = require('express-session')
const { RedisStore, sessionHelpers, userAgentGuard } = require('..')
const { startApp } = require('./support/app')
const { call } = require('./support/call')
const { laterForAll, laterForEach } = require('./support/later')
const { startRedis } = require('./support/redis')

const FIREFOX = { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0' }
const FIREFOX_UPDATED = { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:129.0) Gecko/20100101 Firefox/129.0.1' }
const CURL = { 'user-agent': 'curl/8.5.0' }
const REFUSED = { status: 401, text: '{"error":"session_invalid"}' }

/** A MemoryStore whose destroy can be made to fail. */
class BrittleStore extends session.MemoryStore {
  destroy(sid, callback) {
    if (this.fails === 'throws') throw new Error('the store cannot destroy')
    if (this.fails) setImmediate(callback, new Error('the store cannot destroy'))
    else super.destroy(sid, callback)
  }
}

const later = laterForEach()

/** An app with the guard; `handled` counts the requests that reached a handler. */
async function guarded({ guard = {}, store = new BrittleStore(), ...options } = {}) {
  const events = []
  const guardOptions = { logger: false, onSecurityEvent: (event) => events.push(event), ...guard }
  let handled = 0
  const routes = (app) => {
    app.use((_req, _res, next) => {
      handled++
      next()
    })
    app.get('/', (req, res) => res.json({ user: req.session.user ?? null }))
    app.post('/in', (req, res) => {
      req.session.user = req.body.user
      res.json({ id: req.sessionID })
    })
    app.post('/regenerate', (req, res, next) => {
      const done = (error) => {
        if (error) return next(error)
        req.session.user = 'regenerated'
        res.json({ id: req.sessionID })
      }
      if (req.query.by === 'helper') req.regenerateSession(done)
      else req.session.regenerate(done)
    })
    app.post('/save', (req, res, next) => {
      req.session.user = 'saved early'
      req.session.save((error) => (error ? next(error) : res.json({ id: req.sessionID })))
    })
  }
  const middleware = [userAgentGuard(guardOptions), sessionHelpers()]
  const app = await startApp({ store, middleware, routes, ...options })
  later(() => app.close())
  return { app, store, events, agent: () => app.agent(), handled: () => handled }
}

const describeEach = describe.each([
  ['Express 5', require('express')],
  ['Express 4', require('express4')]
])

describeEach('%s', (_, framework) => {
  const laterAll = laterForAll()
  let redis
  beforeAll(async () => {
    redis = await startRedis()
    laterAll(() => redis.stop())
  })

  describe.each(['MemoryStore', 'RedisStore'])('on a %s', (kind) => {
    const startGuarded = async (options) => {
      if (kind === 'MemoryStore') return guarded({ framework, ...options })
      await redis.command('FLUSHALL')
      const store = new RedisStore({ host: redis.host, port: redis.port, logger: false })
      later(() => store.close())
      return guarded({ framework, store, ...options })
    }

    test('A5 7.2.1 the same User-Agent keeps its session, another one ends it', async () => {
      const { app, agent, events, handled, store } = await startGuarded()
      const ada = agent()
      const { body } = await ada.post('/in', { user: 'ada' }, FIREFOX)
      expect((await ada.get('/', FIREFOX)).body).toEqual({ user: 'ada' })
      const before = handled()

      const thief = ada.clone()
      later(() => thief.close())
      const answer = await thief.get('/', CURL)
      expect(answer).toMatchObject(REFUSED)
      expect(answer.headers).toMatchObject({ 'cache-control': 'no-store' })
      expect(answer.headers['content-type']).toMatch(/^application\/json/)
      expect(answer.cookies).toEqual([
        expect.stringMatching(/^connect\.sid=; Path=\/; Expires=Thu, 01 Jan 1970.*HttpOnly/)
      ])
      expect(handled()).toBe(before)
      expect(app.errors).toEqual([])

      expect(await call(store, 'get', body.id)).toBeFalsy()
      expect((await ada.get('/', FIREFOX)).body).toEqual({ user: null })
      expect(events).toEqual([
        expect.objectContaining({
          type: 'user_agent_mismatch',
          reason: 'different',
          userAgent: 'curl/8.5.0',
          path: '/'
        })
      ])
    })

    test('A5 7.6.2 a mere visitor gets no cookie and no session, at the first request and later', async () => {
      const { agent, store, events } = await startGuarded()
      for (let visit = 0; visit < 3; visit++) {
        expect((await agent().get('/', FIREFOX)).cookies).toEqual([])
      }
      expect(await call(store, 'length')).toBe(0)
      expect(events).toEqual([])
    })

    test.each(['/in', '/save', '/regenerate?by=helper', '/regenerate?by=express-session'])(
      'a session that %s makes is bound, by the first request and by later ones',
      async (path) => {
        const { agent, store } = await startGuarded()
        for (let round = 0; round < 2; round++) {
          const user = agent()
          const { body } = await user.post(path, { user: 'ada' }, FIREFOX)
          expect(await call(store, 'get', body.id)).toMatchObject({ userAgent: FIREFOX['user-agent'] })
          expect((await user.get('/', CURL)).status).toBe(401)
        }
      }
    )
  })

  test('a session from before the guard is bound at its next request, with an event', async () => {
    const store = new BrittleStore()
    const before = await startApp({ store, routes: logIn, framework })
    later(() => before.close())
    const ada = before.agent()
    await ada.post('/in', { user: 'ada' }, FIREFOX)

    const { agent, events } = await guarded({ store, framework })
    const sameCookie = () => withCookies(agent(), ada)
    expect((await sameCookie().get('/', FIREFOX)).body).toEqual({ user: 'ada' })
    expect(events.map(({ type }) => type)).toEqual(['user_agent_bound'])
    expect((await sameCookie().get('/', FIREFOX)).body).toEqual({ user: 'ada' })
    expect((await sameCookie().get('/', CURL)).status).toBe(401)
  })

  test("a session from before the guard is refused with `legacy: 'reject'`", async () => {
    const store = new BrittleStore()
    const before = await startApp({ store, routes: logIn, framework })
    later(() => before.close())
    const ada = before.agent()
    await ada.post('/in', { user: 'ada' }, FIREFOX)

    const { agent, events } = await guarded({ store, framework, guard: { legacy: 'reject' } })
    // A visitor's first request, whose session was made before the guard saw the store, is no such session.
    expect((await agent().get('/', FIREFOX)).status).toBe(200)
    expect(await withCookies(agent(), ada).get('/', FIREFOX)).toMatchObject(REFUSED)
    expect(events).toEqual([expect.objectContaining({ type: 'user_agent_mismatch', reason: 'never_bound' })])
    expect(Object.keys(store.sessions)).toEqual([])
  })

  test.each(['calls back with an error', 'throws'])('P8 a destroy that %s is still 401', async (fails) => {
    const { app, agent, store, handled } = await guarded({ framework })
    const ada = agent()
    await ada.post('/in', { user: 'ada' }, FIREFOX)
    store.fails = fails
    const before = handled()
    for (let attempt = 0; attempt < 2; attempt++) {
      const answer = await ada.clone().get('/', CURL)
      expect(answer).toMatchObject(REFUSED)
      expect(answer.cookies).toHaveLength(1)
    }
    expect(handled()).toBe(before)
    expect(app.errors).toEqual([])
  })
})

describe('what is compared', () => {
  test("a missing header counts as ''", async () => {
    const { agent, store } = await guarded()
    const silent = agent()
    const { body } = await silent.post('/in', { user: 'ada' })
    expect(await call(store, 'get', body.id)).toMatchObject({ userAgent: '' })
    expect((await silent.get('/')).body).toEqual({ user: 'ada' })
    expect((await silent.get('/', { 'user-agent': '' })).body).toEqual({ user: 'ada' })
    expect((await silent.get('/', CURL)).status).toBe(401)

    const ada = agent()
    await ada.post('/in', { user: 'ada' }, FIREFOX)
    expect((await ada.get('/')).status).toBe(401)
  })

  test('of a long one its hash is kept', async () => {
    const { agent, store } = await guarded()
    const stored = async (length) => {
      const user = agent()
      const header = { 'user-agent': 'x'.repeat(length) }
      const { body } = await user.post('/in', { user: 'ada' }, header)
      expect((await user.get('/', header)).body).toEqual({ user: 'ada' })
      expect((await user.get('/', { 'user-agent': `${'x'.repeat(length - 1)}y` })).status).toBe(401)
      return JSON.parse(store.sessions[body.id] ?? '{}').userAgent
    }
    await stored(1024)
    await stored(4000)
    const user = agent()
    const { body } = await user.post('/in', { user: 'ada' }, { 'user-agent': 'x'.repeat(1025) })
    expect(JSON.parse(store.sessions[body.id]).userAgent).toMatch(/^sha256:[0-9a-f]{64}$/)
  })

  test("`compare: 'family'` lets an updated browser in, and no other", async () => {
    const { agent } = await guarded({ guard: { compare: 'family' } })
    const ada = agent()
    await ada.post('/in', { user: 'ada' }, FIREFOX)
    expect((await ada.get('/', FIREFOX_UPDATED)).body).toEqual({ user: 'ada' })
    expect((await ada.get('/', CURL)).status).toBe(401)
    const exact = (await guarded()).agent()
    await exact.post('/in', { user: 'ada' }, FIREFOX)
    expect((await exact.get('/', FIREFOX_UPDATED)).status).toBe(401)
  })

  test.each([
    ['agrees', () => true, 200],
    ['disagrees', () => false, 401],
    ['gives a promise', async () => true, 401],
    ['gives a truthy value', () => 1, 401],
    [
      'throws',
      () => {
        throw new Error('no')
      },
      401
    ]
  ])('P8 a function that %s', async (_, compare, status) => {
    const seen = []
    const watched = (bound, current, req) => {
      seen.push([bound, current, req.method])
      return compare()
    }
    const { app, agent } = await guarded({ guard: { compare: watched } })
    const ada = agent()
    await ada.post('/in', { user: 'ada' }, FIREFOX)
    expect((await ada.get('/', CURL)).status).toBe(status)
    expect(seen).toEqual([[FIREFOX['user-agent'], 'curl/8.5.0', 'GET']])
    expect(app.errors).toEqual([])
  })

  test("`mode: 'report'` only tells", async () => {
    const { agent, events } = await guarded({ guard: { mode: 'report' } })
    const ada = agent()
    await ada.post('/in', { user: 'ada' }, FIREFOX)
    expect((await ada.get('/', CURL)).body).toEqual({ user: 'ada' })
    expect(events.map(({ type }) => type)).toEqual(['user_agent_mismatch'])
  })

  test.each([[['Mozilla']], [{ name: 'Mozilla' }], [7], [null]])(
    'a stored User-Agent that is %j is refused',
    async (bad) => {
      const { agent, store } = await guarded({ guard: { compare: () => true } })
      const ada = agent()
      const { body } = await ada.post('/in', { user: 'ada' }, FIREFOX)
      store.sessions[body.id] = JSON.stringify({ ...JSON.parse(store.sessions[body.id]), userAgent: bad })
      expect((await ada.get('/', FIREFOX)).status).toBe(401)
    }
  )

  test('with `saveUninitialized` a visitor is bound too', async () => {
    const { agent } = await guarded({ session: { saveUninitialized: true, resave: true } })
    for (let round = 0; round < 2; round++) {
      const visitor = agent()
      expect((await visitor.get('/', FIREFOX)).cookies).toHaveLength(1)
      expect((await visitor.get('/', FIREFOX)).status).toBe(200)
      expect((await visitor.get('/', CURL)).status).toBe(401)
    }
  })

  test('the cookie is cleared under the name, path and domain that it was set with', async () => {
    const cookie = { path: '/', domain: 'example.test', sameSite: 'strict', secure: true, maxAge: 60_000 }
    const { app } = await guarded({ session: { name: 'basket', cookie } })
    const ada = app.agent({ host: 'www.example.test' })
    const secure = { 'x-forwarded-proto': 'https' }
    await ada.post('/in', { user: 'ada' }, { ...FIREFOX, ...secure })
    const { cookies } = await ada.get('/', { ...CURL, ...secure })
    expect(cookies).toEqual([
      'basket=; Domain=example.test; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Secure; SameSite=Strict'
    ])
    expect(ada.cookieHeader('/')).toBe('')
  })

  test('without a session there is nothing to guard', async () => {
    const { agent } = await guarded({ session: { cookie: { path: '/elsewhere' } } })
    expect((await agent().post('/in', {}, FIREFOX)).status).toBe(500)
  })
})

test.each([
  [{ compare: 'loosely' }, /`compare` is 'loosely'. Expected 'exact', 'family' or a function/],
  [{ mode: true }, /`mode` is true. Expected 'enforce' or 'report'/],
  [{ legacy: 'ignore' }, /`legacy` is 'ignore'. Expected 'bind' or 'reject'/],
  [{ onSecurityEvent: {} }, /`onSecurityEvent` is of type object. Expected a function/],
  [{ logger: {} }, /`logger` has no method/],
  [{ strict: true }, /`strict` is unknown/],
  [null, /The options are null/]
])('the options %j are refused at start', (options, message) => {
  expect(() => userAgentGuard(options)).toThrow(message)
})

function logIn(app) {
  app.post('/in', (req, res) => {
    req.session.user = req.body.user
    res.end()
  })
}

function withCookies(agent, other) {
  agent.keep([other.cookieHeader('/')])
  return agent
}
