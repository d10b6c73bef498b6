// What express-session expects of a store, as one suite for every store. MemoryStore, express-session's own, is the
// reference: a test that fails there is wrong.
const session = require('express-session')
const { startApp } = require('./app')
const { call } = require('./call')
const { laterForAll, laterForEach } = require('./later')
const { newId, sessionWith, stored } = require('./sessions')
const { until } = require('./until')

/**
 * `open()` resolves with `{ store, close, plant }`: an empty store, how to end it, and (where a session's text can be
 * put behind the store's back) `plant(sid, text)`.
 */
function sessionContract(name, open) {
  describe(name, () => {
    const later = laterForAll()
    const opened = {}
    beforeAll(async () => {
      Object.assign(opened, await open())
      later(opened.close)
      // Every app of this suite listens to the one store.
      opened.store.setMaxListeners(0)
    })
    describe('called directly', () => directly(opened))
    describe('behind express-session, over HTTP', () => overHttp(opened))
  })
}

function directly(opened) {
  const get = (sid) => call(opened.store, 'get', sid)
  const set = (sid, data) => call(opened.store, 'set', sid, data)
  const touch = (sid, data) => call(opened.store, 'touch', sid, data)
  const destroy = (sid) => call(opened.store, 'destroy', sid)
  const length = () => call(opened.store, 'length')
  const clear = () => call(opened.store, 'clear')

  test('is an express-session store and an event emitter', () => {
    expect(opened.store).toBeInstanceOf(session.Store)
    expect(typeof opened.store.on).toBe('function')
    expect(typeof opened.store.touch).toBe('function')
  })

  test('a session that is missing is no session and no error', async () => {
    expect(await get(newId())).toBeFalsy()
  })

  test('get gives what set was given, key for key, in order', async () => {
    const sid = newId()
    const data = sessionWith({
      z: 1,
      a: { y: [1, null, { deep: true }], b: '' },
      2: 'number key',
      empty: {},
      no: false
    })
    await set(sid, data)
    expect(JSON.stringify(await get(sid))).toBe(JSON.stringify(data))
  })

  test('a cookie with every attribute comes back whole', async () => {
    const sid = newId()
    const attributes = { maxAge: 60_000, secure: true, httpOnly: false, domain: 'example.test', path: '/shop' }
    const data = { cookie: new session.Cookie({ ...attributes, sameSite: 'strict', priority: 'high' }), user: 'ada' }
    await set(sid, data)
    const found = await get(sid)
    const { expires, ...cookie } = stored(data).cookie
    expect(found.cookie).toMatchObject(cookie)
    expect(Object.keys(found.cookie)).toEqual(Object.keys(stored(data).cookie))
    expect(Math.abs(new Date(found.cookie.expires) - new Date(expires))).toBeLessThanOrEqual(20)
    expect(found.user).toBe('ada')
  })

  test.each([
    ['no expiry at all', { cookie: { httpOnly: true, path: '/' }, a: 1 }],
    ['an expiry of null', { cookie: { originalMaxAge: null, expires: null, httpOnly: true, path: '/' }, a: 1 }]
  ])('get adds no keys to a session whose cookie has %s', async (_, data) => {
    const sid = newId()
    await set(sid, data)
    expect(JSON.stringify(await get(sid))).toBe(JSON.stringify(data))
    await touch(sid, data)
    expect(JSON.stringify(await get(sid))).toBe(JSON.stringify(data))
  })

  test('every get gives an object of its own: changing one changes no other', async () => {
    const sid = newId()
    const data = sessionWith({ cart: { items: [1] } })
    await set(sid, data)
    data.cart.items.push('changed after set')
    const first = await get(sid)
    first.cart.items.push('changed after get')
    first.cookie.path = '/changed'
    const second = await get(sid)
    expect(second).not.toBe(first)
    expect([second.cart, second.cookie.path]).toEqual([{ items: [1] }, '/'])
  })

  test('set replaces the whole session', async () => {
    const sid = newId()
    await set(sid, sessionWith({ a: 1, b: 2 }))
    await set(sid, sessionWith({ b: 3 }))
    expect(await get(sid)).toMatchObject({ b: 3 })
    expect(await get(sid)).not.toHaveProperty('a')
  })

  test.each([
    ['emoji and other planes', { '🦀 key': 'crab 🦀, family 👩‍👩‍👧, 𝔘𝔫𝔦𝔠𝔬𝔡𝔢' }],
    ['lone surrogates', { high: '\ud83e', low: 'x\udd80y', '\ud800': 'key' }],
    ['line separators, NUL and other controls', { text: '\u2028\u2029\u0000\u0001\u007f\u0085\ufeff\r\n\t"\\/' }],
    ['text that looks like a protocol', { text: '*1\r\n$4\r\nPING\r\n+OK\r\n-ERR\r\n' }],
    ['numbers at the edges', { big: 2 ** 53, bigger: 1.7976931348623157e308, small: 5e-324, minusZero: -0, odd: 0.1 }]
  ])('%s come back as they were', async (_, data) => {
    const sid = newId()
    await set(sid, sessionWith(data))
    const { cookie, ...found } = await get(sid)
    expect(found).toEqual(stored(data))
  })

  test('a session of a megabyte comes back as it was', async () => {
    const sid = newId()
    const text = 'päper 🦀 '.repeat(80_000)
    await set(sid, sessionWith({ text }))
    expect((await get(sid)).text).toBe(text)
    await destroy(sid)
  })

  test('an own __proto__ key in the stored text pollutes nothing', async () => {
    const sid = newId()
    const data = JSON.parse('{"cookie":{"path":"/"},"__proto__":{"polluted":1},"a":{"__proto__":{"polluted":1}}}')
    await set(sid, data)
    const found = await get(sid)
    expect({}.polluted).toBeUndefined()
    expect([found.polluted, found.a.polluted]).toEqual([undefined, undefined])
    expect(JSON.stringify(found)).toBe(JSON.stringify(data))
  })

  test('P6 a session of 5 ms is gone after 5 ms', async () => {
    const sid = newId()
    await set(sid, sessionWith({ a: 1 }, 5))
    const setAt = performance.now()
    await until(async () => !(await get(sid)), { every: 1, what: 'the session to expire' })
    expect(performance.now() - setAt).toBeLessThan(500)
  })

  test('P6 a session that has already expired is not there, and replaces one that was', async () => {
    const sid = newId()
    await set(sid, sessionWith({ a: 1 }, 60_000))
    await set(sid, sessionWith({ a: 2 }, -1000))
    expect(await get(sid)).toBeFalsy()
  })

  test('P6 a session lives until its deadline, not shorter', async () => {
    const sid = newId()
    const lifetimeMs = 400
    const deadline = Date.now() + lifetimeMs
    await set(sid, sessionWith({ a: 1 }, lifetimeMs))
    let lastSeenAt = 0
    await until(
      async () => {
        const askedAt = Date.now()
        if (!(await get(sid))) return true
        lastSeenAt = askedAt
      },
      { every: 1 }
    )
    expect(lastSeenAt).toBeGreaterThan(deadline - 100)
  })

  test('P6 touch renews the expiry, and get shows it', async () => {
    const sid = newId()
    await set(sid, sessionWith({ a: 1 }, 300))
    const firstDeadline = Date.now() + 300
    const renewed = sessionWith({ a: 1 }, 60_000)
    await touch(sid, renewed)
    await until(() => Date.now() > firstDeadline + 50)
    const found = await get(sid)
    expect(found.a).toBe(1)
    expect(Math.abs(new Date(found.cookie.expires) - renewed.cookie.expires)).toBeLessThanOrEqual(50)
  })

  test('P6 touch with a nearer deadline brings the expiry nearer', async () => {
    const sid = newId()
    await set(sid, sessionWith({ a: 1 }, 60_000))
    await touch(sid, sessionWith({ a: 1 }, 20))
    await until(async () => !(await get(sid)), { every: 5, ms: 2000 })
  })

  test('touch writes nothing but the expiry', async () => {
    const sid = newId()
    await set(sid, sessionWith({ a: 1 }, 10_000))
    await touch(sid, sessionWith({ a: 'changed', b: 'new' }, 20_000))
    const { cookie, ...found } = await get(sid)
    expect(found).toEqual({ a: 1 })
  })

  test('P3 touch on a session that is missing makes none', async () => {
    const sid = newId()
    await touch(sid, sessionWith({ a: 1 }, 60_000))
    expect(await get(sid)).toBeFalsy()
  })

  test('destroy removes, twice is fine, and so is a session that never was', async () => {
    const sid = newId()
    await set(sid, sessionWith({ a: 1 }))
    await destroy(sid)
    expect(await get(sid)).toBeFalsy()
    await destroy(sid)
    await destroy(newId())
  })

  test('set, touch and destroy work without a callback', async () => {
    const [kept, destroyed] = [newId(), newId()]
    opened.store.set(kept, sessionWith({ a: 1 }, 300))
    opened.store.set(destroyed, sessionWith({ a: 1 }))
    await until(async () => (await get(kept)) && (await get(destroyed)))
    opened.store.touch(kept, sessionWith({ a: 1 }, 60_000))
    opened.store.destroy(destroyed)
    await until(async () => !(await get(destroyed)))
    await until(async () => new Date((await get(kept)).cookie.expires) > Date.now() + 30_000)
    opened.store.clear()
    await until(async () => !(await get(kept)))
  })

  test('what is called one after the other for one session happens in that order, without waiting', async () => {
    const [rewritten, removed, revived] = [newId(), newId(), newId()]
    const { store } = opened
    for (let n = 0; n < 20; n++) store.set(rewritten, sessionWith({ n }, 60_000))
    store.set(removed, sessionWith({ n: 1 }, 60_000))
    store.destroy(removed)
    store.set(revived, sessionWith({ n: 1 }, 60_000))
    store.destroy(revived)
    store.set(revived, sessionWith({ n: 2 }, 60_000))
    const found = await Promise.all([rewritten, removed, revived].map(get))
    expect(found.map((one) => one?.n)).toEqual([19, undefined, 2])
  })

  test('length and all count the living, clear removes everything', async () => {
    await clear()
    expect(await length()).toBe(0)
    const ids = Array.from({ length: 25 }, newId)
    await Promise.all(ids.map((sid, n) => set(sid, sessionWith({ n }, 60_000))))
    await set(newId(), sessionWith({ n: 'expired' }, -1))
    expect(await length()).toBe(25)
    const numbers = Object.values(await call(opened.store, 'all')).map((found) => found.n)
    expect(numbers.sort((a, b) => a - b)).toEqual(ids.map((_, n) => n))
    await clear()
    expect(await length()).toBe(0)
    expect(Object.values(await call(opened.store, 'all'))).toEqual([])
    expect(await get(ids[0])).toBeFalsy()
  })

  test('many at once: each answer belongs to its own question', async () => {
    const ids = Array.from({ length: 500 }, newId)
    await Promise.all(ids.map((sid) => set(sid, sessionWith({ sid }))))
    const found = await Promise.all(ids.map(get))
    expect(found.map((one) => one.sid)).toEqual(ids)
    await clear()
  })

  test('load gives a session object with its methods, or nothing', async () => {
    const sid = newId()
    await set(sid, sessionWith({ a: 1 }, 60_000))
    const loaded = await call(opened.store, 'load', sid)
    expect(loaded).toBeInstanceOf(session.Session)
    expect([loaded.id, loaded.a, loaded.cookie.expires instanceof Date]).toEqual([sid, 1, true])
    expect(await call(opened.store, 'load', newId())).toBeUndefined()
  })
}

/** The routes of the app: each does one thing to its session and tells what it sees. */
function routes(app) {
  const see = (req, res) => {
    const { cookie, ...data } = req.session ?? {}
    res.json({ id: req.sessionID, data, expires: cookie?.expires, originalMaxAge: cookie?.originalMaxAge })
  }
  app.get('/see', see)
  app.post('/put', (req, res) => {
    Object.assign(req.session, req.body)
    see(req, res)
  })
  app.post('/lifetime', (req, res) => {
    req.session.lifetime = req.body.ms
    req.session.cookie.maxAge = req.body.ms
    see(req, res)
  })
  app.post('/regenerate', (req, res, next) => {
    const before = req.session
    req.session.regenerate((error) => {
      if (error) return next(error)
      Object.assign(req.session, { fresh: req.session !== before }, req.body)
      see(req, res)
    })
  })
  app.post('/reload', (req, res, next) => {
    req.session.unsaved = true
    req.session.reload((error) => (error ? next(error) : see(req, res)))
  })
  app.post('/destroy', (req, res, next) => {
    req.session.destroy((error) => (error ? next(error) : res.json({ gone: req.session === undefined })))
  })
  app.post('/destroy-without-callback', (req, res) => {
    req.session.destroy()
    res.json({})
  })
  app.post('/unset', (req, res) => {
    req.session = null
    res.json({})
  })
  app.post('/save-twice', (req, res, next) => {
    req.session.first = true
    req.session.save((error) => {
      if (error) return next(error)
      req.session.second = true
      see(req, res)
    })
  })
  app.post('/destroyed-elsewhere', (req, res, next) => {
    req.sessionStore.destroy(req.sessionID, (error) => {
      if (error) return next(error)
      req.session.reload((failure) => res.json({ failure: failure?.message }))
    })
  })
}

const cookieOf = (answer) => answer.cookies[0]?.split(';')[0]

function overHttp(opened) {
  const later = laterForEach()

  async function appFor(options) {
    const app = await startApp({ store: opened.store, session: options, routes })
    later(() => app.close())
    return app
  }

  /** Counts the calls that express-session makes, and lets them through. */
  function countCalls() {
    const spies = {}
    for (const method of ['get', 'set', 'touch', 'destroy']) {
      spies[method] = jest.spyOn(opened.store, method)
      later(() => spies[method].mockRestore())
    }
    return () => {
      const counts = Object.fromEntries(Object.entries(spies).map(([method, spy]) => [method, spy.mock.calls.length]))
      for (const spy of Object.values(spies)) spy.mockClear()
      return counts
    }
  }

  test('a visitor who does nothing gets no cookie and no session', async () => {
    const app = await appFor()
    const calls = countCalls()
    const answer = await app.agent().get('/see')
    expect([answer.status, answer.cookies]).toEqual([200, []])
    expect(calls()).toEqual({ get: 0, set: 0, touch: 0, destroy: 0 })
  })

  test('a new session is kept, and its cookie finds it again', async () => {
    const app = await appFor()
    const agent = app.agent()
    const { body, cookies } = await agent.post('/put', { user: 'ada' })
    expect(cookies).toHaveLength(1)
    const again = await agent.get('/see')
    expect(again.body).toMatchObject({ id: body.id, data: { user: 'ada' } })
    expect(again.cookies).toEqual([])
  })

  test('saveUninitialized keeps even an untouched session', async () => {
    const app = await appFor({ saveUninitialized: true })
    const answer = await app.agent().get('/see')
    expect(answer.cookies).toHaveLength(1)
    expect(await call(opened.store, 'get', answer.body.id)).toBeTruthy()
  })

  test('an unmodified session is touched, not saved; a modified one is saved, not touched', async () => {
    const app = await appFor({ cookie: { maxAge: 60_000 } })
    const agent = app.agent()
    await agent.post('/put', { user: 'ada' })
    const calls = countCalls()
    await agent.get('/see')
    expect(calls()).toEqual({ get: 1, set: 0, touch: 1, destroy: 0 })
    await agent.post('/put', { user: 'ada' })
    expect(calls()).toEqual({ get: 1, set: 0, touch: 1, destroy: 0 })
    await agent.post('/put', { user: 'grace' })
    expect(calls()).toEqual({ get: 1, set: 1, touch: 0, destroy: 0 })
  })

  test('resave saves an unmodified session', async () => {
    const app = await appFor({ resave: true })
    const agent = app.agent()
    await agent.post('/put', { user: 'ada' })
    const calls = countCalls()
    await agent.get('/see')
    expect(calls()).toEqual({ get: 1, set: 1, touch: 0, destroy: 0 })
    expect((await agent.get('/see')).body.data).toEqual({ user: 'ada' })
  })

  test('rolling sends the cookie with a renewed expiry each time, and the session outlives its first deadline', async () => {
    const app = await appFor({ rolling: true, cookie: { maxAge: 600 } })
    const agent = app.agent()
    const first = await agent.post('/put', { user: 'ada' })
    const cookie = cookieOf(first)
    const startedAt = Date.now()
    let answer = first
    await until(
      async () => {
        answer = await agent.get('/see', { cookie })
        expect(answer.body.data).toEqual({ user: 'ada' })
        expect(answer.cookies).toHaveLength(1)
        return Date.now() > startedAt + 1800
      },
      { every: 40 }
    )
    expect(new Date(answer.body.expires) - new Date(first.body.expires)).toBeGreaterThan(1000)
    await until(async () => !(await call(opened.store, 'get', first.body.id)), { every: 20, ms: 3000 })
    expect((await agent.get('/see', { cookie })).body.data).toEqual({})
  })

  test('a session found has its lifetime and a Date for an expiry', async () => {
    const app = await appFor({ cookie: { maxAge: 60_000 } })
    const agent = app.agent()
    await agent.post('/put', { user: 'ada' })
    const { body } = await agent.get('/see')
    expect(body.originalMaxAge).toBe(60_000)
    const leftMs = new Date(body.expires) - Date.now()
    expect(leftMs).toBeGreaterThan(50_000)
    expect(leftMs).toBeLessThanOrEqual(60_000)
  })

  test('a lifetime that the request changes together with data is kept', async () => {
    const app = await appFor({ cookie: { maxAge: 60_000 } })
    const agent = app.agent()
    await agent.post('/lifetime', { ms: 3_600_000 })
    await agent.get('/see')
    const { body } = await agent.get('/see')
    expect(body.originalMaxAge).toBe(3_600_000)
    expect(new Date(body.expires) - Date.now()).toBeGreaterThan(3_500_000)
  })

  test('P6 a session of 5 ms is another visitor 5 ms later', async () => {
    const app = await appFor({ cookie: { maxAge: 5 } })
    const agent = app.agent()
    const first = await agent.post('/put', { user: 'ada' })
    const again = await until(async () => {
      const answer = await agent.get('/see', { cookie: cookieOf(first) })
      return answer.body.id !== first.body.id && answer
    })
    expect(again.body.data).toEqual({})
  })

  test('a well-signed id that the store does not know is never adopted', async () => {
    const app = await appFor()
    const agent = app.agent()
    const first = await agent.post('/put', { user: 'ada' })
    await call(opened.store, 'destroy', first.body.id)
    const answer = await agent.post('/put', { user: 'mallory' })
    expect(answer.status).toBe(200)
    expect(answer.body.id).not.toBe(first.body.id)
    expect(await call(opened.store, 'get', first.body.id)).toBeFalsy()
  })

  test('an error with the code ENOENT means a new session, any other fails the request', async () => {
    const app = await appFor()
    const agent = app.agent()
    await agent.post('/put', { user: 'ada' })
    const failing = (code) =>
      jest
        .spyOn(opened.store, 'get')
        .mockImplementationOnce((_, callback) => callback(Object.assign(new Error(), { code })))
    const spy = failing('ENOENT')
    later(() => spy.mockRestore())
    const missing = await agent.get('/see')
    expect([missing.status, missing.body.data]).toEqual([200, {}])
    failing('EIO')
    expect((await agent.get('/see')).status).toBe(500)
    expect((await agent.get('/see')).body.data).toEqual({ user: 'ada' })
  })

  test('regenerate gives a new id and an empty session; the old cookie is anonymous', async () => {
    const app = await appFor()
    const agent = app.agent()
    const before = await agent.post('/put', { user: 'visitor' })
    const old = agent.clone()
    const after = await agent.post('/regenerate', { user: 'ada' })
    expect(after.body.id).not.toBe(before.body.id)
    expect(after.body.data).toEqual({ fresh: true, user: 'ada' })
    expect((await agent.get('/see')).body).toMatchObject({ id: after.body.id, data: { user: 'ada' } })
    expect((await old.get('/see')).body.data).toEqual({})
    expect(await call(opened.store, 'get', before.body.id)).toBeFalsy()
  })

  test('reload forgets what was not saved', async () => {
    const app = await appFor()
    const agent = app.agent()
    await agent.post('/put', { user: 'ada' })
    expect((await agent.post('/reload')).body.data).toEqual({ user: 'ada' })
    expect((await agent.get('/see')).body.data).toEqual({ user: 'ada' })
  })

  test('reload of a session that was destroyed meanwhile is an error', async () => {
    const app = await appFor()
    const agent = app.agent()
    await agent.post('/put', { user: 'ada' })
    expect((await agent.post('/destroyed-elsewhere')).body.failure).toBe('failed to load session')
  })

  test('destroy ends the session for good', async () => {
    const app = await appFor()
    const agent = app.agent()
    const { body } = await agent.post('/put', { user: 'ada' })
    expect((await agent.post('/destroy')).body).toEqual({ gone: true })
    expect(await call(opened.store, 'get', body.id)).toBeFalsy()
    expect((await agent.get('/see')).body.data).toEqual({})
  })

  test('destroy without a callback ends it too', async () => {
    const app = await appFor()
    const agent = app.agent()
    const { body } = await agent.post('/put', { user: 'ada' })
    expect((await agent.post('/destroy-without-callback')).status).toBe(200)
    await until(async () => !(await call(opened.store, 'get', body.id)))
  })

  test('unset: destroy removes the session when the request lets go of it', async () => {
    const app = await appFor({ unset: 'destroy' })
    const agent = app.agent()
    const { body } = await agent.post('/put', { user: 'ada' })
    expect((await agent.post('/unset')).status).toBe(200)
    expect(await call(opened.store, 'get', body.id)).toBeFalsy()
  })

  test('what is changed after an explicit save is saved at the end', async () => {
    const app = await appFor()
    const agent = app.agent()
    await agent.post('/save-twice')
    expect((await agent.get('/see')).body.data).toEqual({ first: true, second: true })
  })

  test('the answer is complete only when the session is stored: the next request sees it, 200 times', async () => {
    const app = await appFor()
    const agent = app.agent()
    for (let round = 0; round < 200; round++) {
      await agent.post('/put', { round })
      expect((await agent.get('/see')).body.data.round).toBe(round)
    }
  })

  test('forty visitors at once never see each other', async () => {
    const app = await appFor()
    const visitors = Array.from({ length: 40 }, (_, user) => ({ user, agent: app.agent() }))
    await Promise.all(
      visitors.map(async ({ user, agent }) => {
        await agent.post('/put', { user })
        for (let step = 0; step < 5; step++) {
          await agent.post('/put', { step })
          expect((await agent.get('/see')).body.data).toEqual({ user, step })
        }
      })
    )
  })

  test('a session without a cookie fails the request with an error, and the next requests are served', async () => {
    const app = await appFor()
    const agent = app.agent()
    const { body } = await agent.post('/put', { user: 'ada' })
    await opened.plant(body.id, '{"user":"ada"}')
    expect((await agent.get('/see')).status).toBe(500)
    expect(app.errors[0]).toHaveProperty('message')
    expect((await app.agent().post('/put', { user: 'grace' })).status).toBe(200)
  })

  test('an own __proto__ key in the stored text pollutes nothing', async () => {
    const app = await appFor()
    const agent = app.agent()
    const { body } = await agent.post('/put', { user: 'ada' })
    await opened.plant(body.id, '{"cookie":{"path":"/"},"user":"ada","__proto__":{"polluted":1}}')
    const answer = await agent.get('/see')
    expect([answer.status, answer.body.data]).toEqual([200, { user: 'ada' }])
    expect({}.polluted).toBeUndefined()
  })
}

module.exports = { sessionContract }
