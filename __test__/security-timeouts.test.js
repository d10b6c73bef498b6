// How sessions made by `meetablSession()` end: idle, absolute, with a warning ahead; and what does not count as activity.
const session = require('express-session')
const { meetablSession } = require('..')
const { readTimeouts } = require('../lib/timeouts')
const { call } = require('./support/call')
const { SECRET, useSecured } = require('./support/secured')
const { until } = require('./support/until')

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const PASSIVE = { 'session-activity': 'none' }

const secured = useSecured()
const { later, start } = secured
afterEach(() => jest.useRealTimers())

const key = (id) => `meetabl:sess:${id}`
const ttlOf = (id) => secured.redis.command('PTTL', key(id))

/** Only the time of day: everything else goes on as usual. */
function stopClock() {
  const now = Date.now()
  const doNotFake = ['hrtime', 'nextTick', 'performance', 'queueMicrotask', 'setImmediate', 'clearImmediate']
  doNotFake.push('setInterval', 'clearInterval', 'setTimeout', 'clearTimeout')
  jest.useFakeTimers({ now, doNotFake })
  return (ms) => jest.setSystemTime(now + ms)
}

/** Changes what a MemoryStore holds. */
function change(store, id, changes) {
  store.sessions[id] = JSON.stringify({ ...JSON.parse(store.sessions[id]), ...changes })
}

describe('A5 7.3.1 the idle timeout', () => {
  test('a session that is not used is dead, even when the browser keeps the cookie', async () => {
    const shop = await start({ timeoutMs: 200 })
    const ada = shop.agent()
    const { body, cookies } = await ada.post('/in')
    // As it came: this browser would drop it at the full second.
    const [cookie] = cookies[0].split(';')
    await until(async () => (await secured.redis.command('EXISTS', key(body.id))) === 0, { what: 'the key to expire' })
    const answer = await shop.agent().get('/', { cookie })
    expect(answer.body.user).toBeNull()
    expect(answer.body.id).not.toBe(body.id)
  })

  test('a store that does not end it itself makes no difference', async () => {
    const store = new session.MemoryStore()
    const shop = await start({ store, timeoutMs: MINUTE })
    const ada = shop.agent()
    const { body } = await ada.post('/in')
    const { get } = store
    // As a store without expiry does: it gives what it has.
    store.get = (id, callback) => callback(null, store.sessions[id] && JSON.parse(store.sessions[id]))
    later(() => Object.assign(store, { get }))
    const { cookie } = JSON.parse(store.sessions[body.id])
    change(store, body.id, { cookie: { ...cookie, expires: new Date(Date.now() - 1).toISOString() } })
    const answer = await ada.get('/')
    expect(answer.body.user).toBeNull()
    expect(store.sessions).not.toHaveProperty(body.id)
    expect(shop.events).toContainEqual(expect.objectContaining({ type: 'session_expired', reason: 'idle' }))
  })

  test('use keeps it alive, and the browser gets a new expiry when half of the old one is over', async () => {
    const shop = await start({ timeoutMs: 10 * MINUTE })
    const at = stopClock()
    const ada = shop.agent()
    await ada.post('/in')
    const renewals = []
    for (let minute = 1; minute <= 60; minute++) {
      at(minute * MINUTE)
      const answer = await ada.get('/')
      expect([minute, answer.body.user]).toEqual([minute, 'ada'])
      if (answer.cookies.length > 0) renewals.push(minute)
    }
    expect(renewals).toEqual([6, 12, 18, 24, 30, 36, 42, 48, 54, 60])
  })

  test('a session with a lifetime of its own keeps it', async () => {
    const routes = (app) => {
      app.post('/remember', (req, res) => {
        req.session.user = 'ada'
        req.session.cookie.maxAge = DAY
        res.json({ id: req.sessionID })
      })
    }
    const shop = await start({ timeoutMs: MINUTE }, { routes })
    const ada = shop.agent()
    const { body } = await ada.post('/remember')
    const answer = await ada.get('/')
    expect(answer.headers['session-expires-in']).toBe(String(DAY / 1000))
    expect(await ttlOf(body.id)).toBeGreaterThan(DAY - MINUTE)
  })
})

describe('A5 7.3.2 the absolute timeout', () => {
  test('used every minute, it still dies on time, and Redis knows when', async () => {
    const shop = await start({ timeoutMs: 10 * MINUTE, absoluteTimeoutMs: HOUR })
    const at = stopClock()
    const ada = shop.agent()
    const { body } = await ada.post('/in')
    for (let minute = 1; minute < 60; minute++) {
      at(minute * MINUTE)
      const answer = await ada.get('/')
      expect([minute, answer.body.user]).toEqual([minute, 'ada'])
      const left = Math.min(10, 60 - minute) * MINUTE
      expect(answer.headers['session-expires-in']).toBe(String(left / 1000))
      expect(answer.headers['session-warning']).toBe(minute >= 58 ? 'absolute' : undefined)
    }
    // The last touch told Redis of one minute and no more, though idleness alone would give it ten.
    await until(async () => (await ttlOf(body.id)) <= MINUTE, { what: 'the expiry in Redis' })

    // What a touch gives is as it was, though there is less left.
    expect(await call(shop.store, 'get', body.id)).toMatchObject({ cookie: { originalMaxAge: 10 * MINUTE } })

    // Redis's clock has not moved, so that the session is still there, and refused all the same.
    const cookie = ada.cookieHeader('/')
    at(HOUR)
    expect(await secured.redis.command('EXISTS', key(body.id))).toBe(1)
    const answer = await ada.get('/', { cookie })
    expect(answer.body.user).toBeNull()
    expect(answer.body.id).not.toBe(body.id)
    expect(await call(shop.store, 'get', body.id)).toBeNull()
    expect(shop.events).toContainEqual(expect.objectContaining({ type: 'session_expired', reason: 'absolute' }))
  })

  test('in real time: used without a pause, it dies', async () => {
    const shop = await start({ timeoutMs: MINUTE, absoluteTimeoutMs: 400 })
    const { body, cookies } = await shop.agent().post('/in')
    const [cookie] = cookies[0].split(';')
    const ada = shop.agent()
    expect((await ada.get('/', { cookie })).body.user).toBe('ada')
    await until(async () => (await ada.get('/', { cookie })).body.user === null, { what: 'the session to end' })
    await until(async () => (await secured.redis.command('EXISTS', key(body.id))) === 0, { what: 'the key to go' })
  })

  test('a login starts it anew, and a reload of the session does not', async () => {
    const routes = (app) => {
      app.get('/reload', (req, res, next) => {
        req.session.reload((error) => (error ? next(error) : res.json({ user: req.session.user })))
      })
    }
    const shop = await start({ timeoutMs: HOUR, absoluteTimeoutMs: HOUR }, { routes })
    const at = stopClock()
    const ada = shop.agent()
    await ada.post('/in')
    at(HOUR - MINUTE)
    expect((await ada.get('/reload')).body.user).toBe('ada')
    await ada.post('/login')
    at(HOUR + MINUTE)
    expect((await ada.get('/')).body.user).toBe('ada')
    at(2 * HOUR - MINUTE - 2000)
    expect((await ada.get('/reload')).body.user).toBe('ada')
    at(2 * HOUR - MINUTE)
    expect((await ada.get('/')).body.user).toBeNull()
  })

  test('a session from before it was switched on has it from its next request', async () => {
    const store = new session.MemoryStore()
    const before = await start({ store, timeouts: false })
    const ada = before.agent()
    const { body } = await ada.post('/in')
    expect(store.sessions[body.id]).not.toMatch(/startedAt/)
    const now = await start({ store, absoluteTimeoutMs: HOUR })
    const at = stopClock()
    const cookie = ada.cookieHeader('/')
    expect((await now.agent().get('/', { cookie })).body.user).toBe('ada')
    at(HOUR)
    expect((await now.agent().get('/', { cookie })).body.user).toBeNull()
  })

  test.each([
    ['fails', (_id, callback) => setImmediate(callback, new Error('the store cannot destroy'))],
    [
      'throws',
      () => {
        throw new Error('the store cannot destroy')
      }
    ]
  ])('a destroy that %s does not bring it back', async (_, destroy) => {
    const store = new session.MemoryStore()
    const shop = await start({ store, absoluteTimeoutMs: HOUR })
    const ada = shop.agent()
    const { body } = await ada.post('/in')
    change(store, body.id, { startedAt: Date.now() - HOUR })
    store.destroy = destroy
    const cookie = ada.cookieHeader('/')
    for (let attempt = 0; attempt < 2; attempt++) {
      expect(await shop.agent().get('/', { cookie })).toMatchObject({ status: 200, body: { user: null } })
    }
  })
})

describe('N 5.2 the warning', () => {
  /** A logged-in browser whose session has `ms` left, as far as Redis knows. */
  async function withLeft(ms, options) {
    const shop = await start(options)
    const ada = shop.agent()
    const { body } = await ada.post('/in')
    await secured.redis.command('PEXPIRE', key(body.id), ms)
    const left = async () => new Date((await call(shop.store, 'get', body.id)).cookie.expires) - Date.now()
    await until(async () => (await left()) <= ms, { what: 'the store to hear of it' })
    return { shop, ada, id: body.id }
  }

  test('a request that is no activity tells what is left, and leaves it', async () => {
    const { ada, id } = await withLeft(30_000, { timeoutMs: 10 * MINUTE })
    for (let round = 0; round < 3; round++) {
      const answer = await ada.get('/', PASSIVE)
      expect(answer.body.user).toBe('ada')
      expect(Number(answer.headers['session-expires-in'])).toBeLessThanOrEqual(30)
      expect(Number(answer.headers['session-expires-in'])).toBeGreaterThan(10)
      expect(answer.headers['session-warning']).toBe('idle')
    }
    expect(await ttlOf(id)).toBeLessThanOrEqual(30_000)
  })

  test('activity starts the time anew', async () => {
    const { ada, id } = await withLeft(30_000, { timeoutMs: 10 * MINUTE })
    const answer = await ada.get('/')
    expect(answer.headers['session-expires-in']).toBe('600')
    expect(answer.headers).not.toHaveProperty('session-warning')
    await until(async () => (await ttlOf(id)) > 30_000, { what: 'the touch' })
  })

  test.each([
    [{}, 130_000, undefined],
    [{}, 119_000, 'idle'],
    [{ warnBeforeMs: 20_000 }, 30_000, undefined],
    [{ warnBeforeMs: 20_000 }, 19_000, 'idle'],
    [{ warnBeforeMs: 8 * MINUTE }, 7 * MINUTE, 'idle']
  ])('with %j and %i ms left it is %s', async (options, ms, warning) => {
    const { ada } = await withLeft(ms, { timeoutMs: 10 * MINUTE, ...options })
    const { headers } = await ada.get('/', PASSIVE)
    expect(headers['session-warning']).toBe(warning)
    // Until then: what is left, but for the warning's own time.
    const warnsIn = (ms - (options.warnBeforeMs ?? 2 * MINUTE)) / 1000
    const told = Number(headers['session-warning-in'] ?? Number.NaN)
    if (warning) expect(told).toBeNaN()
    else expect([Math.ceil(warnsIn), Math.ceil(warnsIn) - 1, Math.ceil(warnsIn) - 2]).toContain(told)
  })

  test('it comes at least 20 s ahead, whatever the timeout', () => {
    for (const timeoutMs of [1, 1000, 30_000, MINUTE, 3 * MINUTE, HOUR]) {
      expect(readTimeouts({ timeoutMs }, {}).warnBeforeMs).toBeGreaterThanOrEqual(20_000)
    }
    expect(readTimeouts({ timeoutMs: HOUR }, {}).warnBeforeMs).toBe(2 * MINUTE)
    expect(() => readTimeouts({ warnBeforeMs: 19_999 }, {})).toThrow(/`warnBeforeMs` is '19999'/)
  })

  test('the session that is just being made tells too, and a visitor has none', async () => {
    const shop = await start({ timeoutMs: 10 * MINUTE })
    // A new cookie's age is what is left of it when it is looked at, at times a millisecond less.
    expect((await shop.agent().post('/in')).headers['session-expires-in']).toMatch(/^(599|600)$/)
    expect((await shop.agent().get('/')).headers).not.toHaveProperty('session-expires-in')
    const ada = shop.agent()
    await ada.post('/in')
    expect((await ada.post('/out')).headers).not.toHaveProperty('session-expires-in')
  })

  test('a changed session keeps its change, and its expiry, in a request that is no activity', async () => {
    const { shop, ada, id } = await withLeft(30_000, { timeoutMs: 10 * MINUTE })
    expect((await ada.post('/in', { user: 'grace' }, PASSIVE)).status).toBe(200)
    expect(await call(shop.store, 'get', id)).toMatchObject({ user: 'grace' })
    expect(await ttlOf(id)).toBeLessThanOrEqual(30_000)
  })
})

describe('N 2 the presets', () => {
  test.each([
    ['aal1', {}, { idleMs: DAY, absoluteMs: 30 * DAY }],
    ['aal2', {}, { idleMs: HOUR, absoluteMs: DAY }],
    ['aal3', {}, { idleMs: 15 * MINUTE, absoluteMs: 12 * HOUR }],
    ['aal2', { timeoutMs: MINUTE, absoluteTimeoutMs: HOUR }, { idleMs: MINUTE, absoluteMs: HOUR }]
  ])('%s with %j', (preset, options, expected) => {
    expect(readTimeouts({ preset, ...options }, {})).toMatchObject(expected)
  })

  test('without one, the environment or a day, and no absolute end', () => {
    expect(readTimeouts({}, {})).toMatchObject({ idleMs: DAY, absoluteMs: Number.POSITIVE_INFINITY })
    expect(readTimeouts({}, { SESSION_TIMEOUT: '1800000' }).idleMs).toBe(1_800_000)
    expect(readTimeouts({ timeoutMs: 5 }, { SESSION_TIMEOUT: '1800000' }).idleMs).toBe(5)
    expect(readTimeouts({ preset: 'aal2' }, { SESSION_TIMEOUT: '1800000' }).idleMs).toBe(1_800_000)
  })

  test.each([
    [{ preset: 'aal3', timeoutMs: HOUR }, {}, /`timeoutMs` is '3600000'.* to 900000, as the preset aal3 asks/],
    [{ preset: 'aal2', absoluteTimeoutMs: 2 * DAY }, {}, /`absoluteTimeoutMs` is/],
    [{ preset: 'aal2' }, { SESSION_TIMEOUT: '7200000' }, /`SESSION_TIMEOUT` is '7200000'.*aal2/],
    [{ preset: 'aal4' }, {}, /`preset` is unknown. Expected aal1, aal2, aal3/],
    [{ preset: '__proto__' }, {}, /`preset` is unknown/],
    [{}, { SESSION_TIMEOUT: 'soon' }, /`SESSION_TIMEOUT` is 'soon'. Expected whole milliseconds/],
    [{}, { SESSION_TIMEOUT: '-1' }, /`SESSION_TIMEOUT` is '-1'/],
    [{}, { SESSION_TIMEOUT: '1.5' }, /`SESSION_TIMEOUT` is '1.5'/],
    [{ timeoutMs: 0 }, {}, /`timeoutMs` is '0'/],
    [{ timeoutMs: 2 ** 63 }, {}, /`timeoutMs` is/],
    [{ timeoutMs: Number.NaN }, {}, /`timeoutMs` is 'NaN'/],
    [{ timeoutMs: null }, {}, /`timeoutMs` is no number/],
    [{ absoluteTimeoutMs: '1h' }, {}, /`absoluteTimeoutMs` is '1h'/],
    [{ warnBeforeMs: DAY, timeoutMs: HOUR }, {}, /`warnBeforeMs` is/]
  ])('%j with %j is refused', (options, env, message) => {
    expect(() => readTimeouts(options, env)).toThrow(message)
    expect(() => readTimeouts(options, env)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_OPTION' }))
    if (Object.keys(env).length === 0) expect(() => meetablSession({ secret: SECRET, ...options })).toThrow(message)
  })
})
