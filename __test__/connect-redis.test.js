// P1: moving from the real connect-redis to this store, or back, logs nobody out.
const { RedisStore: ConnectRedis } = require('connect-redis')
const session = require('express-session')
const { createClient } = require('redis')
const { RedisStore } = require('..')
const { startApp } = require('./support/app')
const { laterForEach } = require('./support/later')
const { startRedis } = require('./support/redis')
const { newId, sessionWith, stored } = require('./support/sessions')
const { untilSeen } = require('./support/stores')
const { until } = require('./support/until')

jest.setTimeout(30_000)

describe('P1 connect-redis and RedisStore on one Redis', () => {
  const later = laterForEach()
  let redis
  let client
  let tests = 0

  beforeAll(async () => {
    redis = await startRedis()
    client = createClient({ url: redis.url })
    await client.connect()
  })
  afterAll(async () => {
    client.destroy()
    await redis.stop()
  })

  /** Both stores on the same keys. */
  function bothStores(options) {
    const prefix = `shop ${++tests}:`
    const theirs = new ConnectRedis({ client, prefix, ...options })
    const ours = new RedisStore({ host: redis.host, port: redis.port, prefix, logger: false, ...options })
    later(() => ours.close())
    return { ours, theirs, prefix }
  }

  const both = (test) => [
    [
      'what connect-redis wrote, RedisStore reads',
      ({ ours, theirs, ...rest }) => test({ from: theirs, to: ours, ...rest })
    ],
    [
      'what RedisStore wrote, connect-redis reads',
      ({ ours, theirs, ...rest }) => test({ from: ours, to: theirs, ...rest })
    ]
  ]

  const data = sessionWith({ user: { name: 'ada 🦀 \u2028', roles: ['a', 'b'] }, n: 1.5, none: null }, 3_600_000)

  test.each(
    both(async ({ from, to }) => {
      const [expiring, unlimited] = [newId(), newId()]
      await from.set(expiring, data)
      await from.set(unlimited, sessionWith({ n: 2 }))
      expect(await to.get(expiring)).toEqual({ ...stored(data), cookie: expect.objectContaining({ path: '/' }) })
      expect(JSON.stringify(await to.get(unlimited))).toBe(JSON.stringify(sessionWith({ n: 2 })))
    })
  )('%s', async (_, run) => run(bothStores()))

  test.each(
    both(async ({ from, to }) => {
      const sid = newId()
      await from.set(sid, data)
      await to.set(sid, sessionWith({ n: 'from the other' }))
      await untilSeen(async () => (await from.get(sid))?.n === 'from the other')
      await to.destroy(sid)
      await untilSeen(async () => (await from.get(sid)) === null)
    })
  )('%s: what the other changes and destroys', async (_, run) => run(bothStores()))

  test('both write the same key, the same text, and an expiry within a second of each other', async () => {
    const { ours, theirs, prefix } = bothStores()
    const [one, two] = [newId(), newId()]
    const cases = [data, sessionWith({ n: 1 }), sessionWith({ n: 1 }, 1500), { cookie: {}, a: '🦀' }]
    for (const each of cases) {
      await theirs.set(one, each)
      await ours.set(two, each)
      const [theirText, ourText] = await Promise.all([client.get(prefix + one), client.get(prefix + two)])
      expect(ourText).toBe(theirText)
      const [theirMs, ourMs] = await Promise.all([client.pTTL(prefix + one), client.pTTL(prefix + two)])
      expect(ourMs).toBeGreaterThan(0)
      expect(Math.abs(theirMs - ourMs)).toBeLessThanOrEqual(1000)
    }
  })

  test('both renew to the same expiry, and touch no text', async () => {
    const { ours, theirs, prefix } = bothStores()
    const [one, two] = [newId(), newId()]
    for (const sid of [one, two]) await theirs.set(sid, sessionWith({ n: 1 }, 5000))
    const text = await client.get(prefix + two)
    const renewed = sessionWith({ n: 'not written' }, 60_000)
    await theirs.touch(one, renewed)
    await ours.touch(two, renewed)
    await until(async () => (await client.pTTL(prefix + two)) > 5000, { what: 'the renewal in Redis' })
    const [theirMs, ourMs] = await Promise.all([client.pTTL(prefix + one), client.pTTL(prefix + two)])
    expect(ourMs).toBeGreaterThan(55_000)
    expect(Math.abs(theirMs - ourMs)).toBeLessThanOrEqual(1000)
    expect(await client.get(prefix + two)).toBe(text)
  })

  test('the same options mean the same: ttl as a number and as a function, disableTTL, disableTouch, serializer', async () => {
    const reversed = {
      stringify: (each) => JSON.stringify(each).split('').reverse().join(''),
      parse: (text) => JSON.parse(text.split('').reverse().join(''))
    }
    const variants = [
      { ttl: 77 },
      { ttl: (each) => each.seconds },
      { disableTTL: true },
      { disableTouch: true },
      { serializer: reversed }
    ]
    const [one, two] = [newId(), newId()]
    const before = sessionWith({ seconds: 30, n: 1 })
    const after = { ...before, ...sessionWith({ seconds: 40 }, 50_000) }
    for (const options of variants) {
      const { ours, theirs, prefix } = bothStores(options)
      await Promise.all([theirs.set(one, before), ours.set(two, before)])
      expect(await client.get(prefix + two)).toBe(await client.get(prefix + one))
      expect(Math.abs((await client.pTTL(prefix + one)) - (await client.pTTL(prefix + two)))).toBeLessThanOrEqual(1000)
      await Promise.all([theirs.touch(one, after), ours.touch(two, after)])
      const difference = async () => Math.abs((await client.pTTL(prefix + one)) - (await client.pTTL(prefix + two)))
      await until(async () => (await difference()) <= 1000, { what: 'the renewal in Redis' })
      expect(await ours.get(one)).toMatchObject({ n: 1 })
      expect(await theirs.get(two)).toMatchObject({ n: 1 })
    }
  })

  test('with disableTTL both still find a session whose cookie has expired', async () => {
    const { ours, theirs } = bothStores({ disableTTL: true })
    const [one, two] = [newId(), newId()]
    const brief = sessionWith({ n: 1 }, 20)
    await Promise.all([theirs.set(one, brief), ours.set(two, brief)])
    await until(() => brief.cookie.expires < Date.now())
    expect(await theirs.get(two)).toMatchObject({ n: 1 })
    expect(await ours.get(one)).toMatchObject({ n: 1 })
  })

  test('a lifetime of 0 or less destroys in both', async () => {
    const { ours, theirs, prefix } = bothStores()
    const [one, two] = [newId(), newId()]
    for (const lifetimeMs of [0, -1000]) {
      await Promise.all([theirs.set(one, data), theirs.set(two, data)])
      await theirs.set(one, sessionWith({}, lifetimeMs))
      await ours.set(two, sessionWith({}, lifetimeMs))
      expect(await client.exists([prefix + one, prefix + two])).toBe(0)
    }
  })

  test('ids, all, length and clear agree', async () => {
    const { ours, theirs } = bothStores({ scanCount: 10 })
    const ids = Array.from({ length: 60 }, newId)
    await Promise.all(ids.map((sid, n) => (n % 2 ? ours : theirs).set(sid, sessionWith({ n }))))
    const byId = (a, b) => (a.id < b.id ? -1 : 1)
    expect((await ours.ids()).sort()).toEqual((await theirs.ids()).sort())
    expect((await ours.all()).sort(byId)).toEqual((await theirs.all()).sort(byId))
    expect([await ours.length(), await theirs.length()]).toEqual([60, 60])
    await ours.clear()
    expect([await ours.length(), await theirs.length()]).toEqual([0, 0])
    await ours.set(ids[0], data)
    await theirs.clear()
    expect(await ours.ids()).toEqual([])
  })

  test('both are express-session stores with the same attributes', () => {
    const { ours, theirs } = bothStores({ scanCount: 33, ttl: 44 })
    for (const name of ['prefix', 'scanCount', 'ttl', 'disableTTL', 'disableTouch', 'serializer']) {
      expect([name, ours[name]]).toEqual([name, theirs[name]])
    }
    expect(ours).toBeInstanceOf(session.Store)
  })

  describe('over HTTP, one cookie', () => {
    const routes = (app) => {
      const see = (req, res) =>
        res.json({ id: req.sessionID, user: req.session.user ?? null, visits: req.session.visits })
      app.post('/in', (req, res, next) => {
        req.session.regenerate((error) => {
          if (error) return next(error)
          Object.assign(req.session, { user: req.body.user, visits: 0 })
          see(req, res)
        })
      })
      app.post('/visit', (req, res) => {
        req.session.visits += 1
        see(req, res)
      })
      app.get('/', see)
      app.post('/out', (req, res, next) => req.session.destroy((error) => (error ? next(error) : res.json({}))))
    }

    /** A browser whose requests go to either app, with one cookie jar. */
    async function browserOfBoth(storeOptions, options) {
      const { ours, theirs } = bothStores(storeOptions)
      const [before, after] = [
        await startApp({ store: theirs, session: options, routes }),
        await startApp({ store: ours, session: options, routes })
      ]
      later(() => Promise.all([before.close(), after.close()]))
      const jar = before.agent()
      const through = (app) => {
        const agent = app.agent()
        return (method, path, body) => {
          const cookie = jar.cookieHeader(path)
          return agent.request(method, path, { body, headers: cookie ? { cookie } : {} }).then((answer) => {
            jar.keep(answer.cookies)
            return answer
          })
        }
      }
      return { theirs: through(before), ours: through(after) }
    }

    // Without a cache each app sees at once what the other one did; with it, at the latest after maxStaleMs.
    describe.each([
      ['without a cache', { cache: false }, (condition) => condition()],
      ['with the default cache', {}, untilSeen]
    ])('%s', (_, storeOptions, inTime) => {
      const see = (app, expected) =>
        inTime(async () => {
          expect((await app('GET', '/')).body).toMatchObject(expected)
          return true
        })

      test.each([
        ['from connect-redis to RedisStore and back', 'theirs', 'ours'],
        ['from RedisStore to connect-redis and back', 'ours', 'theirs']
      ])('switching %s logs nobody out', async (_, first, second) => {
        for (const cookie of [{}, { maxAge: 3_600_000 }]) {
          const browser = await browserOfBoth(storeOptions, { cookie, rolling: Boolean(cookie.maxAge) })
          const { body } = await browser[first]('POST', '/in', { user: 'ada' })
          for (const [n, app] of [first, second, second, first, second].entries()) {
            await see(browser[app], { user: 'ada', visits: n })
            const answer = await browser[app]('POST', '/visit')
            expect(answer.body).toEqual({ id: body.id, user: 'ada', visits: n + 1 })
            expect((await browser[app]('GET', '/')).body).toMatchObject({ id: body.id, visits: n + 1 })
          }
          await browser[second]('POST', '/out')
          await see(browser[first], { user: null })
        }
      })

      test('two apps side by side, as in a rolling deployment: users move back and forth', async () => {
        const browsers = await Promise.all(
          Array.from({ length: 10 }, () => browserOfBoth(storeOptions, { cookie: { maxAge: 60_000 } }))
        )
        await Promise.all(
          browsers.map(async (browser, user) => {
            await browser.theirs('POST', '/in', { user })
            for (let n = 1; n <= 6; n++) {
              const app = browser[(user + n) % 2 ? 'ours' : 'theirs']
              await see(app, { user, visits: n - 1 })
              expect((await app('POST', '/visit')).body).toMatchObject({ user, visits: n })
            }
          })
        )
      })
    })
  })
})
