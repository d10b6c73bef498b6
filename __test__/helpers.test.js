// `req.regenerateSession` and `req.destroySession`, over real HTTP with Express 5, on several express-session stores.
const express = require('express')
const session = require('express-session')
const { RedisStore, sessionHelpers } = require('..')
const { startApp, Agent, SECRET } = require('./support/app')
const { call } = require('./support/call')
const { laterForAll, laterForEach } = require('./support/later')
const { freePort } = require('./support/port')
const { startRedis } = require('./support/redis')
const { runScript } = require('./support/script')

jest.setTimeout(30_000)

/** A MemoryStore whose destroy can be made to fail. */
class BrittleStore extends session.MemoryStore {
  isBroken = false

  destroy(sid, callback) {
    if (this.isBroken)
      setImmediate(callback, Object.assign(new Error('the store cannot destroy'), { code: 'E_BROKEN' }))
    else super.destroy(sid, callback)
  }
}

/** Each opens a store, and says how its destroys are made to fail and to work again. */
const stores = {
  async 'express-session MemoryStore'() {
    const store = new BrittleStore()
    const setBroken = (isBroken) => {
      store.isBroken = isBroken
    }
    return { store, code: 'E_BROKEN', setBroken, close() {} }
  },

  async 'RedisStore with a Redis'() {
    const redis = await startRedis()
    // A user who may do everything, until the right to delete is taken.
    await redis.command('ACL', 'SETUSER', 'shop', 'on', '>pass', '~*', '&*', '+@all')
    const login = { username: 'shop', password: 'pass' }
    const store = new RedisStore({ host: redis.host, port: redis.port, ...login, logger: false })
    await store.ready()
    const setBroken = (isBroken) => {
      const sign = isBroken ? '-' : '+'
      const commands = ['del', 'unlink', 'getdel', 'eval', 'evalsha', 'fcall'].map((name) => sign + name)
      return redis.command('ACL', 'SETUSER', 'shop', ...commands)
    }
    const close = async () => {
      await store.close()
      await redis.stop()
    }
    return { store, code: 'ERR_REDIS', setBroken, close }
  },

  async 'RedisStore in memory'() {
    const store = new RedisStore({ host: '127.0.0.1', port: await freePort(), logger: false })
    await store.ready()
    return { store, close: () => store.close() }
  }
}

/** The two ways to call a helper. */
const ways = {
  'with a promise': (req, name) => req[name](),
  'with a callback': (req, name) =>
    new Promise((resolve, reject) => {
      const returned = req[name]((error, ...rest) => (error ? reject(error) : resolve(rest)))
      if (returned !== undefined) reject(new Error(`${name} returned ${returned} although it got a callback`))
    })
}

const clearing = (answer) => answer.cookies.filter((line) => /Expires=Thu, 01 Jan 1970/.test(line))

describe.each(Object.entries(stores))('%s', (storeName, open) => {
  const laterAll = laterForAll()
  const opened = {}
  beforeAll(async () => {
    Object.assign(opened, await open())
    laterAll(opened.close)
    opened.store.setMaxListeners(0)
  })

  describe.each(Object.entries(ways))('%s', (_, use) => {
    const later = laterForEach()

    const routes = (app) => {
      const see = (req, res) => res.json({ id: req.sessionID, user: req.session?.user ?? null })
      app.get('/', see)
      app.get('/shop/', see)
      app.post(['/in', '/shop/in'], (req, res) => {
        req.session.user = req.body.user
        see(req, res)
      })
      app.post('/regenerate', async (req, res) => {
        const before = { id: req.sessionID, session: req.session }
        await use(req, 'regenerateSession')
        const fresh = req.session !== before.session && req.sessionID !== before.id
        const empty = Object.keys(req.session).join() === 'cookie'
        if (req.body?.user) req.session.user = req.body.user
        res.json({ fresh, empty, sameIds: req.session.id === req.sessionID, id: req.sessionID })
      })
      app.post(['/out', '/shop/out'], async (req, res) => {
        await use(req, 'destroySession')
        res.json({ gone: req.session === undefined })
      })
      app.post('/try', async (req, res) => {
        const before = { id: req.sessionID, session: req.session }
        const error = await use(req, req.body.helper).then(
          () => null,
          (failure) => failure
        )
        const untouched = req.session === before.session && req.sessionID === before.id
        res.json({ code: error?.code, isError: error instanceof Error, untouched })
      })
    }

    async function appFor(options = {}) {
      const app = await startApp({ store: opened.store, middleware: [sessionHelpers()], routes, ...options })
      later(() => app.close())
      return app
    }

    test('regenerateSession gives a new, empty session under a new id', async () => {
      const app = await appFor()
      const agent = app.agent()
      const before = await agent.post('/in', { user: 'visitor' })
      const after = await agent.post('/regenerate', { user: 'ada' })
      expect(after.body).toMatchObject({ fresh: true, empty: true, sameIds: true })
      expect(after.body.id).not.toBe(before.body.id)
      expect(after.cookies).toHaveLength(1)
      expect((await agent.get('/')).body).toEqual({ id: after.body.id, user: 'ada' })
    })

    test('A5 7.2.4 after regenerateSession the old cookie is anonymous', async () => {
      const app = await appFor()
      const agent = app.agent()
      const before = await agent.post('/in', { user: 'visitor' })
      const thief = agent.clone()
      await agent.post('/regenerate', { user: 'ada' })
      const stolen = await thief.get('/')
      expect(stolen.body.user).toBeNull()
      expect(stolen.body.id).not.toBe(before.body.id)
      expect(await call(opened.store, 'get', before.body.id)).toBeFalsy()
    })

    test('regenerateSession works for a visitor without a session, and for one with an unknown cookie', async () => {
      const app = await appFor()
      const agent = app.agent()
      await agent.post('/regenerate', { user: 'ada' })
      expect((await agent.get('/')).body.user).toBe('ada')
      await call(opened.store, 'clear')
      await agent.post('/regenerate', { user: 'grace' })
      expect((await agent.get('/')).body.user).toBe('grace')
    })

    test('destroySession ends the session and the browser forgets its cookie', async () => {
      const app = await appFor()
      const agent = app.agent()
      const { body } = await agent.post('/in', { user: 'ada' })
      const thief = agent.clone()
      const answer = await agent.post('/out')
      expect([answer.status, answer.body]).toEqual([200, { gone: true }])
      expect(answer.cookies).toHaveLength(1)
      expect(clearing(answer)).toHaveLength(1)
      expect(agent.cookieHeader('/')).toBe('')
      expect(await call(opened.store, 'get', body.id)).toBeFalsy()
      expect((await thief.get('/')).body.user).toBeNull()
    })

    test('A5 14.3.1 the cookie is cleared under the name, path and domain that it was set with', async () => {
      const cookie = { path: '/shop', domain: 'example.test', maxAge: 60_000, sameSite: 'lax', secure: true }
      const app = await appFor({ session: { name: 'basket', cookie } })
      const agent = app.agent({ host: 'www.example.test' })
      const secure = { 'x-forwarded-proto': 'https' }
      agent.keep(['other=1; Path=/shop', 'basket2=1; Path=/shop'])
      const set = await agent.post('/shop/in', { user: 'ada' }, secure)
      expect(agent.cookieHeader('/shop/')).toMatch(/basket=/)
      const answer = await agent.post('/shop/out', undefined, secure)
      const attributes = (line) =>
        line
          .split('; ')
          .slice(1)
          .filter((part) => !/^(Expires|Max-Age)=/.test(part))
          .sort()
      expect(answer.cookies).toHaveLength(1)
      expect(answer.cookies[0]).toMatch(/^basket=;/)
      expect(attributes(answer.cookies[0])).toEqual(attributes(set.cookies[0]))
      expect(agent.cookieHeader('/shop/')).toBe('other=1; basket2=1')
    })

    test('the cookie is found in whatever form the browser sends it, also under an earlier secret', async () => {
      const earlier = 'an earlier secret, which still verifies'
      const before = await appFor({ session: { secret: earlier } })
      const now = await appFor({ session: { secret: [SECRET, earlier] } })
      const forms = [
        (name, value) => `${name}=${value}`,
        (name, value) => `${name}=${decodeURIComponent(value)}`,
        (name, value) => `a=1; ${name}=${value};b=2;`,
        (name, value) => `a;;=; %=%; ${name}="${value}"`
      ]
      for (const form of forms) {
        const agent = before.agent()
        await agent.post('/in', { user: 'ada' })
        const [name, value] = agent.cookieHeader('/').split('=')
        const cookie = form(name, value)
        const visitor = now.agent()
        expect([cookie, (await visitor.get('/', { cookie })).body.user]).toEqual([cookie, 'ada'])
        const answer = await visitor.post('/out', undefined, { cookie })
        expect([cookie, clearing(answer).map((line) => line.split(';')[0])]).toEqual([cookie, [`${name}=`]])
      }
    })

    test('a session that was made in this very request is destroyed without a trace', async () => {
      const app = await appFor()
      const agent = app.agent()
      const answer = await agent.post('/out')
      expect([answer.status, answer.body, answer.cookies]).toEqual([200, { gone: true }, []])
    })

    test('what follows a destroySession in other requests is a new visitor', async () => {
      const app = await appFor()
      const agent = app.agent()
      const before = await agent.post('/in', { user: 'ada' })
      await agent.post('/out')
      const after = await agent.post('/in', { user: 'grace' })
      expect(after.body.id).not.toBe(before.body.id)
      expect((await agent.get('/')).body.user).toBe('grace')
    })

    // In memory no destroy can be made to fail.
    const describeFailing = storeName === 'RedisStore in memory' ? () => {} : describe
    describeFailing('P8 when the store cannot destroy', () => {
      beforeEach(() => opened.setBroken(false))
      afterEach(() => opened.setBroken(false))

      test('regenerateSession fails, generates nothing, and the old session stays usable', async () => {
        const app = await appFor()
        const agent = app.agent()
        const { body } = await agent.post('/in', { user: 'ada' })
        const generate = jest.spyOn(opened.store, 'generate')
        later(() => generate.mockRestore())
        await opened.setBroken(true)
        const answer = await agent.post('/try', { helper: 'regenerateSession' })
        expect(answer.body).toEqual({ code: opened.code, isError: true, untouched: true })
        expect(answer.cookies).toEqual([])
        expect(generate).not.toHaveBeenCalled()
        expect((await agent.get('/')).body).toEqual({ id: body.id, user: 'ada' })
        await opened.setBroken(false)
        const after = await agent.post('/regenerate', { user: 'ada' })
        expect(after.body).toMatchObject({ fresh: true })
      })

      test('a route that does not catch it answers 500, and the next request is served', async () => {
        const app = await appFor()
        const agent = app.agent()
        await agent.post('/in', { user: 'ada' })
        await opened.setBroken(true)
        for (const path of ['/regenerate', '/out']) {
          expect(await agent.post(path)).toMatchObject({ status: 500, body: { code: opened.code } })
        }
        expect((await agent.get('/')).body.user).toBe('ada')
      })

      test('destroySession fails, and session and cookie stay', async () => {
        const app = await appFor()
        const agent = app.agent()
        const { body } = await agent.post('/in', { user: 'ada' })
        await opened.setBroken(true)
        const answer = await agent.post('/try', { helper: 'destroySession' })
        expect(answer.body).toEqual({ code: opened.code, isError: true, untouched: true })
        expect(answer.cookies).toEqual([])
        expect((await agent.get('/')).body).toEqual({ id: body.id, user: 'ada' })
        await opened.setBroken(false)
        expect((await agent.post('/out')).body).toEqual({ gone: true })
      })
    })
  })
})

describe('sessionHelpers', () => {
  const later = laterForEach()

  async function appFor(routes, options) {
    const store = new BrittleStore()
    const app = await startApp({ store, middleware: [sessionHelpers()], routes, ...options })
    later(() => app.close())
    return { app, store }
  }

  test.each(['regenerateSession', 'destroySession'])(
    '%s without a session fails with ERR_NO_SESSION',
    async (helper) => {
      const app = express()
      app.use(sessionHelpers())
      app.get('/', async (req, res) => {
        const byPromise = await req[helper]().catch((error) => error)
        const byCallback = await new Promise((resolve) => req[helper](resolve))
        res.json([byPromise.code, byCallback.code, byPromise instanceof Error, byPromise.message])
      })
      const server = app.listen(0)
      later(() => new Promise((resolve) => server.close(resolve)))
      const answer = await fetch(`http://127.0.0.1:${server.address().port}/`)
      const [byPromise, byCallback, isError, message] = await answer.json()
      expect([byPromise, byCallback, isError]).toEqual(['ERR_NO_SESSION', 'ERR_NO_SESSION', true])
      expect(message).toMatch(/express-session/)
    }
  )

  test('after destroySession both fail with ERR_NO_SESSION', async () => {
    const { app } = await appFor((app) =>
      app.get('/', async (req, res) => {
        await req.destroySession()
        const again = await req.destroySession().catch((error) => error.code)
        const regenerated = await req.regenerateSession().catch((error) => error.code)
        res.json([again, regenerated])
      })
    )
    expect((await app.agent().get('/')).body).toEqual(['ERR_NO_SESSION', 'ERR_NO_SESSION'])
  })

  test('each callback is called once, with no argument but an error', async () => {
    const calls = []
    const { app, store } = await appFor((app) => {
      app.get('/:helper', (req, res) => {
        req[req.params.helper]((...args) => {
          calls.push(args.map((arg) => arg?.code ?? arg))
          res.end()
        })
      })
    })
    const agent = app.agent()
    for (const helper of ['regenerateSession', 'destroySession']) {
      store.isBroken = false
      await agent.get(`/${helper}`)
      store.isBroken = true
      await agent.get(`/${helper}`)
    }
    await agent.get('/regenerateSession')
    expect(calls.map((args) => args.filter((arg) => arg != null))).toEqual([
      [],
      ['E_BROKEN'],
      [],
      ['E_BROKEN'],
      ['E_BROKEN']
    ])
  })

  test('P9 a callback that throws is an uncaught exception, and is not called again', async () => {
    const program = async () => {
      const session = require('express-session')
      const { sessionHelpers } = require('./index.js')
      const { startApp } = require('./__test__/support/app')
      const { until } = require('./__test__/support/until')
      const caught = []
      process.on('uncaughtException', (error) => caught.push(error.message))
      process.on('unhandledRejection', (error) => caught.push(`rejection ${error.message}`))
      let calls = 0
      const routes = (app) =>
        app.get('/:helper', (req, res) => {
          req[req.params.helper](() => {
            calls++
            res.end()
            throw new Error(`thrown after ${req.params.helper}`)
          })
        })
      const app = await startApp({ store: new session.MemoryStore(), middleware: [sessionHelpers()], routes })
      await app.agent().get('/regenerateSession')
      await app.agent().get('/destroySession')
      await until(() => caught.length >= 2)
      await app.close()
      console.log(JSON.stringify({ calls, caught }))
    }
    const { code, stdout } = await runScript(program)
    const caught = ['thrown after regenerateSession', 'thrown after destroySession']
    expect([code, JSON.parse(stdout)]).toEqual([0, { calls: 2, caught }])
  })

  test('P9 a store whose destroy throws, or answers twice, is a failure or a success, once', async () => {
    const { app, store } = await appFor((app) =>
      app.get('/', async (req, res) => {
        const byPromise = await req.regenerateSession().then(
          () => 'done',
          (error) => error.message
        )
        const byCallback = await new Promise((resolve) =>
          req.regenerateSession((error) => resolve(error?.message ?? 'done'))
        )
        res.json([byPromise, byCallback])
      })
    )
    store.destroy = () => {
      throw new Error('thrown at once')
    }
    expect((await app.agent().get('/')).body).toEqual(['thrown at once', 'thrown at once'])
    store.destroy = (_, callback) => {
      callback()
      callback(new Error('the second answer'))
    }
    expect((await app.agent().get('/')).body).toEqual(['done', 'done'])
  })

  test('two regenerates at once leave one live session', async () => {
    const { app, store } = await appFor((app) => {
      app.post('/in', (req, res) => {
        req.session.user = 'visitor'
        res.end()
      })
      app.post('/both', async (req, res) => {
        await Promise.all([req.regenerateSession(), req.regenerateSession()])
        req.session.user = 'ada'
        res.json(req.sessionID)
      })
    })
    const agent = app.agent()
    await agent.post('/in')
    const { body, cookies } = await agent.post('/both')
    expect(cookies).toHaveLength(1)
    expect(Object.keys(store.sessions)).toEqual([body])
  })

  test('a login and a logout in one request leave neither session nor cookie', async () => {
    const { app, store } = await appFor((app) => {
      app.post('/in', (req, res) => {
        req.session.user = 'visitor'
        res.end()
      })
      app.post('/in-and-out', async (req, res) => {
        await req.regenerateSession()
        req.session.user = 'ada'
        await req.destroySession()
        res.end()
      })
    })
    const agent = app.agent()
    await agent.post('/in')
    expect((await agent.post('/in-and-out')).status).toBe(200)
    expect(Object.keys(store.sessions)).toEqual([])
    expect(agent.cookieHeader('/')).toBe('')
  })

  test('destroySession after the headers were sent still destroys', async () => {
    const { app, store } = await appFor((app) => {
      app.post('/in', (req, res) => {
        req.session.user = 'ada'
        res.end()
      })
      app.post('/out', async (req, res) => {
        res.write('bye, ')
        await req.destroySession()
        res.end('ada')
      })
    })
    const agent = app.agent()
    await agent.post('/in')
    expect(await agent.post('/out')).toMatchObject({ status: 200, text: 'bye, ada' })
    expect(Object.keys(store.sessions)).toEqual([])
  })

  test('two sessions in one app: each helper call ends its own, and clears its own cookie', async () => {
    const [shop, admin] = [new session.MemoryStore(), new session.MemoryStore()]
    const app = express()
    const options = { secret: SECRET, resave: false, saveUninitialized: false }
    app.use('/admin', session({ ...options, name: 'admin', store: admin, cookie: { path: '/admin' } }))
    app.use('/shop', session({ ...options, name: 'shop', store: shop, cookie: { path: '/shop' } }))
    app.use(sessionHelpers())
    app.post(['/admin/in', '/shop/in'], (req, res) => {
      req.session.user = 'ada'
      res.end()
    })
    app.post(['/admin/out', '/shop/out'], async (req, res) => {
      await req.destroySession()
      res.end()
    })
    const server = app.listen(0)
    later(() => new Promise((resolve) => server.close(resolve)))
    const agent = new Agent(server.address().port)
    later(() => agent.close())
    await agent.post('/admin/in')
    await agent.post('/shop/in')
    expect(agent.cookieHeader('/admin/x')).toMatch(/^admin=/)
    await agent.post('/shop/out')
    expect(agent.cookieHeader('/shop/x')).toBe('')
    expect(agent.cookieHeader('/admin/x')).toMatch(/^admin=/)
    expect([Object.keys(shop.sessions).length, Object.keys(admin.sessions).length]).toEqual([0, 1])
  })
})
