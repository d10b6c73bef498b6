// Security events: one for each thing that happens, typed, without secrets, on one line, and never a flood.
const http = require('node:http')
const net = require('node:net')
const session = require('express-session')
const { sign } = require('..')
const { LEVELS, SecurityEvents } = require('../lib/security-events')
const { rememberingLogger } = require('./support/logger')
const { CURL, EARLIER, FIREFOX, idIn, NAME, SECRET, useSecured } = require('./support/secured')
const { until } = require('./support/until')

const secured = useSecured()

async function start(options = {}) {
  const logger = rememberingLogger()
  return { ...(await secured.start({ logger, ...options })), logger }
}

const cookieWith = (id, secret = SECRET) => ({ cookie: `${NAME}=${encodeURIComponent(`s:${sign(id, secret)}`)}` })

/** How each event comes about: what is returned is the id of the session that it is about. */
const PROVOKE = {
  async session_created(shop) {
    return (await shop.agent().post('/in', { user: 'a-secret-of-ada' }, FIREFOX)).body.id
  },
  async session_regenerated(shop) {
    return (await shop.agent().post('/login', {}, FIREFOX)).body.id
  },
  async session_destroyed(shop) {
    const ada = shop.agent()
    const { body } = await ada.post('/in', {}, FIREFOX)
    await ada.post('/out', {}, FIREFOX)
    return body.id
  },
  async session_expired(shop) {
    const ada = shop.agent()
    const { body } = await ada.post('/in', {}, FIREFOX)
    const stored = JSON.parse(await secured.redis.command('GET', `meetabl:sess:${body.id}`))
    const old = JSON.stringify({ ...stored, startedAt: 0 })
    await secured.redis.command('SET', `meetabl:sess:${body.id}`, old, 'PX', 60_000)
    await until(async () => (await ada.get('/', FIREFOX)).body.id !== body.id, {
      what: 'the old session to be refused'
    })
    return body.id
  },
  async session_unknown(shop) {
    await shop.agent().get('/', { ...FIREFOX, ...cookieWith('an-unknown-session-id') })
    return 'an-unknown-session-id'
  },
  async signature_refused(shop) {
    const forged = cookieWith('a-forged-session-id', 'a secret that nobody here has ever heard of')
    await shop.agent().get('/', { ...FIREFOX, ...forged })
  },
  async id_refused(shop) {
    await shop.agent().get('/', { ...FIREFOX, ...cookieWith('{tag}-session-id-1') })
  },
  async old_secret_used(shop) {
    await shop.agent().get('/', { ...FIREFOX, ...cookieWith('an-unknown-session-id', EARLIER) })
    return 'an-unknown-session-id'
  },
  async user_agent_bound(shop) {
    const id = 'a-session-of-before-1'
    await shop.store.set(id, { cookie: { originalMaxAge: null }, user: 'a-secret-of-ada' })
    await shop.agent().get('/', { ...FIREFOX, ...cookieWith(id) })
    return id
  },
  async user_agent_mismatch(shop) {
    const ada = shop.agent()
    const { body } = await ada.post('/in', { user: 'a-secret-of-ada' }, FIREFOX)
    await ada.get('/', CURL)
    return body.id
  },
  async csrf_refused(shop) {
    const ada = shop.agent()
    const { body } = await ada.post('/in', {}, FIREFOX)
    await ada.post('/in?_csrf=a-secret-of-ada', {}, { ...FIREFOX, 'sec-fetch-site': 'cross-site' })
    return body.id
  },
  async upgrade_refused(shop) {
    const done = new Promise((resolve) => {
      shop.server.on('upgrade', async (req, socket) => {
        await shop.sessions.verifySession(req)
        socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')
        resolve()
      })
    })
    const headers = { ...FIREFOX, connection: 'upgrade', upgrade: 'websocket' }
    http
      .get({ host: '127.0.0.1', port: shop.port, path: '/socket?token=a-secret-of-ada', headers })
      .on('error', () => {})
    await done
  }
}

test('every event that there is has a way to come about', () => {
  expect(Object.keys(PROVOKE).sort()).toEqual(Object.keys(LEVELS).sort())
})

describe.each(Object.entries(PROVOKE))('A5 16.3 %s', (type, provoke) => {
  test('who, what, when and where, on one log line, and nothing secret', async () => {
    const options = { secret: [SECRET, EARLIER], csrf: { mode: 'origin' }, absoluteTimeoutMs: 3_600_000 }
    const own = { 'sec-fetch-site': 'same-origin' }
    const shop = await start(options)
    const agent = shop.agent.bind(shop)
    const ownAgent = () => {
      const made = agent()
      const { post } = made
      made.post = (path, body, headers) => post.call(made, path, body, { ...own, ...headers })
      return made
    }
    const id = await provoke({ ...shop, agent: ownAgent })
    const found = shop.events.filter((event) => event.type === type)
    expect(found).toHaveLength(1)
    const [event] = found
    expect(event).toEqual({
      type,
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      ...(event.reason && { reason: expect.stringMatching(/^[a-z_]+$/) }),
      ...(id && { session: expect.stringMatching(/^[0-9a-f]{12}$/) }),
      ip: expect.stringMatching(/127\.0\.0\.1/),
      method: expect.stringMatching(/^(GET|POST)$/),
      path: expect.stringMatching(/^\/[a-z]*$/),
      userAgent: type === 'user_agent_mismatch' ? CURL['user-agent'] : FIREFOX['user-agent']
    })

    const lines = shop.logger.lines.filter(({ message }) => message.startsWith(`security: ${type} `))
    expect(lines).toHaveLength(1)
    expect(lines[0].level).toBe(LEVELS[type])
    expect(lines[0].message).toContain('path="/')
    for (const text of [JSON.stringify(shop.events), shop.logger.text()]) {
      for (const secret of [id, SECRET, EARLIER, 'a-secret-of-ada', '_csrf']) {
        if (secret) expect(text).not.toContain(secret)
      }
    }
  })
})

describe('what does not happen is not told', () => {
  test('an untouched visitor, a request that goes well, a visitor who logs out', async () => {
    const shop = await start()
    const ada = shop.agent()
    await ada.get('/', FIREFOX)
    await ada.post('/out', {}, FIREFOX)
    expect(shop.events).toEqual([])
    await ada.post('/in', {}, FIREFOX)
    shop.events.splice(0)
    await ada.get('/', FIREFOX)
    await ada.post('/in', { user: 'grace' }, FIREFOX)
    expect(shop.events).toEqual([])
  })

  test('a login is one event, a refusal is one', async () => {
    const shop = await start()
    const ada = shop.agent()
    await ada.post('/login', {}, FIREFOX)
    expect(shop.events.map(({ type }) => type)).toEqual(['session_regenerated'])
    await ada.get('/', CURL)
    expect(shop.events.map(({ type }) => type)).toEqual(['session_regenerated', 'user_agent_mismatch'])
  })
})

describe('A5 16.4.1 what a client writes stays on its line', () => {
  const NASTY = [
    '\r\nWARN: forged',
    '\x1b[2J',
    '\u2028',
    '\u2029',
    '\x85',
    '\u202e',
    '\0',
    '"',
    '\\',
    '\ud800',
    '\u200b'
  ]
  const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u

  test('a User-Agent, a path, a method and an address with line breaks, escapes and marks', () => {
    const logger = rememberingLogger()
    const told = []
    const events = new SecurityEvents({ logger, onSecurityEvent: (event) => told.push(event) })
    for (const nasty of NASTY) {
      const text = `a${nasty}b`
      events.report('csrf_refused', { ip: text, method: text, originalUrl: text, headers: { 'user-agent': text } })
    }
    expect(logger.lines).toHaveLength(NASTY.length)
    for (const { message } of logger.lines) expect(message).not.toMatch(UNPRINTABLE)
    for (const event of told) {
      for (const value of Object.values(event)) expect(value).not.toMatch(UNPRINTABLE)
    }
  })

  test('a megabyte of it is cut short', () => {
    const logger = rememberingLogger()
    const long = 'x'.repeat(1 << 20)
    new SecurityEvents({ logger }).report('csrf_refused', { url: long, method: long, headers: { 'user-agent': long } })
    expect(logger.text().length).toBeLessThan(1000)
  })

  test('over the wire: bytes that HTTP lets through', async () => {
    const shop = await start()
    const socket = net.connect(shop.port, '127.0.0.1')
    const head = `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nUser-Agent: a\x85\x9b2Jb\r\nCookie: ${NAME}=x\r\n\r\n`
    socket.write(Buffer.from(head, 'latin1'))
    for await (const _ of socket);
    expect(shop.events).toEqual([expect.objectContaining({ type: 'signature_refused', userAgent: 'a  2Jb' })])
  })
})

describe('A5 16.2 a flood', () => {
  test('of 100,000 refusals is some hundred events, and the next one says how many were left out', () => {
    const logger = rememberingLogger()
    const told = []
    const events = new SecurityEvents({ logger, onSecurityEvent: (event) => told.push(event) })
    const req = { method: 'GET', url: '/', headers: {} }
    const start = performance.now()
    for (let n = 0; n < 100_000; n++) events.report('csrf_refused', req, { reason: 'cross_site' })
    const allowed = 101 + ((performance.now() - start) / 1000) * 10
    expect(told.length).toBeGreaterThanOrEqual(100)
    expect(told.length).toBeLessThanOrEqual(allowed)
    expect(logger.lines).toHaveLength(told.length)
    // Another kind of event is not kept from being seen by it.
    events.report('user_agent_mismatch', req)
    expect(told.at(-1).type).toBe('user_agent_mismatch')
  })

  test('that is over: the next event tells', async () => {
    const told = []
    const events = new SecurityEvents({ logger: false, onSecurityEvent: (event) => told.push(event) })
    const report = () => events.report('csrf_refused', { method: 'GET', url: '/', headers: {} })
    for (let n = 0; n < 1000; n++) report()
    const before = told.length
    let others = 0
    await until(() => {
      report()
      others++
      return told.length > before
    })
    expect(told.at(-1).suppressed).toBe(1000 - before + others - 1)
    others = 0
    await until(() => {
      report()
      others++
      return told.length > before + 1
    })
    expect(told.at(-1).suppressed ?? 0).toBe(others - 1)
  })
})

describe('P9 a listener that fails', () => {
  test.each([
    [
      'throws',
      () => {
        throw new Error('the listener failed')
      }
    ],
    ['rejects', async () => Promise.reject(new Error('the listener failed'))]
  ])('and %s changes nothing for the request, and is logged', async (_, onSecurityEvent) => {
    const shop = await start({ onSecurityEvent, csrf: {} })
    expect((await shop.agent().post('/in', {}, FIREFOX)).status).toBe(403)
    expect((await shop.agent().get('/', FIREFOX)).status).toBe(200)
    await until(() => shop.logger.of('error').includes('security: `onSecurityEvent` failed'))
    expect(shop.logger.text()).not.toContain('the listener failed')
  })
})

test('P9 a logger that throws changes nothing for the request', async () => {
  const broken = () => {
    throw new Error('the log is full')
  }
  const logger = { debug: () => {}, info: broken, warn: broken, error: broken }
  const shop = await start({ logger, store: new session.MemoryStore() })
  const ada = shop.agent()
  expect((await ada.post('/in', {}, FIREFOX)).status).toBe(200)
  expect(await ada.get('/', CURL)).toMatchObject({ status: 401, text: '{"error":"session_invalid"}' })
  expect(shop.events.map(({ type }) => type)).toEqual(['session_created', 'user_agent_mismatch'])
})

test('A5 16.2 two requests of one session can be told to be of one session', async () => {
  const store = new session.MemoryStore()
  const shop = await start({ store, userAgent: { mode: 'report' } })
  const ada = shop.agent()
  await ada.post('/in', {}, FIREFOX)
  await ada.get('/', CURL)
  await ada.get('/', CURL)
  const names = shop.events.map((event) => event.session)
  expect(new Set(names).size).toBe(1)
  expect(names[0]).not.toContain(idIn(ada.cookieHeader('/')).slice(0, 6))
})
