// P6: how long a session lives in Redis and in memory.
const { newId, sessionWith, stored } = require('../sessions')
const { useStores } = require('../stores')
const { until } = require('../until')

module.exports = () => {
  const stores = useStores()
  const { keyOf, memoryStoreWith, plant, pttl, storeWith, textOf } = stores

  /** Redis's own deadline minus the wanted one, in milliseconds, and how long the call took. */
  async function drift(store, sid, deadline, work) {
    const startedAt = performance.now()
    await work()
    const tookMs = performance.now() - startedAt
    return { ms: (await stores.redis.command('PEXPIRETIME', keyOf(store, sid))) - deadline, tookMs }
  }

  test.each([250, 999, 1001, 1499, 1501, 60_123, 86_399_999])(
    'P6 set writes an expiry of %i ms to the millisecond',
    async (lifetimeMs) => {
      const [store, sid] = [storeWith(), newId()]
      await store.ready()
      const data = sessionWith({}, lifetimeMs)
      const { ms, tookMs } = await drift(store, sid, data.cookie.expires.getTime(), () => store.set(sid, data))
      expect(ms).toBeGreaterThanOrEqual(-1)
      expect(ms).toBeLessThanOrEqual(tookMs + 2)
    }
  )

  test('P6 touch writes an expiry to the millisecond', async () => {
    const [store, sid] = [storeWith(), newId()]
    await store.set(sid, sessionWith({}, 1000))
    const data = sessionWith({}, 1777)
    // The caller does not wait for Redis.
    const touch = async () => {
      await store.touch(sid, data)
      await until(async () => (await pttl(store, sid)) > 1000, { what: 'the renewal in Redis' })
    }
    const { ms, tookMs } = await drift(store, sid, data.cookie.expires.getTime(), touch)
    expect(ms).toBeGreaterThanOrEqual(-1)
    expect(ms).toBeLessThanOrEqual(tookMs + 2)
  })

  test('an expiry may be a Date, or text as it comes out of a store', async () => {
    const [store, sid] = [storeWith(), newId()]
    await store.set(sid, stored(sessionWith({}, 30_000)))
    expect(await pttl(store, sid)).toBeGreaterThan(29_000)
    expect(await pttl(store, sid)).toBeLessThanOrEqual(30_000)
  })

  test('without an expiry in the cookie, ttl decides, by default a day', async () => {
    const [short, standard, sid] = [storeWith({ ttl: 90 }), storeWith(), newId()]
    await Promise.all([short.set(sid, sessionWith()), standard.set(sid, sessionWith())])
    expect(Math.abs((await pttl(short, sid)) - 90_000)).toBeLessThan(1000)
    expect(Math.abs((await pttl(standard, sid)) - 86_400_000)).toBeLessThan(1000)
    await short.set(sid, { noCookie: true })
    expect(Math.abs((await pttl(short, sid)) - 90_000)).toBeLessThan(1000)
  })

  test('a ttl of a part of a second is taken as it is', async () => {
    const [store, sid] = [storeWith({ ttl: 1.5 }), newId()]
    await store.set(sid, sessionWith())
    const ms = await pttl(store, sid)
    expect(ms).toBeGreaterThan(1000)
    expect(ms).toBeLessThanOrEqual(1500)
  })

  test('a ttl function gets the session and wins over its cookie, at set and at touch', async () => {
    const asked = []
    const ttl = (data) => {
      asked.push(data)
      return data.seconds
    }
    const [store, sid] = [storeWith({ ttl, touchWindowMs: 0 }), newId()]
    const data = sessionWith({ seconds: 50 }, 3_600_000)
    await store.set(sid, data)
    expect(Math.abs((await pttl(store, sid)) - 50_000)).toBeLessThan(1000)
    await store.touch(sid, { ...data, seconds: 70 })
    const isRenewed = async () => Math.abs((await pttl(store, sid)) - 70_000) < 1000
    await until(isRenewed, { what: 'the renewal in Redis' })
    expect(asked[0]).toBe(data)
    expect(asked[1]).toMatchObject({ seconds: 70 })
  })

  test.each([
    ['an expiry that has passed', {}, () => sessionWith({}, -1)],
    ['an expiry of just now', {}, () => sessionWith({}, 0)],
    ['a ttl of 0', { ttl: 0 }, () => sessionWith()],
    ['a ttl function that gives 0', { ttl: () => 0 }, () => sessionWith({}, 1000)],
    ['a ttl function that gives less than 0', { ttl: () => -5 }, () => sessionWith({}, 1000)]
  ])('set with %s destroys the session', async (_, options, data) => {
    const [store, sid] = [storeWith(options), newId()]
    await plant(store, sid, '{"cookie":{}}')
    await store.set(sid, data())
    expect(await stores.redis.command('EXISTS', keyOf(store, sid))).toBe(0)
  })

  test('touch with an expiry that has passed destroys the session', async () => {
    const [store, sid] = [storeWith(), newId()]
    await store.set(sid, sessionWith({}, 60_000))
    await store.touch(sid, sessionWith({}, -1))
    expect(await stores.redis.command('EXISTS', keyOf(store, sid))).toBe(0)
  })

  test('disableTTL keeps sessions without an expiry, and touch leaves them so', async () => {
    const [store, sid] = [storeWith({ disableTTL: true }), newId()]
    await store.set(sid, sessionWith({ n: 1 }, 60_000))
    expect(await pttl(store, sid)).toBe(-1)
    await store.touch(sid, sessionWith({ n: 1 }, 60_000))
    expect(await pttl(store, sid)).toBe(-1)
    expect(await store.get(sid)).toMatchObject({ n: 1 })
  })

  test('set after a time without disableTTL gives the session an expiry again', async () => {
    const [keeping, sid] = [storeWith({ disableTTL: true }), newId()]
    const expiring = storeWith({ prefix: keeping.prefix })
    await keeping.set(sid, sessionWith())
    await expiring.set(sid, sessionWith({}, 5000))
    expect(await pttl(expiring, sid)).toBeGreaterThan(0)
    await keeping.set(sid, sessionWith({}, 5000))
    expect(await pttl(keeping, sid)).toBe(-1)
  })

  test('disableTouch leaves the expiry alone', async () => {
    const [store, sid] = [storeWith({ disableTouch: true }), newId()]
    await store.set(sid, sessionWith({}, 5000))
    await store.touch(sid, sessionWith({}, 600_000))
    expect(await pttl(store, sid)).toBeLessThanOrEqual(5000)
  })

  test('get shows the live expiry after touch, and the stored text stays as it was', async () => {
    const [store, sid] = [storeWith(), newId()]
    await store.set(sid, sessionWith({ n: 1 }, 10_000))
    const text = await textOf(store, sid)
    const renewed = sessionWith({}, 3_600_000)
    await store.touch(sid, renewed)
    const found = await store.get(sid)
    expect(typeof found.cookie.expires).toBe('string')
    expect(Math.abs(Date.parse(found.cookie.expires) - renewed.cookie.expires)).toBeLessThan(100)
    expect(await textOf(store, sid)).toBe(text)
    const [listed] = await store.all()
    expect(listed.cookie.expires).toBe(JSON.parse(text).cookie.expires)
  })

  test('P6 in memory nothing outlives its deadline by more than a second, and nobody has to ask', async () => {
    const store = await memoryStoreWith()
    const startedAt = Date.now()
    const deadlines = Array.from({ length: 400 }, (_, n) => startedAt + 100 + n * 5)
    const keep = (deadline) => store.set(newId(), sessionWith({ text: 'x'.repeat(200) }, deadline - Date.now()))
    await Promise.all(deadlines.map(keep))
    expect(store.stats().unsaved).toBeGreaterThan(390)
    expect(store.stats().bytes).toBeGreaterThan(80_000)
    let late = 0
    await until(() => {
      const { entries } = store.stats()
      const allowed = deadlines.filter((deadline) => deadline > Date.now() - 1100).length
      late = Math.max(late, entries - allowed)
      return entries === 0
    })
    expect(late).toBe(0)
    expect(store.stats().bytes).toBe(0)
  })
}
