// The life of a session under attack and under load, with `meetablSession()` on a real Redis.
const session = require('express-session')
const { NAME, SECRET, useSecured } = require('./support/secured')
const { sign } = require('..')

const secured = useSecured()
const start = (options, routes) => secured.start(options, { routes })

const keys = () => secured.redis.command('KEYS', 'meetabl:sess:*')

function withCookie(shop, cookie) {
  const agent = shop.agent()
  return (method, path) => agent.request(method, path, { headers: { cookie } })
}

test('SM an id that was planted before a login is anonymous after it', async () => {
  const shop = await start()
  const attacker = shop.agent()
  await attacker.post('/in', { user: 'attacker' })
  const planted = attacker.cookieHeader('/')
  const victim = shop.agent()
  victim.keep([`${planted}; Path=/`])
  const login = await victim.post('/login')
  expect(login.body.user).toBe('ada')
  expect(victim.cookieHeader('/')).not.toBe(planted)
  expect((await withCookie(shop, planted)('GET', '/')).body.user).toBeNull()
  expect((await victim.get('/')).body.user).toBe('ada')
  expect(await keys()).toEqual([`meetabl:sess:${login.body.id}`])
})

test('A5 7.4.1 a cookie that is replayed after the logout is anonymous', async () => {
  const shop = await start()
  const ada = shop.agent()
  await ada.post('/login')
  const cookie = ada.cookieHeader('/')
  await ada.post('/out')
  expect(await keys()).toEqual([])
  for (let round = 0; round < 3; round++) expect((await withCookie(shop, cookie)('GET', '/')).body.user).toBeNull()
  expect(await keys()).toEqual([])
})

test('two logins at once from one browser leave one of the two alive in it', async () => {
  const shop = await start()
  const ada = shop.agent({ keepAlive: false })
  await ada.post('/in')
  const before = ada.cookieHeader('/')
  const answers = await Promise.all([ada.post('/login'), ada.post('/login')])
  expect(answers.map(({ status }) => status)).toEqual([200, 200])
  expect((await ada.get('/')).body.user).toBe('ada')
  expect((await withCookie(shop, before)('GET', '/')).body.user).toBeNull()
})

test('P8 a login whose destroy fails is an error, and makes no new session', async () => {
  const store = new session.MemoryStore()
  const shop = await start({ store })
  const ada = shop.agent()
  const { body } = await ada.post('/in')
  store.destroy = (_id, callback) => setImmediate(callback, Object.assign(new Error('no'), { code: 'E_BROKEN' }))
  const answer = await ada.post('/login')
  expect(answer).toMatchObject({ status: 500, body: { code: 'E_BROKEN' }, cookies: [] })
  expect(Object.keys(store.sessions)).toEqual([body.id])
  expect(shop.events.map(({ type }) => type)).toEqual(['session_created'])
})

test('a logout twice, and a destroy twice in one request, are fine', async () => {
  const routes = (app) => {
    app.post('/twice', async (req, res) => {
      const { store } = shop
      await store.destroy(req.sessionID)
      await store.destroy(req.sessionID)
      await req.destroySession()
      res.end()
    })
  }
  const shop = await start({}, routes)
  const ada = shop.agent()
  await ada.post('/in')
  expect((await ada.post('/twice')).status).toBe(200)
  await ada.post('/in')
  for (let round = 0; round < 2; round++) expect((await ada.post('/out')).status).toBe(200)
  expect(await keys()).toEqual([])
})

test('P3 a slow request that ends after the logout makes no key', async () => {
  let release
  const held = new Promise((resolve) => {
    release = resolve
  })
  const entered = {}
  entered.promise = new Promise((resolve) => {
    entered.resolve = resolve
  })
  const routes = (app) => {
    app.post('/slow', async (req, res) => {
      req.session.cart = 'apples'
      entered.resolve()
      await held
      res.end()
    })
  }
  const shop = await start({}, routes)
  const ada = shop.agent({ keepAlive: false })
  await ada.post('/login')
  const slow = ada.post('/slow')
  await entered.promise
  await ada.post('/out')
  release()
  await slow
  expect(await keys()).toEqual([])
})

describe('data that nobody should have written', () => {
  const ID = 'a-session-id-of-this-test'
  const cookie = `${NAME}=${encodeURIComponent(`s:${sign(ID, SECRET)}`)}`
  const texts = {
    null: 'null',
    'an array': '[]',
    'a number': '1',
    'a string': '"x"',
    'truncated JSON': '{"cookie":{"originalMaxAge":nul',
    'bad UTF-8': Buffer.from('{"cookie":{},"user":"\xff\xfe"', 'latin1'),
    'nothing at all': ''
  }

  test.each(Object.entries(texts))('%s is no session, and no error', async (_, text) => {
    const shop = await start()
    await secured.redis.command('SET', `meetabl:sess:${ID}`, text)
    const answer = await withCookie(shop, cookie)('GET', '/')
    expect(answer).toMatchObject({ status: 200, body: { user: null }, cookies: [] })
    expect(answer.body.id).not.toBe(ID)
  })

  test('a key of the wrong type is no session of anybody', async () => {
    const shop = await start()
    await secured.redis.command('RPUSH', `meetabl:sess:${ID}`, 'x')
    const answer = await withCookie(shop, cookie)('GET', '/')
    expect(answer.status).toBe(200)
    expect(answer.body).toMatchObject({ user: null, id: expect.not.stringContaining(ID) })
  })

  test('an own `__proto__` in it pollutes nothing', async () => {
    const shop = await start()
    const text = `{"cookie":{"originalMaxAge":null},"__proto__":{"user":"polluted"},"constructor":{"prototype":{"user":"x"}}}`
    await secured.redis.command('SET', `meetabl:sess:${ID}`, text)
    const answer = await withCookie(shop, cookie)('GET', '/')
    expect(answer.status).toBe(200)
    expect({}.user).toBeUndefined()
  })

  test('nesting 100,000 deep is an error, and the process lives', async () => {
    const shop = await start()
    const deep = `{"cookie":{"originalMaxAge":null},"user":${'['.repeat(100_000)}${']'.repeat(100_000)}}`
    await secured.redis.command('SET', `meetabl:sess:${ID}`, deep)
    const answer = await withCookie(shop, cookie)('GET', '/')
    // By the application's own error handler.
    expect([answer.status, answer.body]).toEqual([500, {}])
    expect((await shop.agent().get('/')).status).toBe(200)
  })

  test.each([
    ['2^63', 2 ** 63, ['ERR_INVALID_TTL']],
    ['NaN', Number.NaN, ['ERR_INVALID_TTL']],
    ['-1', -1, []]
  ])('a maxAge of %s keeps nothing, and the process lives', async (_, maxAge, errors) => {
    const routes = (app) => {
      app.post('/odd', (req, res) => {
        req.session.cookie.maxAge = maxAge
        req.session.user = 'ada'
        res.end()
      })
    }
    const shop = await start({}, routes)
    const answer = await shop.agent().post('/odd')
    expect(answer.status).toBe(200)
    expect(shop.errors.map(({ code }) => code)).toEqual(errors)
    expect(await keys()).toEqual([])
    expect((await shop.agent().get('/')).status).toBe(200)
  })

  test.each([
    ['a BigInt', () => 1n],
    [
      'a cycle',
      () => {
        const cycle = {}
        cycle.cycle = cycle
        return cycle
      }
    ]
  ])('%s in a session is an error, and the process lives', async (_, make) => {
    const routes = (app) => {
      app.post('/odd', (req, res) => {
        req.session.odd = make()
        res.end()
      })
    }
    const shop = await start({}, routes)
    const { status, body } = await shop.agent().post('/odd')
    expect([status, body]).toEqual([500, {}])
    expect((await shop.agent().get('/')).status).toBe(200)
    expect(await keys()).toEqual([])
  })

  test('lone surrogates, U+2028 and emoji survive', async () => {
    const shop = await start()
    const ada = shop.agent()
    for (const user of ['\ud800 lone', 'a\u2028b', '🔑 \u{1f469}\u200d\u{1f52c}']) {
      await ada.post('/in', { user })
      expect((await ada.get('/')).body.user).toBe(user)
    }
  })
})
