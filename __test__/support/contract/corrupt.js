// Keys under the prefix that hold no session: none of them fails a request, each is reported.
const { startApp } = require('../app')
const { rememberingLogger } = require('../logger')
const { newId, sessionWith } = require('../sessions')
const { useStores } = require('../stores')
const { until } = require('../until')

module.exports = () => {
  const stores = useStores()
  const { keyOf, later, plant, storeWith } = stores

  const corrupt = [
    ['null', 'null'],
    ['an array', '[]'],
    ['a number', '1'],
    ['a string', '"x"'],
    ['true', 'true'],
    ['truncated JSON', '{"cookie":{"path":"/"},"user":"ad'],
    ['no JSON at all', 'hello\r\nWARN: forged line'],
    ['bytes that are no UTF-8', Buffer.from([0x7b, 0xff, 0xfe, 0x7d])],
    ['bad UTF-8 inside good JSON', Buffer.from('{"cookie":{"path":"/"},"user":"\xff"}', 'latin1')]
  ]

  /** A store with one such key, and its logger. */
  async function damaged(put) {
    const logger = rememberingLogger()
    const [store, sid] = [storeWith({ logger }), newId()]
    await store.ready()
    await put(keyOf(store, sid))
    const before = await stores.redis.command('DUMP', keyOf(store, sid))
    return {
      logger,
      store,
      sid,
      unchanged: async () => (await stores.redis.command('DUMP', keyOf(store, sid))) === before
    }
  }

  const expectReport = ({ logger, sid, store }) => {
    const reports = [...logger.of('warn'), ...logger.of('error')]
    expect(reports).toHaveLength(1)
    expect(reports[0]).not.toMatch(/[\r\n]/)
    expect(logger.text()).not.toContain(sid)
    expect(store.stats().corrupt).toBe(1)
  }

  test.each(corrupt)('%s: no session, logged once, counted, and left for inspection', async (_, text) => {
    const found = await damaged((key) => stores.redis.command('SET', key, text))
    expect(await found.store.get(found.sid)).toBeNull()
    await until(() => found.store.stats().corrupt > 0 && found.logger.of('warn').length > 0)
    expectReport(found)
    expect(found.logger.text()).not.toContain('forged')
    expect(await found.unchanged()).toBe(true)
  })

  test.each([
    ['list', (key) => stores.redis.command('RPUSH', key, 'a')],
    ['hash', (key) => stores.redis.command('HSET', key, 'a', 'b')],
    ['set', (key) => stores.redis.command('SADD', key, 'a')],
    ['stream', (key) => stores.redis.command('XADD', key, '*', 'a', 'b')]
  ])('a key that holds a %s: no session, logged once, counted, and left for inspection', async (_, put) => {
    const found = await damaged(put)
    expect(await found.store.get(found.sid)).toBeNull()
    await until(() => found.store.stats().corrupt > 0 && found.logger.of('warn').length > 0)
    expectReport(found)
    expect(await found.unchanged()).toBe(true)
  })

  test('an empty string is silently no session', async () => {
    const { logger, store, sid, unchanged } = await damaged((key) => stores.redis.command('SET', key, ''))
    expect(await store.get(sid)).toBeNull()
    expect(await store.all()).toEqual([])
    expect(store.stats().corrupt).toBe(0)
    expect([...logger.of('warn'), ...logger.of('error')]).toEqual([])
    expect(await unchanged()).toBe(true)
  })

  test('a request with such a session is served as a new visitor', async () => {
    const store = storeWith()
    const routes = (app) => {
      app.post('/in', (req, res) => {
        req.session.user = 'ada'
        res.end()
      })
      app.get('/', (req, res) => res.json({ id: req.sessionID, user: req.session.user ?? null }))
    }
    const app = await startApp({ store, routes })
    later(() => app.close())
    const agent = app.agent()
    await agent.post('/in')
    const { body } = await agent.get('/')
    await plant(store, body.id, '{"cookie":')
    await until(async () => (await store.get(body.id)) === null, { what: 'Redis to tell of the change' })
    const answer = await agent.get('/')
    expect([answer.status, answer.body.user]).toEqual([200, null])
    expect(answer.body.id).not.toBe(body.id)
  })

  test('all skips them, and reports each', async () => {
    const logger = rememberingLogger()
    const [store, good] = [storeWith({ logger }), newId()]
    await store.set(good, sessionWith({ n: 1 }))
    for (const [, text] of corrupt) await plant(store, newId(), text)
    await stores.redis.command('RPUSH', keyOf(store, newId()), 'a')
    expect(await store.all()).toMatchObject([{ id: good, n: 1 }])
    expect(store.stats().corrupt).toBe(corrupt.length + 1)
  })

  test('a serializer that cannot parse a text makes it no session', async () => {
    const serializer = {
      stringify: JSON.stringify,
      parse() {
        throw new Error('unknown format')
      }
    }
    const [store, sid] = [storeWith({ serializer }), newId()]
    await plant(store, sid, '{"cookie":{}}')
    expect(await store.get(sid)).toBeNull()
    expect(store.stats().corrupt).toBe(1)
  })

  test('set writes over it, destroy removes it', async () => {
    const [store, written, destroyed] = [storeWith(), newId(), newId()]
    await stores.redis.command('RPUSH', keyOf(store, written), 'a')
    await plant(store, destroyed, 'nonsense')
    await store.set(written, sessionWith({ n: 1 }))
    await store.destroy(destroyed)
    expect(await store.get(written)).toMatchObject({ n: 1 })
    expect(await store.ids()).toEqual([written])
  })
}
