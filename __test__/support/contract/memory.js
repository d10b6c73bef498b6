// Memory serves while there is no Redis, and the store moves to one that comes.
const { startApp } = require('../app')
const { call } = require('../call')
const { freePort } = require('../port')
const { startProxy } = require('../proxy')
const { newId, sessionWith } = require('../sessions')
const { useStores } = require('../stores')
const { nextEvent, until } = require('../until')

module.exports = () => {
  const stores = useStores()
  const { keyOf, later, memoryStoreWith, ownRedis, storeWith } = stores

  test('P5 sessions made in memory are in a Redis that comes later, as they were', async () => {
    const port = await freePort()
    const store = storeWith({ port })
    await store.ready()
    const ids = Array.from({ length: 300 }, newId)
    await Promise.all(ids.map((sid, n) => store.set(sid, sessionWith({ n }, 600_000))))
    await store.set(ids[0], sessionWith({ n: 'again' }, 600_000))
    await store.touch(ids[1], sessionWith({}, 60_000))
    await store.destroy(ids[2])
    const brief = newId()
    await store.set(brief, sessionWith({}, 1))
    const recovered = nextEvent(store, 'recovered')
    const server = await ownRedis({ port })
    expect((await recovered)[0].replayed).toBeGreaterThanOrEqual(299)
    expect(store.state).toBe('ready')
    const texts = await server.command('MGET', ...ids.map((sid) => keyOf(store, sid)))
    const numbers = texts.map((text) => (text === null ? null : JSON.parse(text).n))
    expect(numbers).toEqual(ids.map((_, n) => [n, 'again', n, null][n === 0 ? 1 : n === 2 ? 3 : 0]))
    expect(await server.command('EXISTS', keyOf(store, brief))).toBe(0)
    const left = await Promise.all(ids.slice(0, 2).map((sid) => server.command('PTTL', keyOf(store, sid))))
    expect(left[0]).toBeGreaterThan(500_000)
    expect(left[0]).toBeLessThanOrEqual(600_000)
    expect(left[1]).toBeLessThanOrEqual(60_000)
    expect(await store.length()).toBe(299)
    await until(() => store.stats().unsaved === 0)
  })

  test('P5 the same over HTTP: nobody is logged out when the Redis comes', async () => {
    const port = await freePort()
    const store = storeWith({ port })
    const routes = (app) => {
      app.post('/in', (req, res) => {
        req.session.user = req.body.user
        res.end()
      })
      app.get('/', (req, res) => res.json({ user: req.session.user ?? null }))
    }
    const app = await startApp({ store, routes })
    later(() => app.close())
    const agents = Array.from({ length: 10 }, () => app.agent())
    await Promise.all(agents.map((agent, user) => agent.post('/in', { user })))
    await ownRedis({ port })
    await until(() => store.state === 'ready')
    const found = await Promise.all(agents.map((agent) => agent.get('/')))
    expect(found.map(({ body }) => body.user)).toEqual(agents.map((_, user) => user))
  })

  test('a full table refuses with ERR_STORE_FULL, and drops nothing that it accepted', async () => {
    const port = await freePort()
    const store = storeWith({ port, cache: { maxBytes: 65_536 } })
    await store.ready()
    const [accepted, refused] = [[], []]
    for (let n = 0; n < 100; n++) {
      const sid = newId()
      const error = await call(store, 'set', sid, sessionWith({ text: 'x'.repeat(1000) }, 600_000)).catch((e) => e)
      if (error) refused.push({ sid, error })
      else accepted.push(sid)
    }
    expect(accepted.length).toBeGreaterThan(40)
    expect(accepted.length).toBeLessThan(66)
    expect(store.stats().bytes).toBeLessThanOrEqual(65_536)
    expect(new Set(refused.map(({ error }) => error.code))).toEqual(new Set(['ERR_STORE_FULL']))
    for (const sid of accepted) expect(await store.get(sid)).toBeTruthy()
    const bigger = sessionWith({ text: 'y'.repeat(50_000) }, 600_000)
    await expect(store.set(accepted[0], bigger)).rejects.toMatchObject({ code: 'ERR_STORE_FULL' })
    expect((await store.get(accepted[0])).text).toMatch(/^x+$/)
    await store.touch(accepted[1], sessionWith({}, 600_000))
    const server = await ownRedis({ port })
    await until(() => store.state === 'ready' && store.stats().unsaved === 0)
    expect(await server.command('EXISTS', ...accepted.map((sid) => keyOf(store, sid)))).toBe(accepted.length)
    await store.set(refused[0].sid, sessionWith())
    expect(await store.get(refused[0].sid)).toBeTruthy()
  })

  test('a table that was full has room again when sessions have expired', async () => {
    const store = await memoryStoreWith({ cache: { maxBytes: 65_536 } })
    const fill = async () => {
      for (let n = 0; ; n++) {
        const error = await call(store, 'set', newId(), sessionWith({ text: 'x'.repeat(1000) }, 300)).catch((e) => e)
        if (error) return n
      }
    }
    expect(await fill()).toBeGreaterThan(40)
    await until(() => store.stats().unsaved === 0)
    expect(await fill()).toBeGreaterThan(40)
  })

  test('a Redis that accepts and never answers is given up after connectTimeoutMs', async () => {
    const server = await ownRedis()
    await server.pause()
    const store = storeWith({ port: server.port, connectTimeoutMs: 300 })
    const startedAt = performance.now()
    expect(await store.ready()).toBe('degraded')
    expect(performance.now() - startedAt).toBeLessThan(1300)
    server.resume()
    await until(() => store.state === 'ready')
  })

  test.each([
    ['a Redis that answers at last', 'ready'],
    ['memory', 'degraded']
  ])('operations asked for before it is known who serves are answered in order, by %s', async (_, state) => {
    const proxy = await startProxy(stores.redis.port)
    later(() => proxy.stop())
    proxy.hold()
    const [store, sid] = [storeWith({ port: proxy.port, connectTimeoutMs: 400 }), newId()]
    const answers = []
    const note = (name) => (_, value) => answers.push([name, value?.n ?? null])
    store.set(sid, sessionWith({ n: 1 }), note('set'))
    store.get(sid, note('get'))
    store.set(sid, sessionWith({ n: 2 }), note('set'))
    store.get(sid, note('get'))
    store.destroy(sid, note('destroy'))
    store.get(sid, note('get'))
    await until(() => proxy.connections === 1)
    expect([store.state, answers]).toEqual(['connecting', []])
    if (state === 'ready') proxy.release()
    expect(await store.ready()).toBe(state)
    await until(() => answers.length === 6)
    const order = ['set', 'get', 'set', 'get', 'destroy', 'get']
    expect(answers).toEqual(order.map((name, at) => [name, { 1: 1, 3: 2 }[at] ?? null]))
  })
}
