// What happens to what this process holds when Redis can be reached again.
const { startProxy } = require('../proxy')
const { newId, sessionWith } = require('../sessions')
const { useStores } = require('../stores')
const { nextEvent, until, within } = require('../until')
const { startSlowLink } = require('./slow-link')

module.exports = () => {
  const { keyOf, later, ownRedis, storeWith } = useStores()

  async function proxied(targetPort) {
    const proxy = await startProxy(targetPort)
    later(() => proxy.stop())
    return proxy
  }

  async function takeAway(proxy, store) {
    proxy.refuse()
    proxy.cut()
    await until(() => store.state === 'degraded')
  }

  test('P5 during recovery a session that exists is never reported missing', async () => {
    const server = await ownRedis()
    const HOT = 'hot'
    const STORES = 8
    // Asks without a pause, so that some calls fall into each moment of the recovery.
    const ask = (stores) => {
      const asked = { missing: 0, failed: 0, pending: 0 }
      const waiting = new Set(stores)
      const answer = (error, session) => {
        asked.pending--
        if (error) asked.failed++
        else if (!session) asked.missing++
      }
      const deadline = performance.now() + 5000
      while (waiting.size > 0 && performance.now() < deadline) {
        for (const store of waiting) {
          const before = asked.pending++
          store.get(HOT, answer)
          // No answer at once, or one from what Redis is known to have: Redis serves.
          if (asked.pending > before || store.stats().unsaved === 0) waiting.delete(store)
        }
      }
      return asked
    }
    for (let round = 0; round < 30; round++) {
      await server.kill()
      const stores = Array.from({ length: STORES }, () => storeWith({ port: server.port }))
      for (const store of stores) {
        await store.ready()
        await store.set(HOT, sessionWith({ round }))
      }
      await server.restart()
      const asked = ask(stores)
      await until(() => asked.pending === 0)
      expect(asked).toEqual({ missing: 0, failed: 0, pending: 0 })
      const found = await Promise.all(stores.map((store) => store.get(HOT)))
      expect(found.map((session) => session?.round)).toEqual(Array(STORES).fill(round))
      await Promise.all(stores.map((store) => store.close()))
    }
  })

  test('P5 what was changed in an outage is known in the next one, however soon that comes', async () => {
    const server = await ownRedis()
    const proxy = await proxied(server.port)
    const store = storeWith({ port: proxy.port })
    await store.ready()
    const ids = Array.from({ length: 3000 }, newId)
    const all = (call) => Promise.all(ids.map(call))
    await all((sid) => store.set(sid, sessionWith({ round: 0 })))
    for (let round = 1; round <= 5; round++) {
      await takeAway(proxy, store)
      const found = await all((sid) => store.get(sid))
      expect(found.filter((session) => session?.round !== round - 1)).toHaveLength(0)
      await all((sid) => store.set(sid, sessionWith({ round })))
      await proxy.accept()
      await until(() => store.state === 'ready' && store.stats().unsaved === 0, { every: 1 })
    }
  })

  describe('P6 a session that waits does not outlive its deadline', () => {
    const LIFETIME_MS = 300

    test('for the first connection', async () => {
      const server = await ownRedis()
      const proxy = await proxied(server.port)
      proxy.hold()
      const store = storeWith({ port: proxy.port, connectTimeoutMs: 10_000 })
      const sid = newId()
      const deadline = Date.now() + LIFETIME_MS
      const set = store.set(sid, sessionWith({}, LIFETIME_MS))
      await until(() => Date.now() > deadline + 100)
      proxy.release()
      await within(5000, set, 'the set')
      expect(store.state).toBe('ready')
      expect(await server.command('EXISTS', keyOf(store, sid))).toBe(0)
      expect(await store.get(sid)).toBeNull()
    })

    test('for the first connection, and keeps what is left of its life', async () => {
      const server = await ownRedis()
      const proxy = await proxied(server.port)
      proxy.hold()
      const store = storeWith({ port: proxy.port, connectTimeoutMs: 10_000 })
      const sid = newId()
      const madeAt = Date.now()
      const set = store.set(sid, sessionWith({}, 60_000))
      await until(() => Date.now() > madeAt + 500)
      proxy.release()
      await set
      const left = await server.command('PTTL', keyOf(store, sid))
      expect(Date.now() + left).toBeLessThanOrEqual(madeAt + 60_000 + 50)
      expect(left).toBeGreaterThan(50_000)
    })

    test('for a reply that does not come', async () => {
      const server = await ownRedis()
      const proxy = await proxied(server.port)
      const store = storeWith({ port: proxy.port, commandTimeoutMs: 1000 })
      await store.ready()
      const sid = newId()
      const held = proxy.holdNext()
      const deadline = Date.now() + LIFETIME_MS
      const set = store.set(sid, sessionWith({}, LIFETIME_MS))
      await held
      await set
      expect(Date.now()).toBeGreaterThan(deadline + 100)
      expect(await store.get(sid)).toBeNull()
      proxy.release()
      let lived = 0
      await until(async () => {
        lived += await server.command('EXISTS', keyOf(store, sid))
        return store.state === 'ready' && store.stats().unsaved === 0
      })
      lived += await server.command('EXISTS', keyOf(store, sid))
      expect(lived).toBe(0)
    })
  })

  test('P5 15 MB of sessions reach Redis over a link of 4 MB a second', async () => {
    const server = await ownRedis()
    const link = await startSlowLink(server.port, 4e6)
    later(() => link.stop())
    const store = storeWith({ port: link.port })
    await store.ready()
    link.cut()
    await until(() => store.state === 'degraded')
    const text = 'x'.repeat(50_000)
    for (let n = 0; n < 300; n++) await store.set(newId(), sessionWith({ text }))
    link.mend()
    await until(() => store.state === 'ready' && store.stats().unsaved === 0, { ms: 30_000, what: 'an empty table' })
    // With the keys of the store itself.
    expect(await server.command('DBSIZE')).toBe(302)
  })

  test('P5 what Redis has no room for keeps no destroyed session alive', async () => {
    const server = await ownRedis({ args: ['--maxmemory', '3mb', '--maxmemory-policy', 'noeviction'] })
    const proxy = await proxied(server.port)
    const store = storeWith({ port: proxy.port })
    await store.ready()
    const destroyed = Array.from({ length: 50 }, (_, n) => `z ${n}`)
    for (const sid of destroyed) await store.set(sid, sessionWith())
    await takeAway(proxy, store)
    const text = 'y'.repeat(30_000)
    const big = Array.from({ length: 300 }, (_, n) => `a ${n}`)
    for (const sid of big) await store.set(sid, sessionWith({ text }))
    for (const sid of destroyed) await store.destroy(sid)
    await proxy.accept()
    await until(() => store.state === 'ready')
    const keys = (ids) => ids.map((sid) => keyOf(store, sid))
    // A mark that it was destroyed is none.
    const areGone = async () => (await server.command('MGET', ...keys(destroyed))).every((text) => !text)
    await until(areGone, { what: 'the destroyed sessions to be gone' })
    // Not lost either: this process holds them until there is room.
    for (const sid of big) expect(await store.get(sid)).toMatchObject({ text })
    await server.command('CONFIG', 'SET', 'maxmemory', 0)
    await until(() => store.stats().unsaved === 0, { ms: 20_000, what: 'an empty table' })
    expect(await server.command('EXISTS', ...keys(big))).toBe(big.length)
  })

  test('a listing right after recovery has all 150,000 sessions that are still on their way', async () => {
    // More than can be arguments of one call.
    const COUNT = 150_000
    const server = await ownRedis()
    const proxy = await proxied(server.port)
    const store = storeWith({ port: proxy.port, cache: { maxBytes: 2 ** 28 }, scanCount: 10_000 })
    await store.ready()
    await takeAway(proxy, store)
    for (let n = 0; n < COUNT; n++) store.set(`id ${n}`, sessionWith({ n }), () => {})
    proxy.delay(20)
    later(() => proxy.delay(0))
    const ready = nextEvent(store, 'ready')
    await proxy.accept()
    await ready
    const [ids, sessions] = await Promise.all([store.ids(), store.all()])
    proxy.delay(0)
    expect([ids.length, new Set(ids).size]).toEqual([COUNT, COUNT])
    expect([sessions.length, new Set(sessions.map(({ n }) => n)).size]).toEqual([COUNT, COUNT])
    expect(await store.length()).toBe(COUNT)
    await until(() => store.stats().unsaved === 0, { ms: 30_000 })
  })
}
